"""One layer of a network: its synapses, neurons and rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from ctsigprop.model.synapses import Synapses
from ctsigprop.neurons.base import ExactStep, Neuron, OutputSlope, Spiking, jumps, refractory_time, synaptic_tau
from ctsigprop.neurons.rate import Rate
from ctsigprop.rules.base import Rule, Shapes
from ctsigprop.rules.checks import called
from ctsigprop.solvers.field import Weight


@dataclass(frozen=True)
class Layer:
    """One layer: its number (from 1), synapses, neuron, and rule (None: its weights stay as they are)."""

    index: int
    synapses: Synapses
    neuron: Neuron
    rule: Rule | None

    @cached_property
    def n_pre(self) -> int:
        """Width of what its synapses read, after pooling."""
        return self.synapses.n_pre

    @cached_property
    def n_post(self) -> int:
        """Its units."""
        return self.synapses.n_post

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Shape (post, pre) of W: of a dense layer (n_post, n_pre), of a convolutional one (channels, patch)."""
        return self.synapses.shape

    @cached_property
    def jumps(self) -> bool:
        """Whether the neurons have a reset: their spikes reach the next layer as kicks, at jumps."""
        return jumps(self.neuron)

    @cached_property
    def spiking_neuron(self) -> Spiking:
        """The neurons as ones with a reset.

        Raises
        ------
        TypeError : they have none
        """
        if isinstance(self.neuron, Spiking):
            return self.neuron
        raise TypeError(f"{self.neuron_name} has no reset")

    @cached_property
    def exact_neuron(self) -> ExactStep:
        """The neurons as ones with a closed form."""
        if isinstance(self.neuron, ExactStep):
            return self.neuron
        raise TypeError(f"{self.neuron_name} has no exact step")

    @cached_property
    def sloped_neuron(self) -> OutputSlope:
        """The neurons as ones whose output has a known derivative."""
        if isinstance(self.neuron, OutputSlope):
            return self.neuron
        raise TypeError(f"{self.neuron_name} has no output_slope(variables, slopes)")

    @cached_property
    def tau_syn(self) -> float | None:
        """Time constant of the synaptic current, None where there is none."""
        return synaptic_tau(self.neuron)

    @cached_property
    def refractory(self) -> float:
        """How long a unit rests after a spike."""
        return refractory_time(self.neuron)

    @cached_property
    def neuron_name(self) -> str:
        """The neuron in words, with an activation that is the user's own."""
        neuron = self.neuron
        of_users = isinstance(neuron, Rate) and not isinstance(neuron.activation, str)
        activation = f" with activation {called(neuron.phi.function)}" if isinstance(neuron, Rate) and of_users else ""
        return f"neuron {type(neuron).__name__}{activation} of layer {self.index}"

    @cached_property
    def rule_name(self) -> str:
        """The rule in words."""
        return f"rule {None if self.rule is None else self.rule.name} of layer {self.index}"

    @cached_property
    def rule_shapes(self) -> Shapes:
        """Name, shape and initial value of each ODE variable of the rule, for the synapses of W."""
        return {} if self.rule is None else self.rule.variables(*self.shape)

    def name(self, variable: str) -> str:
        """The name of one of this layer's tensors in a state."""
        return f"{variable}.{self.index}"

    def drive(
        self, weight: Weight, read: Float[Tensor, "*batch rows pre"], bias: Float[Tensor, "*batch units"] | None = None
    ) -> Float[Tensor, "*batch rows post"]:
        """The continuous drive: what its synapses read, through W, and the biases."""
        drive = weight.drive(self.synapses.patches(read))
        return self.synapses.collect(drive if bias is None else drive + bias.unsqueeze(-2))

    def kick(self, weight: Weight, spikes: Float[Tensor, "*batch rows pre"]) -> Float[Tensor, "*batch rows post"]:
        """What spikes, as its synapses read them, add to the potentials or synaptic currents through W, once each."""
        return self.synapses.collect(weight.drive(self.synapses.patches(spikes)))

    def offset(
        self, like: Float[Tensor, "*other"], bias: Float[Tensor, "*batch units"] | None
    ) -> Float[Tensor, "*batch 1 post"]:
        """The continuous drive without anything below: the biases, or zeros, of the type of `like`."""
        nothing = like.new_zeros(self.synapses.positions, self.shape[0])
        return self.synapses.collect(nothing if bias is None else nothing + bias.unsqueeze(-2))
