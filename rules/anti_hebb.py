"""Anti-Hebbian learning: synapses between units that fire together weaken."""

from __future__ import annotations

from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class AntiHebb(Rule):
    """Anti-Hebbian rule with decay: dW/dt = -rate (<h x^T> + decay W), h post-, x presynaptic, <> the mean over rows.

    Unbounded. Linear units lose their response to every input shown, so their weights shrink. Units with an activity
    that does not follow the sign of the drive (softplus, sigmoid) push their weights down without end.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.01, slow against a neuron's tau of 1
    decay : float, weight decay relative to the anti-Hebbian term, >= 0; default 0
    traces : bool, presynaptic activity low-pass filtered with the postsynaptic tau; default False

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    P. Foldiak, "Forming sparse representations by local anti-Hebbian learning", Biol. Cybern. 64, 1990, section 2.
    """

    rate: float = 0.01
    decay: float = 0.0
    traces: bool = False

    def __post_init__(self) -> None:
        number("AntiHebb(rate=)", self.rate, least=0)
        number("AntiHebb(decay=)", self.decay, least=0)

    def update(self, local: Local) -> Update:
        return Update(local.share * local.post * -self.rate, local.pre, self.rate * self.decay)
