"""The torch calls that write an operation's result into given memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ctsigprop.trace.aten import aten

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
