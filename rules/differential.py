"""Differential Hebbian learning: weights follow activities that change together."""

from __future__ import annotations

from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class DifferentialHebb(Rule):
    """Kosko's differential Hebbian rule: dW/dt = rate (<dh/dt (dx/dt)^T> - decay W), h post- and x presynaptic.

    x is the presynaptic trace (tau dx/dt = -x + r_below, tau of the postsynaptic neuron). Its derivative is
    finite when the input jumps; <> is the mean over rows. Bounded for a bounded input if decay > 0, because
    both factors are bounded; without decay weights can drift.

    Parameters
    ----------
    rate : float, in time (it multiplies a product of two rates of change), >= 0; default 0.1
    decay : float, weight decay relative to the Hebbian term, >= 0; default 0
    traces : bool, only True (default), because the rule needs them

    Raises
    ------
    ValueError, TypeError : a number out of its range, traces=False

    References
    ----------
    B. Kosko, "Differential Hebbian learning", AIP Conf. Proc. 151, 1986, 277-282 (there decay = 1);
    A. H. Klopf, "A neuronal model of classical conditioning", Psychobiology 16, 1988.
    """

    rate: float = 0.1
    decay: float = 0.0
    traces: bool = True
    differential = True

    def __post_init__(self) -> None:
        number("DifferentialHebb(rate=)", self.rate, least=0)
        number("DifferentialHebb(decay=)", self.decay, least=0)
        if not self.traces:
            raise ValueError("DifferentialHebb(traces=) must be True: it multiplies derivatives of traces, got False")

    def update(self, local: Local) -> Update:
        if local.post_slope is None or local.pre_slope is None:
            raise ValueError("DifferentialHebb needs the time derivatives of both sides")
        return Update(local.share * local.post_slope * self.rate, local.pre_slope, self.rate * self.decay)
