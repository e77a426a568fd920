"""Plain Hebbian learning, with an optional decay that bounds it."""

from __future__ import annotations

from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class Hebb(Rule):
    """Hebb's rule with decay: dW/dt = rate (<h x^T> - decay W), h post-, x presynaptic, <> the mean over rows.

    Unbounded if `decay` is 0, or smaller than the growth from the correlation of the input. A simulation
    then ends with the status `DIVERGED`.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.01, slow against a neuron's tau of 1
    decay : float, weight decay relative to the Hebbian term, >= 0; default 0
    traces : bool, presynaptic activity low-pass filtered with the postsynaptic tau; default False

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    D. O. Hebb, The Organization of Behavior, 1949.
    W. Gerstner and W. M. Kistler, Spiking Neuron Models, 2002, sections 10.1 and 10.2.
    """

    rate: float = 0.01
    decay: float = 0.0
    traces: bool = False

    def __post_init__(self) -> None:
        number("Hebb(rate=)", self.rate, least=0)
        number("Hebb(decay=)", self.decay, least=0)

    def update(self, local: Local) -> Update:
        return Update(local.share * local.post * self.rate, local.pre, self.rate * self.decay)
