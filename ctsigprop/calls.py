"""A recorded right-hand side as a list of calls, each with its operands and the memory that it writes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from ctsigprop.compiled.operators import FILLS, FILLS_WITH, SAME
from ctsigprop.compiled.trace import Member, NotCompilable, Traced
from ctsigprop.compiled.views import is_view

aten = torch.ops.aten
Call = Callable[[], Any]

ARITHMETIC: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.mul.Tensor: torch.mul,
    aten.div.Tensor: torch.div,
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
    aten.log.default: torch.log,
    aten.sqrt.default: torch.sqrt,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.gt.Scalar: torch.gt,
    aten.sum.dim_IntList: torch.sum,
    aten.mean.dim: torch.mean,
    aten.amax.default: torch.amax,
    aten.linalg_vector_norm.default: torch.linalg.vector_norm,
    aten.clamp_min.default: torch.clamp_min,
    aten.softplus.default: aten.softplus.out,
    aten.maximum.default: torch.maximum,
    aten.where.self: torch.where,
}
"""Operations that write into memory that they are given. Torch's own
functions, not the overloads, which take a microsecond more. Any other one is carried out and its result copied."""
POINTWISE = {*ARITHMETIC, aten.addcmul.default, aten.neg.default, aten.relu.default, aten.sigmoid.default}
"""Operations that may write over an operand."""
WINDOWS = {aten.unfold.default, aten.unfold_copy.default}
"""Views that compiled code does not know."""
SHAPES = {aten.view.default, aten.view_copy.default, aten._unsafe_view.default, aten.reshape.default}
"""Views of another shape, which elements in another order do not have."""


class Memory:
    """Buffers by shape and type, used again once nothing reads them any more."""

    def __init__(self) -> None:
        self.free: dict[Any, list[Tensor]] = {}

    def take(self, like: Tensor) -> Tensor:
        """A buffer of a shape."""
        kept = self.free.setdefault((tuple(like.shape), like.dtype), [])
        return kept.pop() if kept else torch.empty(like.shape, dtype=like.dtype, device=like.device)

    def give(self, buffer: Tensor) -> None:
        """A buffer that nothing reads any more."""
        self.free.setdefault((tuple(buffer.shape), buffer.dtype), []).append(buffer)


class Program:
    """The calls that compute rates and factors from given places of inputs and state.

    `once` are those that depend on the inputs alone, `calls` those of every step.
    `constants` (members, numbers) : where members of an ensemble, along the first dimension of every tensor, differ

    Raises
    ------
    NotCompilable : an operation that takes no number for each member
    """

    def __init__(self, trace: Traced, places: Mapping[Node, Tensor], constants: Tensor) -> None:
        self.constants = constants
        self.at: dict[Node, Tensor] = dict(places)
        self.owner: dict[Node, Node] = {}
        self.owned: set[Node] = set()
        moving = self.moving(trace)
        still = [node for node in trace.arguments if node not in moving]
        ends = {*results(trace.rates), *results(trace.updates)}
        read = {n for node in moving for n in results(trace.arguments.get(node, ()))}
        self.once = self.written(trace, still, ends | read)
        self.calls = self.written(trace, [node for node in trace.arguments if node in moving], ends)

    def moving(self, trace: Traced) -> set[Node]:
        """The nodes whose value depends on the state."""
        found = set(trace.state.values())
        for node, (args, kwargs) in trace.arguments.items():
            if any(n in found for n in results([args, kwargs])):
                found.add(node)
        return found

    def written(self, trace: Traced, nodes: Sequence[Node], kept: Set[Node]) -> list[Call]:
        """The calls that compute some nodes, in order; memory of those that are not kept is used again."""
        calls: list[Call] = []
        memory = Memory()
        last = self.last_reads(trace, nodes, kept)
        own = set(nodes)
        for k, node in enumerate(nodes):
            args, kwargs = trace.arguments[node]
            shape = tuple(node.meta["val"].shape) if isinstance(node.meta["val"], Tensor) else ()
            given, options = self.actual(args, shape), {key: self.actual(v, shape) for key, v in kwargs.items()}
            read = results(args)
            over = [n for n in dict.fromkeys(map(self.root, read)) if last.get(n) == k and n in self.owned & own]
            view = given[0] if compared(node) else as_view(node, given, options) if renames(node) else None
            if view is not None:
                self.at[node] = view
                self.owner[node] = self.root(read[0])
            elif renames(node):  # elements that no view shows in this order: they are put in order at every step
                self.at[node] = memory.take(node.meta["val"])
                calls.append(partial(self.at[node].view(given[0].shape).copy_, given[0]))
            elif node.target in FILLS or node.target in FILLS_WITH:
                filled: Callable[..., Tensor] = node.target  # type: ignore[assignment]
                self.at[node] = filled(*given, **options)
            elif node.target is aten.constant_pad_nd.default:
                self.at[node], call = padded(given, node.meta["val"])
                calls.append(call)
            else:
                viewed = {self.root(n) for n in read if n is not self.root(n)}
                apart = [n for n in over if node.target not in POINTWISE or n in viewed]
                for n in over:
                    if n not in apart:
                        memory.give(self.at[n])
                out = memory.take(next(iter(node.users)).meta["val"] if as_number(node) else node.meta["val"])
                for n in apart:
                    memory.give(self.at[n])
                self.at[node] = out
                self.owned.add(node)
                softened = node.target is aten._softmax.default
                calls += softmax(given[0], given[1], out) if softened else [call_of(node.target, given, options, out)]
        return calls

    def root(self, node: Node) -> Node:
        """The node whose memory a node shows."""
        return self.owner.get(node, node)

    def last_reads(self, trace: Traced, nodes: Sequence[Node], kept: Set[Node]) -> dict[Node, int]:
        """Number of the operation that reads each node's memory for the last time; none for what is kept."""
        roots: dict[Node, Node] = {}
        last: dict[Node, int] = {}
        for k, node in enumerate(nodes):
            read = [roots.get(n, n) for n in results(trace.arguments[node][0])]
            if renames(node) and read:
                roots[node] = read[0]
            for n in read:
                last[n] = k
        for node in kept:
            last.pop(roots.get(node, node), None)
        return last

    def actual(self, value: Any, shape: Sequence[int] = (0, 0)) -> Any:
        """An argument with tensors for nodes, and for numbers of members as they meet a result of this shape."""
        if isinstance(value, Node):
            return self.at[value]
        if isinstance(value, Member):
            if shape[:1] not in ((0,), (len(self.constants),)):
                raise NotCompilable("a number that differs between members meets something that they share")
            return self.constants[:, value.index].view(-1, *[1] * (len(shape) - 1))
        if isinstance(value, tuple | list):
            return type(value)(self.actual(part, shape) for part in value)
        return value


