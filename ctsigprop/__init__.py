"""ctsigprop: learning as a dynamical system, with signal propagation as the learning signal."""

from ctsigprop import _moved as _moved
from ctsigprop import batch, datasets, plot, reductions, rules, signals, solvers
from ctsigprop.analysis.alignment import alignment
from ctsigprop.analysis.stdp_window import stdp_window
from ctsigprop.batch import Runs, StopBelow, Trial, compare, sweep
from ctsigprop.errors import SimulationError
from ctsigprop.estimators import SigPropClassifier, SigPropRegressor
from ctsigprop.files.unreadable import Unreadable
from ctsigprop.model.convolution import Conv2d
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.neurons.activations import Activation
from ctsigprop.neurons.base import Neuron
from ctsigprop.neurons.integrate_and_fire import IF, LIF, AdaptiveLIF
from ctsigprop.neurons.izhikevich import Izhikevich
from ctsigprop.neurons.rate import Rate
from ctsigprop.neurons.theta import Theta
from ctsigprop.plot.animation import animate
from ctsigprop.recording.probes import Probe
from ctsigprop.recording.selection import Sample
from ctsigprop.results.concat import concat
from ctsigprop.results.ensemble import Ensemble
from ctsigprop.results.solution import Solution, load
from ctsigprop.signals import Backprop, DirectFeedbackAlignment, FeedbackAlignment, KolenPollack, TargetStream
from ctsigprop.simulation.simulate import simulate
from ctsigprop.solvers.status import Status
from ctsigprop.stimuli.encoders import Latency, Poisson
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.spike_trains import SpikeTrains
from ctsigprop.stimuli.stimulus import Stimulus

__version__ = "0.1.0"

__all__ = [
    "IF",
    "LIF",
    "Activation",
    "AdaptiveLIF",
    "Backprop",
    "Conv2d",
    "DirectFeedbackAlignment",
    "Ensemble",
    "FeedbackAlignment",
    "Izhikevich",
    "KolenPollack",
    "Latency",
    "Network",
    "Neuron",
    "Poisson",
    "Presentations",
    "Probe",
    "Rate",
    "Runs",
    "Sample",
    "SigPropClassifier",
    "SigPropRegressor",
    "SimulationError",
    "Solution",
    "SpikeTrains",
    "State",
    "Status",
    "Stimulus",
    "StopBelow",
    "TargetStream",
    "Theta",
    "Trial",
    "Unreadable",
    "alignment",
    "animate",
    "batch",
    "compare",
    "concat",
    "datasets",
    "load",
    "plot",
    "reductions",
    "rules",
    "signals",
    "simulate",
    "solvers",
    "stdp_window",
    "sweep",
]
