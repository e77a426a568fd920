"""Provenance of a result: the whole configuration, versions, seed and cost, as attributes of the dataset."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctsigprop.model.convolution import Conv2d
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.recording.probes import Probe
from ctsigprop.solvers.base import Counts, Solver
from ctsigprop.solvers.status import Status
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.stimuli.validation import Mapped

PACKAGES = ("ctsigprop", "torch", "torchdiffeq", "numpy", "xarray", "zarr")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def shared(
    solver: Solver, probes: Sequence[Probe], span: tuple[float, float], stimulus: Stimulus, state: State | None
) -> dict[str, Any]:
    """All that decides a run beside network and seed, as plain values, and the versions it runs with.

    Data, a given initial state and the parameters of modules stand there as digests of their bytes; data in a memory
    map as that of the file's name, size and time of last change.
    """
    return {
        "stimulus": {"description": plain(stimulus), **shown(stimulus)},
        "solver": plain(solver),
        "probes": [plain(probe) for probe in probes],
        "t_span": list(span),
        "state": "initial" if state is None else digest(state),
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}},
    }


def attributes(base: Mapping[str, Any], network: Network, seed: int) -> dict[str, Any]:
    """The whole configuration with its hash, the seed and the versions, as a dataset's attributes before the run.

    The hash is that of what decides a run, not of the versions: it is the same for the same run in any process.
    """
    described = {
        "sizes": [repr(part) if isinstance(part, Conv2d) else part for part in network.structure],
        "n_classes": network.n_classes,
        "signal": plain(network.signal),
        "bias": network.bias,
        "neurons": [plain(layer.neuron) for layer in network.layers],
        "rules": [plain(layer.rule) for layer in network.layers],
    }
    decides = {name: value for name, value in base.items() if name != "versions"}
    text = json.dumps({"network": described, "seed": seed, **decides}, sort_keys=True)
    return {
        "configuration": text,
        "configuration_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        "seed": seed,
        "time_unit": network.time_unit,
        "solver": base["solver"],
        "versions": json.dumps(base["versions"]),
    }


def outcome(status: Status, message: str, counts: Counts) -> dict[str, Any]:
    """How a run ended and what it took, as attributes. Wall time is not one: the same run gives the same dataset."""
    return {"status": status.name, "message": message, **asdict(counts)}


def plain(thing: Any) -> Any:
    """A repr without memory addresses; of a module, with a digest of its parameters."""
    if thing is None:
        return None
    text = ADDRESS.sub("", repr(thing))
    if isinstance(thing, nn.Module):
        return f"{text} {digest(thing.state_dict())}"
    return text


def shown(stimulus: Stimulus) -> dict[str, Any]:
    """What a stimulus is made of beyond its description."""
    if not isinstance(stimulus, Presentations):
        return {"rows": stimulus.rows}
    tensors = {
        name: values.identity.encode() if isinstance(values, Mapped) else values
        for name, values in (("x", stimulus.x), ("y", stimulus.y))
        if values is not None
    }
    return {
        "rows": stimulus.rows,
        "duration": stimulus.duration,
        "gate": plain(stimulus.gate),
        "shuffle": stimulus.shuffle,
        "data": digest(tensors),
    }


def digest(tensors: Mapping[str, Any]) -> str:
    """A short hash of names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, value in tensors.items():
        array = value.detach().cpu().contiguous().numpy() if isinstance(value, Tensor) else np.asarray(value)
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:16]


@cache
def installed(name: str) -> str:
    """The version of a package, or "unknown" where it is only a folder on the path."""
    if name == "torch":
        return str(torch.__version__)
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
