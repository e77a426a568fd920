"""Hebbian learning gated by one of the two sides."""

from __future__ import annotations

from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class PresynapticGatedHebb(Rule):
    """Presynaptically gated Hebb: dW/dt = rate <(h - theta) x^T>, h post-, x presynaptic, <> the mean over rows.

    Only synapses with an active presynaptic side change: up if the postsynaptic unit is above theta, down
    if it is below. Unbounded.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.01, slow against a neuron's tau of 1
    theta : float, postsynaptic threshold in units of activity; default 0.5
    traces : bool, presynaptic activity low-pass filtered with the postsynaptic tau; default False

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    W. Gerstner and W. M. Kistler, Spiking Neuron Models, Cambridge 2002, section 10.2 (presynaptic gating).
    """

    rate: float = 0.01
    theta: float = 0.5
    traces: bool = False

    def __post_init__(self) -> None:
        number("PresynapticGatedHebb(rate=)", self.rate, least=0)
        number("PresynapticGatedHebb(theta=)", self.theta)

    def update(self, local: Local) -> Update:
        return Update(local.share * (local.post - self.theta) * self.rate, local.pre)


@dataclass(frozen=True)
class PostsynapticGatedHebb(Rule):
    """Postsynaptically gated Hebb: dW/dt = rate <h (x - theta)^T>, h post-, x presynaptic, <> the mean over rows.

    Only synapses onto an active unit change: up if the presynaptic side is above theta, down if it is
    below, so active inputs win over silent ones. Unbounded.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.01, slow against a neuron's tau of 1
    theta : float, presynaptic threshold in units of activity; default 0.5
    traces : bool, presynaptic activity low-pass filtered with the postsynaptic tau; default False

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    W. Gerstner and W. M. Kistler, Spiking Neuron Models, Cambridge 2002, section 10.2 (postsynaptic gating).
    """

    rate: float = 0.01
    theta: float = 0.5
    traces: bool = False

    def __post_init__(self) -> None:
        number("PostsynapticGatedHebb(rate=)", self.rate, least=0)
        number("PostsynapticGatedHebb(theta=)", self.theta)

    def update(self, local: Local) -> Update:
        return Update(local.share * local.post * self.rate, local.pre - self.theta)
