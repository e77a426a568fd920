"""Tensor operations written down while they are carried out, to be carried out again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.utils._python_dispatch import TorchDispatchMode

from ctsigprop.execution.numba.templates import FILLS, FILLS_WITH
from ctsigprop.execution.numba.view_lowering import is_view
from ctsigprop.trace.record import NotTraceable

aten = torch.ops.aten
COMPARISONS = {getattr(aten, name).Scalar for name in ("gt", "ge", "lt", "le", "eq", "ne")}
Operations = dict[Node, tuple[tuple[Any, ...], dict[str, Any]]]


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down what is computed from given tensors, without what computes nothing: sums with zeros, products with
    1, and the same operation on the same operands a second time.

    Raises
    ------
    NotTraceable : something that cannot be carried out again, such as a random number or a value looked at
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = Graph()
        self.operations: Operations = {}
        self.constants: dict[Node, Tensor] = {}
        self.zeros: set[Node] = set()
        self.nodes: dict[int, Node] = {}
        self.alive: list[Tensor] = []
        self.sharing: Counter[int] = Counter()
        self.seen: dict[str, Node] = {}

    def given(self, name: str, value: Tensor) -> Node:
        """Node of a tensor from which others are computed."""
        node = self.graph.placeholder(name)
        node.meta["val"] = value
        return self.known(value, node)

    def known(self, value: Tensor, node: Node) -> Node:
        """`value` is what `node` stands for."""
        if id(value) not in self.nodes:
            self.alive.append(value)
            self.sharing[value.untyped_storage().data_ptr()] += 1
        self.nodes[id(value)] = node
        return node

    def noted(self, value: Any) -> Any:
        """Arguments with nodes for tensors."""
        if isinstance(value, Tensor):
            if id(value) not in self.nodes:
                raise NotTraceable("the step holds tensors of its own")
            return self.nodes[id(value)]
        if isinstance(value, tuple | list):
            return type(value)(self.noted(part) for part in value)
        if isinstance(value, dict):
            return {key: self.noted(part) for key, part in value.items()}
        return value

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to say yes would import torch's compiler, which takes longer than most recordings."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        own, options = self.noted(args), self.noted(kwargs)
        target = self.functional(func, args)
        out = func(*args, **kwargs)
        if not isinstance(out, Tensor) or torch.Tag.nondeterministic_seeded in func.tags:
            raise NotTraceable(f"the operation {func} cannot be carried out again")
        self.known(out, self.node(target, own, options, out))
        return out

    def functional(self, func: Any, args: tuple[Any, ...]) -> Any:
        """The same operation with a result of its own, where `func` writes over its first operand."""
        if not func._schema.is_mutable:
            return func
        name = str(func).removeprefix("aten.").split(".")[0]
        packet = getattr(aten, name.removesuffix("_"), None) if name.endswith("_") else None
        every = [] if packet is None else [getattr(packet, overload) for overload in packet.overloads()]
        found = next((other for other in every if kinds(other) == kinds(func) and not other._schema.is_mutable), None)
        if found is None:
            raise NotTraceable(f"the operation {func} cannot be carried out again")
        base = args[0]
        if self.sharing[base.untyped_storage().data_ptr()] > 1 or self.nodes[id(base)].op == "placeholder":
            raise NotTraceable("the step writes over a tensor that something else shows")
        return found

    def node(self, target: Any, args: tuple[Any, ...], options: dict[str, Any], out: Tensor) -> Node:
        """The node of an operation: a new one, or a known one of the same value."""
        same = self.neutral(target, args, options, out)
        if same is not None:
            return same
        if target is aten._to_copy.default and args[0].target in COMPARISONS and out.is_floating_point():
            target, (args, options) = args[0].target, self.operations[args[0]]  # as 0 and 1 at once
        key = repr((target, args, options, out.dtype))
        if key in self.seen:
            return self.seen[key]
        node = self.seen[key] = self.graph.call_function(target, args, options)
        node.meta["val"] = out
        self.operations[node] = (args, options)
        given = nodes_in((args, options))
        if target in FILLS or target in FILLS_WITH or all(n in self.constants for n in given):
            self.constants[node] = out
        if FILLS.get(target) == 0.0 or (is_view(node) and args[0] in self.zeros):
            self.zeros.add(node)
        return node

    def neutral(self, target: Any, args: tuple[Any, ...], options: dict[str, Any], out: Tensor) -> Node | None:
        """The operand that an operation leaves as it is."""
        if target is aten.add.Tensor:
            places = [k for k in (0, 1) if args[k] in self.zeros and (k == 1 or options.get("alpha", 1) == 1)]
        else:
            places = [1] if target is aten.mul.Tensor and args[1] == 1.0 else []
        for k in places:
            kept = args[1 - k]
            if isinstance(kept, Node) and kept.meta["val"].shape == out.shape and kept.meta["val"].dtype == out.dtype:
                return kept
        return None


def kinds(func: Any) -> list[str]:
    """Types of an operation's arguments."""
    return [str(argument.type) for argument in func._schema.arguments]


def nodes_in(value: Any) -> list[Node]:
    """All nodes in some arguments."""
    if isinstance(value, Node):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    parts: Iterable[Any] = value if isinstance(value, tuple | list) else ()
    return [node for part in parts for node in nodes_in(part)]


def needed(operations: Operations, wanted: Iterable[Node]) -> Operations:
    """The operations on which some nodes depend, in order."""
    left = set(wanted)
    found = []
    for node in reversed(list(operations)):
        if node in left:
            found.append(node)
            left.update(nodes_in(operations[node]))
    return {node: operations[node] for node in reversed(found)}


def following(operations: Operations, fixed: Mapping[Node, Any]) -> set[Node]:
    """The operations that depend on nothing but `fixed`."""
    found: set[Node] = set()
    for node, arguments in operations.items():
        if all(n in fixed or n in found for n in nodes_in(arguments)):
            found.add(node)
    return found
