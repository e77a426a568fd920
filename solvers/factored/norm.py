"""Frobenius norm of a change of weights in factor form."""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.update import Update
from ctsigprop.solvers.apply_update import Coefficient, Matrix, Posts, Pres

BLOCK = 2**19
"""Elements of the change that are formed at once."""
LARGE = 2**18
"""Elements of a change from which on its norm is estimated rather than computed."""
COLUMNS = 64
"""Of the random matrix that estimates it: the standard deviation is at most sqrt(1 / 128), 9 % of the norm."""
RESOLVED = 1e-10
"""Share of a sum of squares that may be left after cancellation: float64 then still has six digits."""


def norm(tensor: Tensor) -> float:
    """|tensor|, finite where all elements are, even if their squares overflow the tensor's precision."""
    size = float(torch.linalg.vector_norm(tensor))
    return size if math.isfinite(size) else float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def frobenius(post: Posts, pre: Pres, base: Matrix, scale: Coefficient) -> float:
    """|post^T pre + diag(scale) base|.

    From Gram matrices where the factors are few, |P^T Q|^2 = sum (P P^T) * (Q Q^T), which takes
    factors^2 (post + pre) products instead of factors post pre; otherwise, and where the Gram matrices
    cancel, block by block. Of a large matrix with many factors an estimate, `by_signs`: to form it would take as long
    as the step whose length it decides.
    """
    few = 4 * post.shape[-2] * (post.shape[-1] + pre.shape[-1]) <= post.shape[-1] * pre.shape[-1]
    if few and not isinstance(scale, Tensor) and scale == 0.0:
        exact = by_gram(post, pre)
        if exact is not None:
            return exact
    elif not few and base.shape[-2] * base.shape[-1] >= LARGE:
        return by_signs(post, pre, base, scale)
    return by_blocks(post, pre, base, scale)


def by_gram(post: Posts, pre: Pres) -> float | None:
    """|post^T pre| in float64, or None where cancellation leaves too little of it."""
    post, pre = post.double(), pre.double()
    products = (post @ post.mT).mul_(pre @ pre.mT)
    square, magnitude = float(products.sum()), float(products.abs_().sum())
    return math.sqrt(square) if square > RESOLVED * magnitude or magnitude == 0.0 else None


@cache
def signs(n: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "pre columns"]:
    """Random numbers +1 and -1, always the same."""
    random = torch.Generator().manual_seed(n)
    return (torch.randint(0, 2, (n, COLUMNS), generator=random) * 2 - 1).to(device, dtype)


def by_signs(post: Posts, pre: Pres, base: Matrix, scale: Coefficient) -> float:
    """|E| from a few products with random signs, |E|^2 = mean |E g|^2.

    References
    ----------
    M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines",
    Commun. Stat. Simul. Comput. 19, 1990.
    """
    random = signs(pre.shape[-1], pre.dtype, pre.device)
    return norm(Update(post, pre @ random, -scale).derivative(base @ random)) / math.sqrt(COLUMNS)


def by_blocks(post: Posts, pre: Pres, base: Matrix, scale: Coefficient) -> float:
    """|post^T pre + diag(scale) base|, some rows of the matrix at a time."""
    step = max(1, BLOCK // (base.numel() // base.shape[-2]))
    norms = []
    for first in range(0, base.shape[-2], step):
        rows = slice(first, first + step)
        decay = -scale[..., rows] if isinstance(scale, Tensor) else -scale
        norms.append(norm(Update(post[..., rows], pre, decay).derivative(base[..., rows, :])))
    return math.hypot(*norms)
