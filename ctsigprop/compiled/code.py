"""Code while it is written: lines, places in memory, loops over elements, and products of matrices."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ctsigprop.compiled.values import (
    Buffer,
    Index,
    Shape,
    Value,
    blas_view,
    contiguous,
    in_memory,
    is_contiguous,
    number,
)

BLAS = 2000
"""Multiplications from which on a product of matrices is left to BLAS, whose call costs some hundred of them."""
OUTER = 30_000
"""The same for a sum of outer products, post^T pre of some rows, which loops do well."""
UNROLLED = 8
"""Outer products that are added at once."""
FEW = 8
"""Spikes are few where fewer than one in so many elements is not 0: their products then go from spike to spike."""


@dataclass(kw_only=True)
class Code:
    """Lines of a function, and the memory that it takes from `size` on; with `sparse`, products with spikes, which lie
    at `spiking`, go from spike to spike.
    """

    size: int
    lines: list[str] = field(default_factory=list)
    names: int = 0
    depth: int = 0
    sparse: bool = False
    spiking: list[tuple[int, int]] = field(default_factory=list)

    def emit(self, depth: int, line: str) -> None:
        """One line of code."""
        self.lines.append("    " * (self.depth + depth + 1) + line)

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
        count = rows * inner * columns
        outer = a.strides[0] == 1 and b.strides[1] == 1 and rows > 1 and columns > 1
        if count < BLAS or (outer and count < OUTER):
            self.by_loops(left.shape, columns, a, b, out, add, factor)
        elif self.spikes_in(a) or self.spikes_in(b):
            self.from_spikes(left, right, out, add, factor)
        else:
            self.by_blas(left, right, out, add, factor)

    def by_blas(self, left: Value, right: Value, out: Buffer, add: str, factor: str) -> None:
        """A large product, where its operands lie in one piece."""
        a, b = left.buffer, right.buffer
        rows, columns = left.shape[0], right.shape[1]
        views = [blas_view(left), blas_view(right)]
        if None not in views:
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
        elif a is not None and b is not None:
            self.by_loops(left.shape, columns, a, b, out, add, factor)

    def by_loops(self, shape: Shape, columns: int, a: Buffer, b: Buffer, out: Buffer, add: str, factor: str) -> None:
        """A small product, a number at a time."""
        rows, inner = shape
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
        for first, count, terms in (
            (0, inner // UNROLLED, UNROLLED),
            (inner - inner % UNROLLED, 1, inner % UNROLLED),
        ):
            if not count * terms:
                continue

            def at_once(index: Index, first: int = first, terms: int = terms) -> Iterable[str]:
                k = [f"({index[0]} * {UNROLLED} + {first + p})" for p in range(terms)]
                total = " + ".join(f"a{p}_ * {b.at((k[p], 'j_'))}" for p in range(terms))
                return [
                    *(f"a{p}_ = {factor}{a.at((index[1], k[p]))}" for p in range(terms)),
                    f"for j_ in range({columns}):",
                    f"    {out.at((index[1], 'j_'))} += {total}",
                ]

            self.loops((count, rows, 1), at_once)

    def spikes_in(self, buffer: Buffer) -> bool:
        """Whether spikes lie there."""
        return self.sparse and any(start <= buffer.offset < stop for start, stop in self.spiking)

    def from_spikes(self, left: Value, right: Value, out: Buffer, add: str, factor: str) -> None:
        """A large product with spikes: from spike to spike where they are few, which is found out each time."""
        a, b = left.buffer, right.buffer
        if a is None or b is None:
            raise RuntimeError("a product needs its operands in memory")
        (rows, inner), columns = left.shape, right.shape[1]
        first = self.spikes_in(a)
        shape, spikes = ((rows, inner), a) if first else ((inner, columns), b)
        turned = spikes.strides[0] < spikes.strides[1]  # they are read as they lie in memory

        def each_spike(body: Callable[[str, str], Iterable[str]]) -> None:
            def of(index: Index) -> Iterable[str]:
                i, j = index[::-1] if turned else index
                return body(i, j)

            self.loops(shape[::-1] if turned else shape, of)

        self.emit(0, "hits = 0")
        each_spike(lambda i, j: [f"hits += 1 if {spikes.at((i, j))} != T(0.0) else 0"])
        self.emit(0, f"if hits * {FEW} < {math.prod(shape)}:")
        self.depth += 1
        if not add:
            self.emit(0, f"m[{out.offset}:{out.offset + rows * columns}] = T(0.0)")

        def carried(i: str, j: str) -> Iterable[str]:
            n, there, along = (
                (columns, out.at((i, "l_")), b.at((j, "l_"))) if first else (rows, out.at(("l_", j)), a.at(("l_", i)))
            )
            return [
                f"acc = {factor}{spikes.at((i, j))}",
                "if acc != T(0.0):",
                f"    for l_ in range({n}):",
                f"        {there} += acc * {along}",
            ]

        each_spike(carried)
        self.depth -= 1
        self.emit(0, "else:")
        self.depth += 1
        self.by_blas(left, right, out, add, factor)
        self.depth -= 1
