"""Recorded operations as calls that write into their own memory, the same memory at every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from ctsigprop.execution.inplace.buffer_pool import BufferPool
from ctsigprop.execution.inplace.out_operations import POINTWISE, Call, calls_of, padded
from ctsigprop.trace.aten import SAME, aten, is_fill, is_view
from ctsigprop.trace.graph import MemberConstant, NotTraceable
from ctsigprop.trace.passes import nodes_in

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
    buffers : for all others
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
        buffers: BufferPool | None = None,
        constants: Tensor | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.at: dict[Node, Tensor] = dict(places)
        self.into = into or {}
        self.buffers = buffers or BufferPool()
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
                fill: Any = node.target
                self.at[node] = fill(*given, **options)
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
        """BufferPool for the result of an operation: its own, or rows of what it becomes a part of."""
        if node in self.parts:
            whole, dim, first = self.parts[node]
            value = node.meta["val"]
            self.at[node] = self.room_of(whole).narrow(dim, first, value.shape[dim])
        else:
            self.room_of(node)
        return self.at[node]

    def room_of(self, node: Node) -> Tensor:
        """BufferPool of a whole result."""
        if node not in self.at:
            if node in self.into:
                self.at[node] = self.into[node]
            else:
                self.at[node] = self.buffers.take(node.meta["val"])
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
                self.buffers.give(self.at[root])

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
