"""A solution on disk: a folder of zarr arrays with a list of its own files, no pickle.

NAME/manifest.json    format, version, status and statistics, and the size of every file
NAME/dataset.zarr     what the probes recorded
NAME/final.zarr       the final state
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
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


def write(path: Path, dataset: xr.Dataset, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> Path:
    """Write to a folder beside `path`, then rename it: `path` holds everything or does not exist."""
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another path, or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        dataset.to_zarr(part / "dataset.zarr", consolidated=False)
        final = {
            name: ([f"{name}_{k}" for k in range(value.dim())], value.detach().cpu().numpy())
            for name, value in tensors.items()
        }
        xr.Dataset(final).to_zarr(part / "final.zarr", consolidated=False)
        files = {str(f.relative_to(part)): f.stat().st_size for f in sorted(part.rglob("*")) if f.is_file()}
        head = {"format": FORMAT, "version": VERSION, "about": about, "files": files}
        (part / MANIFEST).write_text(json.dumps(head, indent=1))
        os.rename(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return path


def read(path: Path) -> tuple[xr.Dataset, dict[str, Tensor], dict[str, Any]]:
    """(dataset, opened lazily; tensors of the final state; what else was noted)."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        head = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError):
        raise ValueError(f"{path} is not a saved ctsigprop solution: it has no readable {MANIFEST}") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT or not {"version", "files", "about"} <= head.keys():
        raise ValueError(f"{path} is not a saved ctsigprop solution: its {MANIFEST} is of something else")
    if head["version"] > VERSION:
        raise ValueError(
            f"{path} has format version {head['version']}, this ctsigprop reads up to {VERSION}: upgrade it"
        )
    for name, size in head["files"].items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            state = "missing" if found is None else f"{found} bytes long instead of {size}"
            raise ValueError(f"{path} is cut short: {name} is {state}")
    with xr.open_zarr(path / "final.zarr", consolidated=False) as final:
        tensors = {str(name): torch.from_numpy(np.array(value.values)) for name, value in final.items()}
    return xr.open_zarr(path / "dataset.zarr", consolidated=False), tensors, head["about"]
