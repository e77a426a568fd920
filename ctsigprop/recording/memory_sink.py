"""Records in memory, all of it allocated before the run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import psutil
import xarray as xr
from torch import Tensor

from ctsigprop.recording.schema import Attributes, Layout, as_text, dataset

PER_TIME = 150
"""Bytes that each time of a record takes while a run is prepared, beside what is recorded at it."""
LARGE = 100_000_000
"""Bytes of a recording from which on a run says what it will take, asked or not."""


@runtime_checkable
class Sink(Protocol):
    """What takes the values of the records, each numbered as in the list of layouts."""

    def next_slot(self, k: int) -> np.ndarray:
        """The place of the next sample of record k."""
        ...

    def commit(self, k: int) -> None:
        """That place is filled."""
        ...

    def __enter__(self) -> Sink: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The run is over; where an error ended it, keep what can be kept."""
        ...

    def finish(self, attrs: Attributes, final: Mapping[str, Tensor], about: Mapping[str, object]) -> xr.Dataset:
        """What was recorded, up to the last time that all records of one clock have."""
        ...

    def discard(self) -> None:
        """Leave nothing behind, after a run that failed at its start."""
        ...


class Memory:
    """All records as arrays of their full length; pages that no sample reaches are never touched."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self.layouts = layouts
        self.arrays = [np.empty((len(layout.clock), *layout.sizes), layout.dtype) for layout in layouts]
        self.counts = [0] * len(layouts)

    def next_slot(self, k: int) -> np.ndarray:
        return self.arrays[k][self.counts[k], ...]

    def commit(self, k: int) -> None:
        self.counts[k] += 1

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def discard(self) -> None:
        return

    def finish(self, attrs: Attributes, final: Mapping[str, Tensor], about: Mapping[str, object]) -> xr.Dataset:
        ends = lengths(self.layouts, self.counts)
        kept = [replace(layout, clock=layout.clock[: ends[layout.time]]) for layout in self.layouts]
        values = {}
        for layout, array in zip(kept, self.arrays, strict=True):
            whole = len(layout.clock) == len(array)
            values[layout.name] = array if whole else array[: len(layout.clock)].copy()
        return dataset(kept, values, attrs)


def lengths(layouts: Sequence[Layout], counts: Sequence[int]) -> dict[str, int]:
    """Samples that all records of a clock have, by the name of their time dimension."""
    ends: dict[str, int] = {}
    for layout, count in zip(layouts, counts, strict=True):
        ends[layout.time] = min(count, ends.get(layout.time, count))
    return ends


def check_memory(layouts: Sequence[Layout]) -> None:
    """Raise MemoryError where the records exceed the memory that is free."""
    need, free = sum(layout.nbytes for layout in layouts), int(psutil.virtual_memory().available)
    if need > free:
        raise MemoryError(
            f"recording would take {as_text(need)} and {as_text(free)} of memory are free ({shares(layouts)}). "
            "Three ways out: record less (a longer every=, layers=, select={'synapse': ct.Sample(1000)}, reduce=), "
            "write it to disk while it runs (simulate(..., store='run.zarr')), or cut the run into parts (t_span=)"
        )


def check_clocks(counts: Sequence[int]) -> None:
    """Raise MemoryError where the times of the records alone, of which there are so many, exceed the free memory."""
    need, free = PER_TIME * sum(counts), int(psutil.virtual_memory().available)
    if need > free:
        raise MemoryError(
            f"recording at {sum(counts):,} times would take {as_text(need)} for the times alone and {as_text(free)} of "
            "memory are free: record less often (a longer every=), or cut the run into parts (t_span=)"
        )


def announce(layouts: Sequence[Layout], where: str, asked: bool) -> None:
    """One line on stderr with the bytes that recording will take, where asked for or large."""
    need = sum(layout.nbytes for layout in layouts)
    if layouts and (asked or need >= LARGE):
        print(f"recording {as_text(need)} {where}: {shares(layouts)}", file=sys.stderr)


def shares(layouts: Sequence[Layout]) -> str:
    """The bytes of each record, as text."""
    return ", ".join(f"{layout.name} {as_text(layout.nbytes)}" for layout in layouts)
