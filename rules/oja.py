"""Oja's rule: Hebbian learning that normalises itself."""

from __future__ import annotations

from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class Oja(Rule):
    """Oja's rule: dW/dt = rate (<h x^T> - diag<h^2> W), h post-, x presynaptic, <> the mean over rows.

    Bounded: for linear units each row of W turns to the leading eigenvector of <x x^T>, with norm 1.
    Several outputs learn the same component.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.01, slow against a neuron's tau of 1
    traces : bool, presynaptic activity low-pass filtered with the postsynaptic tau; default False

    Raises
    ------
    ValueError, TypeError : a rate out of its range

    References
    ----------
    E. Oja, "Simplified neuron model as a principal component analyzer", J. Math. Biology 15, 1982, eq. 3.
    """

    rate: float = 0.01
    traces: bool = False
    bounded = True

    def __post_init__(self) -> None:
        number("Oja(rate=)", self.rate, least=0)

    def update(self, local: Local) -> Update:
        post = local.share * local.post * self.rate
        return Update(post, local.pre, (post * local.post).sum(-2))
