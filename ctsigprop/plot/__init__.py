"""Plots of a solution. Each one takes `ax=` and returns matplotlib Axes; none changes matplotlib's global state."""

from ctsigprop.plot.activity import rates, similarity, traces
from ctsigprop.plot.animation import animate
from ctsigprop.plot.curves import alignment, learning
from ctsigprop.plot.diagram import diagram
from ctsigprop.plot.matrices import weight_histogram, weight_matrix
from ctsigprop.plot.phase import phase
from ctsigprop.plot.spectra import norms, singular_values
from ctsigprop.plot.spikes import raster, stdp_window, voltages
from ctsigprop.plot.style import STYLE
from ctsigprop.plot.summary import summary
from ctsigprop.plot.synapses import receptive_fields, weights

__all__ = [
    "STYLE",
    "alignment",
    "animate",
    "diagram",
    "learning",
    "norms",
    "phase",
    "raster",
    "rates",
    "receptive_fields",
    "similarity",
    "singular_values",
    "stdp_window",
    "summary",
    "traces",
    "voltages",
    "weight_histogram",
    "weight_matrix",
    "weights",
]
