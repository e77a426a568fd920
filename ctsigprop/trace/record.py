"""The right-hand side of a network as a graph of tensor operations, recorded once from the code that states it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx

from ctsigprop.dynamics.vector_field import Field, FrameInput
from ctsigprop.model.network import Network
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.field import DenseWeight
from ctsigprop.stimuli.frame import Frame, Input
from ctsigprop.trace.operations import Log

INPUTS = ("x", "label", "context", "target")
"""What a stimulus gives to a right-hand side, by the names of `FrameInput`."""
KEPT = 64
"""Graphs that are kept: to record one takes as long as some hundred steps."""
GRAPHS: OrderedDict[Any, Recorded] = OrderedDict()
"""By what was computed with data of which shapes, numbers left out: networks that differ in numbers share one."""


class NotTraceable(Exception):
    """A network or stimulus that has no compiled form; the message says why."""


class NoTime:
    """Stands for time while a graph is recorded: whatever asks for its value cannot be compiled."""

    def __getattr__(self, name: str) -> Any:
        raise NotTraceable("something in the network depends on time itself")

    def __float__(self) -> float:
        raise NotTraceable("something in the network depends on time itself")

    __array__ = __float__


@dataclass(frozen=True)
class MemberConstant:
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
    arguments : of each node, with `MemberConstant` where ensemble members differ
    """

    graph: Graph
    inputs: dict[str, Node]
    state: dict[str, Node]
    rates: dict[str, Any]
    updates: dict[str, tuple[Any, ...]]
    arguments: dict[Node, tuple[tuple[Any, ...], dict[str, Any]]]


@dataclass(frozen=True)
class Recorded:
    """A graph whose numbers are those of the first network that was seen; `first` says which number of a right-hand
    side is the first one of each node, None where they could not be told apart.
    """

    trace: Traced
    first: dict[Node, int] | None


class Evaluation:
    """One network's right-hand side as a function of tensors alone, while `shown` is shown under a gate of 0 or 1."""

    def __init__(self, network: Network, shown: Input, state: Mapping[str, Tensor], gate: float) -> None:
        frame = Frame(0.0, 1.0, 0.0, lambda _t: Input(shown.x, shown.target, shown.present, gate), True)
        self.field, self.gate, self.shapes = Field(network, frame), gate, network.weight_shapes
        example = self.field.shown(0.0)
        self.given = {name: value for name in INPUTS if isinstance(value := getattr(example, name), Tensor)}
        self.names = list(state)
        with torch.inference_mode(False):
            self.values = [value.clone() for value in (*self.given.values(), *state.values())]

    def __call__(self, *values: Tensor) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
        """(rates, factors or change of each weight)."""
        seen = dict(zip(self.given, values, strict=False))
        now = dict(zip(self.names, values[len(self.given) :], strict=True))
        self.field.fixed = FrameInput(seen["x"], seen["label"], seen.get("target"), seen.get("context"), self.gate)
        activities = {name: value for name, value in now.items() if name not in self.shapes}
        weights = {name: DenseWeight(value) for name, value in now.items() if name in self.shapes}
        rates, updates = self.field(NoTime(), activities, weights)  # type: ignore[arg-type]
        return rates, {name: factors(update) for name, update in updates.items()}

    def log(self) -> Log:
        """What it computes, in order, and with which numbers.

        Raises
        ------
        NotTraceable : code that cannot be recorded, such as a function of time
        """
        log = Log(self.values)
        log.note([list(self.given), self.names, self.gate != 0.0])
        with guarded(), torch.inference_mode(False), torch.no_grad():
            with log:
                found = self(*self.values)
            log.note(found)
        return log

    def graph(self, numbers: Sequence[float]) -> Recorded:
        """The graph, with the places of these numbers in it.

        Raises
        ------
        NotTraceable : code that cannot be recorded, such as one with random numbers
        """
        functional = torch.func.functionalize(self, remove="mutations_and_views")
        with guarded(), torch.inference_mode(False), torch.no_grad():
            graph = make_fx(functional)(*self.values).graph
        first: dict[Node, int] = {}
        met: list[float] = []
        for node in graph.nodes:
            first[node] = len(met)
            met += numbers_in([node.args, node.kwargs])
        graph.eliminate_dead_code()
        *placeholders, output = (node for node in graph.nodes if node.op in ("placeholder", "output"))
        rates, updates = output.args[0]
        calls = [node for node in graph.nodes if node.op == "call_function"]
        if any(torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) for node in calls):
            raise NotTraceable("the right-hand side draws random numbers")
        if any(node.op == "get_attr" for node in graph.nodes):
            raise NotTraceable("the right-hand side holds tensors of its own")
        trace = Traced(
            graph,
            {name: node for name, node in zip(self.given, placeholders, strict=False) if node.users},
            dict(zip(self.names, placeholders[len(self.given) :], strict=True)),
            rates,
            updates,
            {node: (node.args, dict(node.kwargs)) for node in calls},
        )
        return Recorded(trace, first if same_numbers(met, numbers) else None)


