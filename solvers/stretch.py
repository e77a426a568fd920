"""The stretch of time that a solver is asked to cover in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time inside which the field is smooth. All times are in units of time of the network.

    Parameters
    ----------
    span : (start, stop), start < stop
    origin : float, time from which a fixed step counts, <= start: a run resumed inside a stretch then takes the very
        steps of one that was not interrupted
    times : increasing times in (start, stop] at which the state is asked for; default none
    """

    span: tuple[float, float]
    origin: float
    times: Sequence[float] = ()

    @property
    def start(self) -> float:
        """Where the stretch begins, in units of time."""
        return self.span[0]

    @property
    def stop(self) -> float:
        """Where it ends, in units of time."""
        return self.span[1]
