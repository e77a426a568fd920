"""Recorded operations as calls that write into memory of their own, the same at every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from ctsigprop.execution.inplace.buffer_pool import Memory
from ctsigprop.trace.aten import SAME, aten, is_fill, is_view
from ctsigprop.trace.graph import MemberConstant, NotTraceable
from ctsigprop.trace.passes import nodes_in

Call = Callable[[], Any]

ARITHMETIC: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.mul.Tensor: torch.mul,
    aten.div.Tensor: torch.div,
}
COMPARED: dict[Any, Callable[..., Any]] = {
    aten.gt.Scalar: torch.gt,
    aten.ge.Scalar: torch.ge,
    aten.lt.Scalar: torch.lt,
    aten.le.Scalar: torch.le,
    aten.eq.Scalar: torch.eq,
    aten.ne.Scalar: torch.ne,
}
OUT: dict[Any, Callable[..., Any]] = {
    aten.mm.default: torch.mm,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.addcmul.default: torch.addcmul,
    aten.neg.default: torch.neg,
    aten.sigmoid.default: torch.sigmoid,
    aten.tanh.default: torch.tanh,
    aten.exp.default: torch.exp,
    aten.expm1.default: torch.expm1,
    aten.floor.default: torch.floor,
    aten.log.default: torch.log,
    aten.sqrt.default: torch.sqrt,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.sum.dim_IntList: torch.sum,
    aten.mean.dim: torch.mean,
    aten.amax.default: torch.amax,
    aten.linalg_vector_norm.default: torch.linalg.vector_norm,
    aten._softmax.default: aten._softmax.out,
    aten.clamp_min.default: torch.clamp_min,
    aten.softplus.default: aten.softplus.out,
    aten.maximum.default: torch.maximum,
    aten.where.self: torch.where,
    aten.lerp.Scalar: torch.lerp,
    aten.bitwise_and.Tensor: torch.bitwise_and,
    aten.clamp.default: torch.clamp,
    aten.clamp_max.default: torch.clamp_max,
    aten.reciprocal.default: torch.reciprocal,
    aten.abs.default: torch.abs,
    **COMPARED,
}
"""Operations that write into memory that they are given: torch's own functions, not the overloads, which take a
microsecond more. Any other one is carried out and its result copied.
"""
POINTWISE = {
    *ARITHMETIC,
    aten.addcmul.default,
    aten.neg.default,
    aten.relu.default,
    aten.sigmoid.default,
    aten.lerp.Scalar,
    aten.masked_fill.Scalar,
    aten.clamp_min.default,
}
"""Operations that may write over an operand."""
WINDOWS = {aten.unfold.default}
"""Views that compiled code does not know."""
SHAPES = {aten.view.default, aten._unsafe_view.default, aten.reshape.default}
"""Views of another shape, which elements in another order do not have."""


class OutCalls:
    """The calls that carry out operations, from given places on.

    Parameters
    ----------
    operations : of a graph, in order
    kept : nodes whose values stay until the next time
    places : memory of nodes that are known
    into : memory for results of some of the operations
    memory : buffers for all others
    constants : (members, numbers), where members of an ensemble, along the first dimension of every tensor, differ

    Raises
    ------
    NotTraceable : an operation that takes no number for each member
    """

    def __init__(
        self,
        operations: Sequence[Node],
        kept: Set[Node],
        places: Mapping[Node, Tensor],
        into: Mapping[Node, Tensor] | None = None,
        memory: Memory | None = None,
        constants: Tensor | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.at: dict[Node, Tensor] = dict(places)
        self.into = into or {}
        self.memory = memory or Memory()
        self.constants = torch.empty(0, 0) if constants is None else constants
        self.owner: dict[Node, Node] = {}
        self.owned: set[Node] = set()
        self.last = last_reads(operations, kept)
        self.parts = rows_of_others(operations, {*kept, *self.into, *self.at})
        for k, node in enumerate(operations):
            args, kwargs = node.args, node.kwargs
            shape = tuple(node.meta["val"].shape) if isinstance(node.meta["val"], Tensor) else ()
            given, options = self.actual(args, shape), {key: self.actual(v, shape) for key, v in kwargs.items()}
            view = as_view(node, given, options) if renames(node) else None
            if view is not None:
                self.at[node] = view
                self.owner[node] = self.root(nodes_in(args)[0])
            elif renames(node):  # elements that no view shows in this order: they are put in order at every step
                self.at[node] = given[0].new_empty(node.meta["val"].shape)
                self.calls.append(partial(self.at[node].view(given[0].shape).copy_, given[0]))
            elif is_fill(node):
                filled: Callable[..., Tensor] = node.target  # type: ignore[assignment]
                self.at[node] = filled(*given, **options)
            elif node.target is aten.constant_pad_nd.default:
                self.at[node], call = padded(given, node.meta["val"])
                self.calls.append(call)
            elif node.target is aten.cat.default and any(n in self.parts for n in nodes_in(args)):
                self.together(node, nodes_in(args[0]), along(args))
                self.free(k, args)
            else:
                if node.target in POINTWISE:
                    self.free(k, args, whole=True)
                out = self.room(node)
                self.free(k, args)
                self.calls += calls_of(node.target, given, options, out)

    def room(self, node: Node) -> Tensor:
        """Memory for the result of an operation: its own, or rows of what it becomes a part of."""
        if node in self.parts:
            whole, dim, first = self.parts[node]
            value = node.meta["val"]
            self.at[node] = self.room_of(whole).narrow(dim, first, value.shape[dim])
        else:
            self.room_of(node)
        return self.at[node]

    def room_of(self, node: Node) -> Tensor:
        """Memory of a whole result."""
        if node not in self.at:
            if node in self.into:
                self.at[node] = self.into[node]
            else:
                self.at[node] = self.memory.take(node.meta["val"])
                self.owned.add(node)
        return self.at[node]

    def together(self, node: Node, parts: Sequence[Node], dim: int) -> None:
        """Rows one below the other: those of most parts are there already."""
        out, first = self.room(node), 0
        for part in parts:
            rows = part.meta["val"].shape[dim]
            if part not in self.parts:
                self.calls.append(partial(out.narrow(dim, first, rows).copy_, self.at[part]))
            first += rows

    def free(self, k: int, args: Any, whole: bool = False) -> None:
        """Give memory back that operation k reads for the last time; with `whole`, only what it does not see a view of,
        so that it may write over it.
        """
        read = nodes_in(args)
        viewed = {self.root(n) for n in read if n is not self.root(n)}
        for root in dict.fromkeys(map(self.root, read)):
            if self.last.get(root) == k and root in self.owned and not (whole and root in viewed):
                self.owned.discard(root)
                self.memory.give(self.at[root])

    def root(self, node: Node) -> Node:
        """The node whose memory a node shows."""
        return self.owner.get(node, node)

    def actual(self, value: Any, shape: Sequence[int] = (0, 0)) -> Any:
        """An argument with tensors for nodes, and for numbers of members as they meet a result of this shape."""
        if isinstance(value, Node):
            return self.at[value]
        if isinstance(value, MemberConstant):
            if shape[:1] not in ((0,), (len(self.constants),)):
                raise NotTraceable("a number that differs between members meets something that they share")
            return self.constants[:, value.index].view(-1, *[1] * (len(shape) - 1))
        if isinstance(value, tuple | list):
            return type(value)(self.actual(part, shape) for part in value)
        return value


def last_reads(operations: Sequence[Node], kept: Set[Node]) -> dict[Node, int]:
    """Number of the operation that reads each node's memory for the last time; none for what is kept."""
    roots: dict[Node, Node] = {}
    last: dict[Node, int] = {}
    for k, node in enumerate(operations):
        read = [roots.get(source, source) for source in nodes_in(node.args)]
        if renames(node) and read:
            roots[node] = read[0]
        for source in read:
            last[source] = k
    for node in kept:
        last.pop(roots.get(node, node), None)
    return last


