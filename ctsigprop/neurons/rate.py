"""The leaky rate neuron."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctsigprop.neurons.activations import Activation, Choice, resolve
from ctsigprop.neurons.base import Units, Variables
from ctsigprop.neurons.relaxation import relaxed
from ctsigprop.rules.checks import Checked, number


@dataclass(frozen=True)
class Rate(metaclass=Checked):
    """Leaky rate neuron: tau dr/dt = -r + phi(drive).

    Parameters
    ----------
    tau : float, time constant in units of time, > 0; default 1, so that tau is the unit of time
    activation : "relu" (default), "softplus", "tanh", "sigmoid", "linear", an `Activation`, or a pair
        (function, derivative) of elementwise functions of the drive

    Raises
    ------
    ValueError, TypeError : tau not positive, an unknown activation, an activation with a wrong derivative

    References
    ----------
    H. R. Wilson and J. D. Cowan, Biophys. J. 12, 1972; P. Dayan and L. F. Abbott, Theoretical Neuroscience,
    2001, section 7.2.
    """

    tau: float = 1.0
    activation: Choice = "relu"
    phi: Activation = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number("Rate(tau=)", self.tau, above=0)
        object.__setattr__(self, "phi", resolve(self.activation))

    @property
    def initial_gain(self) -> float:
        """Factor on the standard deviation of initial weights."""
        return self.phi.gain

    def variables(self) -> dict[str, float]:
        return {"r": 0.0}

    def flow(self, variables: Variables, drive: Units) -> dict[str, Tensor]:
        return {"r": torch.sub(self.phi.function(drive), variables["r"]).mul_(1 / self.tau)}

    def exact(self, variables: Variables, drive: Units, dt: float) -> dict[str, Tensor]:
        """The activity after a time dt under a constant drive."""
        return {"r": relaxed(variables["r"], self.phi.function(drive), dt, self.tau)}

    def output(self, variables: Variables) -> Units:
        return variables["r"]

    def gain(self, variables: Variables, drive: Units) -> Units:
        return self.phi.derivative(drive)

    def output_slope(self, variables: Variables, slopes: Variables) -> Units:
        """dr/dt, for rules that multiply derivatives."""
        return slopes["r"]

    def steady(self, drive: Units) -> Units:
        """Activity at rest under a constant drive: phi(drive)."""
        return self.phi.function(drive)
