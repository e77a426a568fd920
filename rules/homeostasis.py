"""Terms that limit weights, to add to any rule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ctsigprop.rules.base import Rule, Shapes
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


def decay_only(local: Local, decay: float | Tensor) -> Update:
    """An update without a Hebbian part: dW/dt = -diag(decay) W."""
    return Update(local.post[..., :0, :], local.pre[..., :0, :], decay)


@dataclass(frozen=True)
class WeightDecay(Rule):
    """Weight decay: dW/dt = -rate W, biases likewise. A term to add: `Hebb() + WeightDecay(rate=0.1)`.

    Bounded.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.001
    traces : bool, without effect: the term combines with any rule; default False

    Raises
    ------
    ValueError, TypeError : a rate out of its range

    References
    ----------
    W. Gerstner and W. M. Kistler, Spiking Neuron Models, Cambridge 2002, section 10.2 (the term of order zero in
    activity and first order in the weight).
    """

    rate: float = 0.001
    traces: bool = False
    uses_pre = False
    bounded = True

    def __post_init__(self) -> None:
        number("WeightDecay(rate=)", self.rate, least=0)

    def update(self, local: Local) -> Update:
        return decay_only(local, self.rate)


@dataclass(frozen=True)
class Scaling(Rule):
    """Homeostatic synaptic scaling: dW/dt = rate (target - a) W, all synapses of a unit by one factor, with the
    running mean of its activity as ODE state: tau_mean da/dt = <h> - a. A term to add: `Hebb() + Scaling()`.

    Brings a unit's mean activity to `target` and keeps the ratios of its weights. Unbounded: weights stay finite
    if activity grows with them (non-negative units above threshold), but not if a unit's mean activity is
    negative, or stays below `target` for all weights.

    Parameters
    ----------
    rate : float, in 1 / (time x activity), >= 0; default 0.01
    target : float, mean activity to reach, in units of activity; default 0.5
    tau_mean : float, time constant of the running mean, > 0; default 10, ten times a neuron's tau of 1
    traces : bool, without effect: the term combines with any rule; default False

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    G. G. Turrigiano, "The self-tuning neuron: synaptic scaling of excitatory synapses", Cell 135, 2008, 422-435;
    M. C. W. van Rossum, G. Q. Bi, G. G. Turrigiano, J. Neurosci. 20, 2000 (as a multiplicative term).
    """

    rate: float = 0.01
    target: float = 0.5
    tau_mean: float = 10.0
    traces: bool = False
    uses_pre = False

    def __post_init__(self) -> None:
        number("Scaling(rate=)", self.rate, least=0)
        number("Scaling(target=)", self.target)
        number("Scaling(tau_mean=)", self.tau_mean, above=0)

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return {"activity": ((n_post,), self.target)}

    def flow(self, local: Local) -> dict[str, Tensor]:
        return {"activity": (local.mean(local.post) - local.variables["activity"]) / self.tau_mean}

    def update(self, local: Local) -> Update:
        return decay_only(local, (local.variables["activity"] - self.target) * self.rate)