def factors(update: Update | DenseUpdate) -> tuple[Any, ...]:
    """(post, pre, decay) or (change,) of an update."""
    return (update.post, update.pre, update.decay) if isinstance(update, Update) else (update.change,)


def record(
    networks: Sequence[Network], shown: Input, state: Mapping[str, Tensor], gate: float, before: int = 0
) -> tuple[Traced, list[list[float]]]:
    """The graph of the right-hand side of networks that differ in numbers only, and the numbers of each.

    `before` : number of constants that stand before these in a member's memory

    Raises
    ------
    NotTraceable : code that cannot be recorded, networks that differ in more than numbers
    """
    evaluations = [Evaluation(network, shown, state, gate) for network in networks]
    logs = [evaluation.log() for evaluation in evaluations]
    if any(log.lines != logs[0].lines for log in logs[1:]):
        raise NotTraceable("the members of the ensemble differ in more than numbers")
    key = tuple(logs[0].lines)
    found = GRAPHS.get(key)
    if found is None:
        found = evaluations[0].graph(logs[0].numbers)
        if found.first is not None:
            GRAPHS[key] = found
            if len(GRAPHS) > KEPT:
                GRAPHS.popitem(last=False)
    elif key in GRAPHS:
        GRAPHS.move_to_end(key)
    if found.first is None:
        if len(networks) > 1:
            raise NotTraceable("the numbers of the ensemble's members cannot be told apart")
        return simplified(found.trace), [[]]
    trace, columns = numbered(found.trace, found.first, list(zip(*(log.numbers for log in logs), strict=True)), before)
    rows = [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in networks]
    return simplified(trace), rows


def distinct(networks: Sequence[Network]) -> tuple[list[Network], list[int]]:
    """Networks without those that are equal to one before, and which of them each one is."""
    found: dict[Any, int] = {}
    which: list[int] = []
    first: list[Network] = []
    for network in networks:
        layers = tuple((layer.neuron, layer.rule) for layer in network.layers)
        key: Any = (network.structure, network.n_classes, network.bias, network.signal, layers)
        try:
            hash(key)
        except TypeError:  # something without a value to compare: it is equal to itself alone
            key = id(network)
        if key not in found:
            found[key] = len(first)
            first.append(network)
        which.append(found[key])
    return first, which


def numbered(
    trace: Traced, first: Mapping[Node, int], numbers: Sequence[tuple[float, ...]], before: int
) -> tuple[Traced, list[tuple[float, ...]]]:
    """A copy of a graph with the numbers of all members, one where they agree, else a `MemberConstant`."""
    copy = Graph()
    copies: dict[Node, Node] = {}
    copy.output(copy.graph_copy(trace.graph, copies))
    columns: list[tuple[float, ...]] = []

    def told(value: Any, rest: Iterator[tuple[float, ...]]) -> Any:
        if isinstance(value, Node):
            return copies[value]
        if isinstance(value, float):
            column = next(rest)
            if all(number == column[0] for number in column):
                return column[0]
            columns.append(column)
            return MemberConstant(before + len(columns) - 1)
        if isinstance(value, dict):
            return {key: told(part, rest) for key, part in value.items()}
        return type(value)(told(part, rest) for part in value) if isinstance(value, tuple | list) else value

    arguments = {}
    for node, (args, kwargs) in trace.arguments.items():
        rest = iter(numbers[first[node] :])
        arguments[copies[node]] = (told(args, rest), told(kwargs, rest))
    (output,) = (node for node in trace.graph.nodes if node.op == "output")
    rates, updates = told(output.args[0], iter(numbers[first[output] :]))
    inputs, state = ({name: copies[node] for name, node in found.items()} for found in (trace.inputs, trace.state))
    return Traced(copy, inputs, state, rates, updates, arguments), columns


def numbers_in(value: Any) -> list[float]:
    """All numbers in some arguments, in order."""
    if isinstance(value, float):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [number for part in parts for number in numbers_in(part)]


def same_numbers(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether these are the same numbers in the same order, NaN included."""
    return len(left) == len(right) and all(a == b or (a != a and b != b) for a, b in zip(left, right, strict=True))


@contextmanager
def guarded() -> Iterator[None]:
    """Turn whatever fails in somebody's code under a tracer into the reason that there is no graph."""
    try:
        yield
    except Exception as error:  # user code under a tracer may fail in any way
        raise NotTraceable(str(error).split("\n")[0]) from None


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
