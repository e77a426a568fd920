"""Weights that are written in place: an update is added, bounds are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from ctsigprop.rules.update import DenseUpdate, Update


def hold(matrix: Tensor, bounds: tuple[float, float] | None) -> None:
    """Weights that left their bounds, if there are any, are put back onto them, in place."""
    if bounds is not None:
        matrix.clamp_(*bounds)


def add(matrix: Tensor, update: Update | DenseUpdate, share: float) -> None:
    """Matrix += share (post^T pre - diag(decay) matrix), in place."""
    if isinstance(update, DenseUpdate):
        matrix.add_(update.change, alpha=share)
        return
    decay = update.decay
    if isinstance(decay, Tensor):
        matrix.mul_(torch.rsub(decay, 1.0, alpha=share).unsqueeze(-1))
        keep = 1.0
    else:
        keep = 1 - share * decay
    if matrix.dim() == 2:
        matrix.addmm_(update.post.mT, update.pre, beta=keep, alpha=share)
    else:
        matrix.mul_(keep).add_(update.post.mT @ update.pre, alpha=share)
