"""From a graph of tensor operations to the source of a kernel: loops over one flat memory, sizes and places fixed.

Inputs, state, slopes and every intermediate result lie in one array `m`, each at a place that is a constant of the
code, so that the compiler knows that no two of them overlap.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node

from ctsigprop.compiled.operators import (
    DEFAULTS,
    FILLS,
    FILLS_WITH,
    LOGICAL,
    POINTWISE,
    SAME,
    SUMS,
    WITH_VALUE,
    literal,
)
from ctsigprop.compiled.trace import Member, NotCompilable, Traced
from ctsigprop.compiled.values import (
    Buffer,
    Index,
    Shape,
    Value,
    as_numbers,
    blas_view,
    contiguous,
    in_memory,
    is_contiguous,
    number,
    spread,
)
from ctsigprop.compiled.views import consumers, is_view, padded, view

aten = torch.ops.aten
BLAS = 2000
"""Multiplications from which on a product of matrices is left to BLAS, whose call costs some hundred of them."""


@dataclass
class Kernel:
    """The code of one right-hand side while it is written; `places` says where inputs, state and slopes lie."""

    trace: Traced
    places: dict[str, int]
    constants: int
    size: int
    lines: list[str] = field(default_factory=list)
    values: dict[Node, Value] = field(default_factory=dict)
    names: int = 0

    def emit(self, depth: int, line: str) -> None:
        """One line of code."""
        self.lines.append("    " * (depth + 1) + line)

    def room(self, shape: Shape) -> Buffer:
        """A new place in memory."""
        found = Buffer(self.size, contiguous(shape))
        self.size += math.prod(shape)
        return found

    def loops(self, shape: Shape, body: Callable[[Index], Iterable[str]]) -> None:
        """`body` for every index."""
        index: list[str] = []
        depth = 0
        for n in shape:
            if n == 1:
                index.append("0")
                continue
            self.names += 1
            index.append(f"i{self.names}")
            self.emit(depth, f"for i{self.names} in range({n}):")
            depth += 1
        for line in body(tuple(index)):
            self.emit(depth, line)

    def store(self, value: Value, place: Buffer | None = None) -> Value:
        """`value` in memory, computed where it was not."""
        if place is None and value.buffer is not None:
            return value
        target = self.room(value.shape) if place is None else place
        self.assign(value, target)
        return in_memory(value.shape, target)

    def assign(self, value: Value, target: Buffer, sign: str = "=", factor: str = "") -> None:
        """Target = factor value, or with another sign such as "+=", element by element: in one loop where that can be.

        What does not change in the innermost loop is read before it: the compiler cannot know that it does not.
        """
        shape = value.shape
        if value.even and is_contiguous(shape, target.strides) and math.prod(shape) > 1:
            last = max(d for d, n in enumerate(shape) if n > 1)
            shape = tuple(math.prod(shape) if d == last else 1 for d in range(len(shape)))
        index = []
        headers = []
        for n in shape:
            self.names += n != 1
            index.append(f"i{self.names}" if n != 1 else "0")
            headers += [f"for i{self.names} in range({n}):"] if n != 1 else []
        code = f"{factor}{number(value, tuple(index))}"
        ahead: dict[str, str] = {}
        if headers and " if " not in code:
            inner = headers[-1].split()[1]
            for term in dict.fromkeys(re.findall(r"m\[[^\[\]]*\]", code)):
                if inner not in re.findall(r"\w+", term):
                    self.names += 1
                    ahead[term] = f"h{self.names}"
                    code = code.replace(term, ahead[term])
        for depth, header in enumerate(headers):
            if depth == len(headers) - 1:
                for term, name in ahead.items():
                    self.emit(depth, f"{name} = {term}")
            self.emit(depth, header)
        self.emit(len(headers), f"{target.at(tuple(index))} {sign} {code}")

    def write(self) -> None:
        """Every operation of the graph, in order."""
        for kind, nodes in (("input", self.trace.inputs), ("state", self.trace.state)):
            for name, node in nodes.items():
                shape = tuple(node.meta["val"].shape)
                if not node.meta["val"].is_floating_point():
                    raise NotCompilable(f"{name} is not a tensor of floating-point numbers")
                reads = frozenset([name]) if kind == "state" else frozenset()
                self.values[node] = in_memory(shape, Buffer(self.places[name], contiguous(shape)), reads)
        for node, (args, kwargs) in self.trace.arguments.items():
            value = self.operation(node, args, kwargs)
            if value.buffer is None and self.stored(node, value):
                value = self.store(value)
            self.values[node] = value

    def stored(self, node: Node, value: Value) -> bool:
        """Whether a result is worth a place in memory: read more than once, by a product, or element by element of
        something larger.
        """
        if is_view(node):
            return False
        users = list(consumers(node))
        if len(users) > 1:
            return True
        size = math.prod(value.shape)
        for user in users:
            if user.op == "output" or user.target in (aten.mm.default, aten._softmax.default):
                return True
            if not isinstance(user.meta["val"], torch.Tensor) or user.meta["val"].numel() > size:
                return True
        return False

    def operand(self, argument: Any) -> Value:
        """A node's value, or a number as one."""
        if isinstance(argument, Node):
            return self.values[argument]
        if isinstance(argument, Member):
            code = f"m[{self.constants + argument.index}]"
            return Value((), lambda _index: code)
        if isinstance(argument, bool) or not isinstance(argument, int | float):
            raise NotCompilable(f"an operand {argument!r} has no compiled form")
        code = literal(float(argument))
        return Value((), lambda _index: code)

    def operation(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        """The value of one node."""
        target: Any = node.target
        out = node.meta["val"]
        if not isinstance(out, torch.Tensor):
            raise NotCompilable(f"the operation {target} has no compiled form")
        shape = tuple(out.shape)
        if target in FILLS or target in FILLS_WITH:
            number_of = FILLS[target] if target in FILLS else args[FILLS_WITH[target]]
            code = self.operand(number_of).at(())
            return Value(shape, lambda _index: code)
        if target in POINTWISE or target in LOGICAL or target in WITH_VALUE:
            return self.pointwise(target, shape, args, kwargs)
        if target in SUMS or target in DEFAULTS:
            return self.reduction(DEFAULTS.get(target, target), shape, args)
        if target is aten._softmax.default:
            return self.softmax(self.operand(args[0]), args[1])
        if target is aten.mm.default:
            return self.product(*(self.store(self.operand(a)) for a in args[:2]))
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

    def pointwise(self, target: Any, shape: Shape, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        """Element by element, smaller operands repeated."""
        parts = [self.operand(argument) for argument in args[: 2 if target is aten.softplus.default else None]]
        if target is aten.softplus.default and (len(args) > 1 or kwargs):
            raise NotCompilable("softplus with a beta or threshold of its own has no compiled form")
        if target in WITH_VALUE:
            parts.append(self.operand(float(kwargs.get("value", 1))))
        alpha = kwargs.get("alpha", 1)
        template = {**POINTWISE, **LOGICAL, **WITH_VALUE}[target]
        flags = [
            (target is aten.where.self and k == 0)
            or (target is aten.masked_fill.Scalar and k == 1)
            or (target in LOGICAL and str(target).startswith("aten.logical"))
            for k in range(len(parts))
        ]

        def at(index: Index) -> str:
            codes = []
            for part, flag in zip(parts, flags, strict=True):
                inside = spread(part.shape, shape, index)
                codes.append(part.at(inside) if flag else number(part, inside))
            if alpha != 1:
                codes[1] = f"({literal(float(alpha))} * {codes[1]})"
            return template.format(*codes)

        reads = frozenset().union(*(part.reads for part in parts))
        even = all(part.shape == () or (part.even and part.shape == shape) for part in parts)
        return Value(shape, at, None, target in LOGICAL, reads, even)

    def reduction(self, target: Any, shape: Shape, args: tuple[Any, ...]) -> Value:
        """Over some dimensions, into memory."""
        source = self.operand(args[0])
        given = args[1:]
        if target is aten.linalg_vector_norm.default:
            if given and given[0] != 2:
                raise NotCompilable("norms other than Euclid's have no compiled form")
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
                    f"for {inner} in range({n}):",
                    "    " + take_in("acc", (*index[:-1], inner if n > 1 else "0")),
                    f"{place(index)} = {end.format('acc', '', count)}",
                ],
            )
        else:
            self.loops(kept, lambda index: [f"{place(index)} = {start}"])
            self.loops(source.shape, lambda index: [take_in(place(index), index)])
            if end != "{0}":
                self.loops(kept, lambda index: [f"{place(index)} = {end.format(place(index), '', count)}"])
        return in_memory(shape, Buffer(out.offset, contiguous(shape)))

    def softmax(self, source: Value, dim: int) -> Value:
        """Along the last dimension, into memory of its own."""
        n = source.shape[-1]
        if dim % len(source.shape) != len(source.shape) - 1:
            raise NotCompilable("a softmax along another dimension than the last one has no compiled form")
        out = self.room(source.shape)
        self.names += 1
        j = f"i{self.names}"

        def body(index: Index) -> list[str]:
            here = (*index[:-1], j)
            return [
                "acc = T(-math.inf)",
                f"for {j} in range({n}):",
                f"    acc = greater(acc, {number(source, here)})",
                "whole_ = T(0.0)",
                f"for {j} in range({n}):",
                f"    {out.at(here)} = exp({number(source, here)} - acc)",
                f"    whole_ += {out.at(here)}",
                f"for {j} in range({n}):",
                f"    {out.at(here)} /= whole_",
            ]

        self.loops((*source.shape[:-1], 1), body)
        return in_memory(source.shape, out)

    def product(self, left: Value, right: Value) -> Value:
        """A matrix product, into memory."""
        shape = (left.shape[0], right.shape[1])
        out = self.room(shape)
        self.multiply(left, right, out)
        return in_memory(shape, out)

    def multiply(self, left: Value, right: Value, out: Buffer, add: str = "", factor: str = "") -> None:
        """Out = left right, or with `add` ("+") out += factor left right."""
        a, b = left.buffer, right.buffer
        if a is None or b is None:
            raise RuntimeError("a product needs its operands in memory")
        (rows, inner), columns = left.shape, right.shape[1]
        views = [blas_view(left), blas_view(right)]
        if rows * inner * columns >= BLAS and None not in views:
            target = f"m[{out.offset}:{out.offset + rows * columns}].reshape(({rows}, {columns}))"
            if not add:
                self.emit(0, f"np.dot({views[0]}, {views[1]}, {target})")
                return
            buffer = self.room((rows, columns))
            self.emit(
                0,
                f"np.dot({views[0]}, {views[1]}, m[{buffer.offset}:{buffer.offset + rows * columns}]"
                f".reshape(({rows}, {columns})))",
            )
            self.emit(0, f"for i_ in range({rows * columns}):")
            self.emit(1, f"m[{out.offset} + i_] += {factor}m[{buffer.offset} + i_]")
            return
        if b.strides[0] == 1 and a.strides[1] == 1 and inner > 1 and columns > 1:
            self.loops(
                (rows, columns),
                lambda index: [
                    "acc = T(0.0)",
                    f"for k_ in range({inner}):",
                    f"    acc += {a.at((index[0], 'k_'))} * {b.at(('k_', index[1]))}",
                    f"{out.at(index)} {add}= {factor}acc",
                ],
            )
            return
        if not add:
            self.emit(0, f"m[{out.offset}:{out.offset + rows * columns}] = T(0.0)")
        self.loops(
            (inner, rows, 1),
            lambda index: [
                f"acc = {factor}{a.at((index[1], index[0]))}",
                f"for j_ in range({columns}):",
                f"    {out.at((index[1], 'j_'))} += acc * {b.at((index[0], 'j_'))}",
            ],
        )

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
