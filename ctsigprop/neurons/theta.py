"""The theta neuron: spikes without jumps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import Checked, number

Units = Float[Tensor, "*batch rows n"]


@final
@dataclass(frozen=True)
class Theta(metaclass=Checked):
    """Theta neuron: tau dtheta/dt = 1 - cos theta + (1 + cos theta) (drive - drive_0), a spike when theta passes pi.

    The phase form of the quadratic integrate-and-fire neuron tau dV/dt = V^2 + drive - drive_0, V = tan(theta / 2):
    the reset from +infinity to -infinity is smooth here, so every solver works, with any rule for rate neurons.
    The output is a smooth pulse around the spike, (2/3) (1 - cos theta)^2, of area 2 pi over the circle.

    Parameters
    ----------
    tau : float, time constant in units of time, > 0; default 1
    threshold : float, drive_0; above it the neuron spikes, with frequency sqrt(drive - drive_0) / (pi tau);
        default 0
    theta : float, phase at the start, in radians; default 0

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    G. B. Ermentrout and N. Kopell, SIAM J. Appl. Math. 46, 1986; T. B. Luke, E. Barreto, P. So, Neural Comput. 25,
    2013, eqs. 1 and 3 (the pulse).
    """

    tau: float = 1.0
    threshold: float = 0.0
    theta: float = 0.0

    def __post_init__(self) -> None:
        number("Theta(tau=)", self.tau, above=0)
        number("Theta(threshold=)", self.threshold)
        number("Theta(theta=)", self.theta)

    def variables(self) -> dict[str, float]:
        return {"phase": float(self.theta)}

    def flow(self, variables: Mapping[str, Tensor], drive: Units) -> dict[str, Tensor]:
        cos = torch.cos(variables["phase"])
        return {"phase": (1 - cos + (1 + cos) * (drive - self.threshold)) / self.tau}

    def output(self, variables: Mapping[str, Tensor]) -> Units:
        return (2 / 3) * (1 - torch.cos(variables["phase"])).square()

    def output_slope(self, variables: Mapping[str, Tensor], slopes: Mapping[str, Tensor]) -> Units:
        """d(output)/dt, for rules that multiply derivatives."""
        theta = variables["phase"]
        return (4 / 3) * (1 - torch.cos(theta)) * torch.sin(theta) * slopes["phase"]

    def gain(self, variables: Mapping[str, Tensor], drive: Units) -> Units:
        """1 + cos theta: how strongly the phase follows the drive at this moment; 0 at a spike."""
        return 1 + torch.cos(variables["phase"])

    def steady(self, drive: Units) -> Units:
        """The output averaged over time under a constant drive: (4/3) s (1 + 2 s) / (1 + s)^2, s the root of
        drive - drive_0; below threshold, the output at the resting phase.
        """
        current = drive - self.threshold
        s = current.clamp_min(0.0).sqrt()
        moving = (4 / 3) * s * (1 + 2 * s) / (1 + s).square()
        below = (-current).clamp_min(0.0)
        resting = (2 / 3) * (2 * below / (1 + below)).square()
        return torch.where(current > 0, moving, resting)
