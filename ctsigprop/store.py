"""A recording that is written to disk while the run goes on, in chunks, each whole or not there.

NAME/progress.json    how many samples of each record stand in whole chunks; replaced in one step, gone in the end
NAME/dataset.zarr     the records at their full length, and NaN where nothing is yet
NAME/final.zarr, NAME/manifest.json    written when the run ends, as by `Solution.save`

Whoever reads looks at the counts first, and takes no more than they say: chunks are written before they are counted.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from torch import Tensor

from ctsigprop import storage
from ctsigprop.layout import Layout, as_text, dataset
from ctsigprop.sinks import lengths, shares
from ctsigprop.solvers.status import Status

CHUNK = 1 << 20
"""Bytes of a chunk, about."""
PARTS = 64
"""Chunks of a record at least, so that one who looks on sees it grow."""


class StoreFailed(OSError):
    """A store that can no longer be written to, and what the run had come to.

    Parameters
    ----------
    store : Store, what it holds stays readable
    cause : the error of the system

    Attributes
    ----------
    solution : Solution or Ensemble so far, its records as far as the store holds them
    """

    solution: Any = None

    def __init__(self, store: Store, cause: OSError) -> None:
        self.place = store.path
        super().__init__(
            cause.errno,
            f"the store {store.path} cannot be written to ({cause.strerror or cause}); it holds {store.held()}. "
            "The solution so far, with the last state, is the attribute `solution` of this error",
        )


class Store:
    """The records of one run on their way to disk.

    Parameters
    ----------
    path : a new folder
    layouts : the records
    attrs : attributes of the dataset
    about : what `load` tells of a run that has not ended

    Raises
    ------
    FileExistsError : the path exists
    OSError : the records exceed the disk space that is free, or the folder may not be written to
    StoreFailed : later, when the disk is full
    """

    def __init__(self, path: Path, layouts: Sequence[Layout], attrs: Mapping[str, Any], about: dict[str, Any]) -> None:
        self.path, self.layouts, self.about = path, layouts, about
        self.done = [0] * len(layouts)
        self.filled = [0] * len(layouts)
        self.buffers = [np.full((chunk_length(one), *one.sizes), empty(one), one.dtype) for one in layouts]
        self.create(attrs)
        group = zarr.open_group(str(path / storage.DATASET), mode="r+")
        self.arrays: list[Any] = [group[layout.name] for layout in layouts]

    def create(self, attrs: Mapping[str, Any]) -> None:
        """Write the empty records to a folder beside the path, then rename it."""
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists: choose another path, or remove it first")
        part = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            part.mkdir(parents=True)
        except OSError as error:
            said = f"{part.parent} cannot be written to ({error.strerror or error}): choose another place for store="
            raise OSError(error.errno, said) from error
        try:
            check_disk(part.parent, self.layouts)
            outline(part / storage.DATASET, self.layouts, attrs)
            self.note(part)
            os.rename(part, self.path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

    def room(self, k: int) -> np.ndarray:
        return self.buffers[k][self.filled[k], ...]

    def taken(self, k: int) -> None:
        self.filled[k] += 1
        if self.filled[k] == len(self.buffers[k]):
            try:
                self.write(k)
                self.note(self.path)
            except OSError as error:
                raise StoreFailed(self, error) from error

    def write(self, k: int) -> None:
        """Write what the buffer of record k holds, and only then count it; done twice it does no harm."""
        start, count = self.done[k], self.filled[k]
        self.arrays[k][start : start + count] = self.buffers[k][:count]
        self.done[k], self.filled[k] = start + count, 0

    def note(self, folder: Path) -> None:
        """Replace the counts in one step."""
        counts = {layout.name: count for layout, count in zip(self.layouts, self.done, strict=True)}
        head = {"format": storage.FORMAT, "version": storage.VERSION, "about": self.about, "records": counts}
        storage.replace_text(folder / storage.PROGRESS, json.dumps(head, indent=1))

    def flush(self) -> None:
        """Write what is left in the buffers."""
        for k in range(len(self.layouts)):
            if self.filled[k]:
                self.write(k)
        self.note(self.path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):  # what ended the run says more
                self.flush()

    def held(self) -> str:
        """How far each record reaches on disk, as text."""
        ends = zip(self.layouts, self.done, strict=True)
        return ", ".join(f"{one.name} up to t={one.clock[n - 1]:g}" for one, n in ends if n) or "no records yet"

    def finish(self, attrs: Mapping[str, Any], final: Mapping[str, Tensor], about: dict[str, Any]) -> xr.Dataset:
        """Write what is left, the final state, and the manifest that makes it a saved solution; open it lazily.

        Raises
        ------
        StoreFailed : the disk is full; where the final state still fitted, the store is a saved solution
        """
        failure: OSError | None = None
        try:
            self.flush()
        except OSError as error:
            failure = error
            about = {**about, "status": Status.STORE_FAILED.name, "message": f"{Status.STORE_FAILED} {error.strerror}."}
        try:
            zarr.open_group(str(self.path / storage.DATASET), mode="r+").attrs.update(dict(attrs))
            ends = lengths(self.layouts, self.done)
            short = {one.time: ends[one.time] for one in self.layouts if ends[one.time] < len(one.clock)}
            storage.write_final(self.path, final)
            storage.write_manifest(self.path, about, short)
            (self.path / storage.PROGRESS).unlink()
        except OSError as error:
            failure = failure or error
            shutil.rmtree(self.path / storage.FINAL, ignore_errors=True)
        if failure is not None:
            raise StoreFailed(self, failure) from failure
        return storage.read(self.path)[0]


def outline(path: Path, layouts: Sequence[Layout], attrs: Mapping[str, Any]) -> None:
    """Write the arrays of all records, at their full length and without a chunk, and their coordinates."""
    values = {one.name: np.full((1, *one.sizes), empty(one), one.dtype) for one in layouts}
    labelled = dataset(
        layouts, {one.name: np.broadcast_to(values[one.name], (len(one.clock), *one.sizes)) for one in layouts}, attrs
    )
    first = labelled.isel({time: slice(0, 1) for time in {one.time for one in layouts}})
    encoding = {one.name: {"chunks": (chunk_length(one), *one.sizes)} for one in layouts}
    first.drop_vars({one.time for one in layouts}).to_zarr(
        path, consolidated=False, encoding=encoding, write_empty_chunks=False
    )
    group = zarr.open_group(str(path), mode="r+")
    for one in layouts:
        array: Any = group[one.name]
        array.resize((len(one.clock), *one.sizes))
    clocks = {one.time: labelled[one.time].variable for one in layouts}
    xr.Dataset(coords=clocks, attrs=dict(attrs)).to_zarr(path, mode="a", consolidated=False)


def empty(layout: Layout) -> Any:
    """What stands where nothing was recorded."""
    return np.nan if layout.dtype.kind in "fc" else np.zeros((), layout.dtype)[()]


def chunk_length(layout: Layout) -> int:
    """Samples of a record in one chunk."""
    count = len(layout.clock)
    return max(1, min(CHUNK * count // max(1, layout.nbytes), ceil(count / PARTS)))


def check_disk(folder: Path, layouts: Sequence[Layout]) -> None:
    """Raise OSError where the records exceed the disk space that is free."""
    need, free = sum(layout.nbytes for layout in layouts), shutil.disk_usage(folder).free
    if need > free:
        raise OSError(
            f"recording would take {as_text(need)} and {as_text(free)} are free in {folder} ({shares(layouts)}): "
            "record less (a longer every=, layers=, select=, reduce=), choose another disk, or cut the run into parts"
        )
