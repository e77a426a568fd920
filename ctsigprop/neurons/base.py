"""The protocol of a neuron, what a neuron with a reset adds to it, and what else a neuron may have."""

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
    """What a layer needs from its neurons. Any object with these members is a neuron, even an `nn.Module`.

    `tau` is the time constant in units of time; the layer's traces use it. Every method is elementwise in
    the rows, takes and returns tensors (..., rows, n), and changes none of its arguments. A neuron may have more
    members: see `Steady`, `ExactStep`, `OutputSlope`, `InitialGain`, `LargestStep` and `SynapticCurrent`.
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
        """The output that the next layer sees."""
        ...

    def gain(self, variables: Variables, drive: Units) -> Tensor:
        """phi'(drive): how strongly the output follows a small change of the drive."""
        ...


@runtime_checkable
class SynapticCurrent(Protocol):
    """Spikes from below move a current that decays with `tau_syn`; if it is None, they move the potential."""

    @property
    def tau_syn(self) -> float | None:
        """Time constant of the current, in units of time."""
        ...


@runtime_checkable
class Refractory(Protocol):
    """A neuron that rests after each spike."""

    @property
    def refractory(self) -> float:
        """How long, in units of time."""
        ...


@runtime_checkable
class Spiking(SynapticCurrent, Refractory, Protocol):
    """What a neuron with a reset adds to the protocol of `Neuron`. Every method is elementwise and pure.

    One of its variables is `n`, the number of spikes so far (`counted`). The probe "spikes" reads it.

    Its drive is only the continuous input (a current, a bias, the activity of a rate layer). Each spike from below
    arrives once, as a kick.
    """

    def margin(self, variables: Variables) -> Tensor:
        """Negative between spikes. When it reaches 0, a jump is due. It has no unit of time."""
        ...

    def jump(self, variables: Variables, kick: Tensor | None, slack: float = 0.0) -> tuple[dict[str, Tensor], Tensor]:
        """(new value of each variable that jumps, spikes as 0 and 1). First the kick arrives; then units with a margin
        of at least -slack spike.
        """
        ...

    def voltage(self, variables: Variables) -> Tensor:
        """The membrane potential."""
        ...

    def distance(self, variables: Variables) -> Tensor:
        """How far the potential is above threshold, in units of the gap between reset and threshold."""
        ...


@runtime_checkable
class ExactStep(Protocol):
    """A neuron with a closed form. `Hybrid(flow="exponential")` needs it."""

    def exact(self, variables: Variables, drive: Units, dt: float) -> dict[str, Tensor]:
        """The variables after a time dt under a constant drive."""
        ...


@runtime_checkable
class Steady(Protocol):
    """A neuron with a known output at rest. Without it, prediction integrates `flow` for 20 tau."""

    def steady(self, drive: Units) -> Tensor:
        """Output at rest under a constant drive."""
        ...


@runtime_checkable
class OutputSlope(Protocol):
    """A neuron with a known derivative of its output. Differential rules need it."""

    def output_slope(self, variables: Variables, slopes: Variables) -> Tensor:
        """Time derivative of the output, from the derivatives of the variables."""
        ...


@runtime_checkable
class InitialGain(Protocol):
    """A neuron that sets the size of its initial incoming weights."""

    @property
    def initial_gain(self) -> float:
        """Factor on the standard deviation of initial weights."""
        ...


@runtime_checkable
class LargestStep(Protocol):
    """A neuron that needs short steps on a grid."""

    @property
    def largest_step(self) -> float:
        """The longest step, in units of time."""
        ...


def check_neuron(name: str, neuron: object) -> Neuron:
    """The neuron, if it is one.

    Raises
    ------
    TypeError : it has not the members of `Neuron`; or it has a jump, and not the other members of `Spiking`
    ValueError : tau is not positive
    """
    if isinstance(neuron, type) or not isinstance(neuron, Neuron):
        missing = lacking(neuron, "tau", "variables", "flow", "output", "gain")
        raise TypeError(
            f"{name} must be a neuron such as ct.Rate(tau=1.0), got {neuron!r}"
            + (f" without {', '.join(missing)}" if missing else "")
        )
    missing = lacking(neuron, "jump", "margin", "voltage", "distance", "tau_syn", "refractory")
    if missing and "jump" not in missing:
        raise TypeError(f"{name} has a jump and needs all that a ct.LIF() has, got one without {', '.join(missing)}")
    number(f"{name}.tau", neuron.tau, above=0)
    return neuron


def lacking(neuron: object, *members: str) -> list[str]:
    """The members that a neuron does not have."""
    return [member for member in members if not hasattr(neuron, member)]


def jumps(neuron: object) -> bool:
    """Whether a neuron has a reset."""
    return isinstance(neuron, Spiking)


def synaptic_tau(neuron: object) -> float | None:
    """Time constant of the synaptic current of a neuron, None where spikes from below move the potential itself."""
    return neuron.tau_syn if isinstance(neuron, SynapticCurrent) else None


def refractory_time(neuron: object) -> float:
    """How long a unit rests after a spike; 0 for not at all."""
    return float(neuron.refractory) if isinstance(neuron, Refractory) else 0.0


def initial_gain(neuron: object) -> float:
    """Factor on the standard deviation of the initial weights onto a neuron; 1 where it does not say."""
    return float(neuron.initial_gain) if isinstance(neuron, InitialGain) else 1.0
