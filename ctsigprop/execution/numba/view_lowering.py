"""Operations that compute nothing and only rearrange elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.fx import Node

from ctsigprop.execution.numba.symbols import (
    Buffer,
    Index,
    Shape,
    Value,
    contiguous,
    in_memory,
    is_contiguous,
    number,
    spread,
)
from ctsigprop.trace.aten import VIEWS
from ctsigprop.trace.graph import NotTraceable


def padded(source: Value, shape: Shape, pads: Sequence[int], fill: str) -> Value:
    """A tensor with a border of one number."""
    before = [0] * len(shape)
    for k in range(len(pads) // 2):
        before[-1 - k] = pads[2 * k]

    def at(index: Index) -> str:
        here, tests = [], []
        for i, low, n, whole in zip(index, before, source.shape, shape, strict=True):
            here.append(f"({i} - {low})" if low else i)
            if n != whole:
                tests += [f"{i} >= {low}"] if low > 0 else []
                tests += [f"{i} < {low + n}"] if low + n < whole else []
        code = number(source, tuple("0" if n == 1 else i for n, i in zip(source.shape, here, strict=True)))
        return f"({code} if {' and '.join(tests)} else {fill})" if tests else code

    return Value(shape, at, None, False, source.reads)


def view(node: Node, source: Value, shape: Shape, args: tuple[Any, ...]) -> Value:
    """The same elements in another arrangement."""
    name, rank = str(node.target).split(".")[1], len(source.shape)
    if node.target not in VIEWS:
        raise NotTraceable(f"the operation {node.target} has no compiled form")
    back: Callable[[Index], Index]
    steps: tuple[int, ...] | None = None
    offset = 0
    strides = source.buffer.strides if source.buffer is not None else (0,) * rank
    if name in ("transpose", "t", "permute"):
        order = list(range(rank))
        if name == "permute":
            order = [d % rank for d in args[1]]
        elif rank > 1:
            a, b = (args[1] % rank, args[2] % rank) if name == "transpose" else (0, 1)
            order[a], order[b] = order[b], order[a]
        steps = tuple(strides[d] for d in order)

        def back(index: Index) -> Index:
            return tuple(index[order.index(d)] for d in range(rank))

    elif name == "unsqueeze":
        dim = args[1] % (rank + 1)
        steps = (*strides[:dim], 0, *strides[dim:])

        def back(index: Index) -> Index:
            return (*index[:dim], *index[dim + 1 :])

    elif name == "squeeze":
        gone = [d % rank for d in (args[1] if isinstance(args[1], list) else [args[1]])] if len(args) > 1 else []
        gone = [d for d in (gone or range(rank)) if source.shape[d] == 1]
        steps = tuple(s for d, s in enumerate(strides) if d not in gone)

        def back(index: Index) -> Index:
            rest = iter(index)
            return tuple("0" if d in gone else next(rest) for d in range(rank))

    elif name == "expand":
        lead = len(shape) - rank
        steps = (*([0] * lead), *(0 if n == 1 else s for n, s in zip(source.shape, strides, strict=True)))

        def back(index: Index) -> Index:
            return spread(source.shape, shape, index)

    elif name == "slice":
        dim, first = args[1] % rank, (args[2] or 0) if len(args) > 2 else 0
        if len(args) > 4 and args[4] != 1:
            raise NotTraceable("slices with a step have no compiled form")
        first = first + source.shape[dim] if first < 0 else min(first, source.shape[dim])
        steps, offset = strides, first * strides[dim]

        def back(index: Index) -> Index:
            shifted = f"({index[dim]} + {first})" if first else index[dim]
            return (*index[:dim], shifted, *index[dim + 1 :])

    elif name == "select":
        dim, place = args[1] % rank, args[2] % source.shape[args[1] % rank]
        steps, offset = (*strides[:dim], *strides[dim + 1 :]), place * strides[dim]

        def back(index: Index) -> Index:
            return (*index[:dim], str(place), *index[dim:])

    else:
        if source.buffer is None or not is_contiguous(source.shape, strides):
            raise NotTraceable("reshaping something that does not lie in one piece has no compiled form")
        return in_memory(shape, Buffer(source.buffer.offset, contiguous(shape)), moved(source.reads))
    if source.buffer is not None and steps is not None:
        return in_memory(shape, Buffer(source.buffer.offset + offset, steps), moved(source.reads))
    return Value(shape, lambda index: source.at(back(index)), None, source.logical, moved(source.reads))


def moved(reads: frozenset[str]) -> frozenset[str]:
    """What is read out of its own order may not be overwritten on the way."""
    return frozenset(f"{name}~" if not name.endswith("~") else name for name in reads)
