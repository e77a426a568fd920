"""A recorded step as torch calls that write into reused memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.fx import Node

from ctsigprop.execution.inplace.buffer_pool import BufferPool
from ctsigprop.execution.inplace.out_calls import OutCalls, computed, renames
from ctsigprop.execution.inplace.out_operations import POINTWISE, Call
from ctsigprop.execution.inplace.step_memory import StepMemory
from ctsigprop.trace.graph import NotTraceable, Parts, StepGraph
from ctsigprop.trace.passes import following, nodes_in


@dataclass
class Plan:
    """What a step calls.

    Parameters
    ----------
    before : calls whose results stay while nothing else changes what is shown, or weights that do not learn
    calls : of every step
    learns : whether a step changes any weight
    constants : (members, numbers) in which they differ; they may be written over
    changes_for : what changes the state in a step of some length, in units of time, where `calls` do not
    """

    before: list[Call]
    calls: list[Call]
    learns: bool
    constants: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    changes_for: Callable[[float], list[Call]] | None = None
    dt: float = math.nan
    changes: list[Call] = field(default_factory=list)

    def run(self, dt: float) -> None:
        """Take a step of length dt."""
        for call in self.calls:
            call()
        if self.changes_for is None:
            return
        if self.dt != dt:
            self.dt, self.changes = dt, self.changes_for(dt)
        changes = iter(self.changes)
        try:
            for call in changes:
                call()
        except KeyboardInterrupt:  # no state is left half changed
            for call in changes:
                call()
            raise


def planned(graph: StepGraph, memory: StepMemory, dt: float) -> Plan:
    """The calls of a step of length dt; or of one of Euler, of any length, where the graph is a right-hand side.

    Raises
    ------
    NotTraceable : something that cannot be carried out in place
    """
    operations = [*graph.flow.operations, *graph.jump.operations]
    fixed = following(operations, memory.unchanged(graph))
    flow, jump = ([n for n in stage.operations if n not in fixed] for stage in (graph.flow, graph.jump))
    results = {*graph.after.values(), *graph.rates.values(), *nodes_in([graph.flow.updates, graph.jump.updates])}
    like = next(iter(memory.activities.values()))
    constants = torch.tensor(graph.constants, dtype=like.dtype)[memory.which]
    after_before = {*results, *(source for node in (*flow, *jump) for source in node.all_input_nodes)}
    before = OutCalls(
        [node for node in operations if node in fixed],
        after_before,
        memory.places(graph),
        buffers=BufferPool(memory.ensemble),
        constants=constants,
    )
    into = written_in_place(graph, flow, jump, memory.activities)
    after_flow = {*results, *(source for node in jump for source in node.all_input_nodes)}
    first = OutCalls(flow, after_flow, before.at, into, memory.buffers, constants)
    if graph.rates:
        calls, rates = own_rates(graph, first, memory)
        memory.buffers.give_all()
        changes_for = partial(euler_changes, rates, with_tensors(graph.flow.updates, first), memory)
        return Plan(before.calls, [*first.calls, *calls], graph.learns, constants, changes_for)
    second = OutCalls(jump, results, first.at, into, memory.buffers, constants)
    memory.buffers.give_all()
    calls = [*first.calls, *learning(with_tensors(graph.flow.updates, first), dt, memory)]
    calls += [*second.calls, *learning(with_tensors(graph.jump.updates, second), 1.0, memory)]
    return Plan(before.calls, [*calls, *copies(graph, second, into, memory)], graph.learns, constants)


def with_tensors(updates: Mapping[str, Parts], calls: OutCalls) -> dict[str, Parts]:
    """Updates of weights, with the tensors that hold them."""
    return {name: calls.actual(parts) for name, parts in updates.items()}


def own_rates(graph: StepGraph, calls: OutCalls, memory: StepMemory) -> tuple[list[Call], dict[str, Tensor]]:
    """(calls that bring derivatives to memory of their own where they lie in the state, where each derivative lies)."""
    of_state = {value.data_ptr() for _, value in memory.state.items()}
    copying: list[Call] = []
    rates: dict[str, Tensor] = {}
    for name, node in graph.rates.items():
        rates[name] = calls.at[node]
        if rates[name].data_ptr() in of_state or rates[name].shape != memory.activities[name].shape:
            rates[name] = torch.empty_like(memory.activities[name])
            copying.append(partial(rates[name].copy_, calls.at[node]))
    return copying, rates


def euler_changes(
    rates: Mapping[str, Tensor], updates: Mapping[str, Parts], memory: StepMemory, dt: float
) -> list[Call]:
    """A step of Euler: weights first, whose factors may be activities as they stand, then activities += dt rate."""
    changes = [partial(memory.activities[name].add_, rate, alpha=dt) for name, rate in rates.items()]
    return [*learning(updates, dt, memory), *changes]


def learning(updates: Mapping[str, Parts], share: float, memory: StepMemory) -> list[Call]:
    """What updates do to the weights; those that leave their bounds are put onto them."""
    calls: list[Call] = []
    for name, parts in updates.items():
        calls += weight_step(memory.weights[name], parts, share)
        if name in memory.bounds:
            calls.append(partial(memory.weights[name].clamp_, *memory.bounds[name]))
    return calls


def weight_step(weight: Tensor, parts: Parts, share: float) -> list[Call]:
    """W += share (post^T pre - diag(decay) W), or W += share change, in place."""
    if len(parts) == 1:
        return [partial(weight.add_, parts[0], alpha=share)]
    post, pre, decay = parts
    product = weight.addmm_ if weight.dim() == 2 else weight.baddbmm_
    if not isinstance(decay, Tensor):
        return [partial(product, post.mT, pre, beta=1.0 - share * decay, alpha=share)]
    kept = torch.empty_like(decay)
    return [
        partial(torch.sub, torch.ones_like(decay), decay, alpha=share, out=kept),
        partial(weight.mul_, kept.unsqueeze(-1)),
        partial(product, post.mT, pre, beta=1.0, alpha=share),
    ]


def written_in_place(
    graph: StepGraph, flow: Sequence[Node], jump: Sequence[Node], activities: Mapping[str, Tensor]
) -> dict[Node, Tensor]:
    """Results that may be written over the activity that they replace: nothing reads its old value later."""
    last_read: dict[Node, float] = {}
    roots: dict[Node, Node] = {}
    order: dict[Node, int] = {}

    def read(nodes: Sequence[Node], when: float) -> None:
        for node in nodes:
            root = roots.get(node, node)
            last_read[root] = max(last_read.get(root, -1.0), when + 0.25 * (node in roots))

    for k, node in enumerate([*flow, *jump]):
        order[node] = k
        read(nodes_in([node.args, node.kwargs]), k)
        if renames(node):
            source = nodes_in(node.args)[0]
            roots[node] = roots.get(source, source)
    read(nodes_in(graph.flow.updates), len(flow) - 0.5)
    read([*nodes_in(graph.jump.updates), *(node for node in graph.after.values() if node in roots)], math.inf)
    into: dict[Node, Tensor] = {}
    for name, node in graph.after.items():
        value = activities[name]
        if node in into or node not in order or not computed(node) or node.meta["val"].shape != value.shape:
            continue
        last = last_read.get(graph.state[name], -1.0)
        if last < order[node] or (last == order[node] and node.target in POINTWISE):
            into[node] = value
    return into


def copies(graph: StepGraph, calls: OutCalls, into: Mapping[Node, Tensor], memory: StepMemory) -> list[Call]:
    """What brings results to the state that are not there yet.

    Raises
    ------
    NotTraceable : an activity that takes the old value of another one
    """
    of_state = {value.data_ptr(): name for name, value in memory.activities.items()}
    copying: list[Call] = []
    for name, node in graph.after.items():
        value, target = calls.at[node], memory.activities[name]
        if into.get(node) is target or value.data_ptr() == target.data_ptr():
            continue
        if value.data_ptr() in of_state and node not in into:
            raise NotTraceable(f"{name} takes the old value of {of_state[value.data_ptr()]}")
        copying.append(partial(target.copy_, value))
    return copying
