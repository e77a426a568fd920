"""What a rule may see: one population of synapses, and the filtered spikes of its two sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Local:
    """All that one population of synapses knows: its own two sides, and the signal that reached it.

    Parameters
    ----------
    post : Tensor (..., rows, post), postsynaptic activity
    pre : Tensor (..., rows, pre), presynaptic activity, or its trace where the rule has `traces=True`
    share : Tensor (..., rows, 1), weight of each row in an average over samples: 1 / samples, 0 for target rows
    gain : Tensor (..., rows, post) or None, phi'(drive) or its trace; None if delta already contains it
    delta : Tensor (..., rows, post) or None, the learning signal (already averaged over samples)
    variables : the rule's own ODE variables, such as a sliding threshold, by name
    weight, bias : Tensors (..., post, pre), (..., post) or None, the weights and biases; given only to rules with
        `dense = True`, biases only if there are any
    post_slope, pre_slope : Tensors (..., rows, post), (..., rows, pre) or None, time derivatives of post and pre;
        given only to rules with `differential = True`
    distance : Tensor (..., rows, post) or None, how far the membrane potential is above threshold, in units of the
        gap between reset and threshold; given only to rules with `potential = True`
    post_spikes, pre_spikes : Tensors (..., rows, post), (..., rows, pre) or None, the spikes at this time; given
        only to `jump`
    broadcast : callable or None, evaluates a function of the whole network; given only to rules with
        `modulated = True`, and meant for one number, the third factor
    t : float, time
    place : str, location of these synapses for messages, such as " of layer 1"
    """

    post: Float[Tensor, "*batch rows post"]
    pre: Float[Tensor, "*batch pre_rows pre"]
    share: Float[Tensor, "*#batch rows 1"]
    gain: Float[Tensor, "*batch rows post"] | None = None
    delta: Float[Tensor, "*batch rows post"] | None = None
    variables: Mapping[str, Tensor] = field(default_factory=dict)
    weight: Float[Tensor, "*batch post pre"] | None = None
    bias: Float[Tensor, "*batch post"] | None = None
    post_slope: Float[Tensor, "*batch rows post"] | None = None
    pre_slope: Float[Tensor, "*batch pre_rows pre"] | None = None
    distance: Float[Tensor, "*batch rows post"] | None = None
    post_spikes: Float[Tensor, "*batch rows post"] | None = None
    pre_spikes: Float[Tensor, "*batch pre_rows pre"] | None = None
    broadcast: Callable[[Callable[..., float | Tensor]], float | Tensor] | None = None
    t: float = 0.0
    place: str = ""

    def rows(self, kept: slice, pre: Tensor) -> Local:
        """The same units in some of the rows, with the matching presynaptic side."""

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[..., kept, :]

        return replace(
            self,
            post=self.post[..., kept, :],
            pre=pre,
            share=self.share[..., kept, :],
            gain=cut(self.gain),
            delta=cut(self.delta),
            distance=cut(self.distance),
            post_slope=cut(self.post_slope),
            pre_slope=None if self.pre_slope is None else self.pre_slope[..., : pre.shape[-2], :],
        )

    def mean(self, values: Float[Tensor, "*batch rows n"]) -> Float[Tensor, "*batch n"]:
        """Average over samples (..., n)."""
        return (self.share * values).sum(-2)

    def taught(self) -> Float[Tensor, "*batch rows post"]:
        """The learning signal at the synapse, delta * gain.

        Raises
        ------
        ValueError : no learning signal reached this layer
        """
        if self.delta is None:
            raise ValueError("this rule needs a learning signal: give Network a signal=, got None")
        return self.delta if self.gain is None else self.delta * self.gain


@dataclass(frozen=True, slots=True)
class SpikeTrace:
    """A low-pass filter of the spikes on one side of a synapse, one value per row and unit: tau dx/dt = -x. A spike
    adds 1 (pairing "all") or sets it to 1 (pairing "nearest"), after the rule has seen the value before the spike.
    """

    side: Literal["pre", "post"]
    tau: float
    pairing: Literal["all", "nearest"] = "all"

    def after(self, value: Tensor, spikes: Tensor) -> Tensor:
        """The value of the trace after the spikes at one time."""
        return value + spikes if self.pairing == "all" else torch.where(spikes > 0, torch.ones_like(value), value)
