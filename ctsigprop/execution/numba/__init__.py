"""Machine code for runs: a network's right-hand side is recorded as a graph and written out as loops."""

from ctsigprop.execution.numba.runner import Engine, Method
from ctsigprop.trace.graph import NotTraceable

__all__ = ["Engine", "Method", "NotTraceable"]
