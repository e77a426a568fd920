"""The metadata of the arrays in a store, checked before memory is allocated or a codec is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

import numpy as np

from ctsigprop.files.unreadable import JsonObject, Unreadable, as_object, read_text

METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
"""Files in which zarr's formats 3 and 2 describe arrays and groups."""
CODECS = frozenset(
    ("blosc", "bytes", "crc32", "crc32c", "gzip", "lz4", "shuffle", "transpose", "vlen-utf8", "zlib", "zstd")
)
"""Codecs that only compress, check or order. There are others: one of them unpickles, and so runs what it is given."""
KINDS = "biufcU"
"""Kinds of NumPy's dtypes that are read; objects are not, other than text."""
CHUNKS = 1_000_000
PLAIN, TIMES = 64_000_000, 1000
"""Bytes that a final state or the coordinates may always have, and times the bytes of their files beyond that."""


@dataclass(frozen=True)
class Declared:
    """What the metadata of one array say.

    Parameters
    ----------
    shape, chunk : sizes of the whole, and of one chunk
    itemsize : int, bytes of an element
    is_index : bool, whether it is the coordinate of a dimension, as far as can be told
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    itemsize: int
    is_index: bool

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return prod(self.shape) * self.itemsize

    @property
    def chunk_nbytes(self) -> int:
        """Bytes of one chunk."""
        return prod(self.chunk) * self.itemsize

    @property
    def chunks(self) -> int:
        """Number of chunks of the whole array."""
        return prod(ceil(n / c) for n, c in zip(self.shape, self.chunk, strict=True))


def declarations(folder: Path, names: Iterable[str]) -> dict[str, Declared]:
    """What every array among the files of a store declares, by the name of its folder.

    Raises
    ------
    Unreadable : metadata that cannot be read, of another kind, or with a codec or a type of values that is not read
    """
    declared = {}
    for name in names:
        above, _, last = name.rpartition("/")
        if last not in METADATA:
            continue
        meta = as_object(read_text(folder, name) or "", folder / name)
        if last == ".zarray" or (last == "zarr.json" and meta.get("node_type") != "group"):
            try:
                read = version_2 if last == ".zarray" else version_3
                declared[above] = read(meta, above.rpartition("/")[2])
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise Unreadable(f"{folder / name} cannot be read: {error}") from None
    return declared


def version_3(meta: JsonObject, name: str) -> Declared:
    """An array in zarr's format 3."""
    if meta["node_type"] != "array" or meta["zarr_format"] != 3:
        raise ValueError(f"node_type {meta['node_type']!r} of format {meta['zarr_format']!r} is not known")
    check_codecs(codec["name"] for codec in meta["codecs"])
    data_type = meta["data_type"]
    if data_type == "string":
        size = 8
    elif isinstance(data_type, str):
        size = item_size(data_type)
    elif data_type["name"] == "fixed_length_utf32":
        size = whole(data_type["configuration"]["length_bytes"])
    else:
        raise ValueError(f"values of type {data_type['name']!r} are not read")
    if meta["chunk_grid"]["name"] != "regular":
        raise ValueError(f"a grid of chunks of kind {meta['chunk_grid']['name']!r} is not read")
    shape, chunk = sizes(meta["shape"], meta["chunk_grid"]["configuration"]["chunk_shape"])
    return Declared(shape, chunk, size, meta.get("dimension_names") == [name])


def version_2(meta: JsonObject, _: str) -> Declared:
    """An array in zarr's format 2, which has the names of its dimensions in another file."""
    if meta["zarr_format"] != 2:
        raise ValueError(f"format {meta['zarr_format']!r} is not known")
    codecs = [codec["id"] for codec in (*(meta["filters"] or ()), meta["compressor"] or {"id": "bytes"})]
    check_codecs(codecs)
    size = 8 if meta["dtype"] == "|O" and "vlen-utf8" in codecs else item_size(meta["dtype"])
    shape, chunk = sizes(meta["shape"], meta["chunks"])
    return Declared(shape, chunk, size, len(shape) == 1)


def check_codecs(names: Iterable[object]) -> None:
    """Raise ValueError for a codec that is not among those that only compress, check or order."""
    for name in names:
        if name not in CODECS:
            raise ValueError(f"the codec {name!r} is not among those that are read, {', '.join(sorted(CODECS))}")


def item_size(name: object) -> int:
    """Bytes of a value of a type of NumPy's."""
    dtype = np.dtype(name) if isinstance(name, str) else None
    if dtype is None or dtype.kind not in KINDS:
        raise ValueError(f"values of type {name!r} are not read")
    return dtype.itemsize


def sizes(shape: Sequence[object], chunk: Sequence[object]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of an array and of its chunks, checked."""
    if len(shape) != len(chunk):
        raise ValueError(f"a shape {shape} in chunks of shape {chunk}")
    return tuple(whole(n) for n in shape), tuple(max(1, whole(n)) for n in chunk)


def whole(value: object) -> int:
    """A size."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"a size must be an integer >= 0, got {value!r}")
    return value


def check_plausible(folder: Path, arrays: Mapping[str, Declared], files: Mapping[str, int], eager: set[str]) -> None:
    """Raise Unreadable where a few bytes on disk declare what no run would have written.

    Parameters
    ----------
    folder : the store
    arrays : what its arrays declare
    files : bytes of each of its files
    eager : the arrays that are read as soon as the store is opened
    """
    stored = dict.fromkeys(arrays, (0, 0))
    for file, size in files.items():
        inside = next((folder for folder in folders_of(file) if folder in arrays), None)
        if inside is not None:
            count, total = stored[inside]
            stored[inside] = (count + 1, total + size)
    for name, array in arrays.items():
        if array.chunks > CHUNKS + TIMES * stored[name][0]:
            raise Unreadable(
                f"{folder / name} declares the shape {array.shape} in {array.chunks} chunks, and has {stored[name][0]}"
                " files"
            )
    need, held = sum(arrays[name].nbytes for name in eager), sum(stored[name][1] for name in eager)
    if need > max(PLAIN, TIMES * held):
        largest = max(eager, key=lambda name: arrays[name].nbytes)
        raise Unreadable(
            f"{folder / largest} declares the shape {arrays[largest].shape}: the final state and the coordinates "
            f"would take {need} bytes of memory, and the files that hold them have {held}"
        )


def folders_of(name: str) -> list[str]:
    """The folders above a file, the longest first."""
    parts = name.split("/")
    return ["/".join(parts[:k]) for k in range(len(parts) - 1, 0, -1)]
