"""Turns the lines of a tracer into a graph, and finds what its nodes depend on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from torch import Tensor
from torch.fx import Graph, Node

from ctsigprop.trace.aten import COMPARISONS, FILLS, aten, is_view
from ctsigprop.trace.graph import MemberConstant
from ctsigprop.trace.tracer import Line, Number, Ref


def merged(numbers: Sequence[Sequence[float]], before: int) -> tuple[list[float | MemberConstant], list[list[float]]]:
    """(the numbers of several networks as one, with a `MemberConstant` where they differ; those in which they do, a row
    for each network).

    `before` : number of constants that stand before these in a member's memory
    """
    columns: list[tuple[float, ...]] = []
    of_all: list[float | MemberConstant] = []
    for column in zip(*numbers, strict=True):
        if len(column) == 1 or all(number == column[0] for number in column):
            of_all.append(column[0])
        else:
            of_all.append(MemberConstant(before + len(columns)))
            columns.append(column)
    return of_all, [[column[member] for column in columns] for member in range(len(numbers))]


class GraphBuilder:
    """Makes a graph of lines, without what computes nothing: sums with zeros, products with 1, and the same operation
    on the same operands a second time. A comparison that is turned into numbers becomes one that gives numbers.
    """

    def __init__(
        self, given: Iterable[str], values: Sequence[Tensor], numbers: Sequence[float | MemberConstant]
    ) -> None:
        self.graph, self.values, self.numbers = Graph(), values, numbers
        self.nodes: list[Node] = []
        self.zeros: set[Node] = set()
        self.seen: dict[str, Node] = {}
        self.given: dict[str, Node] = {}
        for k, name in enumerate(given):
            self.given[name] = self.graph.placeholder(f"given_{k}")
            self.given[name].meta["val"] = values[k]
            self.nodes.append(self.given[name])

    def add(self, lines: Iterable[Line]) -> None:
        """The nodes of some more lines."""
        for target, args, kwargs, *_ in lines:
            value = self.values[len(self.nodes)]
            self.nodes.append(self.node(target, self.resolved(args), self.resolved(kwargs), value))

    def resolved(self, value: Any) -> Any:
        """Arguments or results with nodes and numbers."""
        if isinstance(value, Ref):
            return self.nodes[value.number]
        if isinstance(value, Number):
            return self.numbers[value.place]
        if isinstance(value, tuple | list):
            return type(value)([self.resolved(item) for item in value])
        if isinstance(value, dict):
            return {key: self.resolved(item) for key, item in value.items()}
        return value

    def node(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value: Tensor) -> Node:
        """The node of an operation: a new one, or one that is there already."""
        operand = self.neutral(target, args, kwargs, value)
        if operand is not None:
            return operand
        if target is aten._to_copy.default and args[0].target in COMPARISONS and value.is_floating_point():
            target, args, kwargs = args[0].target, args[0].args, dict(args[0].kwargs)
        key = repr((target, args, kwargs, value.dtype))
        if key not in self.seen:
            node = self.seen[key] = self.graph.call_function(target, args, kwargs)
            node.meta["val"] = value
            if FILLS.get(target) == 0.0 or (is_view(node) and args[0] in self.zeros):
                self.zeros.add(node)
        return self.seen[key]

    def neutral(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value: Tensor) -> Node | None:
        """The operand that an operation leaves as it is."""
        if target is aten.add.Tensor:
            others = [k for k in (0, 1) if args[k] in self.zeros and (k == 1 or kwargs.get("alpha", 1) == 1)]
        else:
            others = [1] if target is aten.mul.Tensor and args[1] == 1.0 else []
        for k in others:
            kept = args[1 - k]
            if (
                isinstance(kept, Node)
                and kept.meta["val"].shape == value.shape
                and kept.meta["val"].dtype == value.dtype
            ):
                return kept
        return None

    def finish(self, results: Any) -> None:
        """Make `results` the graph's output, and drop what they do not depend on."""
        self.graph.output(results)
        for node in reversed(list(self.graph.nodes)):
            if node.op == "call_function" and not node.users:
                self.graph.erase_node(node)

    def operations(self) -> list[Node]:
        """All operations so far, in order."""
        return [node for node in self.graph.nodes if node.op == "call_function"]


def nodes_in(value: Any) -> list[Node]:
    """All nodes in some arguments, each as often as it stands there."""
    if isinstance(value, Node):
        return [value]
    if isinstance(value, tuple | list):
        return [node for item in value for node in nodes_in(item)]
    return nodes_in(list(value.values())) if isinstance(value, dict) else []


def needed(operations: Sequence[Node], wanted: Iterable[Node]) -> list[Node]:
    """The operations on which some nodes depend, in order."""
    left = set(wanted)
    kept = []
    for node in reversed(operations):
        if node in left:
            kept.append(node)
            left.update(node.all_input_nodes)
    return kept[::-1]


def following(operations: Iterable[Node], fixed: Collection[Node]) -> set[Node]:
    """The operations that depend on nothing but `fixed`."""
    known = set(fixed)
    dependent = set()
    for node in operations:
        if all(source in known for source in node.all_input_nodes):
            known.add(node)
            dependent.add(node)
    return dependent


def consumers(node: Node) -> Iterator[Node]:
    """The nodes that read a node's value, directly or through views."""
    for user in node.users:
        if user.op != "output" and is_view(user):
            yield from consumers(user)
        else:
            yield user


def readers_first(reads: Mapping[str, Set[str]]) -> tuple[list[str], list[str]]:
    """(an order to write new values over old ones, each after all that read it; those to be put aside before, as they
    read each other).
    """
    left = {name: set(read) - {name} for name, read in reads.items()}
    order: list[str] = []
    aside: list[str] = []
    while left:
        read = set().union(*left.values())
        free = [name for name in left if name not in read]
        if not free:
            aside.append(next(name for name in left if left[name]))
            left[aside[-1]] = set()
        for name in free:
            del left[name]
        order += free
    return order, aside
