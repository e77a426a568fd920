"""Modules that have moved. Their old names still import, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "activations": "neurons.activations",
    "combine": "results.concat",
    "convolution": "model.convolution",
    "encoders": "stimuli.encoders",
    "izhikevich": "neurons.izhikevich",
    "network": "model.network",
    "probes": "recording.probes",
    "selection": "recording.selection",
    "solution": "results.solution",
    "solutions": "results.ensemble",
    "spike_trains": "stimuli.spike_trains",
    "spiking": "neurons.integrate_and_fire",
    "state": "model.state",
    "theta": "neurons.theta",
    "unreadable": "files.unreadable",
}
"""Old name of each module that the documentation named, and where it is now."""


class MovedModules(MetaPathFinder, Loader):
    """Finds a module of ours by its old name: it has the contents of the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == "ctsigprop" and name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        new = f"ctsigprop.{MOVED[module.__name__.rpartition('.')[2]]}"
        warnings.warn(
            f"{module.__name__} has moved to {new}; what it holds can be imported from ctsigprop itself",
            DeprecationWarning,
            stacklevel=2,
        )
        vars(module).update(
            {name: value for name, value in vars(importlib.import_module(new)).items() if not name.startswith("__")}
        )


sys.meta_path.append(MovedModules())
