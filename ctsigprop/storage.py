"""A solution on disk: a folder of zarr arrays with a list of its own files, no pickle.

NAME/manifest.json    format, version, status and statistics, and the size of every file
NAME/dataset.zarr     what the probes recorded
NAME/final.zarr       the final state

A store that `simulate(..., store=)` is still writing has progress.json in place of manifest.json: `ctsigprop.store`.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

FORMAT = "ctsigprop-solution"
VERSION = 1
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
DATASET = "dataset.zarr"
FINAL = "final.zarr"


def write(path: Path, dataset: xr.Dataset, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> Path:
    """Write to a folder beside `path`, then rename it: `path` holds everything or does not exist."""
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another path, or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        dataset.to_zarr(part / DATASET, consolidated=False)
        write_final(part, tensors)
        write_manifest(part, about, {})
        os.rename(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return path


def write_final(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the final state."""
    final = {
        name: ([f"{name}_{k}" for k in range(value.dim())], value.detach().cpu().numpy())
        for name, value in tensors.items()
    }
    xr.Dataset(final).to_zarr(folder / FINAL, consolidated=False)


def write_manifest(folder: Path, about: dict[str, Any], lengths: Mapping[str, int]) -> None:
    """List every file, and the length of each clock where it is shorter than its arrays; from now on it is whole."""
    listed = (f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != PROGRESS)
    files = {str(f.relative_to(folder)): f.stat().st_size for f in listed if f.suffix != ".partial"}
    head = {"format": FORMAT, "version": VERSION, "about": about, "files": files, "lengths": dict(lengths)}
    replace_text(folder / MANIFEST, json.dumps(head, indent=1))


def replace_text(path: Path, text: str) -> None:
    """Write a file in one step: whoever reads finds the old text or the new."""
    part = path.with_name(f".{path.name}.partial")
    part.write_text(text)
    os.replace(part, path)


def read(path: Path) -> tuple[xr.Dataset, dict[str, Tensor], dict[str, Any]]:
    """(dataset, opened lazily; tensors of the final state; what else was noted).

    Of a store whose run has not ended: its whole chunks, no tensors, and `about["finished"]` is False.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    head = manifest(path, MANIFEST) or manifest(path, PROGRESS) or manifest(path, MANIFEST)
    if not head or not isinstance(head, dict):
        raise ValueError(f"{path} is not a saved ctsigprop solution: it has no readable {MANIFEST}")
    if (
        head.get("format") != FORMAT
        or not {"version", "about"} <= head.keys()
        or not {"files", "records"} & head.keys()
    ):
        raise ValueError(f"{path} is not a saved ctsigprop solution: its {MANIFEST} is of something else")
    if head["version"] > VERSION:
        raise ValueError(
            f"{path} has format version {head['version']}, this ctsigprop reads up to {VERSION}: upgrade it"
        )
    if "records" in head:
        return growing(path, head["records"]), {}, {**head["about"], "finished": False}
    for name, size in head["files"].items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            state = "missing" if found is None else f"{found} bytes long instead of {size}"
            raise ValueError(f"{path} is cut short: {name} is {state}")
    with xr.open_zarr(path / FINAL, consolidated=False, chunks=None) as final:
        tensors = {str(name): torch.from_numpy(np.array(value.values)) for name, value in final.items()}
    dataset = xr.open_zarr(path / DATASET, consolidated=False, chunks=None)
    return dataset.isel({t: slice(0, n) for t, n in head.get("lengths", {}).items()}), tensors, head["about"]


def manifest(path: Path, name: str) -> Any:
    """What a manifest holds; None where there is none that can be read."""
    try:
        return json.loads((path / name).read_text())
    except (OSError, ValueError):
        return None


def growing(path: Path, counts: Mapping[str, int]) -> xr.Dataset:
    """The records of a run that has not ended, as far as they stand in whole chunks."""
    with warnings.catch_warnings():  # a kill may leave a file that was not yet renamed
        warnings.filterwarnings("ignore", message=r".*\.partial is not recognized as a component of a Zarr hierarchy")
        dataset: xr.Dataset = xr.open_zarr(path / DATASET, consolidated=False, chunks=None)
    ends: dict[str, int] = {}
    for name, count in counts.items():
        time = str(dataset[name].dims[0])
        ends[time] = min(count, ends.get(time, count))
    return dataset.isel({time: slice(0, n) for time, n in ends.items()})