def rows_of_others(operations: Sequence[Node], apart: Set[Node]) -> dict[Node, tuple[Node, int, int]]:
    """Results that only stand below one another in a larger one: that one, along which dimension, and their first row.

    Rows of matrices of an ensemble lie apart, where torch puts only what is computed element by element.
    """
    readers = Counter(source for node in operations for source in nodes_in([node.args, node.kwargs]))
    rows: dict[Node, tuple[Node, int, int]] = {}
    known = set(operations)
    for node in operations:
        dim = along(node.args) if node.target is aten.cat.default else -1
        if dim != 0 and (dim, node.meta["val"].dim()) != (1, 3):
            continue
        first = 0
        for part in nodes_in(node.args[0]):
            fitting = part in known and part not in apart and readers[part] == 1 and computed(part)
            if fitting and (dim == 0 or part.target in POINTWISE):
                rows[part] = (node, dim, first)
            first += part.meta["val"].shape[dim]
    return rows


def along(args: tuple[Any, ...]) -> int:
    """The dimension along which tensors are put together."""
    rank: int = args[0][0].meta["val"].dim()
    return int(args[1]) % rank if len(args) > 1 else 0


def computed(node: Node) -> bool:
    """Whether the result of an operation has memory of its own that the operation writes."""
    apart = renames(node) or is_fill(node) or node.target is aten.constant_pad_nd.default
    return not apart and node.op == "call_function"


def renames(node: Node) -> bool:
    """Whether a node's value lies where that of its first operand does."""
    return is_view(node) or node.target in WINDOWS or of_one(node)


