"""A stimulus from lists of spike times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ctsigprop.rules.checks import number
from ctsigprop.solvers.times import as_time, as_times, slack
from ctsigprop.stimuli.encoders import Listed
from ctsigprop.stimuli.frame import Frame, Input
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.stimuli.validation import as_targets

Train = Sequence[float] | np.ndarray
"""The times at which one input spikes."""


class SpikeTrains(Stimulus):
    """Input spikes at given times, in rows that stay the same for the whole duration.

    Parameters
    ----------
    trains : for each input the increasing times of its spikes, in units of time, > 0; or, for several rows shown at
        once, one such list per row
    duration : float, length in units of time, > 0; all spikes lie within it
    y : (rows,) integer labels, (rows, width) contexts, or None (default)
    dtype : torch.float32 (default) or torch.float64

    Raises
    ------
    ValueError, TypeError : times that do not increase, or lie outside 0 < t <= duration; row and input are named
    """

    spikes = True

    def __init__(
        self, trains: Sequence[object], duration: float, y: object = None, dtype: torch.dtype = torch.float32
    ) -> None:
        number("duration", duration, above=0)
        self.duration_total = stop = as_time(duration)
        latest = stop + slack(stop)
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}")
        rows = as_rows(trains)
        times, row_index, unit_index = [], [], []
        for i, row in enumerate(rows):
            if len(row) != len(rows[0]):
                raise ValueError(
                    f"trains must have as many inputs in every row, got {len(rows[0])} in row 0, {len(row)} in row {i}"
                )
            for j, train in enumerate(row):
                clock = as_times(train)
                if clock.ndim != 1 or not np.all(np.isfinite(clock)) or np.any(np.diff(clock) <= 0):
                    raise ValueError(f"trains: spike times of row {i}, input {j} must increase, got {list(train)}")
                if len(clock) and (clock[0] <= 0 or clock[-1] > latest):
                    raise ValueError(
                        f"trains: spike times of row {i}, input {j} must lie in 0 < t <= {stop:g}, got {list(train)}"
                    )
                times.append(np.minimum(clock, stop))
                row_index.append(np.full(len(clock), i))
                unit_index.append(np.full(len(clock), j))
        self.rows, self.n_inputs, self.dtype, self.device = len(rows), len(rows[0]), dtype, torch.device("cpu")
        self.x = torch.zeros(self.rows, self.n_inputs, dtype=dtype)
        interval = min(float(np.diff(clock).min(initial=stop)) for clock in times)
        place = np.concatenate(row_index), np.concatenate(unit_index)
        self.events = Listed(np.concatenate(times), *place, self.x, interval)
        targets = None if y is None else as_targets("y", y, self.rows)
        self.y, self.target_width = targets, None
        if targets is not None:
            self.target_width = targets.shape[1] if targets.is_floating_point() else 0
            self.largest_label = -1 if targets.is_floating_point() else int(targets.max())
        self.shown = Input(self.x, targets, torch.ones(self.rows, 1, dtype=dtype))

    def __repr__(self) -> str:
        return f"SpikeTrains({self.rows} x {self.n_inputs}, duration={self.duration_total:g})"

    def frames(self, start: float, stop: float) -> Iterator[Frame]:
        yield Frame(start, stop, 0.0, lambda t: self.shown, True, self.events)


def as_rows(trains: object) -> list[list[Train]]:
    """Trains as rows of inputs, a single row where no list lies within the lists.

    Raises
    ------
    TypeError, ValueError : something that is no list of lists, or an empty one
    """
    if isinstance(trains, str) or not isinstance(trains, Sequence | np.ndarray) or not len(trains):
        raise TypeError(f"trains must be a list of spike times for each input, got {trains!r}")
    for train in trains:
        if isinstance(train, str) or not isinstance(train, Sequence | np.ndarray):
            raise TypeError(f"trains must be a list of spike times for each input, got {train!r} in it")
    nested = any(isinstance(one, Sequence | np.ndarray) for train in trains for one in train)
    rows = [list(row) for row in trains] if nested else [list(trains)]
    if not rows[0]:
        raise ValueError("trains must have at least one input, got none")
    return rows
