"""The result of a simulation, in memory and on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr
from torch import Tensor

from ctsigprop.display import html
from ctsigprop.files.paths import local
from ctsigprop.files.unreadable import JsonObject, readable
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.results import format as storage
from ctsigprop.solvers.status import Status


@dataclass(frozen=True)
class Solution:
    """The result of one run.

    Parameters
    ----------
    dataset : xarray.Dataset of what the probes recorded, dimensions time, layer, post, pre, row
    final : State at the end, or the last good one; pass it to `simulate` to continue
    stats : dict with "steps", "rhs_evaluations", "rejected_steps", "wall_seconds", "solver", "path", "path_reason"
    status : Status, says whether the run completed, or why it stopped
    message : str, a sentence to read: when the run stopped, and at which layer and quantity
    network : Network or None, the network that ran; not saved to disk
    """

    dataset: xr.Dataset
    final: State
    stats: dict[str, Any]
    status: Status
    message: str
    network: Network | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        cost = ", ".join(
            f"{name}={value}" for name, value in self.stats.items() if name not in ("solver", "path_reason")
        )
        names = ", ".join(map(str, self.dataset)) or "nothing"
        return f"Solution({self.message} t={self.final.t:g}; {cost}; recorded: {names})"

    def _repr_html_(self) -> str:
        return html.of_solution(self)

    def save(self, path: str | Path) -> Path:
        """Save the solution to a new folder, whole or not at all; `load` reads it. Returns the absolute path.

        Raises
        ------
        ValueError, TypeError : not a path on this computer
        FileExistsError : the path exists
        """
        return storage.write(local("path", path), self.dataset, self.final, self.about)

    @property
    def time_unit(self) -> str:
        """Name of the unit of all times, such as "tau" or "ms"."""
        return str(self.dataset.attrs.get("time_unit", "tau"))

    @property
    def about(self) -> dict[str, object]:
        """All but the arrays, as plain values."""
        return {"status": self.status.name, "message": self.message, "stats": self.stats, "t": self.final.t}


def load(path: str | Path) -> Solution:
    """Read a solution that `Solution.save` or `simulate(..., store=)` wrote; the dataset is opened lazily.

    A store that is still being written, or was cut off by a killed process, returns its complete chunks, with status
    `Status.UNFINISHED` and an empty final state. No code in a store is executed, and nothing outside it is read.

    Raises
    ------
    FileNotFoundError : the path does not exist
    Unreadable : (a ValueError) a folder that is not a solution, is damaged or cut short, or has a newer format;
        also later, when a damaged part of the dataset is read. The message names the file
    """
    place = local("path", path)
    dataset, tensors, about = storage.read(place)
    with readable(place):
        return assembled(dataset, tensors, about)


def assembled(dataset: xr.Dataset, tensors: Mapping[str, Tensor], about: JsonObject) -> Solution:
    """A solution from what was read."""
    if not about.get("finished", True):
        ends = [
            float(dataset[name][-1]) for name in dataset.dims if str(name).startswith("time") and dataset.sizes[name]
        ]
        t = max(ends, default=0.0)
        message = f"{Status.UNFINISHED} It is recorded up to t={t:g}."
        return Solution(dataset, State({}, t), {"solver": str(about["solver"])}, Status.UNFINISHED, message)
    final = State(tensors, float(about["t"]))
    return Solution(dataset, final, dict(about["stats"]), Status[about["status"]], str(about["message"]))
