"""Neurons: how one unit moves."""

from ctsigprop.neurons.activations import Activation
from ctsigprop.neurons.base import (
    ExactStep,
    InitialGain,
    LargestStep,
    Neuron,
    OutputSlope,
    Refractory,
    Spiking,
    Steady,
    SynapticCurrent,
)
from ctsigprop.neurons.integrate_and_fire import IF, LIF, AdaptiveLIF
from ctsigprop.neurons.izhikevich import Izhikevich
from ctsigprop.neurons.rate import Rate
from ctsigprop.neurons.theta import Theta

__all__ = [
    "IF",
    "LIF",
    "Activation",
    "AdaptiveLIF",
    "ExactStep",
    "InitialGain",
    "Izhikevich",
    "LargestStep",
    "Neuron",
    "OutputSlope",
    "Rate",
    "Refractory",
    "Spiking",
    "Steady",
    "SynapticCurrent",
    "Theta",
]
