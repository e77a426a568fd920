"""A solution on disk: a folder of zarr arrays with a list of its own files, no pickle.

NAME/manifest.json    format, version, status and statistics, and the size and the checksum of every file
NAME/dataset.zarr     what the probes recorded
NAME/final.zarr       the final state

Chunks end (in zarr's format 2: begin) with their own checksum, checked at every read. The manifest lists it too, so
that no chunk can replace another. A store that `simulate(..., store=)` is still writing has
progress.json and chunks.txt in place of manifest.json: `ctsigprop.recording.zarr_sink`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from torch import Tensor

from ctsigprop.files.declared import METADATA, Declared, check_plausible, declarations
from ctsigprop.files.lazy import opened
from ctsigprop.files.paths import placed, replace_text
from ctsigprop.files.unreadable import (
    JsonObject,
    Unreadable,
    as_object,
    check_seal,
    files_below,
    read_text,
    readable,
    sealed,
    size_of,
)

FORMAT = "ctsigprop-solution"
VERSION = 2
"""1 had sizes in its manifest, and no checksums."""
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
CHUNKS = "chunks.txt"
DATASET = "dataset.zarr"
FINAL = "final.zarr"
OLD_ZARR = zarr.__version__ < "3"
"""The last zarr for Python 3.10, which writes format 2."""
FOREIGN = ("Thumbs.db", "desktop.ini")
"""Files that file managers leave anywhere, besides those whose names begin with a dot."""


def write(path: Path, dataset: xr.Dataset, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> Path:
    """Write to a folder beside `path`, then rename it: `path` holds everything or does not exist."""
    with placed(path) as part:
        dataset.to_zarr(part / DATASET, consolidated=False, encoding=checksummed(dataset))
        write_final(part, tensors)
        write_manifest(part, about, {})
    return path


def write_final(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the final state, as it is: it hardly gets smaller, and what is not compressed cannot swell."""
    final = xr.Dataset(
        {
            name: ([f"{name}_{k}" for k in range(value.dim())], value.detach().cpu().numpy())
            for name, value in tensors.items()
        }
    )
    final.to_zarr(
        folder / FINAL, consolidated=False, encoding=checksummed(final, compress=False), write_empty_chunks=True
    )


def checksummed(dataset: xr.Dataset, compress: bool = True) -> dict[str, dict[str, object]]:
    """How each array is encoded: compressed or not, and every chunk with a checksum of what is written."""
    encoding: dict[str, object]
    if OLD_ZARR:
        from numcodecs import CRC32, Zstd

        encoding = {"compressor": None, "filters": [Zstd(), CRC32()] if compress else [CRC32()]}
    else:
        from zarr.codecs import Crc32cCodec, ZstdCodec

        encoding = {"compressors": (ZstdCodec(), Crc32cCodec()) if compress else (Crc32cCodec(),)}
    return {str(name): dict(encoding) for name, value in dataset.variables.items() if value.dtype.kind != "O"}


def write_manifest(folder: Path, about: Mapping[str, object], lengths: Mapping[str, int]) -> None:
    """List every file, and the length of each clock where it is shorter than its arrays; from now on it is whole."""
    files = {name: (folder / name).stat().st_size for name in sorted(arrays_of(folder))}
    head = {"format": FORMAT, "version": VERSION, "about": about, "files": files, "lengths": dict(lengths)}
    checks = {name: checksum(folder / name) for name in files}
    replace_text(folder / MANIFEST, sealed({**head, "checks": checks}, indent=1))


def arrays_of(folder: Path) -> list[str]:
    """Names of the files of dataset and final state, as far as they are written; nothing that others leave there."""
    parts = [part for part in (DATASET, FINAL) if os.path.lexists(folder / part)]
    below = [f"{part}/{name}" for part in parts for name in files_below(folder, part)]
    return [name for name in below if not foreign(name.rpartition("/")[2])]


def foreign(name: str) -> bool:
    """Whether a file is none of zarr's: a file manager's, or a part of one that a kill left behind."""
    return name in FOREIGN or name.endswith(".partial") or (name.startswith(".") and name not in METADATA)


def checksum(file: Path) -> str:
    """Of metadata, a digest; of a chunk, its first and its last four bytes: one of them is the checksum of the rest."""
    with file.open("rb") as stream:
        if file.name in METADATA:
            return hashlib.blake2b(stream.read(), digest_size=16).hexdigest()
        first = stream.read(4)
        stream.seek(max(0, file.stat().st_size - 4))
        return (first + stream.read(4)).hex()


