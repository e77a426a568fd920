"""Neurons: how one unit moves, given its drive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.activations import Activation, resolve
from ctsigprop.relaxation import relaxed
from ctsigprop.rules.checks import Checked, number

Units = Float[Tensor, "*batch rows n"]
Variables = Mapping[str, Units]


@runtime_checkable
class Neuron(Protocol):
    """What a layer asks of its neurons. Any object with these members is one, an `nn.Module` too.

    `tau` is the time constant in units of time; the layer's traces use it. Every method is elementwise in
    the rows, takes and returns tensors (..., rows, n), and changes none of its arguments. A neuron may also
    have `steady(drive)`, its output at rest under a constant drive (without it, prediction integrates `flow`
    for 20 tau); `exact(variables, drive, dt)`, the variables after a time dt under a constant drive, which
    `Hybrid(flow="exponential")` needs; `initial_gain`, the factor on the initial weights' standard deviation; and
    `output_slope(variables, slopes)`, the time derivative of its output, which differential rules need.
    """

    @property
    def tau(self) -> float:
        """Time constant, in units of time."""
        ...

    def variables(self) -> dict[str, float]:
        """Name and initial value of each state variable."""
        ...

    def flow(self, variables: Variables, drive: Units) -> dict[str, Tensor]:
        """Time derivative of each variable."""
        ...

    def output(self, variables: Variables) -> Tensor:
        """What the next layer sees."""
        ...

    def gain(self, variables: Variables, drive: Units) -> Tensor:
        """phi'(drive): how strongly the output follows a small change of the drive."""
        ...


@dataclass(frozen=True)
class Rate(metaclass=Checked):
    """Leaky rate neuron: tau dr/dt = -r + phi(drive).

    Parameters
    ----------
    tau : float, time constant in units of time, > 0; default 1, which makes it the unit of time
    activation : "relu" (default), "softplus", "tanh", "sigmoid", "linear", an `Activation`, or a pair
        (function, derivative) of elementwise functions of the drive

    Raises
    ------
    ValueError, TypeError : tau not positive, an activation that is unknown or whose derivative is wrong

    References
    ----------
    H. R. Wilson and J. D. Cowan, Biophys. J. 12, 1972; P. Dayan and L. F. Abbott, Theoretical Neuroscience,
    2001, section 7.2.
    """

    tau: float = 1.0
    activation: Any = "relu"
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
        """R at rest under a constant drive: phi(drive)."""
        return self.phi.function(drive)


def settle(neuron: Neuron, drive: Units) -> Tensor:
    """Output of a neuron at rest under a constant drive, in closed form or by Heun steps of tau / 20 over 20 tau."""
    steady = getattr(neuron, "steady", None)
    if steady is not None:
        return torch.as_tensor(steady(drive))
    dt = neuron.tau / 20
    now = {name: torch.full_like(drive, value) for name, value in neuron.variables().items()}
    for _ in range(400):
        slope = neuron.flow(now, drive)
        ahead = neuron.flow({name: now[name] + dt * slope[name] for name in now}, drive)
        now = {name: now[name] + 0.5 * dt * (slope[name] + ahead[name]) for name in now}
    return neuron.output(now)


def check_neuron(name: str, neuron: object) -> None:
    """Raise TypeError unless `neuron` has the members of the protocol, ValueError unless tau > 0."""
    if isinstance(neuron, type) or not isinstance(neuron, Neuron):
        members = ("tau", "variables", "flow", "output", "gain")
        missing = [member for member in members if not hasattr(neuron, member)]
        raise TypeError(
            f"{name} must be a neuron such as ct.Rate(tau=1.0), got {neuron!r}"
            + (f" without {', '.join(missing)}" if missing else "")
        )
    number(f"{name}.tau", neuron.tau, above=0)
