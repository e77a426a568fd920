"""The times at which a run is asked for its state."""

from __future__ import annotations

from collections.abc import Sequence


class Samples:
    """The times at which a state is asked for, taken off one step after another."""

    def __init__(self, times: Sequence[float]) -> None:
        self.times, self.position = times, 0

    def until(self, t: float) -> Sequence[float]:
        """Those not yet taken, up to t."""
        first = self.position
        while self.position < len(self.times) and self.times[self.position] <= t:
            self.position += 1
        return self.times[first : self.position]
