"""Writes code: lines, places in memory, loops over elements, and matrix products."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ctsigprop.execution.numba.symbols import (
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

SPARSE = 2000
"""Multiplications from which on a product with spikes may go from spike to spike, for which they have to be counted."""
LARGE = 2_000_000
"""Multiplications from which on a product is left to BLAS, which sees to caches and takes several threads."""
TURNED = 4
"""Rows from which on it is worth while to transpose the other matrix first, whose columns lie in one piece each."""
SHORT, LONG = 8, 64
"""Steps of an inner loop whose number is hidden from the compiler: it would write them all out, and then turn the loop
around it into vectors, whose elements lie far apart.
"""
SUMMED = 16
"""The same where it adds rows up: fewer sums stay in registers if they are written out."""
FEW = 16
"""Spikes are few where fewer than one in so many elements is not 0: their products then go from spike to spike."""


@dataclass(kw_only=True)
class Code:
    """Lines of a function, and the memory that it takes from `size` on; with `sparse`, products with spikes, which lie
    at `spiking`, go from spike to spike. `functions` are names of those that some code makes, by that code.
    """

    size: int
    lines: list[str] = field(default_factory=list)
    names: int = 0
    depth: int = 0
    sparse: bool = False
    spiking: list[tuple[int, int]] = field(default_factory=list)
    functions: dict[str, str] = field(default_factory=dict)

    def emit(self, depth: int, line: str) -> None:
        """One line of code."""
        self.lines.append("    " * (self.depth + depth + 1) + line)

    def named(self, code: str) -> str:
        """The name of a function that `code` makes for one place of the program, and for no other."""
        return self.functions.setdefault(code, f"P_{hashlib.sha256(code.encode()).hexdigest()[:8]}")

    def room(self, shape: Shape) -> Buffer:
        """A new place in memory."""
        buffer = Buffer(self.size, contiguous(shape))
        self.size += math.prod(shape)
        return buffer

    def loops(self, shape: Shape, body: Callable[[Index], Iterable[str]], least: int = SHORT) -> None:
        """`body` for every index."""
        index, headers = self.nest(shape, least)
        for depth, header in enumerate(headers):
            self.emit(depth, header)
        for line in body(index):
            self.emit(len(headers), line)

    def nest(self, shape: Shape, least: int = SHORT) -> tuple[Index, list[str]]:
        """(index, first lines of the loops) over a shape, without those of one step."""
        index: list[str] = []
        headers: list[str] = []
        for d, n in enumerate(shape):
            self.names += n != 1
            index.append(f"i{self.names}" if n != 1 else "0")
            if n != 1:
                inner = bool(headers) and all(left == 1 for left in shape[d + 1 :])
                headers.append(f"for i{self.names} in {steps(n, inner, least)}:")
        return tuple(index), headers

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
        index, headers = self.nest(shape)
        code = f"{factor}{number(value, index)}"
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
        self.emit(len(headers), f"{target.at(index)} {sign} {code}")

    def product(self, left: Value, right: Value, row: Value | None = None) -> Value:
        """A matrix product, into memory; with `row` added to every row."""
        shape = (left.shape[0], right.shape[1])
        out = self.room(shape)
        base = None if row is None or row.buffer is None else Buffer(row.buffer.offset, (0, 1))
        self.multiply(left, right, out, base)
        return in_memory(shape, out)

    def multiply(self, left: Value, right: Value, out: Buffer, base: Buffer | None = None, factor: str = "") -> None:
        """Out = base + factor left right, or left right; `factor` is code with its sign " * "."""
        a, b = operands(left, right)
        if math.prod(left.shape) * right.shape[1] >= SPARSE and (self.spikes_in(a) or self.spikes_in(b)):
            self.from_spikes(left, right, out, base, factor)
        else:
            self.dense(left, right, out, base, factor)

    def dense(self, left: Value, right: Value, out: Buffer, base: Buffer | None, factor: str) -> None:
        """The same in tiles, by BLAS where it is large, or as sums along rows."""
        a, b = operands(left, right)
        (rows, inner), columns = left.shape, right.shape[1]
        in_rows = b.strides[1] == 1
        if rows * inner * columns >= LARGE and blas_view(left) and blas_view(right):
            self.by_blas(left, right, out, base, factor)
        elif columns == 1 or not (in_rows or rows >= TURNED):
            self.by_loops(left, right, out, base, factor)
        else:
            if not in_rows:
                b = self.in_rows(right)
            places = (*left.shape, columns, a.offset, *a.strides, b.offset, b.strides[0], out.offset, out.strides[0])
            more = () if base is None else (base.offset, base.strides[0])
            numbers = ", ".join(map(str, (*places, *more)))
            function = self.named(f"tiles({numbers})")
            self.emit(0, f"{function}(m, {factor.removesuffix(' * ') or 'T(1.0)'})")

    def in_rows(self, value: Value) -> Buffer:
        """A copy of a matrix whose rows lie in one piece each."""
        (rows, columns), buffer = value.shape, value.buffer
        out = self.room(value.shape)
        if buffer is not None and buffer.strides[0] == 1:
            made = f"turned({columns}, {rows}, {buffer.offset}, {buffer.strides[1]}, {out.offset})"
            self.emit(0, f"{self.named(made)}(m)")
        else:
            self.assign(value, out)
        return out

    def by_blas(self, left: Value, right: Value, out: Buffer, base: Buffer | None, factor: str) -> None:
        """A large product of matrices that lie in one piece."""
        rows, columns = left.shape[0], right.shape[1]
        place = out if base is None else self.room((rows, columns))
        target = f"m[{place.offset}:{place.offset + rows * columns}].reshape(({rows}, {columns}))"
        self.emit(0, f"np.dot({blas_view(left)}, {blas_view(right)}, {target})")
        if base is not None:
            self.loops(
                (rows, columns), lambda index: [f"{out.at(index)} = {base.at(index)} + {factor}{place.at(index)}"]
            )

    def by_loops(self, left: Value, right: Value, out: Buffer, base: Buffer | None, factor: str) -> None:
        """A product as sums, a number at a time."""
        a, b = operands(left, right)
        self.loops(
            (left.shape[0], right.shape[1]),
            lambda index: [
                "acc = T(0.0)",
                f"for k_ in {steps(left.shape[1], True)}:",
                f"    acc += {a.at((index[0], 'k_'))} * {b.at(('k_', index[1]))}",
                f"{out.at(index)} = {'' if base is None else f'{base.at(index)} + {factor}'}acc",
            ],
        )

    def spikes_in(self, buffer: Buffer) -> bool:
        """Whether spikes lie there."""
        return self.sparse and any(start <= buffer.offset < stop for start, stop in self.spiking)

    def from_spikes(self, left: Value, right: Value, out: Buffer, base: Buffer | None, factor: str) -> None:
        """A large product with spikes: from spike to spike where they are few, which is found out each time; `base` is
        `out` or nothing.
        """
        a, b = operands(left, right)
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
        if base is None:
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
        self.dense(left, right, out, base, factor)
        self.depth -= 1


def operands(left: Value, right: Value) -> tuple[Buffer, Buffer]:
    """Where the operands of a product lie.

    Raises
    ------
    RuntimeError : one of them is not in memory
    """
    if left.buffer is None or right.buffer is None:
        raise RuntimeError("a product needs its operands in memory")
    return left.buffer, right.buffer


def steps(n: int, inner: bool, least: int = SHORT) -> str:
    """Code of the steps of a loop."""
    return f"range(hidden({n}))" if inner and least <= n < LONG else f"range({n})"
