"""Errors that user code raises during a run."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class SimulationError(RuntimeError):
    """Code that a run called raised an error: a probe, a rule, a neuron, a signal, a stimulus or a metric.

    The message names that code and the time; `__cause__` is the error itself. If that is a ValueError or a TypeError,
    so is this error.

    Attributes
    ----------
    solution : `Solution`, the results up to the error, with status `Status.FAILED`; an `Ensemble` if several ran.
        None if the error did not come from `simulate`
    """

    solution: Any = None


class SimulationValueError(SimulationError, ValueError):
    """A `SimulationError` whose cause is a ValueError."""


class SimulationTypeError(SimulationError, TypeError):
    """A `SimulationError` whose cause is a TypeError."""


class naming:  # noqa: N801
    """A context in which an error becomes a `SimulationError` that says where it was raised, and when.

    One that says so itself, such as our own "rule f of layer 1 must return ...", stays as it is.

    Parameters
    ----------
    what : such as "probe 'accuracy'" or "neuron LIF of layer 2"
    t : float, simulated time; anything else while a graph is recorded, which has none
    """

    def __init__(self, what: str, t: object) -> None:
        self.what, self.t = what, t

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(self.t, int | float):
            return  # whoever records a graph wants the error itself
        if isinstance(error, Exception) and not (isinstance(error, SimulationError) or self.what in str(error)):
            cls = SimulationError
            if isinstance(error, ValueError):
                cls = SimulationValueError
            elif isinstance(error, TypeError):
                cls = SimulationTypeError
            raise cls(f"{self.what} raised an error at t={self.t:g}: {sentence(error)}") from error


def sentence(error: BaseException) -> str:
    """An exception as one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SimulationError) else f"{type(error).__name__}: {text}".removesuffix(": ")
