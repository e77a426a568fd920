"""The BCM rule with its sliding threshold."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ctsigprop.rules.base import Rule, Shapes
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class BCM(Rule):
    """Bienenstock-Cooper-Munro in the Intrator-Cooper form: dW/dt = rate <h (h - theta) x^T>, with the sliding
    threshold as ODE state: tau_theta dtheta/dt = <h^2> - theta; h post-, x presynaptic, <> the mean over rows.

    Bounded while the threshold is faster than the weights, rate * <h x.x> * tau_theta well below 1;
    otherwise it oscillates or diverges. For linearly independent patterns the stable states are selective:
    the response to one pattern is 1 / its probability, to the others 0.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.01, slow against tau_theta
    tau_theta : float, time constant of the threshold, > 0; default 10, ten times a neuron's tau of 1
    traces : bool, presynaptic activity low-pass filtered with the postsynaptic tau; default False

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    E. L. Bienenstock, L. N. Cooper, P. W. Munro, J. Neurosci. 2, 1982, 32-48; N. Intrator and L. N. Cooper,
    "Objective function formulation of the BCM theory", Neural Networks 5, 1992, 3-17 (threshold E[h^2]).
    """

    rate: float = 0.01
    tau_theta: float = 10.0
    traces: bool = False

    def __post_init__(self) -> None:
        number("BCM(rate=)", self.rate, least=0)
        number("BCM(tau_theta=)", self.tau_theta, above=0)

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return {"theta": ((n_post,), 0.0)}

    def flow(self, local: Local) -> dict[str, Tensor]:
        return {"theta": (local.mean(local.post.square()) - local.variables["theta"]) / self.tau_theta}

    def update(self, local: Local) -> Update:
        above = local.post - local.variables["theta"].unsqueeze(-2)
        return Update(local.share * local.post * above * self.rate, local.pre)
