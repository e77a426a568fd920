"""One step of torchdiffeq's fixed-step methods, operation by operation, because jumps change the state after each."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ctsigprop.solvers.reference.flatten import Flat

Rhs = Callable[[Tensor, Flat], Flat]
"""(time, state) -> derivative; times are tensors of the state's precision."""


def euler(rhs: Rhs, t: Tensor, t1: Tensor, y: Flat) -> Flat:
    """The change of y from t to t1 by forward Euler."""
    return (t1 - t) * rhs(t, y)


def midpoint(rhs: Rhs, t: Tensor, t1: Tensor, y: Flat) -> Flat:
    """The change of y from t to t1 by the explicit midpoint rule."""
    dt = t1 - t
    half = 0.5 * dt
    return dt * rhs(t + half, y + rhs(t, y) * half)


def rk4(rhs: Rhs, t: Tensor, t1: Tensor, y: Flat) -> Flat:
    """The change of y from t to t1 by the method of fourth order in Kutta's 3/8 form."""
    dt, third = t1 - t, 1 / 3
    k1 = rhs(t, y)
    k2 = rhs(t + dt * third, y + dt * k1 * third)
    k3 = rhs(t + dt * (2 / 3), y + dt * (k2 - k1 * third))
    k4 = rhs(t1, y + dt * (k1 - k2 + k3))
    return (k1 + 3 * (k2 + k3) + k4) * dt * 0.125


FLOWS: dict[str, Callable[[Rhs, Tensor, Tensor, Flat], Flat]] = {"euler": euler, "midpoint": midpoint, "rk4": rk4}
