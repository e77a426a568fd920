"""The sigprop rule for rate neurons: local contrast times presynaptic trace."""

from __future__ import annotations

from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class ContrastiveHebbian(Rule):
    """Three-factor Hebbian rule: dW/dt = rate ((delta * phi'(drive))^T x - decay W), summed over the rows.

    `delta` is the learning signal that reached the layer. With `TargetStream` it is the layer's own
    contrast of its two streams, and W descends the layer's own loss. With a feedback signal the same rule
    descends the global loss.

    Unbounded if `decay` is 0, but growth is slow: the cosine contrast pulls as 1 / |activity|, so weights onto relu
    units grow no faster than the square root of time. With the dot product or the cross-entropy of a feedback signal
    they still grow, more and more slowly, when all samples are separated.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 1; an Euler step of dt = tau moves by rate x tau times the gradient
    decay : float, weight decay relative to the learning term, >= 0; default 0
    traces : bool, default True: x, phi' and the label are low-pass filtered with the postsynaptic neuron's tau,
        so inputs can follow each other without a pause; False uses all three unfiltered, which is right only
        when activity has settled (a gate in the presentation)

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    A. Kohan, E. A. Rietman, H. T. Siegelmann, "Signal Propagation: The Framework for Learning and Inference
    in a Forward Pass", IEEE TNNLS 2023, arXiv 2204.01723 (h_i, t_i and the layer's own loss L(h_i, t_i)).
    """

    rate: float = 1.0
    decay: float = 0.0
    traces: bool = True
    supervised = True

    def __post_init__(self) -> None:
        number("ContrastiveHebbian(rate=)", self.rate, least=0)
        number("ContrastiveHebbian(decay=)", self.decay, least=0)

    def update(self, local: Local) -> Update:
        return Update(local.taught() * self.rate, local.pre, self.rate * self.decay)
