"""One layer of a network: its synapses, neurons and rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from ctsigprop.model.synapses import Synapses
from ctsigprop.neurons.activations import Activation
from ctsigprop.neurons.base import Neuron, jumps
from ctsigprop.neurons.rate import Rate
from ctsigprop.rules.base import Rule, Shapes
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
    def neuron_name(self) -> str:
        """The neuron in words, with an activation that is the user's own."""
        own = self.neuron.activation if isinstance(self.neuron, Rate) else ""
        function = own.function if isinstance(own, Activation) else own[0] if isinstance(own, tuple) else None
        activation = "" if function is None else f" with activation {getattr(function, '__name__', repr(function))}"
        return f"neuron {type(self.neuron).__name__}{activation} of layer {self.index}"

    @cached_property
    def rule_name(self) -> str:
        """The rule in words."""
        return f"rule {getattr(self.rule, 'name', type(self.rule).__name__)} of layer {self.index}"

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
        """What its synapses read, through W, and the biases."""
        drive = weight.drive(self.synapses.patches(read))
        return self.synapses.collect(drive if bias is None else drive + bias.unsqueeze(-2))

    def offset(
        self, like: Float[Tensor, "*other"], bias: Float[Tensor, "*batch units"] | None
    ) -> Float[Tensor, "*batch 1 post"]:
        """The drive without anything below: the biases, or zeros, of the type of `like`."""
        nothing = like.new_zeros(self.synapses.positions, self.shape[0])
        return self.synapses.collect(nothing if bias is None else nothing + bias.unsqueeze(-2))
