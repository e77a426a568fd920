"""ctsigprop: learning as a dynamical system, taught by signal propagation."""

from ctsigprop import datasets, plot, reductions, rules, signals, solvers
from ctsigprop.activations import Activation
from ctsigprop.alignment import alignment
from ctsigprop.combine import concat
from ctsigprop.ensemble import Ensemble
from ctsigprop.network import Network
from ctsigprop.neurons import Neuron, Rate
from ctsigprop.plot.animation import animate
from ctsigprop.probes import Probe
from ctsigprop.selection import Sample
from ctsigprop.signals import Backprop, DirectFeedbackAlignment, FeedbackAlignment, KolenPollack, TargetStream
from ctsigprop.simulate import simulate
from ctsigprop.solution import Solution, load
from ctsigprop.solvers.status import Status
from ctsigprop.state import State
from ctsigprop.stimuli import Presentations, Stimulus

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Backprop",
    "DirectFeedbackAlignment",
    "Ensemble",
    "FeedbackAlignment",
    "KolenPollack",
    "Network",
    "Neuron",
    "Presentations",
    "Probe",
    "Rate",
    "Sample",
    "Solution",
    "State",
    "Status",
    "Stimulus",
    "TargetStream",
    "alignment",
    "animate",
    "concat",
    "datasets",
    "load",
    "plot",
    "reductions",
    "rules",
    "signals",
    "simulate",
    "solvers",
]
