"""The step of a weight, W + share (post^T pre - diag(decay) W): in place, into new memory, and from factors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.update import DenseUpdate, Update

Coefficient = float | Float[Tensor, "*batch post"]
"""A number, or one per postsynaptic unit."""
Matrix = Float[Tensor, "*batch post pre"]
Posts = Float[Tensor, "*batch factors post"]
Pres = Float[Tensor, "*batch factors pre"]


def hold(matrix: Tensor, bounds: tuple[float, float] | None) -> None:
    """Weights that left their bounds, if there are any, are put back onto them, in place."""
    if bounds is not None:
        matrix.clamp_(*bounds)


def add_product(out: Tensor, scale: float, left: Tensor, right: Tensor, share: float = 1.0) -> Tensor:
    """Scale out + share left right, in the memory of `out`."""
    if out.dim() == left.dim() == right.dim() == 2:
        return out.addmm_(left, right, beta=scale, alpha=share)
    return out.mul_(scale).add_(left @ right, alpha=share)


def form(base: Matrix, scale: Coefficient, post: Posts, pre: Pres) -> Matrix:
    """diag(scale) base + post^T pre as a new matrix."""
    if isinstance(scale, Tensor):
        return add_product(base * scale.unsqueeze(-1), 1.0, post.mT, pre)
    if base.dim() == post.dim() == pre.dim() == 2:
        return torch.addmm(base, post.mT, pre, beta=scale)
    return (post.mT @ pre).add_(base, alpha=scale)


def add(matrix: Tensor, update: Update | DenseUpdate, share: float) -> None:
    """Matrix += share (post^T pre - diag(decay) matrix), in place."""
    if isinstance(update, DenseUpdate):
        matrix.add_(update.change, alpha=share)
    elif isinstance(update.decay, Tensor):
        matrix.mul_(torch.rsub(update.decay, 1.0, alpha=share).unsqueeze(-1))
        add_product(matrix, 1.0, update.post.mT, update.pre, share)
    else:
        add_product(matrix, 1 - share * update.decay, update.post.mT, update.pre, share)


def added(matrix: Tensor, update: Update, share: float) -> Tensor:
    """Matrix + share (post^T pre - diag(decay) matrix), in new memory."""
    scale = 1.0 - share * update.decay
    if isinstance(scale, Tensor) or matrix.dim() > 2:
        return form(matrix, scale, update.post * share, update.pre)
    return torch.addmm(matrix, update.post.mT, update.pre, beta=scale, alpha=share)
