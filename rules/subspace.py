"""Oja's subspace rule: several outputs learn to span the leading components together."""

from __future__ import annotations

from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import DenseUpdate


@dataclass(frozen=True)
class OjaSubspace(Rule):
    """Oja's subspace rule: dW/dt = rate (<h x^T> - <h h^T> W), h post-, x presynaptic, <> the mean over rows.

    Bounded for linear units: the rows of W become an orthonormal basis of the leading subspace of <x x^T>.
    The lateral term couples the outputs, so the rule has no factor form and returns a `DenseUpdate`.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.01, slow against a neuron's tau of 1
    traces : bool, presynaptic activity low-pass filtered with the postsynaptic tau; default False

    Raises
    ------
    ValueError, TypeError : a rate out of its range

    References
    ----------
    E. Oja, "Neural networks, principal components, and subspaces", Int. J. Neural Systems 1, 1989, 61-68;
    R. J. Williams, "Feature discovery through error-correction learning", ICS Report 8501, UCSD 1985.
    """

    rate: float = 0.01
    traces: bool = False
    dense = True
    bounded = True

    def __post_init__(self) -> None:
        number("OjaSubspace(rate=)", self.rate, least=0)

    def update(self, local: Local) -> DenseUpdate:
        if local.weight is None:
            raise ValueError("OjaSubspace needs the weights of its synapses")
        post = local.share * local.post * self.rate
        lateral = post.mT @ local.post
        bias = None if local.bias is None else post.sum(-2) - (lateral @ local.bias.unsqueeze(-1)).squeeze(-1)
        return DenseUpdate(post.mT @ local.pre - lateral @ local.weight, bias)
