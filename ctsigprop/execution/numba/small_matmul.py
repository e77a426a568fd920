"""Products of small matrices as vector instructions: a tile of the result stays in registers while terms are added.

A call of BLAS costs more than the product itself where sides are some tens long, and loops that a compiler turns into
vectors keep the result in memory. After K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", ACM TOMS 34(3), 2008, section 4, without the blocks for caches, as everything is small. Generated
modules import it; it needs numba.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

PANEL = 4
"""Vectors side by side in a tile at most."""
VECTORS = 12
"""Vectors in a tile at most: with what they are made of they fit into sixteen registers."""
PIPELINE = 8
"""Sums that have to be under way at once for additions to follow each other without a pause."""
START = 4
"""What a tile costs apart from its terms, in vectors."""


def bits() -> int:
    """The length of the vectors for which numba compiles on this computer."""
    features = str(get_host_cpu_features()).split(",")
    return 512 if "+avx512f" in features else 256 if "+avx" in features else 128


def starts(n: int, lanes: int) -> list[int]:
    """Where vectors begin that cover n numbers: the last one ends with them, over part of the one before it."""
    return [*range(0, n - lanes, lanes), n - lanes]


def panels(columns: int, most: int) -> tuple[int, list[list[int]]]:
    """(numbers in a vector, first columns of the vectors of each panel) that cover a row with the least work; vectors
    that overlap are in one panel.
    """
    widths = [2**k for k in range(most.bit_length()) if 2**k <= columns]
    lanes = min(reversed(widths), key=lambda n: -(-columns // n) * max(n, most // 2))
    vectors = starts(columns, lanes)
    first = len(vectors) % PANEL
    groups = [vectors[k : k + PANEL] for k in range(first, len(vectors), PANEL)]
    return lanes, ([vectors[:first]] if first else []) + groups


def height(rows: int, vectors: int) -> int:
    """Rows of a tile of so many vectors a row, for the least work."""

    def work(n: int) -> int:
        sizes = [n] * (rows // n) + [rows % n] * (rows % n > 0)
        return sum(max(size * vectors, PIPELINE) + START for size in sizes)

    return min(range(1, min(rows, VECTORS // vectors) + 1), key=work)


@dataclass(frozen=True)
class Vectors:
    """Instructions on vectors of some lanes, in one memory at `data`."""

    builder: ir.IRBuilder
    data: ir.Value
    number: ir.Type
    lanes: int
    size: int

    @property
    def kind(self) -> ir.VectorType:
        """The type of a vector."""
        return ir.VectorType(self.number, self.lanes)

    def at(self, offset: int, *terms: tuple[ir.Value, int]) -> ir.Value:
        """The address of offset + the sum of index * stride."""
        place: ir.Value = whole(offset)
        for index, stride in terms:
            place = self.builder.add(place, self.builder.mul(index, whole(stride)))
        return self.builder.gep(self.data, [place])

    def load(self, address: ir.Value) -> ir.Value:
        """A vector, wherever it lies."""
        vector = self.builder.load(self.builder.bitcast(address, self.kind.as_pointer()))
        vector.align = self.size
        return vector

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """A vector, likewise."""
        self.builder.store(value, self.builder.bitcast(address, self.kind.as_pointer())).align = self.size

    def everywhere(self, value: ir.Value) -> ir.Value:
        """A number in every lane."""
        none, first = ir.Constant(self.kind, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        return self.lanes_of(self.builder.insert_element(none, value, first), none, [0] * self.lanes)

    def lanes_of(self, one: ir.Value, other: ir.Value, which: list[int]) -> ir.Value:
        """Some lanes of two vectors, those of the other counted on."""
        return self.builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(which)), which))

    def turned(self, square: list[ir.Value]) -> list[ir.Value]:
        """As many vectors as there are lanes, transposed: halves change places, then quarters, and so on."""
        rows, lanes = list(square), range(self.lanes)
        bit = 1
        while bit < self.lanes:
            for i in (i for i in lanes if not i & bit):
                one, other = rows[i], rows[i | bit]
                rows[i] = self.lanes_of(one, other, [k if not k & bit else self.lanes + k - bit for k in lanes])
                rows[i | bit] = self.lanes_of(one, other, [k + bit if not k & bit else self.lanes + k for k in lanes])
            bit *= 2
        return rows


@dataclass(frozen=True)
class Product:
    """out = base + factor A B, or A B where there is no base, in one memory.

    Parameters
    ----------
    rows, inner, columns : of A (rows, inner) and B (inner, columns)
    a : offset and both strides of A
    b, out, base : offset and stride of the rows of each, which lie in one piece; the base's stride is 0 where it is one
        row for all; () for no base
    """

    rows: int
    inner: int
    columns: int
    a: tuple[int, int, int]
    b: tuple[int, int]
    out: tuple[int, int]
    base: tuple[int, ...]

    def interpreted(self, m: np.ndarray, factor: float) -> None:
        """Without a compiler."""
        out = matrix(m, self.out[0], (self.out[1], 1), (self.rows, self.columns))
        left = matrix(m, self.a[0], self.a[1:], (self.rows, self.inner))
        product = left @ matrix(m, self.b[0], (self.b[1], 1), (self.inner, self.columns))
        out[:] = product if not self.base else matrix(m, self.base[0], (self.base[1], 1), out.shape) + factor * product

    def write(self, to: Vectors, groups: list[list[int]], factor: ir.Value) -> None:
        """Tile after tile of panel after panel."""
        share = to.everywhere(factor)
        for group in groups:
            n = height(self.rows, len(group))
            with cgutils.for_range(to.builder, whole(self.rows // n)) as loop:
                self.tile(to, to.builder.mul(loop.index, whole(n)), n, group, share)
            if self.rows % n:
                self.tile(to, whole(self.rows - self.rows % n), self.rows % n, group, share)

    def tile(self, to: Vectors, row: ir.Value, count: int, group: list[int], share: ir.Value) -> None:
        """Some rows of a panel, all read before any is written, as vectors overlap."""
        places = [(r, c) for r in range(count) for c in group]
        sums = self.sums(to, row, count, group)
        if self.base:
            first, step = self.base
            old = [to.load(to.at(first + r * step + c, (row, step))) for r, c in places]
            sums = [to.builder.fadd(was, to.builder.fmul(share, new)) for was, new in zip(old, sums, strict=True)]
        first, step = self.out
        for (r, c), value in zip(places, sums, strict=True):
            to.store(value, to.at(first + r * step + c, (row, step)))

    def sums(self, to: Vectors, row: ir.Value, count: int, group: list[int]) -> list[ir.Value]:
        """Those of a tile, row by row."""
        builder, (first, by_row, by_term), (offset, step) = to.builder, self.a, self.b
        with builder.goto_entry_block():  # only from there they become registers
            held = [[builder.alloca(to.kind) for _ in group] for _ in range(count)]
        for one in (one for line in held for one in line):
            builder.store(ir.Constant(to.kind, None), one)
        with cgutils.for_range(builder, whole(self.inner)) as loop:
            right = [to.load(to.at(offset + c, (loop.index, step))) for c in group]
            for r, line in enumerate(held):
                left = builder.load(to.at(first + r * by_row, (row, by_row), (loop.index, by_term)))
                spread = to.everywhere(left)
                for one, term in zip(line, right, strict=True):
                    builder.store(builder.fadd(builder.load(one), builder.fmul(spread, term)), one)
        return [builder.load(one) for line in held for one in line]


@dataclass(frozen=True)
class Turn:
    """out = A^T in one memory: A (rows, columns) at offset `a`, its rows `stride` apart, out in one piece."""

    rows: int
    columns: int
    a: int
    stride: int
    out: int

    def interpreted(self, m: np.ndarray) -> None:
        """Without a compiler."""
        source = matrix(m, self.a, (self.stride, 1), (self.rows, self.columns))
        m[self.out : self.out + self.rows * self.columns] = source.T.ravel()

    def write(self, to: Vectors) -> None:
        """Square after square, the last ones over part of those before them."""
        last = [whole(n - to.lanes) for n in (self.rows, self.columns)]
        counts = [-(-n // to.lanes) for n in (self.rows, self.columns)]
        with cgutils.loop_nest(to.builder, [whole(n) for n in counts], ir.IntType(64)) as index:
            places = [to.builder.mul(i, whole(to.lanes)) for i in index]
            row, column = (
                to.builder.select(to.builder.icmp_signed("<", here, most), here, most)
                for here, most in zip(places, last, strict=True)
            )
            lines = range(to.lanes)
            square = [to.load(to.at(self.a + k * self.stride, (row, self.stride), (column, 1))) for k in lines]
            for k, line in zip(lines, to.turned(square), strict=True):
                to.store(line, to.at(self.out + k * self.rows, (column, self.rows), (row, 1)))


def matrix(m: np.ndarray, offset: int, strides: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """A matrix in memory, as numpy has it."""
    return np.lib.stride_tricks.as_strided(m[offset:], shape, tuple(n * m.itemsize for n in strides))


def interpreted() -> bool:
    """Whether generated code runs as plain Python."""
    return bool(vars(config)["DISABLE_JIT"])  # which numba sets while it is imported


def whole(value: int) -> ir.Constant:
    """A whole number of the machine."""
    return ir.Constant(ir.IntType(64), value)


def vectors(target: Any, builder: Any, signature: Any, args: Any, lanes: int) -> Vectors:
    """Those of the memory that is the first argument."""
    m = signature.args[0]
    data = target.make_array(m)(target, builder, args[0]).data
    return Vectors(builder, data, target.get_value_type(m.dtype), lanes, m.dtype.bitwidth // 8)


def tiles(rows: int, inner: int, columns: int, *places: int) -> Callable[..., Any]:
    """A function (m, factor) for generated code: a `Product`, whose places follow each other."""
    a, b, out = places[:3], places[3:5], places[5:7]
    product = Product(rows, inner, columns, a, b, out, places[7:])  # type: ignore[arg-type]
    if interpreted():
        return product.interpreted

    @intrinsic
    def multiply(context: Any, m: Any, factor: Any) -> Any:
        lanes, groups = panels(columns, bits() // m.dtype.bitwidth)

        def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
            product.write(vectors(target, builder, signature, args, lanes), groups, args[1])
            return target.get_dummy_value()

        return types.none(m, m.dtype), code

    return multiply


def turned(rows: int, columns: int, *places: int) -> Callable[..., Any]:
    """A function (m) for generated code: a `Turn`, whose places follow each other."""
    turn = Turn(rows, columns, *places)
    if interpreted():
        return turn.interpreted

    @intrinsic
    def transpose(context: Any, m: Any) -> Any:
        most = min(rows, columns, bits() // m.dtype.bitwidth)

        def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
            turn.write(vectors(target, builder, signature, args, 2 ** (most.bit_length() - 1)))
            return target.get_dummy_value()

        return types.none(m), code

    return transpose
