"""Datasets opened lazily: values are read when they are used, and damage then raises the same kind of error."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import psutil
import xarray as xr
import zarr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ctsigprop.files.declared import Declared
from ctsigprop.files.unreadable import FAILURES, Unreadable, failed, files_below

CHUNK_NAME = re.compile(r"(?:c/)?(\d+(?:[./]\d+)*)")
"""The name of a chunk in zarr's formats 3 and 2."""


class StoredArray(BackendArray):
    """One array on disk. Whatever goes wrong while it is read is told as `Unreadable`, with the file."""

    def __init__(self, variable: xr.Variable, place: Path, declared: Declared) -> None:
        self.variable, self.place, self.declared = variable, place, declared
        self.shape, self.dtype = variable.shape, variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        values: np.ndarray = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self.read
        )
        return values

    def read(self, key: tuple[object, ...]) -> np.ndarray:
        """The values at an index of each dimension."""
        chosen = self.variable[key]
        need, free = max(chosen.nbytes, self.declared.chunk_nbytes), int(psutil.virtual_memory().available)
        if need > free:
            raise Unreadable(f"{self.place} declares {need} bytes of values here, and {free} of memory are free")
        try:
            return np.asarray(chosen.values)
        except FAILURES as error:
            raise failed(damaged_chunk(self.place), error) from error


class Guarded(BackendEntrypoint):
    """xarray's own reader of zarr, every array of it that is not read at once a `StoredArray`."""

    def open_dataset(
        self,
        filename_or_obj: object,
        *,
        drop_variables: str | Iterable[str] | None = None,
        arrays: Mapping[str, Declared] | None = None,
    ) -> xr.Dataset:
        path, declared = Path(str(filename_or_obj)), arrays or {}
        with warnings.catch_warnings():  # files that zarr does not know, such as those that a kill left
            warnings.simplefilter("ignore")
            plain = xr.open_zarr(
                path, consolidated=False, chunks=None, drop_variables=drop_variables, decode_timedelta=False
            )
        lazy = {name: value for name, value in plain.variables.items() if name not in plain.indexes}
        guarded = {}
        for name, value in lazy.items():
            values = indexing.LazilyIndexedArray(StoredArray(value, path / str(name), declared[f"{path.name}/{name}"]))
            guarded[name] = xr.Variable(value.dims, values, value.attrs, value.encoding)
        dataset: xr.Dataset = plain.assign(guarded)
        return dataset


def opened(path: Path, arrays: Mapping[str, Declared]) -> xr.Dataset:
    """The zarr group at `path`, its indexes read and everything else lazy.

    Raises
    ------
    Unreadable : a group or an index that is damaged; whatever else is damaged is told when it is read
    """
    try:
        dataset: xr.Dataset = xr.open_dataset(path, engine=Guarded, chunks=None, arrays=arrays)
        return dataset
    except FAILURES as error:
        places = [path.parent / name for name in sorted(arrays) if name.startswith(f"{path.name}/")]
        damaged = [file for place in places if (file := damaged_chunk(place)) != place]
        raise failed((damaged or [path])[0], error) from error


def damaged_chunk(place: Path) -> Path:
    """The first file of an array that cannot be read on its own, or the array's folder where there is none."""
    try:
        array = zarr.open_array(str(place), mode="r")
        for name in sorted(files_below(place)):
            match = CHUNK_NAME.fullmatch(name)
            if match is None:
                continue
            try:
                array.blocks[tuple(map(int, re.split(r"[./]", match[1])))]
            except FAILURES:
                return place / name
    except FAILURES:
        return place
    return place
