"""ctsigprop: learning as a dynamical system, taught by signal propagation."""

from ctsigprop import batch, datasets, plot, reductions, rules, signals, solvers
from ctsigprop.activations import Activation
from ctsigprop.alignment import alignment
from ctsigprop.batch import Hopeless, Runs, Trial, compare, sweep
from ctsigprop.combine import concat
from ctsigprop.convolution import Conv2d
from ctsigprop.encoders import Latency, Poisson
from ctsigprop.errors import SimulationError
from ctsigprop.estimators import SigPropClassifier, SigPropRegressor
from ctsigprop.izhikevich import Izhikevich
from ctsigprop.network import Network
from ctsigprop.neurons import Neuron, Rate
from ctsigprop.plot.animation import animate
from ctsigprop.probes import Probe
from ctsigprop.selection import Sample
from ctsigprop.signals import Backprop, DirectFeedbackAlignment, FeedbackAlignment, KolenPollack, TargetStream
from ctsigprop.simulate import simulate
from ctsigprop.solution import Solution, load
from ctsigprop.solutions import Ensemble
from ctsigprop.solvers.status import Status
from ctsigprop.spike_trains import SpikeTrains
from ctsigprop.spiking import IF, LIF, AdaptiveLIF
from ctsigprop.state import State
from ctsigprop.stdp_window import stdp_window
from ctsigprop.stimuli import Presentations, Stimulus
from ctsigprop.theta import Theta
from ctsigprop.unreadable import Unreadable

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
    "Hopeless",
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
