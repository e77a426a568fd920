"""A recording written to disk during the run, in chunks, each whole or absent.

NAME/progress.json    number of samples of each record in whole chunks; replaced in one step, removed at the end
NAME/chunks.txt       name, size and checksum of every chunk, one line per added chunk; removed at the end too
NAME/dataset.zarr     the records at their full length, NaN where there is no data yet
NAME/final.zarr, NAME/manifest.json    written when the run ends, as by `Solution.save`

A reader looks at the counts first, and reads no more than they say: chunks are written before they are counted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil, inf
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from torch import Tensor

from ctsigprop.files.paths import placed, remove, replace_text
from ctsigprop.files.unreadable import sealed
from ctsigprop.recording.memory_sink import lengths, shares
from ctsigprop.recording.schema import Attributes, Layout, as_text, dataset
from ctsigprop.results import format as storage
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
    start : float, the time at which the run starts

    Raises
    ------
    FileExistsError : the path exists
    OSError : the records exceed the disk space that is free, or the folder may not be written to
    StoreFailed : later, when the disk is full
    """

    def __init__(
        self,
        path: Path,
        layouts: Sequence[Layout],
        attrs: Attributes,
        about: Mapping[str, object],
        start: float = -inf,
    ) -> None:
        self.path, self.layouts, self.about, self.start = path, layouts, about, start
        self.made = [folder for folder in path.parents if not folder.exists()]
        self.done = [0] * len(layouts)
        self.filled = [0] * len(layouts)
        self.listed = 0
        self.buffers = [np.full((chunk_length(one), *one.sizes), empty(one), one.dtype) for one in layouts]
        self.create(attrs)
        self.arrays = [zarr.open_array(str(path / storage.DATASET / one.name), mode="r+") for one in layouts]

    def create(self, attrs: Attributes) -> None:
        """Write the empty records to a folder beside the path, then rename it."""
        with placed(self.path) as part:
            check_disk(self.path.parent, self.layouts)
            outline(part / storage.DATASET, self.layouts, attrs)
            self.checks = {name: storage.checksum(part / name) for name in storage.arrays_of(part)}
            self.note(part)

    def next_slot(self, k: int) -> np.ndarray:
        return self.buffers[k][self.filled[k], ...]

    def commit(self, k: int) -> None:
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
        self.list_chunk(k, start // len(self.buffers[k]))
        self.done[k], self.filled[k] = start + count, 0

    def list_chunk(self, k: int, index: int) -> None:
        """Note a chunk of record k that has been written; one that holds nothing has no file."""
        layout = self.layouts[k]
        name = f"{storage.DATASET}/{layout.name}/{storage.chunk_name((index, *(0 for _ in layout.sizes)))}"
        file = self.path / name
        if file.exists():
            with (self.path / storage.CHUNKS).open("a") as chunks:
                chunks.write(json.dumps([name, file.stat().st_size, storage.checksum(file)]) + "\n")
            self.listed += 1

    def note(self, folder: Path) -> None:
        """Replace the counts in one step."""
        counts = {layout.name: count for layout, count in zip(self.layouts, self.done, strict=True)}
        head = {"format": storage.FORMAT, "version": storage.VERSION, "about": self.about, "records": counts}
        more = {"checks": self.checks, "chunks": self.listed}
        replace_text(folder / storage.PROGRESS, sealed({**head, **more}, indent=1))

    def flush(self) -> None:
        """Write what is left in the buffers."""
        for k in range(len(self.layouts)):
            if self.filled[k]:
                self.write(k)
        self.note(self.path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.begun:
            with suppress(OSError):  # what ended the run says more
                self.flush()
        elif kind is not None:
            self.discard()

    @property
    def begun(self) -> bool:
        """Whether anything was recorded after the start of the run."""
        counts = (done + filled for done, filled in zip(self.done, self.filled, strict=True))
        return any(n and layout.clock[n - 1] > self.start for n, layout in zip(counts, self.layouts, strict=True))

    def discard(self) -> None:
        """Remove the store, and the folders that were made for it, so that the same start can be tried again."""
        remove(self.path)
        for folder in self.made:
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()

    def held(self) -> str:
        """How far each record reaches on disk, as text."""
        ends = zip(self.layouts, self.done, strict=True)
        return ", ".join(f"{one.name} up to t={one.clock[n - 1]:g}" for one, n in ends if n) or "no records yet"

    def finish(self, attrs: Attributes, final: Mapping[str, Tensor], about: Mapping[str, object]) -> xr.Dataset:
        """Write what is left, the final state, and the manifest that makes it a saved solution; open it lazily.

        Raises
        ------
        StoreFailed : the disk is full; where the final state still fitted, the store is a saved solution
        """
        failure: OSError | None = None
        try:
            self.checks = {name: check for name, check in self.checks.items() if name.count("/") > 1}  # not the group's
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
            for name in (storage.PROGRESS, storage.CHUNKS):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            failure = failure or error
            shutil.rmtree(self.path / storage.FINAL, ignore_errors=True)
        if failure is not None:
            raise StoreFailed(self, failure) from failure
        return storage.read(self.path)[0]


def outline(path: Path, layouts: Sequence[Layout], attrs: Attributes) -> None:
    """Write the arrays of all records, at their full length and without a chunk, and their coordinates."""
    values = {one.name: np.full((1, *one.sizes), empty(one), one.dtype) for one in layouts}
    labelled = dataset(
        layouts, {one.name: np.broadcast_to(values[one.name], (len(one.clock), *one.sizes)) for one in layouts}, attrs
    )
    first = labelled.isel({time: slice(0, 1) for time in {one.time for one in layouts}})
    rest = first.drop_vars({one.time for one in layouts})
    encoding = storage.checksummed(rest)
    for one in layouts:
        encoding.setdefault(one.name, {})["chunks"] = (chunk_length(one), *one.sizes)
    rest.to_zarr(path, consolidated=False, encoding=encoding, write_empty_chunks=False)
    for one in layouts:
        zarr.open_array(str(path / one.name), mode="r+").resize((len(one.clock), *one.sizes))
    clocks = {one.time: labelled[one.time].variable for one in layouts}
    times = xr.Dataset(coords=clocks, attrs=dict(attrs))
    times.to_zarr(path, mode="a", consolidated=False, encoding=storage.checksummed(times))


def empty(layout: Layout) -> np.ndarray:
    """What stands where nothing was recorded."""
    zero = np.zeros((), layout.dtype)
    return np.full_like(zero, np.nan) if layout.dtype.kind in "fc" else zero


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
