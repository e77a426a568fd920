"""The stretch of time that a solver covers in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which the field is smooth. All times are in units of time of the network.

    Parameters
    ----------
    span : (start, stop), start < stop
    origin : float, time from which fixed steps count, <= start. A run resumed inside a stretch then takes the same
        steps as one that was not interrupted
    times : increasing times in (start, stop] at which the state is needed; default none
    """

    span: tuple[float, float]
    origin: float
    times: Sequence[float] = ()

    @property
    def start(self) -> float:
        """Start of the stretch, in units of time."""
        return self.span[0]

    @property
    def stop(self) -> float:
        """End of the stretch, in units of time."""
        return self.span[1]