def as_number(node: Node) -> bool:
    """Whether a comparison can be written as 1 and 0 at once: its only readers turn it into numbers."""
    readers = [user.target is aten._to_copy.default and user.meta["val"].is_floating_point() for user in node.users]
    return node.target is aten.gt.Scalar and bool(readers) and all(readers)


def compared(node: Node) -> bool:
    """Whether a node turns a comparison that was written as numbers into numbers."""
    return node.target is aten._to_copy.default and isinstance(node.args[0], Node) and as_number(node.args[0])


def renames(node: Node) -> bool:
    """Whether a node's value lies where that of its first operand does."""
    return node.target in SAME or is_view(node) or node.target in WINDOWS or compared(node) or of_one(node)


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


def results(value: Any) -> list[Node]:
    """All nodes in some arguments."""
    if isinstance(value, Node):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [node for part in parts for node in results(part)]


def as_view(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    """A view on the first argument, or None where there is none of this shape."""
    first: Tensor = args[0]
    if node.target in SAME:
        return first
    if of_one(node):
        return first.reshape(node.meta["val"].shape)
    packet, overload = str(node.target).removeprefix("aten.").split(".")
    operation: Any = getattr(getattr(aten, packet.removesuffix("_copy")), overload, node.target)
    if node.target in SHAPES and not viewable(first, node.meta["val"].shape):
        return None
    found: Tensor = operation(*args, **kwargs)
    return found


def viewable(tensor: Tensor, shape: Sequence[int]) -> bool:
    """Whether a tensor has a view of a shape."""
    return tensor.reshape(shape).data_ptr() == tensor.data_ptr()


def call_of(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Call:
    """The call that writes an operation's result to `out`."""
    if target is aten._to_copy.default:
        return partial(out.copy_, args[0])
    if target is aten.relu.default:
        return partial(torch.clamp_min, args[0], 0, out=out)
    alpha = kwargs.get("alpha")
    if isinstance(alpha, Tensor):
        sign = 1.0 if target is aten.add.Tensor else -1.0
        return partial(torch.addcmul, args[0], args[1], alpha, value=sign, out=out)
    if target is aten.clamp_min.default and isinstance(args[1], Tensor):
        return partial(torch.maximum, *args, out=out)
    if target in ARITHMETIC or target is aten.gt.Scalar:  # a number would be made a tensor at every call
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
