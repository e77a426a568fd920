"""Steps of `Hybrid` as machine code: flow, learning and jump of a whole network in one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from ctsigprop.execution.inplace.plan import Plan
from ctsigprop.execution.inplace.step_memory import StepMemory
from ctsigprop.execution.numba.compiled_module import check_machine
from ctsigprop.execution.numba.lowering import Kernel
from ctsigprop.execution.numba.module_cache import load
from ctsigprop.execution.numba.module_source import assembled, broadcast, change_weight, factors, indented
from ctsigprop.execution.numba.symbols import Buffer, Value, contiguous, in_memory
from ctsigprop.execution.numba.templates import literal
from ctsigprop.solvers.field import Bounds
from ctsigprop.trace.aten import aten, is_fill, is_view
from ctsigprop.trace.graph import SPIKES, NotTraceable, Parts, StepGraph
from ctsigprop.trace.passes import consumers, following, needed, nodes_in

Places = dict[str, tuple[int, tuple[int, ...]]]
"""Offset in memory and shape, by name."""


class MachineCode:
    """Makes two calls of a recorded step of flow and jump, of functions that work on one array, into which it moves all
    memory. Their numbers equal those of the plain path to rounding.

    Products with spikes go from spike to spike where these are few.

    Parameters
    ----------
    like : a tensor of the type of all
    bounds : least and largest value of each weight matrix that has bounds, by name

    Raises
    ------
    NotTraceable : no numba, or numbers without a compiled form
    """

    def __init__(self, like: Tensor, bounds: Bounds) -> None:
        check_machine(like)
        self.array = np.zeros(0, str(like.dtype).removeprefix("torch."))
        self.bounds = bounds

    def __call__(self, graph: StepGraph, memory: StepMemory, dt: float) -> Plan:
        """The calls of a step of length dt."""
        tensors = {**memory.inputs, SPIKES: memory.spikes, **memory.activities, **memory.weights}
        places: Places = {}
        at = 0
        for name, tensor in tensors.items():
            if tensor.dtype != torch.from_numpy(self.array).dtype:
                raise NotTraceable(f"{name} is of another type than the input, {tensor.dtype}")
            places[name] = (at, tuple(tensor.shape))
            at += tensor.numel()
        text, size, functions = source(graph, places, at, dt, memory.unchanged(graph), self.bounds)
        self.make_room(tensors, places, size)
        module = load(assembled(str(self.array.dtype), text, functions))
        before, advance = (partial(self.call, function) for function in (module.before, module.advance))
        return Plan([before], [advance], graph.learns)

    def call(self, function: Callable[[np.ndarray], None]) -> None:
        """Let compiled code work on the memory at hand."""
        function(self.array)

    def make_room(self, tensors: Mapping[str, Tensor], places: Places, size: int) -> None:
        """Everything goes to a larger array where the one at hand is too small."""
        if len(self.array) >= size:
            return
        array = np.zeros(size, self.array.dtype)
        whole = torch.from_numpy(array)
        with torch.no_grad():
            for name, tensor in tensors.items():
                offset, shape = places[name]
                whole[offset : offset + tensor.numel()].copy_(tensor.reshape(-1))
                tensor.set_(whole.untyped_storage(), offset, shape, contiguous(shape))
        self.array = array


def source(
    step: StepGraph, places: Places, size: int, dt: float, still: set[Node], bounds: Bounds
) -> tuple[str, int, dict[str, str]]:
    """Two functions of the memory: `before`, what stays while nothing else is shown, and `advance`, a step; the size
    that they need; and names of functions, by the code that makes them.
    """
    flowed, jumped = ({name: terms(parts) for name, parts in stage.updates.items()} for stage in (step.flow, step.jump))
    operations = needed([*step.flow.operations, *step.jump.operations], nodes_in([step.after, flowed, jumped]))
    fixed = following(operations, still)
    wanted = {*operations} - fixed
    early = [node for node in operations if node in fixed]
    flow, jump = ([node for node in stage.operations if node in wanted] for stage in (step.flow, step.jump))
    offsets = {name: offset for name, (offset, _) in places.items()}
    offsets |= {f"{name}'": offsets[name] for name in step.landed}
    kernel = Kernel(graph=step, places=offsets, constants=size, size=size, sparse=True)
    if SPIKES in step.inputs:
        offset, shape = places[SPIKES]
        kernel.spiking.append((offset, offset + math.prod(shape)))
    kernel.given()
    kernel.carry_out(early)
    for node in early:
        if not is_fill(node) and not is_view(node) and any(user not in fixed for user in consumers(node)):
            kernel.values[node] = kernel.store(kernel.values[node])
    before, kernel.lines = kernel.lines, []
    learn(kernel, flow, flowed, places, dt, early)
    hold(kernel, flowed, places, bounds)
    learn(kernel, jump, jumped, places, 1.0, [*early, *flow])
    hold(kernel, jumped, places, bounds)
    apply_jump(kernel, step.after, places)
    parts = (("before", before), ("advance", kernel.lines))
    functions = [f"@fast\ndef {name}(m):\n" + "\n".join(lines or indented(["pass"], 1)) for name, lines in parts]
    return "\n\n\n".join(functions), kernel.size, kernel.functions


def terms(parts: Parts) -> list[Parts]:
    """An update as a sum, where rows of its factors come from several: one of them may be nothing but spikes."""
    if len(parts) == 1:
        return [parts]
    pieces: list[list[Any]] = []
    for factor in parts[:2]:
        is_cat = isinstance(factor, Node) and factor.target is aten.cat.default
        args: tuple[Any, ...] = factor.args if is_cat else ()
        along = (args[1] if len(args) > 1 else 0) % factor.meta["val"].dim() if is_cat else None
        pieces.append(list(args[0]) if along == 0 else [factor])
    rows = [[piece.meta["val"].shape[0] for piece in joined] for joined in pieces if len(joined) > 1]
    if len(rows) < 2 or rows[0] != rows[1]:
        return [parts]
    decays = [parts[2], *[0.0] * (len(rows[0]) - 1)]
    return list(zip(*pieces, decays, strict=True))


def learn(
    kernel: Kernel,
    operations: Sequence[Node],
    updates: Mapping[str, list[Parts]],
    places: Places,
    length: float,
    earlier: Sequence[Node],
) -> None:
    """Some operations, and then what they say of the weights."""
    kernel.carry_out(operations)
    for node in (*earlier, *operations):
        value = kernel.values[node]
        if value.buffer is None and any(read.rstrip("~").removesuffix("'") in updates for read in value.reads):
            kernel.values[node] = kernel.store(value)  # it is read after the weights have changed
    changes: list[tuple[str, Any]] = []
    for name, parts in ((name, parts) for name, every in updates.items() for parts in every):
        if len(parts) == 1:
            changes.append((name, kernel.store(broadcast(kernel.operand(parts[0]), places[name][1]))))
        else:
            changes.append((name, factors(kernel, parts)))
    if changes:
        kernel.emit(0, f"span = {literal(length)}")
    for name, change in changes:
        offset, shape = places[name]
        place = Buffer(offset, contiguous(shape))
        if isinstance(change, Value):
            kernel.assign(change, place, "+=", "span * ")
        else:
            change_weight(kernel, place, shape, change)


def hold(kernel: Kernel, changed: Iterable[str], places: Places, bounds: Bounds) -> None:
    """Put changed weights that left their bounds back onto them."""
    for name in changed:
        if name in bounds:
            (offset, shape), (low, high) = places[name], map(literal, bounds[name])
            kernel.emit(0, f"for i_ in range({offset}, {offset + math.prod(shape)}):")
            kernel.emit(1, f"m[i_] = {low} if m[i_] < {low} else {high} if m[i_] > {high} else m[i_]")


def apply_jump(kernel: Kernel, after: Mapping[str, Node], places: Places) -> None:
    """The new values of the activities, to where the old ones are: those that others still read are kept aside."""
    values: dict[str, Value] = {}
    for name, node in after.items():
        shape = places[name][1]
        value = broadcast(kernel.operand(node), shape)
        others = {read for read in value.reads if read.removesuffix("~") in after and read != name}
        if others or (value.reads and value.buffer is not None):
            room = kernel.room(shape)
            kernel.assign(value, room)
            value = in_memory(shape, room)
        values[name] = value
    for name, value in values.items():
        offset, shape = places[name]
        kernel.assign(value, Buffer(offset, contiguous(shape)))
