"""ctsigprop: learning as a dynamical system, taught by signal propagation."""

from ctsigprop import datasets, plot, rules, signals, solvers
from ctsigprop.activations import Activation
from ctsigprop.alignment import alignment
from ctsigprop.encoders import Latency, Poisson
from ctsigprop.izhikevich import Izhikevich
from ctsigprop.network import Network
from ctsigprop.neurons import Neuron, Rate
from ctsigprop.probes import Probe
from ctsigprop.signals import Backprop, DirectFeedbackAlignment, FeedbackAlignment, KolenPollack, TargetStream
from ctsigprop.simulate import simulate
from ctsigprop.solution import Solution, load
from ctsigprop.solvers.status import Status
from ctsigprop.spike_trains import SpikeTrains
from ctsigprop.spiking import IF, LIF, AdaptiveLIF
from ctsigprop.state import State
from ctsigprop.stdp_window import stdp_window
from ctsigprop.stimuli import Presentations, Stimulus
from ctsigprop.theta import Theta

__version__ = "0.1.0"

__all__ = [
    "IF",
    "LIF",
    "Activation",
    "AdaptiveLIF",
    "Backprop",
    "DirectFeedbackAlignment",
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
    "Solution",
    "SpikeTrains",
    "State",
    "Status",
    "Stimulus",
    "TargetStream",
    "Theta",
    "alignment",
    "datasets",
    "load",
    "plot",
    "rules",
    "signals",
    "simulate",
    "solvers",
    "stdp_window",
]
