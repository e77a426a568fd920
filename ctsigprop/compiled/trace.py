"""The right-hand side of a network as a graph of tensor operations, recorded once from the code that states it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx

from ctsigprop.field import Field, Shown
from ctsigprop.network import Network
from ctsigprop.rules.update import Update
from ctsigprop.solvers.field import DenseWeight
from ctsigprop.stimuli import Frame, Input

INPUTS = ("x", "label", "context", "target")
"""What a stimulus gives to a right-hand side, by the names of `Shown`."""


class NotCompilable(Exception):
    """A network or stimulus that has no compiled form; the message says why."""


class NoTime:
    """Stands for time while a graph is recorded: whatever asks for its value cannot be compiled."""

    def __getattr__(self, name: str) -> Any:
        raise NotCompilable("something in the network depends on time itself")

    def __float__(self) -> float:
        raise NotCompilable("something in the network depends on time itself")

    __array__ = __float__


@dataclass(frozen=True)
class Member:
    """A number that differs between the members of an ensemble: the place of its value among their constants."""

    index: int


@dataclass(frozen=True)
class Traced:
    """One right-hand side as a graph.

    Parameters
    ----------
    graph : of functional tensor operations
    inputs : placeholder of each input that the graph uses, by name
    state : placeholder of each tensor of the state, by name
    rates : value of each activity's derivative, by name
    updates : (post, pre, decay) or (change,) of each weight, by name
    arguments : of each node, with `Member` where ensemble members differ
    """

    graph: Graph
    inputs: dict[str, Node]
    state: dict[str, Node]
    rates: dict[str, Any]
    updates: dict[str, tuple[Any, ...]]
    arguments: dict[Node, tuple[tuple[Any, ...], dict[str, Any]]]


def record(network: Network, shown: Input, state: Mapping[str, Tensor], gate: float) -> Traced:
    """The graph of a network's right-hand side while `shown` is shown, plasticity gated by 0 or 1.

    Raises
    ------
    NotCompilable : code that cannot be recorded, such as a function of time
    """
    frame = Frame(0.0, 1.0, 0.0, lambda _t: Input(shown.x, shown.target, shown.present, gate), True)
    field = Field(network, frame)
    example = field.shown(0.0)
    given = {name: value for name in INPUTS if isinstance(value := getattr(example, name), Tensor)}
    shapes = network.weight_shapes
    names = list(state)

    def right_hand_side(*values: Tensor) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
        seen = dict(zip(given, values, strict=False))
        now = dict(zip(names, values[len(given) :], strict=True))
        field.fixed = Shown(seen["x"], seen["label"], seen.get("target"), seen.get("context"), gate)
        activities = {name: value for name, value in now.items() if name not in shapes}
        weights = {name: DenseWeight(value) for name, value in now.items() if name in shapes}
        rates, updates = field(NoTime(), activities, weights)  # type: ignore[arg-type]
        parts: dict[str, tuple[Any, ...]] = {}
        for name, update in updates.items():
            is_factored = isinstance(update, Update)
            parts[name] = (update.post, update.pre, update.decay) if is_factored else (update.change,)  # type: ignore[union-attr]
        return rates, parts

    functional = torch.func.functionalize(right_hand_side, remove="mutations_and_views")
    try:
        with torch.inference_mode(False), torch.no_grad():
            values = [value.clone() for value in (*given.values(), *state.values())]
            graph = make_fx(functional)(*values).graph
    except Exception as error:  # user code under a tracer may fail in any way
        raise NotCompilable(str(error).split("\n")[0]) from None
    graph.eliminate_dead_code()
    *placeholders, output = (node for node in graph.nodes if node.op in ("placeholder", "output"))
    rates, updates = output.args[0]
    calls = [node for node in graph.nodes if node.op == "call_function"]
    if any(torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) for node in calls):
        raise NotCompilable("the right-hand side draws random numbers")
    if any(node.op == "get_attr" for node in graph.nodes):
        raise NotCompilable("the right-hand side holds tensors of its own")
    return Traced(
        graph,
        {name: node for name, node in zip(given, placeholders, strict=False) if node.users},
        dict(zip(names, placeholders[len(given) :], strict=True)),
        rates,
        updates,
        {node: (node.args, dict(node.kwargs)) for node in graph.nodes if node.op == "call_function"},
    )


def merged(traces: Sequence[Traced], before: int = 0) -> tuple[Traced, list[list[float]]]:
    """One graph for all members of an ensemble, and the constants of each where they differ.

    `before` : number of constants that stand before these in a member's memory

    Raises
    ------
    NotCompilable : graphs that differ in more than numbers
    """
    first = traces[0]
    columns: list[list[float]] = []
    nodes = [[node for node in trace.graph.nodes if node.op == "call_function"] for trace in traces]
    if any([n.target for n in other] != [n.target for n in nodes[0]] for other in nodes):
        raise NotCompilable("the members of the ensemble differ in more than numbers")

    def common(values: Sequence[Any]) -> Any:
        """One argument for all members."""
        one = values[0]
        if isinstance(one, Node):
            return one
        if isinstance(one, tuple | list):
            return type(one)(common(part) for part in zip(*values, strict=True))
        if all(value == one for value in values):
            return one
        if not all(isinstance(value, float) for value in values):
            raise NotCompilable("the members of the ensemble differ in more than numbers")
        columns.append([float(value) for value in values])
        return Member(before + len(columns) - 1)

    arguments = {}
    for node, *same in zip(nodes[0], *nodes[1:], strict=True):
        args = common([node.args, *(other.args for other in same)])
        kwargs = {key: common([value, *(o.kwargs[key] for o in same)]) for key, value in node.kwargs.items()}
        arguments[node] = (args, kwargs)
    updates = {
        name: common([parts, *(other.updates[name] for other in traces[1:])]) for name, parts in first.updates.items()
    }
    rows = [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in traces]
    return simplified(Traced(first.graph, first.inputs, first.state, first.rates, updates, arguments)), rows


def simplified(trace: Traced) -> Traced:
    """The same without products with 1 and without the same operation on the same operands a second time."""
    instead: dict[Node, Node] = {}
    seen: dict[tuple[Any, str, str], Node] = {}
    arguments = {}

    def now(value: Any) -> Any:
        if isinstance(value, Node):
            return instead.get(value, value)
        return type(value)(map(now, value)) if isinstance(value, tuple | list) else value

    for node, (args, kwargs) in trace.arguments.items():
        own = (now(args), {key: now(value) for key, value in kwargs.items()})
        key = (node.target, repr(own[0]), repr(own[1]))
        same = seen.setdefault(key, node)
        if node.target is torch.ops.aten.mul.Tensor and own[0][1] == 1.0 and isinstance(own[0][1], float):
            same = own[0][0]
        if same is node:
            arguments[node] = own
            continue
        instead[node] = same
        node.replace_all_uses_with(same)
        trace.graph.erase_node(node)
    rates = {name: now(value) for name, value in trace.rates.items()}
    updates = {name: now(parts) for name, parts in trace.updates.items()}
    return Traced(trace.graph, trace.inputs, trace.state, rates, updates, arguments)
