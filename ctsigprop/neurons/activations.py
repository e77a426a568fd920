"""Activation functions with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ctsigprop.rules.checks import Checked, lookup


@dataclass(frozen=True)
class Activation(metaclass=Checked):
    """phi and phi', both elementwise functions of the drive.

    Parameters
    ----------
    function : callable, Tensor -> Tensor of the same shape
    derivative : callable, Tensor -> Tensor of the same shape
    gain : float, factor on the standard deviation of initial weights, gain / sqrt(inputs); default 1
    """

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    gain: float = 1.0

    def has_kink(self) -> bool:
        """Whether phi' jumps, checked in steps of 0.01 over drives of -10 ... 10."""
        slope = self.derivative(torch.linspace(-10, 10, 2001, dtype=torch.float64))
        return bool((slope.diff().abs() > 0.1).any())


Choice = str | Activation | tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""What a user may give: a name, an `Activation`, or a pair (function, derivative)."""


def step(u: Tensor) -> Tensor:
    """1 where u > 0, else 0: the derivative of relu."""
    return (u > 0).to(u.dtype)


def tanh_derivative(u: Tensor) -> Tensor:
    """1 - tanh(u)^2."""
    return 1 - torch.tanh(u).square()


def sigmoid_derivative(u: Tensor) -> Tensor:
    """S (1 - s) with s = sigmoid(u)."""
    s = torch.sigmoid(u)
    return s * (1 - s)


def identity(u: Tensor) -> Tensor:
    """U itself."""
    return u


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(identity, torch.ones_like),
    "relu": Activation(torch.relu, step, gain=2**0.5),
    "sigmoid": Activation(torch.sigmoid, sigmoid_derivative),
    "softplus": Activation(torch.nn.functional.softplus, torch.sigmoid, gain=2**0.5),
    "tanh": Activation(torch.tanh, tanh_derivative, gain=5 / 3),
}


def resolve(activation: object) -> Activation:
    """The `Activation` meant by a name, an `Activation` or a pair (function, derivative).

    Raises
    ------
    ValueError : an unknown name, or a derivative that does not fit its function at a few points
    TypeError : anything else, such as a callable without its derivative
    """
    if isinstance(activation, str):
        return lookup("activation", activation, ACTIVATIONS)
    if isinstance(activation, tuple) and len(activation) == 2 and all(map(callable, activation)):
        activation = Activation(*activation)
    if not isinstance(activation, Activation):
        raise TypeError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, an Activation, or a pair (function, derivative), "
            f"got {activation!r}"
        )
    _compare_derivative(activation)
    return activation


def _compare_derivative(activation: Activation) -> None:
    """Refuse a derivative that is not the function's: compared with a central difference at a few points."""
    u = torch.tensor([-1.7, -0.6, 0.3, 0.9, 2.1], dtype=torch.float64)
    h = 1e-5
    slope = (activation.function(u + h) - activation.function(u - h)) / (2 * h)
    claimed = activation.derivative(u)
    if claimed.shape != u.shape or not torch.allclose(slope, claimed.to(slope), rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"activation derivative does not fit its function: at drive {u.tolist()} it gives {claimed.tolist()}, "
            f"differences give {[round(s, 4) for s in slope.tolist()]}"
        )
