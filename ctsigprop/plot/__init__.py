"""Plots of a solution. Each takes `ax=` and returns matplotlib Axes; none changes matplotlib's global state."""

from ctsigprop.plot.activity import rates
from ctsigprop.plot.batches import comparison, sweep
from ctsigprop.plot.curves import alignment, learning
from ctsigprop.plot.synapses import receptive_fields, weights

__all__ = ["alignment", "comparison", "learning", "rates", "receptive_fields", "sweep", "weights"]
