"""Tensors in the generated code: in memory, or as code for each element."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Index = tuple[str, ...]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Buffer:
    """Where a tensor lies in memory."""

    offset: int
    strides: tuple[int, ...]

    def at(self, index: Index) -> str:
        """Code of one element."""
        terms = [f"{i} * {s}" if s != 1 else i for i, s in zip(index, self.strides, strict=True) if s and i != "0"]
        return f"m[{' + '.join([str(self.offset), *terms])}]"


@dataclass(frozen=True)
class Value:
    """A tensor: its shape, code of its elements, and where it lies if it lies in memory.

    `logical` : its elements are true or false; `reads` : names of the state's tensors that the code reads; `even` :
    its elements can be taken in one row, k along its last dimension of more than one
    """

    shape: Shape
    at: Callable[[Index], str]
    buffer: Buffer | None = None
    logical: bool = False
    reads: frozenset[str] = frozenset()
    even: bool = False


def in_memory(shape: Shape, buffer: Buffer, reads: frozenset[str] = frozenset()) -> Value:
    """A tensor that lies in memory."""
    return Value(shape, buffer.at, buffer, False, reads, is_contiguous(shape, buffer.strides))


def contiguous(shape: Shape) -> tuple[int, ...]:
    """Strides of a tensor whose last dimension varies fastest."""
    return tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))


def is_contiguous(shape: Shape, strides: Sequence[int]) -> bool:
    """Whether the elements lie one after another."""
    return all(n == 1 or s == c for n, s, c in zip(shape, strides, contiguous(shape), strict=True))


def number(value: Value, index: Index) -> str:
    """Code of one element as a number."""
    code = value.at(index)
    return f"(T(1.0) if {code} else T(0.0))" if value.logical else code


def as_numbers(value: Value) -> Value:
    """True and false as 1 and 0."""
    return Value(value.shape, lambda index: number(value, index), value.buffer, False, value.reads, value.even)


def spread(shape: Shape, larger: Shape, index: Index) -> Index:
    """The index into a tensor that is repeated to a larger shape."""
    inner = index[len(larger) - len(shape) :]
    return tuple("0" if n == 1 else i for n, i in zip(shape, inner, strict=True))


def blas_view(value: Value) -> str | None:
    """A matrix in memory as BLAS takes it, or None."""
    buffer, (n, k) = value.buffer, value.shape
    if buffer is None:
        return None
    flat = f"m[{buffer.offset}:{buffer.offset + n * k}]"
    if is_contiguous((n, k), buffer.strides):
        return f"{flat}.reshape(({n}, {k}))"
    if is_contiguous((k, n), buffer.strides[::-1]):
        return f"{flat}.reshape(({k}, {n})).T"
    return None
