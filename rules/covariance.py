"""The covariance rule: Hebbian learning about running means."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ctsigprop.rules.base import Rule, Shapes
from ctsigprop.rules.checks import number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class Covariance(Rule):
    """Sejnowski's covariance rule: dW/dt = rate <(h - m_h) (x - m_x)^T>, with running means as ODE state:
    tau_mean dm_h/dt = <h> - m_h, tau_mean dm_x/dt = <x> - m_x; h post-, x presynaptic, <> the mean over rows.

    Unbounded, like plain Hebb: the leading direction of the covariance grows. Synapses weaken if activities
    are anticorrelated. Combine it with `WeightDecay`, `Scaling` or `Bounded`.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 0.01, slow against a neuron's tau of 1
    tau_mean : float, time constant of the running means, > 0; default 100, slow against the stimulus
    traces : bool, presynaptic activity low-pass filtered with the postsynaptic tau; default False

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    T. J. Sejnowski, "Storing covariance with nonlinearly interacting neurons", J. Math. Biology 4, 1977, 303-321.
    """

    rate: float = 0.01
    tau_mean: float = 100.0
    traces: bool = False

    def __post_init__(self) -> None:
        number("Covariance(rate=)", self.rate, least=0)
        number("Covariance(tau_mean=)", self.tau_mean, above=0)

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return {"m_post": ((n_post,), 0.0), "m_pre": ((n_pre,), 0.0)}

    def flow(self, local: Local) -> dict[str, Tensor]:
        m_post, m_pre = local.variables["m_post"], local.variables["m_pre"]
        return {
            "m_post": (local.mean(local.post) - m_post) / self.tau_mean,
            "m_pre": (local.mean(local.pre) - m_pre) / self.tau_mean,
        }

    def update(self, local: Local) -> Update:
        post = local.post - local.variables["m_post"].unsqueeze(-2)
        pre = local.pre - local.variables["m_pre"].unsqueeze(-2)
        return Update(local.share * post * self.rate, pre)
