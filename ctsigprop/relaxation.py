"""How what relaxes to a goal moves in a given time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def relaxed(value: Tensor, goal: Tensor, dt: float, tau: float) -> Tensor:
    """`value` after a time dt of tau d(value)/dt = goal - value, the goal held.

    The smaller of the two shares is the one to use: 1 less a number near 1 has few digits in float32.
    """
    keep = math.exp(-dt / tau)
    return torch.lerp(goal, value, keep) if keep < 0.5 else torch.lerp(value, goal, -math.expm1(-dt / tau))
