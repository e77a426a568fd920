"""Closed forms over a given time: relaxation to a goal, and a membrane under a current."""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor


def relaxed(value: Tensor, goal: Tensor, dt: float, tau: float) -> Tensor:
    """`value` after a time dt of tau d(value)/dt = goal - value, the goal held.

    The smaller of the two shares is the one to use: 1 less a number near 1 has few digits in float32.
    """
    keep = math.exp(-dt / tau)
    return torch.lerp(goal, value, keep) if keep < 0.5 else torch.lerp(value, goal, -math.expm1(-dt / tau))


def membrane_step(
    v: Tensor, drive: Tensor, synapses: tuple[Tensor | None, float | None], dt: float | Tensor, tau: float, leak: float
) -> Tensor:
    """V after a time dt of tau dv/dt = -leak v + i + drive, tau_syn di/dt = -i, drive constant, leak 1 or 0.

    `synapses` are the current i and its tau_syn, None where there is none.
    """
    i, tau_syn = synapses
    if not leak:
        moved = torch.add(v, drive * dt, alpha=1 / tau)
        return moved if i is None else moved + i * charge(dt, math.inf, float(tau_syn or 1.0)) / tau
    if isinstance(dt, Tensor):
        moved = torch.addcmul(v, v - drive, torch.expm1(dt * (-1 / tau)))
    else:
        keep = math.exp(-dt / tau)
        moved = torch.add(v * keep, drive, alpha=1 - keep)
    return moved if i is None else moved + i * charge(dt, tau, float(tau_syn or 1.0)) / tau


@overload
def charge(dt: float, tau: float, tau_syn: float) -> float: ...
@overload
def charge(dt: Tensor, tau: float, tau_syn: float) -> Tensor: ...
def charge(dt: float | Tensor, tau: float, tau_syn: float) -> float | Tensor:
    """int_0^dt exp(-(dt - s) / tau) exp(-s / tau_syn) ds, what a current of 1 has left on a membrane after dt."""
    if tau == math.inf:
        return -tau_syn * expm1(-dt / tau_syn)
    if math.isclose(tau, tau_syn, rel_tol=1e-6):
        return dt * (1 + expm1(-dt / tau))
    return tau * tau_syn / (tau - tau_syn) * (expm1(-dt / tau) - expm1(-dt / tau_syn))


def expm1(x: float | Tensor) -> float | Tensor:
    """exp(x) - 1 of a number or a tensor."""
    return torch.expm1(x) if isinstance(x, Tensor) else math.expm1(x)
