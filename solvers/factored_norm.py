"""Frobenius norm of a change of weights that is known by its factors."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 2**19
"""Elements of the change that are formed at once."""
RESOLVED = 1e-10
"""Share of a sum of squares that may be left after cancellation: float64 then still has six digits."""


def norm(tensor: Tensor) -> float:
    """|tensor|, finite where all elements are, even if their squares overflow the tensor's precision."""
    found = float(torch.linalg.vector_norm(tensor))
    return found if math.isfinite(found) else float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


Posts = Float[Tensor, "*batch factors post"]
Pres = Float[Tensor, "*batch factors pre"]


def frobenius(
    post: Posts, pre: Pres, base: Float[Tensor, "*batch post pre"], scale: float | Float[Tensor, "*batch post"]
) -> float:
    """|post^T pre + diag(scale) base|.

    From Gram matrices where the factors are few, |P^T Q|^2 = sum (P P^T) * (Q Q^T), which takes
    factors^2 (post + pre) products instead of factors post pre; otherwise, and where the Gram matrices
    cancel, block by block.
    """
    few = 4 * post.shape[-2] * (post.shape[-1] + pre.shape[-1]) <= post.shape[-1] * pre.shape[-1]
    if few and not isinstance(scale, Tensor) and scale == 0.0:
        found = by_gram(post, pre)
        if found is not None:
            return found
    return by_blocks(post, pre, base, scale)


def by_gram(post: Posts, pre: Pres) -> float | None:
    """|post^T pre| in float64, or None where cancellation leaves too little of it."""
    post, pre = post.double(), pre.double()
    products = (post @ post.mT).mul_(pre @ pre.mT)
    square, magnitude = float(products.sum()), float(products.abs_().sum())
    return math.sqrt(square) if square > RESOLVED * magnitude else None


def by_blocks(
    post: Posts, pre: Pres, base: Float[Tensor, "*batch post pre"], scale: float | Float[Tensor, "*batch post"]
) -> float:
    """|post^T pre + diag(scale) base|, some rows of the matrix at a time."""
    step = max(1, BLOCK // (base.numel() // base.shape[-2]))
    norms = []
    for first in range(0, base.shape[-2], step):
        part = slice(first, first + step)
        block = post[..., part].mT @ pre
        if isinstance(scale, Tensor):
            block.addcmul_(base[..., part, :], scale[..., part].unsqueeze(-1))
        elif scale != 0.0:
            block.add_(base[..., part, :], alpha=scale)
        norms.append(norm(block))
    return math.hypot(*norms)
