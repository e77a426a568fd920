"""The progress of a run, in a terminal or a notebook: simulated time, speed, and accuracy if it is measured."""

from __future__ import annotations

import sys

import numpy as np
from tqdm import tqdm as plain
from tqdm.auto import tqdm

BAR = "{percentage:3.0f}% |{bar}| {n:.4g}/{total:.4g} {unit} simulated [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
LOG_INTERVAL = 60.0
"""Seconds between two lines of a bar that goes to a file or a pipe."""
SHOWN = "accuracy"
"""The name of the probe whose last value stands beside the bar."""


class Lines(plain):
    """A bar as lines of their own, for a log file: one at the start, one a minute, one at the end."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        self.fp.write(f"{str(self) if msg is None else msg}\n")
        self.fp.flush()

    def close(self) -> None:
        if not self.disable:
            self.display()
            self.disable = True


def on_a_terminal() -> bool:
    """Whether what goes to stderr is seen as it comes."""
    return sys.stderr is not None and sys.stderr.isatty()


def in_a_notebook() -> bool:
    """Whether this is the process of a notebook's kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")


def bar_of(total: float, shown: bool | None, unit: str, initial: int = 0, bar_format: str | None = None) -> plain:
    """A bar of tqdm's: in a notebook, on a terminal, or, where stderr is neither, as lines one minute apart.

    Parameters
    ----------
    total : what is 100 %
    shown : bool, whether there is one; None, only on a terminal
    unit, initial, bar_format : as tqdm takes them
    """
    seen = on_a_terminal()
    disable = not (seen if shown is None else shown)
    if seen or in_a_notebook():
        return tqdm(total=total, disable=disable, unit=unit, initial=initial, bar_format=bar_format, mininterval=0.2)
    return Lines(
        total=total,
        disable=disable,
        unit=unit,
        initial=initial,
        bar_format=bar_format,
        mininterval=LOG_INTERVAL,
        maxinterval=LOG_INTERVAL,
    )


class Progress:
    """A bar over start ... stop in simulated time, from the first thing told on; none where it is not shown."""

    def __init__(self, start: float, stop: float, shown: bool, unit: str) -> None:
        self.start, self.stop, self.shown, self.unit = start, stop, shown, unit
        self.bar: plain | None = None

    def drawn(self) -> plain:
        """The bar, drawn when it is first asked for."""
        if self.bar is None:
            self.bar = bar_of(self.stop - self.start, self.shown, unit=self.unit, bar_format=BAR)
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
