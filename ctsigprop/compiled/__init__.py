"""Machine code for runs: a network's right-hand side is recorded as a graph and written out as loops."""

from ctsigprop.compiled.engine import Engine, Method, Outcome
from ctsigprop.compiled.trace import NotCompilable

__all__ = ["Engine", "Method", "NotCompilable", "Outcome"]
