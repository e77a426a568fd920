"""Surrogate derivatives psi(u). u is the potential's distance from threshold in units of its gap to the reset.

Each one is 1 at threshold and falls off on both sides; `slope` is the steepness.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Psi = Callable[[Tensor, float], Tensor]


def fast_sigmoid(u: Tensor, slope: float) -> Tensor:
    """1 / (1 + slope |u|)^2, SuperSpike's (F. Zenke and S. Ganguli, Neural Comput. 30, 2018, eq. 5)."""
    return u.abs().mul_(slope).add_(1.0).square_().reciprocal_()


def arctan(u: Tensor, slope: float) -> Tensor:
    """1 / (1 + (slope u)^2) (W. Fang et al., ICCV 2021, eq. 4 of the supplement)."""
    return (u * slope).square_().add_(1.0).reciprocal_()


def boxcar(u: Tensor, slope: float) -> Tensor:
    """1 where slope |u| < 1, else 0: the straight-through estimator within a window."""
    return (u.abs() < 1 / slope).to(u.dtype)


def triangle(u: Tensor, slope: float) -> Tensor:
    """max(0, 1 - slope |u|) (S. K. Esser et al., PNAS 113, 2016, eq. 5)."""
    return u.abs().mul_(-slope).add_(1.0).clamp_min_(0.0)


def gaussian(u: Tensor, slope: float) -> Tensor:
    """exp(-(slope u)^2 / 2)."""
    return (u * slope).square_().mul_(-0.5).exp_()


def shift_add(u: Tensor, slope: float) -> Tensor:
    """2^-k with k = floor(slope |u|) halvings, joined by straight lines: shifts and adds of integers, no multiplier.

    (2 - f) 2^-(k + 1), f what the floor leaves of slope |u|: 2^(-slope |u|) interpolated between whole numbers.
    """
    size = u.abs().mul_(slope).clamp_max_(60.0)
    k = size.floor()
    return torch.ldexp(2.0 - (size - k), (-1 - k).to(torch.int32)).to(u.dtype)


SURROGATES: dict[str, Psi] = {
    "arctan": arctan,
    "boxcar": boxcar,
    "fast_sigmoid": fast_sigmoid,
    "gaussian": gaussian,
    "shift_add": shift_add,
    "triangle": triangle,
}