def of_one(node: Node) -> bool:
    """Whether a node is the sum or mean over dimensions of one element each."""
    if node.target not in (aten.sum.dim_IntList, aten.mean.dim) or not node.args[1]:
        return False
    source: Any = node.args[0]
    dims: Any = node.args[1]
    return all(source.meta["val"].shape[dim] == 1 for dim in dims)


def softmax(source: Tensor, dim: int, out: Tensor) -> list[Call]:
    """Softmax in parts: torch's own takes rows one by one where they are short."""
    one = torch.empty_like(out.select(dim, 0).unsqueeze(dim))
    return [
        partial(torch.amax, source, dim, True, out=one),
        partial(torch.sub, source, one, out=out),
        partial(torch.exp, out, out=out),
        partial(torch.sum, out, dim, True, out=one),
        partial(torch.div, out, one, out=out),
    ]


def as_view(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    """A view on the first argument, or None where there is none of this shape."""
    first: Tensor = args[0]
    if node.target in SAME:
        return first
    if of_one(node):
        return first.reshape(node.meta["val"].shape)
    if node.target in SHAPES and not viewable(first, node.meta["val"].shape):
        return None
    operation: Any = node.target
    view: Tensor = operation(*args, **kwargs)
    return view


def viewable(tensor: Tensor, shape: Sequence[int]) -> bool:
    """Whether a tensor has a view of a shape."""
    return tensor.reshape(shape).data_ptr() == tensor.data_ptr()


def calls_of(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> list[Call]:
    """The calls that write an operation's result to `out`."""
    if target is aten._softmax.default and out.dim() > 2:
        return softmax(args[0], args[1], out)
    if target is aten.bmm.default and by_columns(out):
        return [partial(torch.bmm, args[1].mT, args[0].mT, out=out.mT)]
    if target is aten.linalg_vector_norm.default and by_columns(args[0]) and args[1:] == (2, [-1], True):
        squares = torch.empty_like(args[0])  # torch's own takes ten times as long over columns
        return [
            partial(torch.mul, args[0], args[0], out=squares),
            partial(torch.sum, squares, -1, True, out=out),
            partial(torch.sqrt, out, out=out),
        ]
    return [call_of(target, args, kwargs, out)]


def by_columns(matrices: Tensor) -> bool:
    """Whether matrices of an ensemble lie column by column."""
    return matrices.dim() == 3 and matrices.stride(1) == 1 < matrices.stride(2)


def call_of(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Call:
    """The call that writes an operation's result to `out`."""
    if target is aten._to_copy.default:
        return partial(out.copy_, args[0])
    if target is aten.relu.default:
        return partial(torch.clamp_min, args[0], 0, out=out)
    if target is aten.masked_fill.Scalar:
        value = args[2] if isinstance(args[2], Tensor) else torch.tensor(args[2], dtype=out.dtype)
        return partial(torch.where, args[1], value, args[0], out=out)
    if target is aten.rsub.Scalar and isinstance(args[1], Tensor):
        return partial(torch.sub, args[1], args[0], out=out)
    alpha = kwargs.get("alpha")
    if isinstance(alpha, Tensor):
        sign = 1.0 if target is aten.add.Tensor else -1.0
        return partial(torch.addcmul, args[0], args[1], alpha, value=sign, out=out)
    if target is aten.clamp_min.default and isinstance(args[1], Tensor):
        return partial(torch.maximum, *args, out=out)
    if target in ARITHMETIC or target in COMPARED:  # a number would be made a tensor at every call
        kind = args[0].dtype
        args = tuple(torch.tensor(a, dtype=kind) if isinstance(a, int | float) else a for a in args)
    operation = ARITHMETIC.get(target) or OUT.get(target)
    if operation is not None:
        return partial(operation, *args, **{**kwargs, "out": out})
    return partial(copied, target, args, kwargs, out)


def padded(args: Sequence[Any], like: Tensor) -> tuple[Tensor, Call]:
    """Memory with a border that stays, and the call that fills its inside."""
    source, pads, value = args[0], args[1], args[2] if len(args) > 2 else 0.0
    out = torch.full(like.shape, value, dtype=like.dtype, device=like.device)
    inside, kept = out, source
    for k in range(len(pads) // 2):
        dim, (before, after) = source.dim() - 1 - k, pads[2 * k : 2 * k + 2]
        inside = inside.narrow(dim, max(0, before), out.shape[dim] - max(0, before) - max(0, after))
        kept = kept.narrow(dim, max(0, -before), source.shape[dim] - max(0, -before) - max(0, -after))
    return out, partial(inside.copy_, kept)


def copied(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
    """Carry an operation out and copy its result."""
    out.copy_(target(*args, **kwargs))
