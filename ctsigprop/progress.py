"""The progress of a run, in a terminal or a notebook: simulated time, speed, and accuracy where it is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm.auto import tqdm

BAR = "{percentage:3.0f}% |{bar}| {n:.4g}/{total:.4g} {unit} simulated [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
SHOWN = "accuracy"
"""The name of the probe whose last value stands beside the bar."""


class Progress:
    """A bar over start ... stop in simulated time, from the first thing told on; none where it is not shown."""

    def __init__(self, start: float, stop: float, shown: bool, unit: str) -> None:
        self.start, self.stop, self.shown, self.unit = start, stop, shown, unit
        self.bar: Any = None

    def drawn(self) -> Any:
        """The bar, drawn when it is first asked for."""
        if self.bar is None:
            shown = self.shown
            total = self.stop - self.start
            self.bar = tqdm(total=total, disable=not shown, unit=self.unit, mininterval=0.2, bar_format=BAR)
        return self.bar

    def reached(self, t: float) -> None:
        """Everything up to time t is done."""
        bar = self.drawn()
        bar.update(t - self.start - bar.n)

    def recorded(self, name: str, value: np.ndarray) -> None:
        """A probe has taken a value."""
        if name == SHOWN and value.size == 1 and self.shown:
            self.drawn().set_postfix_str(f"{SHOWN} {float(value):.3f}", refresh=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()