def read(path: Path) -> tuple[xr.Dataset, dict[str, Tensor], JsonObject]:
    """(dataset, opened lazily; tensors of the final state; what else was noted).

    Of a store whose run has not ended: its whole chunks, no tensors, and `about["finished"]` is False.

    Raises
    ------
    FileNotFoundError : nothing is there
    Unreadable : a folder that is not ours, is damaged, cut short, or of a newer format
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    name, head = head_of(path)
    if name == PROGRESS and head.get("chunks") and not (path / CHUNKS).exists():
        name, head = head_of(path)  # the run has ended meanwhile
    with readable(path / name):
        there = arrays_of(path)
        if name == PROGRESS:
            sizes, checks = chunks_of(path, head.get("chunks", 0))
            files = {file: sizes.get(file, size_of(path, file) or 0) for file in {*sizes, *there}}
            arrays = checked(path, files, {**checks, **head.get("checks", {})})
            return growing(path, arrays, head["records"]), {}, {**head["about"], "finished": False}
        files = head["files"]
        unlisted = sorted(set(there) - files.keys())
        if unlisted:
            raise Unreadable(f"{path} is damaged: {unlisted[0]} is not among the files that its {MANIFEST} lists")
        arrays = checked(path, files, head.get("checks", {}))
        dataset = opened(path / DATASET, arrays)
        ends = {time: slice(0, int(n)) for time, n in head.get("lengths", {}).items()}
        return dataset.isel(ends), read_final(path, arrays), dict(head["about"])


def head_of(path: Path) -> tuple[str, JsonObject]:
    """(name, contents) of the manifest, or of what stands in its place while the run goes on."""
    for name in (MANIFEST, PROGRESS, MANIFEST):  # the one may take the other's place meanwhile
        text = read_text(path, name)
        if text is not None:
            break
    else:
        raise Unreadable(f"{path} is not a saved ctsigprop solution: it has no {MANIFEST}")
    try:
        head = as_object(text, path / name)
    except Unreadable:
        raise Unreadable(f"{path} is not a saved ctsigprop solution, or is damaged: {name} cannot be read") from None
    version = head.get("version")
    parts = {"about", "files"} if name == MANIFEST else {"about", "records"}
    if head.get("format") != FORMAT or not parts <= head.keys() or type(version) is not int or version < 1:
        raise Unreadable(f"{path} is not a saved ctsigprop solution: its {name} is of something else")
    if version > VERSION:
        raise Unreadable(f"{path} has format version {version}, this ctsigprop reads up to {VERSION}: upgrade it")
    if version > 1 or "digest" in head:
        check_seal(head, path / name)
    return name, head


def chunks_of(path: Path, count: int) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes and checksums of the chunks of a run that has not ended, of which there are at least `count`."""
    lines = (read_text(path, CHUNKS) or "").split("\n")[:-1]  # what follows the last end of a line is half written
    if len(lines) < count:
        raise Unreadable(f"{path} is damaged: {CHUNKS} has {len(lines)} lines instead of {count}")
    sizes, checks = {}, {}
    with readable(path / CHUNKS):
        for name, size, check in map(json.loads, lines):
            sizes[name], checks[name] = size, check
    return sizes, checks


def chunk_name(index: Sequence[int]) -> str:
    """The name of a chunk's file in the format that is written."""
    return ".".join(map(str, index)) if OLD_ZARR else "/".join(("c", *map(str, index)))


def checked(path: Path, files: Mapping[str, int], checks: Mapping[str, str]) -> dict[str, Declared]:
    """What the arrays of a store declare, once its files are those that are listed.

    Raises
    ------
    Unreadable : a file that is missing, changed, a link or no file; arrays that cannot be what they declare
    """
    for name, size in files.items():
        held = size_of(path, name)
        if held != size:
            state = "missing" if held is None else f"{held} bytes long instead of {size}"
            raise Unreadable(f"{path} is cut short: {name} is {state}")
    for name, expected in checks.items():
        if size_of(path, name) is None or checksum(path / name) != expected:
            raise Unreadable(f"{path} is damaged: {name} is not the file that was written")
    arrays = declarations(path, files)
    eager = {name for name, array in arrays.items() if name.startswith(f"{FINAL}/") or array.is_index}
    check_plausible(path, arrays, files, eager)
    return arrays


def read_final(path: Path, arrays: Mapping[str, Declared]) -> dict[str, Tensor]:
    """The tensors of the final state."""
    final = opened(path / FINAL, arrays)
    tensors = {}
    for name, value in final.items():
        with readable(path / FINAL / str(name)):
            tensors[str(name)] = torch.from_numpy(np.array(value.values))
    return tensors


def growing(path: Path, arrays: Mapping[str, Declared], counts: Mapping[str, int]) -> xr.Dataset:
    """The records of a run that has not ended, as far as they stand in whole chunks."""
    dataset = opened(path / DATASET, arrays)
    ends: dict[str, int] = {}
    for name, count in counts.items():
        time = str(dataset[name].dims[0])
        ends[time] = min(int(count), ends.get(time, int(count)))
    return dataset.isel({time: slice(0, n) for time, n in ends.items()})
