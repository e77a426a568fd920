"""Plots of a solution. Each takes `ax=` and returns matplotlib Axes; none changes matplotlib's global state."""

from ctsigprop.plot.activity import rates
from ctsigprop.plot.curves import alignment, learning
from ctsigprop.plot.spikes import raster, stdp_window, voltages
from ctsigprop.plot.synapses import receptive_fields, weights

__all__ = [
    "alignment",
    "learning",
    "raster",
    "rates",
    "receptive_fields",
    "stdp_window",
    "voltages",
    "weights",
]
