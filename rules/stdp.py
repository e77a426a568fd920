"""Spike-timing dependent plasticity: pairs and triplets of spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import number
from ctsigprop.rules.homeostasis import decay_only
from ctsigprop.rules.local import Local, SpikeTrace
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class STDP(Rule):
    """Pair-based STDP: dW/dt = rate <S_post (a_plus x)^T - (a_minus y) S_pre^T>, S spike trains, x and y their traces.

    tau_plus dx/dt = -x follows presynaptic and tau_minus dy/dt = -y postsynaptic spikes. A pair with the postsynaptic
    spike later by s > 0 adds rate a_plus exp(-s / tau_plus). A pair with the presynaptic spike later subtracts
    rate a_minus exp(-s / tau_minus). Both are divided by the samples shown at once. Simultaneous spikes do not pair.
    Biases do not change. Unbounded: `Bounded(STDP(), 0.0, 1.0, "hard")` keeps weights within bounds.

    Parameters
    ----------
    rate : float, factor on every change, >= 0; default 0.01
    a_plus, a_minus : float, size of potentiation and depression, in units of weight; default 1 and 1.05
    tau_plus, tau_minus : float, time constants of the window, in units of time, > 0; default 1 and 1, a neuron's tau
    pairing : "all" (default), every pair counts; or "nearest", each spike pairs with the last one of the other side

    Raises
    ------
    ValueError, TypeError : a number out of its range, another pairing

    References
    ----------
    S. Song, K. D. Miller, L. F. Abbott, Nature Neurosci. 3, 2000; A. Morrison, M. Diesmann, W. Gerstner, Biol. Cybern.
    98, 2008, eqs. 2 to 5 (traces, and the pairing schemes).
    """

    rate: float = 0.01
    a_plus: float = 1.0
    a_minus: float = 1.05
    tau_plus: float = 1.0
    tau_minus: float = 1.0
    pairing: Literal["all", "nearest"] = "all"
    jumps = True
    rests = True

    def __post_init__(self) -> None:
        number("STDP(rate=)", self.rate, least=0)
        number("STDP(a_plus=)", self.a_plus)
        number("STDP(a_minus=)", self.a_minus)
        number("STDP(tau_plus=)", self.tau_plus, above=0)
        number("STDP(tau_minus=)", self.tau_minus, above=0)
        if self.pairing not in ("all", "nearest"):
            raise ValueError(f"STDP(pairing=) must be 'all' or 'nearest', got {self.pairing!r}")

    def spike_traces(self) -> dict[str, SpikeTrace]:
        return {
            "x_plus": SpikeTrace("pre", self.tau_plus, self.pairing),
            "y_minus": SpikeTrace("post", self.tau_minus, self.pairing),
        }

    def update(self, local: Local) -> Update:
        """Nothing between spikes."""
        return decay_only(local, 0.0)

    def jump(self, local: Local) -> tuple[Update | None, dict[str, Tensor]]:
        post, pre = spikes(local)
        x, y = local.variables["x_plus"], local.variables["y_minus"]
        return pairs(local, (post, x, self.rate * self.a_plus), (y, pre, -self.rate * self.a_minus)), {}


@dataclass(frozen=True)
class TripletSTDP(Rule):
    """Triplet STDP: dW/dt = rate <S_post (a2_plus + a3_plus y_slow) x^T - y (a2_minus + a3_minus x_slow) S_pre^T>.

    x, x_slow follow presynaptic spikes with tau_plus, tau_x and y, y_slow postsynaptic ones with tau_minus, tau_y; a
    spike sees the traces just before it. Potentiation by a3_plus grows with the postsynaptic rate; a rule of pairs
    cannot explain that. Simultaneous spikes do not pair. Biases do not change. Unbounded.

    Parameters
    ----------
    rate : float, factor on every change, >= 0; default 1
    a2_plus, a3_plus, a2_minus, a3_minus : float, sizes of pair and triplet terms, in units of weight; the defaults are
        the fit to visual cortex, all-to-all: 5e-10, 6.2e-3, 7e-3, 2.3e-4
    tau_plus, tau_x, tau_minus, tau_y : float, time constants, in the network's units of time, > 0; the fit's are in ms:
        16.8, 101, 33.7, 125
    pairing : "all" (default), or "nearest", each spike pairs with the last one of the other side

    Raises
    ------
    ValueError, TypeError : a number out of its range, another pairing

    References
    ----------
    J.-P. Pfister and W. Gerstner, "Triplets of spikes in a model of spike timing-dependent plasticity", J. Neurosci.
    26, 2006, 9673-9682, eqs. 3 and 4, table 3 (visual cortex data, full model).
    """

    rate: float = 1.0
    a2_plus: float = 5e-10
    a3_plus: float = 6.2e-3
    a2_minus: float = 7e-3
    a3_minus: float = 2.3e-4
    tau_plus: float = 16.8
    tau_x: float = 101.0
    tau_minus: float = 33.7
    tau_y: float = 125.0
    pairing: Literal["all", "nearest"] = "all"
    jumps = True
    rests = True

    def __post_init__(self) -> None:
        number("TripletSTDP(rate=)", self.rate, least=0)
        number("TripletSTDP(a2_plus=)", self.a2_plus)
        number("TripletSTDP(a3_plus=)", self.a3_plus)
        number("TripletSTDP(a2_minus=)", self.a2_minus)
        number("TripletSTDP(a3_minus=)", self.a3_minus)
        number("TripletSTDP(tau_plus=)", self.tau_plus, above=0)
        number("TripletSTDP(tau_x=)", self.tau_x, above=0)
        number("TripletSTDP(tau_minus=)", self.tau_minus, above=0)
        number("TripletSTDP(tau_y=)", self.tau_y, above=0)
        if self.pairing not in ("all", "nearest"):
            raise ValueError(f"TripletSTDP(pairing=) must be 'all' or 'nearest', got {self.pairing!r}")

    def spike_traces(self) -> dict[str, SpikeTrace]:
        return {
            "x_plus": SpikeTrace("pre", self.tau_plus, self.pairing),
            "x_slow": SpikeTrace("pre", self.tau_x, self.pairing),
            "y_minus": SpikeTrace("post", self.tau_minus, self.pairing),
            "y_slow": SpikeTrace("post", self.tau_y, self.pairing),
        }

    def update(self, local: Local) -> Update:
        """Nothing between spikes."""
        return decay_only(local, 0.0)

    def jump(self, local: Local) -> tuple[Update | None, dict[str, Tensor]]:
        post, pre = spikes(local)
        seen = local.variables
        up = post * (self.a2_plus + self.a3_plus * seen["y_slow"])
        down = pre * (self.a2_minus + self.a3_minus * seen["x_slow"])
        return pairs(local, (up, seen["x_plus"], self.rate), (seen["y_minus"], down, -self.rate)), {}


def spikes(local: Local) -> tuple[Tensor, Tensor]:
    """Post- and presynaptic spikes of this instant."""
    if local.post_spikes is None or local.pre_spikes is None:
        raise ValueError(f"STDP{local.place} needs spikes on both sides")
    return local.post_spikes, local.pre_spikes


def pairs(local: Local, up: tuple[Tensor, Tensor, float], down: tuple[Tensor, Tensor, float]) -> Update:
    """The mean over rows of both (post, pre, factor) products."""
    post = torch.cat([local.share * factor * side for side, _, factor in (up, down)], -2)
    return Update(post, torch.cat([up[1], down[1]], -2))
