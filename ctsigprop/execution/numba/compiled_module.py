"""Compiled networks: one module for each network and data shape, written once."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ctsigprop.execution.numba.module_cache import load
from ctsigprop.execution.numba.module_source import Layout, module_source
from ctsigprop.model.network import Network
from ctsigprop.stimuli.frame import Input
from ctsigprop.trace.graph import NotTraceable, StepGraph
from ctsigprop.trace.record import distinct, record

KNOWN: WeakKeyDictionary[Network, dict[Any, CompiledModule]] = WeakKeyDictionary()
"""Modules of networks that are still in use: to record a network's graph takes longer than a short run."""


@dataclass(frozen=True)
class CompiledModule:
    """A compiled network: its module, where everything lies, and the constants of each member (members, constants)."""

    module: ModuleType
    layout: Layout
    constants: list[list[float]]
    variants: dict[float, int]


def compiled(
    networks: Sequence[Network], shown: Input, state: Mapping[str, Tensor], gates: Sequence[float], euler: bool
) -> CompiledModule:
    """The module of networks of one structure, whose numbers may differ, for data of the shape of `shown`: steps of
    Euler, or derivatives for the other methods.

    Raises
    ------
    NotTraceable : no numba, a tensor elsewhere than on the CPU, or something without a compiled form
    """
    check_machine(next(iter(state.values())))
    key = (tuple((name, value.shape, value.dtype) for name, value in state.items()), tuple(gates), euler)
    first, which = distinct(networks)
    known = KNOWN.setdefault(networks[0], {})
    if len(first) == 1 and key in known:
        return replace(known[key], constants=[[]] * len(networks))
    variants: list[StepGraph] = []
    constants: list[list[float]] = [[] for _ in first]
    for gate in gates:
        variants.append(record(first, shown, state, gate, len(constants[0])))
        for row, more in zip(constants, variants[-1].constants, strict=True):
            row += more
    source, layout = module_source(variants, len(constants[0]), euler)
    of_members = [constants[index] for index in which]
    module = CompiledModule(load(source), layout, of_members, {gate: k for k, gate in enumerate(gates)})
    if len(first) == 1:
        known[key] = module
    return module


def check_machine(like: Tensor) -> None:
    """Raise where there is no compiler for numbers such as these.

    Raises
    ------
    NotTraceable : no numba, a tensor elsewhere than on the CPU or of other numbers than float32 and float64
    """
    if importlib.util.find_spec("numba") is None:
        raise NotTraceable("numba is not installed: pip install 'ctsigprop[compile]'")
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
        raise NotTraceable(f"only float32 and float64 on the CPU have a compiled form, got {like.dtype} {like.device}")
