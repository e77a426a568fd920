"""What a layer asks of its neurons, and what one with a reset has beyond that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import number

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


@runtime_checkable
class Spiking(Protocol):
    """What a neuron with a reset has beyond the protocol of `Neuron`. Every method is elementwise and pure.

    Among its variables is `n`, the number of spikes so far (`counted`), which the probe "spikes" reads.

    Its drive is continuous input alone (a current, a bias, the activity of a rate layer); spikes from below arrive
    as a kick, once each. It may also have `exact(variables, drive, dt)`, its variables after a time dt under a
    constant drive, in closed form: `Hybrid(flow="exponential")` needs it.
    """

    tau_syn: float | None
    refractory: float

    def margin(self, variables: Variables) -> Tensor:
        """Negative between spikes; where it reaches 0 a jump is due. It has no unit of time."""
        ...

    def jump(self, variables: Variables, kick: Tensor | None, slack: float = 0.0) -> tuple[dict[str, Tensor], Tensor]:
        """(new value of each variable that jumps, spikes as 0 and 1): the kick arrives, then units whose margin is at
        least -slack spike.
        """
        ...

    def voltage(self, variables: Variables) -> Tensor:
        """The membrane potential."""
        ...

    def distance(self, variables: Variables) -> Tensor:
        """How far the potential is above threshold, in units of the gap between reset and threshold."""
        ...


def jumps(neuron: object) -> bool:
    """Whether a neuron has a reset."""
    return hasattr(neuron, "jump")
