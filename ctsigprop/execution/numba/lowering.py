"""From a graph of tensor operations to the source of a kernel: loops over one flat memory, sizes and places fixed.

Inputs, state, slopes and every intermediate result lie in one array `m`, each at a constant place in the code, so
that the compiler knows that no two of them overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node

from ctsigprop.execution.numba.emitter import SUMMED, Code, steps
from ctsigprop.execution.numba.symbols import (
    Buffer,
    Index,
    Shape,
    Value,
    as_numbers,
    contiguous,
    in_memory,
    number,
    spread,
)
from ctsigprop.execution.numba.templates import (
    DEFAULTS,
    LOGICAL,
    POINTWISE,
    SUMS,
    WITH_VALUE,
    literal,
)
from ctsigprop.execution.numba.view_lowering import padded, view
from ctsigprop.trace.aten import FILLS, FILLS_WITH, SAME, aten, is_view
from ctsigprop.trace.graph import MemberConstant, NotTraceable, StepGraph
from ctsigprop.trace.passes import consumers

EXCEEDS = {aten.gt.Scalar, aten.ge.Scalar, aten.gt.Tensor, aten.ge.Tensor}
"""Comparisons that are true of few."""
SPARED = {aten.mul.Tensor, aten.mul.Scalar, aten.div.Scalar, aten.constant_pad_nd.default}
"""Operations that leave zeros where they are."""


@dataclass(kw_only=True)
class Kernel(Code):
    """The code of one right-hand side while it is written; `places` says where inputs, state and slopes lie; `done` are
    operations that an earlier one has carried out on its result.
    """

    graph: StepGraph
    places: dict[str, int]
    constants: int
    values: dict[Node, Value] = field(default_factory=dict)
    done: set[Node] = field(default_factory=set)

    def write(self) -> None:
        """Every operation of the graph, in order."""
        self.given()
        self.carry_out(self.graph.flow.operations)

    def given(self) -> None:
        """Inputs and state, where they lie."""
        graph = self.graph
        landed = {f"{name}'": node for name, node in graph.landed.items()}
        for kind, nodes in (("input", graph.inputs), ("state", graph.state), ("state", landed)):
            for name, node in nodes.items():
                shape = tuple(node.meta["val"].shape)
                if not node.meta["val"].is_floating_point():
                    raise NotTraceable(f"{name} is not a tensor of floating-point numbers")
                reads = frozenset([name]) if kind == "state" else frozenset()
                self.values[node] = in_memory(shape, Buffer(self.places[name], contiguous(shape)), reads)

    def carry_out(self, operations: Iterable[Node]) -> None:
        """Some operations, in order."""
        for node in operations:
            value = self.operation(node)
            if value.buffer is None and self.stored(node, value):
                value = self.store(value)
            if value.buffer is not None and self.spikes(node):
                self.spiking.append((value.buffer.offset, value.buffer.offset + math.prod(value.shape)))
            self.values[node] = value

    def spikes(self, node: Node) -> bool:
        """Whether a result is nothing but spikes, perhaps times a number each."""
        given = (self.values[operand].buffer for operand in node.args if isinstance(operand, Node))
        return node.target in EXCEEDS or (
            node.target in SPARED and any(buffer is not None and self.spikes_in(buffer) for buffer in given)
        )

    def stored(self, node: Node, value: Value) -> bool:
        """Whether a result is worth a place in memory: read more than once, by a product, or element by element of
        something larger. What only becomes rows of another result, or a rate, is computed where it is put.
        """
        if is_view(node):
            return False
        users = list(consumers(node))
        if len(users) > 1:
            return True
        size = math.prod(value.shape)
        for user in (user for user in users if user.op != "output" and user.target is not aten.cat.default):
            if user.target in (aten.mm.default, aten._softmax.default):
                return True
            if not isinstance(user.meta["val"], torch.Tensor) or user.meta["val"].numel() > size:
                return True
        return False

    def operand(self, argument: Any) -> Value:
        """A node's value, or a number as one."""
        if isinstance(argument, Value):
            return argument
        if isinstance(argument, Node):
            return self.values[argument]
        if isinstance(argument, MemberConstant):
            code = f"m[{self.constants + argument.index}]"
            return Value((), lambda _index: code)
        if isinstance(argument, bool) or not isinstance(argument, int | float):
            raise NotTraceable(f"an operand {argument!r} has no compiled form")
        code = literal(float(argument))
        return Value((), lambda _index: code)

    def operation(self, node: Node) -> Value:
        """The value of one node."""
        target: Any = node.target
        args: tuple[Any, ...] = node.args
        kwargs: dict[str, Any] = node.kwargs
        out = node.meta["val"]
        if not isinstance(out, torch.Tensor):
            raise NotTraceable(f"the operation {target} has no compiled form")
        shape = tuple(out.shape)
        if target in FILLS or target in FILLS_WITH:
            number_of = FILLS[target] if target in FILLS else args[FILLS_WITH[target]]
            code = self.operand(number_of).at(())
            return Value(shape, lambda _index: code)
        if str(target).startswith("aten.bitwise") and out.dtype != torch.bool:
            raise NotTraceable(f"the operation {target} on whole numbers has no compiled form")
        if node in self.done:
            return self.operand(args[0])
        if target in POINTWISE or target in LOGICAL or target in WITH_VALUE:
            return self.pointwise(target, shape, args, kwargs)
        if target is aten.clamp.default:
            return self.clamped(shape, *args)
        if target in SUMS or target in DEFAULTS:
            return self.reduction(DEFAULTS.get(target, target), shape, args)
        if target is aten._softmax.default:
            return self.softmax(self.operand(args[0]), args[1])
        if target is aten.mm.default:
            left, right = (self.store(self.operand(a)) for a in args[:2])
            return self.product(left, right, self.row_added(node))
        if target is aten.cat.default:
            return self.cat(shape, [self.operand(part) for part in args[0]], args[1] if len(args) > 1 else 0)
        source = self.operand(args[0])
        if target in SAME:
            return source
        if target is aten._to_copy.default:
            return source if source.logical and not out.is_floating_point() else as_numbers(source)
        if target is aten.constant_pad_nd.default:
            return padded(source, shape, args[1], self.operand(args[2] if len(args) > 2 else 0.0).at(()))
        return view(node, source, shape, args)

    def known(self, node: Any) -> Value | None:
        """The value of a node that is there already, or of a view of one."""
        if node in self.values or not isinstance(node, Node) or not is_view(node):
            return self.values.get(node)
        return self.operation(node) if self.known(node.args[0]) is not None else None

    def row_added(self, node: Node) -> Value | None:
        """A row in memory, such as the biases, that is added to a product and to nothing else: sums can start from it,
        and the addition is done then.

        Not where spikes jump: weights change there between a product and what is added to it.
        """
        if self.sparse:
            return None
        users, columns = list(node.users), node.meta["val"].shape[1]
        if len(users) != 1 or users[0].target is not aten.add.Tensor or users[0].args[0] is not node or users[0].kwargs:
            return None
        row = self.known(users[0].args[1])
        if row is None or row.buffer is None or row.shape not in ((columns,), (1, columns)):
            return None
        if row.buffer.strides[-1] != 1:
            return None
        self.done.add(users[0])
        return row

    def pointwise(self, target: Any, shape: Shape, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        """Element by element, smaller operands repeated."""
        parts = [self.operand(argument) for argument in args[: 2 if target is aten.softplus.default else None]]
        if target is aten.softplus.default and (len(args) > 1 or kwargs):
            raise NotTraceable("softplus with a beta or threshold of its own has no compiled form")
        if target in WITH_VALUE:
            parts.append(self.operand(float(kwargs.get("value", 1))))
        alpha = kwargs.get("alpha", 1)
        template = {**POINTWISE, **LOGICAL, **WITH_VALUE}[target]
        flags = [
            (target is aten.where.self and k == 0)
            or (target is aten.masked_fill.Scalar and k == 1)
            or (target in LOGICAL and str(target).startswith(("aten.logical", "aten.bitwise")))
            for k in range(len(parts))
        ]

        def at(index: Index) -> str:
            codes = []
            for part, flag in zip(parts, flags, strict=True):
                inside = spread(part.shape, shape, index)
                codes.append(part.at(inside) if flag else number(part, inside))
            if alpha != 1:
                codes[1] = f"({self.operand(alpha).at(())} * {codes[1]})"
            return template.format(*codes)

        reads = frozenset().union(*(part.reads for part in parts))
        even = all(part.shape == () or (part.even and part.shape == shape) for part in parts)
        return Value(shape, at, None, target in LOGICAL, reads, even)

    def clamped(self, shape: Shape, source: Node, low: float | None = None, high: float | None = None) -> Value:
        """Between two numbers, either of which may be missing."""
        value = self.operand(source)
        if low is not None:
            value = self.pointwise(aten.clamp_min.default, shape, (value, low), {})
        return value if high is None else self.pointwise(aten.clamp_max.default, shape, (value, high), {})

    def reduction(self, target: Any, shape: Shape, args: tuple[Any, ...]) -> Value:
        """Over some dimensions, into memory."""
        source = self.operand(args[0])
        given = args[1:]
        if target is aten.linalg_vector_norm.default:
            if given and given[0] != 2:
                raise NotTraceable("norms other than Euclid's have no compiled form")
            given = given[1:]
        dims = given[0] if given and given[0] else range(len(source.shape))
        over = {d % len(source.shape) for d in dims}
        start, take, end = SUMS[target]
        count = math.prod(source.shape[d] for d in over)
        kept = tuple(1 if d in over else n for d, n in enumerate(source.shape))
        out = self.room(kept)

        def place(index: Index) -> str:
            return out.at(tuple("0" if d in over else i for d, i in enumerate(index)))

        def take_in(into: str, index: Index) -> str:
            return f"{into} = {take.format(into, number(source, index))}"

        last = len(source.shape) - 1
        if over == {last}:
            n = source.shape[-1]
            self.names += 1
            inner = f"i{self.names}"
            self.loops(
                kept,
                lambda index: [
                    f"acc = {start}",
                    f"for {inner} in {steps(n, math.prod(kept) > 1)}:",
                    "    " + take_in("acc", (*index[:-1], inner if n > 1 else "0")),
                    f"{place(index)} = {end.format('acc', '', count)}",
                ],
            )
        else:
            self.loops(kept, lambda index: [f"{place(index)} = {start}"])
            self.loops(source.shape, lambda index: [take_in(place(index), index)], SUMMED)
            if end != "{0}":
                self.loops(kept, lambda index: [f"{place(index)} = {end.format(place(index), '', count)}"])
        return in_memory(shape, Buffer(out.offset, contiguous(shape)))

    def softmax(self, source: Value, dim: int) -> Value:
        """Along the last dimension, into memory of its own; loops of one thing each are vectorised."""
        shape = source.shape
        if dim % len(shape) != len(shape) - 1:
            raise NotTraceable("a softmax along another dimension than the last one has no compiled form")
        kept = (*shape[:-1], 1)
        top = self.reduction(aten.amax.default, kept, (source, [-1], True))
        less = self.store(self.pointwise(aten.sub.Tensor, shape, (source, top), {}))
        raised = self.store(self.pointwise(aten.exp.default, shape, (less,), {}))
        whole = self.reduction(aten.sum.dim_IntList, kept, (raised, [-1], True))
        return self.store(self.pointwise(aten.div.Tensor, shape, (raised, whole), {}))

    def cat(self, shape: Shape, parts: Sequence[Value], dim: int) -> Value:
        """Side by side in memory."""
        out = self.room(shape)
        start = 0
        for part in parts:
            if math.prod(part.shape):
                offset = out.offset + start * out.strides[dim]
                self.store(part, Buffer(offset, out.strides))
                start += part.shape[dim]
        return in_memory(shape, out)
