"""The layout of the records: names, dimensions, coordinates and bytes, known before the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import xarray as xr

Attributes = Mapping[str, str | int | float]
"""What stands beside the records of a dataset."""
LONG_NAMES = {
    "layer": "layer",
    "post": "postsynaptic unit",
    "pre": "presynaptic unit",
    "row": "row of the batch",
    "mode": "mode, the strongest first",
    "mode_pre": "presynaptic mode",
    "synapse": "recorded synapse",
}


@dataclass(frozen=True)
class Layout:
    """One record: the array (time, *dims) that a probe will fill.

    Parameters
    ----------
    name : str, its name in the dataset
    clock : (times,) the times at which it is taken
    dims : names of the other dimensions
    coords : coordinates, index or not, by name
    sizes : size of each of `dims`
    dtype : of the values
    attrs : long name and units
    time : str, name of the time dimension
    unit : str, what the unit of time is called
    """

    name: str
    clock: np.ndarray
    dims: tuple[str, ...]
    sizes: tuple[int, ...]
    dtype: np.dtype
    coords: Mapping[str, xr.Variable] = field(default_factory=dict)
    attrs: Mapping[str, str] = field(default_factory=dict)
    time: str = "time"
    unit: str = "tau"

    @property
    def nbytes(self) -> int:
        """Bytes of the values, all times together."""
        return len(self.clock) * prod(self.sizes) * self.dtype.itemsize

    def renamed(self, names: Mapping[str, str], time: str) -> Layout:
        """The same record with other names for some dimensions and coordinates."""
        coords = {
            names.get(key, key): xr.Variable([names.get(str(d), d) for d in c.dims], c.values, c.attrs)
            for key, c in self.coords.items()
        }
        dims = tuple(names.get(d, d) for d in self.dims)
        return Layout(self.name, self.clock, dims, self.sizes, self.dtype, coords, self.attrs, time, self.unit)

    def variables(self) -> dict[str, xr.Variable]:
        """All coordinates, that of time included."""
        clock = xr.Variable([self.time], self.clock, {"units": self.unit, "long_name": "simulated time"})
        return {self.time: clock, **self.coords}


def together(layouts: Sequence[Layout]) -> list[Layout]:
    """The records of one dataset: what differs under one name is told apart, as `post_weights`.

    The first record that has a dimension gives it its name; one whose coordinate is another, or that is taken at
    other times, has `<dimension>_<record>`.
    """
    seen: dict[str, tuple[int, xr.Variable | None]] = {}
    clock: np.ndarray | None = None
    renamed = []
    for layout in layouts:
        clock = layout.clock if clock is None else clock
        time = "time" if np.array_equal(clock, layout.clock) else f"time_{layout.name}"
        others = {}
        for dim, size in zip(layout.dims, layout.sizes, strict=True):
            mine = (size, layout.coords.get(dim))
            if not same(seen.setdefault(dim, mine), mine) or aside(layout, dim, seen):
                others[dim] = f"{dim}_{layout.name}"
        for key, coord in layout.coords.items():
            moved = any(str(d) in others for d in coord.dims)
            if key not in layout.dims and (moved or not same(seen.setdefault(key, (0, coord)), (0, coord))):
                others[key] = f"{key}_{layout.name}"
        renamed.append(layout.renamed(others, time))
    return renamed


def aside(layout: Layout, dim: str, seen: Mapping[str, tuple[int, xr.Variable | None]]) -> bool:
    """Whether what stands along a dimension without an index has its name taken: then the dimension is another."""
    if dim in layout.coords:
        return False
    along = {key: c for key, c in layout.coords.items() if key != dim and dim in c.dims and key in seen}
    return any(not same(seen[key], (0, c)) for key, c in along.items())


def same(one: tuple[int, xr.Variable | None], other: tuple[int, xr.Variable | None]) -> bool:
    """Whether two sizes with their coordinates are the same."""
    (size, a), (size_too, b) = one, other
    if a is None or b is None:
        return size == size_too and a is b
    return a.dims == b.dims and a.shape == b.shape and bool(np.array_equal(a.values, b.values))


def dataset(layouts: Sequence[Layout], values: Mapping[str, np.ndarray], attrs: Attributes) -> xr.Dataset:
    """The labelled dataset of all records, `values[name]` of shape (times, *sizes)."""
    coords: dict[str, xr.Variable] = {}
    data = {}
    for layout in layouts:
        coords.update(layout.variables())
        data[layout.name] = xr.Variable([layout.time, *layout.dims], values[layout.name], dict(layout.attrs))
    return xr.Dataset(data, coords, dict(attrs))


def as_text(count: float) -> str:
    """A number of bytes as a person reads it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
