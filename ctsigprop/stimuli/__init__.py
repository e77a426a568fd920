"""Stimuli: what a network sees, and when."""

from ctsigprop.stimuli.encoders import Latency, Poisson
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.spike_trains import SpikeTrains
from ctsigprop.stimuli.stimulus import Stimulus

__all__ = ["Latency", "Poisson", "Presentations", "SpikeTrains", "Stimulus"]
