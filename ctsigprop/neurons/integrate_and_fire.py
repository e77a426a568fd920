"""Integrate-and-fire neurons: a flow between spikes, and a jump at them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.neurons.relaxation import membrane_step
from ctsigprop.rules.checks import Checked, number

Units = Float[Tensor, "*batch rows n"]
Drive = Float[Tensor, "*#batch #rows n"]
Variables = Mapping[str, Tensor]
FREE = 1e-6
"""Share of the refractory time below which what is left of it counts as none."""
NEAR_WHOLE = 2.0**-21
"""Share of itself, and of a step, by which a number of steps in float32 may be off a whole one."""
COUNTED = 2.0**24
"""Spikes that float32 counts."""


def in_steps(left: Tensor, dt: float) -> Tensor:
    """A time that is counted down in steps of dt: a whole number of them where it is one up to rounding.

    Without it, what the subtractions of the steps so far have rounded away adds up to a step too many.
    """
    steps = left * (1 / dt)
    whole = torch.floor(steps + 0.5)
    return torch.where((steps - whole).abs() <= steps.abs() * NEAR_WHOLE + NEAR_WHOLE, whole * dt, left)


def counted(n: Tensor, spikes: Tensor) -> Tensor:
    """The number of spikes, these included; from `COUNTED` on, which float32 cannot add 1 to, it starts anew."""
    total = n + spikes
    return total.masked_fill(total >= COUNTED, 0.0) if n.dtype == torch.float32 else total


@dataclass(frozen=True)
class IntegrateAndFire(metaclass=Checked):
    """The common base of `LIF`, `IF` and `AdaptiveLIF`; the subclasses define how the potential moves.

    State variables, one each per row and unit: `v` the potential, measured from rest; `r` the rate, estimated from
    the unit's own spikes, the activity that rules and signals see; `n` the number of spikes so far, in float32 modulo
    2^24, because float32 has no odd numbers beyond; `i` the synaptic current, if there is one; `q` the rest of the
    refractory time, if there is one. A grid counts it in whole steps.
    """

    tau: float = 1.0
    threshold: float = 1.0
    reset: float | Literal["subtract"] = "subtract"
    tau_syn: float | None = None
    refractory: float = 0.0
    tau_rate: float | None = None
    v: float = 0.0

    @property
    @abstractmethod
    def leak(self) -> float:
        """Factor on v in its own derivative: 1 if the membrane leaks, 0 if it does not."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        number(f"{name}(tau=)", self.tau, above=0)
        number(f"{name}(threshold=)", self.threshold)
        if self.reset != "subtract":
            number(f"{name}(reset=)", self.reset)
        if self.gap <= 0:
            raise ValueError(
                f"{name}(threshold=) must be above {'rest, 0' if self.reset == 'subtract' else 'the reset'}, "
                f"got threshold={self.threshold!r}, reset={self.reset!r}"
            )
        if self.tau_syn is not None:
            number(f"{name}(tau_syn=)", self.tau_syn, above=0)
        if self.tau_rate is not None:
            number(f"{name}(tau_rate=)", self.tau_rate, above=0)
        number(f"{name}(refractory=)", self.refractory, least=0)
        number(f"{name}(v=)", self.v)
        if self.v >= self.threshold:
            raise ValueError(f"{name}(v=) must be below threshold={self.threshold!r}, got {self.v!r}")

    @property
    def gap(self) -> float:
        """Distance from the reset (or from rest, if the reset subtracts) to the threshold."""
        return float(self.threshold - (0.0 if self.reset == "subtract" else float(self.reset)))

    @property
    def initial_gain(self) -> float:
        """Factor on the standard deviation of initial weights."""
        return 2.0 * self.gap

    @property
    def rate_tau(self) -> float:
        """Time constant of the rate estimate."""
        return self.tau if self.tau_rate is None else self.tau_rate

    def variables(self) -> dict[str, float]:
        initial = {"v": float(self.v), "r": 0.0, "n": 0.0}
        if self.tau_syn is not None:
            initial["i"] = 0.0
        if self.refractory > 0:
            initial["q"] = 0.0
        return initial

    def output(self, variables: Variables) -> Units:
        return variables["r"]

    def gain(self, variables: Variables, drive: Drive) -> Units:
        """1: spikes have no derivative; `rules.Surrogate` brings its own."""
        return torch.ones_like(variables["v"])

    def flow(self, variables: Variables, drive: Drive) -> dict[str, Tensor]:
        current = drive + variables["i"] if "i" in variables else drive
        slope = (current - self.leak * variables["v"] if self.leak else current.expand_as(variables["v"])) / self.tau
        slopes = {"v": slope, "r": variables["r"] * (-1 / self.rate_tau)}
        if "i" in variables:
            slopes["i"] = variables["i"] * (-1 / float(self.tau_syn or 1.0))
        if "q" in variables:
            waiting = (
                variables["q"] != 0
            )  # exactly 0 in a free unit; below 0, in a step that overshoots, it still waits
            slopes["v"] = slope.masked_fill(waiting, 0.0)
            slopes["q"] = -waiting.to(slope.dtype)
        return slopes

    def exact(self, variables: Variables, drive: Drive, dt: float) -> dict[str, Tensor]:
        """The variables after a time dt under a constant drive. A refractory unit starts to move when it has rested."""
        after = {"r": variables["r"] * math.exp(-dt / self.rate_tau)}
        tau, leak, v, i = self.tau, self.leak, variables["v"], variables.get("i")
        if i is not None:
            after["i"] = i * math.exp(-dt / float(self.tau_syn or 1.0))
        if "q" not in variables:
            after["v"] = membrane_step(v, drive, (i, self.tau_syn), dt, tau, leak)
            return after
        left = in_steps(variables["q"], dt)
        free = (dt - left).clamp(0.0, dt)
        after["q"] = (left - dt).clamp_min(0.0)
        start = None if i is None else i * torch.exp(left.clamp_max(dt) * (-1 / float(self.tau_syn or 1.0)))
        after["v"] = membrane_step(v, drive, (start, self.tau_syn), free, tau, leak)
        return after

    def voltage(self, variables: Variables) -> Units:
        return variables["v"]

    def compared(self, variables: Variables) -> Units:
        """The quantity compared with the threshold: v."""
        return variables["v"]

    def above(self, variables: Variables) -> Units:
        """How far this quantity is above the threshold."""
        return self.compared(variables) - self.threshold

    def distance(self, variables: Variables) -> Units:
        above = self.above(variables)
        return above if self.gap == 1.0 else above / self.gap

    def margin(self, variables: Variables) -> Units:
        above = self.above(variables)
        if "q" not in variables:
            return above
        left = variables["q"]
        return torch.where(left != 0, left * (-1 / self.refractory), above)

    def jump(self, variables: Variables, kick: Tensor | None, slack: float = 0.0) -> tuple[dict[str, Tensor], Units]:
        jumped: dict[str, Tensor] = {}
        v, ready = variables["v"], None
        if "q" in variables:
            ready = variables["q"] <= max(FREE, slack) * self.refractory
        if kick is not None and "i" in variables:
            jumped["i"] = variables["i"] + kick
        elif kick is not None:
            v = v + (kick if ready is None else kick * ready)
        fires = self.compared({**variables, "v": v}) >= self.threshold - slack
        if ready is not None:
            fires = fires & ready
            jumped["q"] = variables["q"].masked_fill(ready, 0.0).masked_fill(fires, self.refractory)
        spikes = fires.to(v.dtype)
        if self.reset == "subtract":
            jumped["v"] = torch.sub(v, spikes, alpha=self.gap)
        elif self.reset == 0:
            jumped["v"] = torch.addcmul(v, v, spikes, value=-1)
        else:
            jumped["v"] = v.masked_fill(fires, float(self.reset))
        jumped["r"] = torch.add(variables["r"], spikes, alpha=1 / self.rate_tau)
        jumped["n"] = counted(variables["n"], spikes)
        return jumped, spikes


@final
@dataclass(frozen=True)
class LIF(IntegrateAndFire):
    """Leaky integrate-and-fire neuron: tau dv/dt = -v + i + drive, tau_syn di/dt = -i, a spike at v = threshold.

    A spike from below adds its weight to i, or to v if there is no synaptic current. In its refractory time a unit
    keeps its v and ignores what is added to v. Rules and signals see the rate r as activity: tau_rate dr/dt = -r, and
    each spike adds 1 / tau_rate.

    Parameters
    ----------
    tau : float, membrane time constant in units of time, > 0; default 1, so that tau is the unit of time
    threshold : float, in units of v above rest; default 1
    reset : float, the value of v after a spike, below threshold; or "subtract" (default), which subtracts the
        threshold from v and so keeps the excess
    tau_syn : float or None, time constant of the synaptic current, > 0; default None, spikes act on v directly
    refractory : float, absolute refractory time in units of time, >= 0; default 0
    tau_rate : float or None, time constant of the rate estimate, > 0; default None, the same as tau
    v : float, the potential at the start, below threshold; default 0, rest

    Raises
    ------
    ValueError, TypeError : a number out of its range, a threshold that is not above the reset

    References
    ----------
    W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, Neuronal Dynamics, Cambridge 2014, section 1.3, eqs. 1.5 and 1.9;
    the spike interval under a constant drive, tau ln(drive / (drive - threshold)), after a reset to 0.
    """

    @property
    def leak(self) -> float:
        """1: it leaks."""
        return 1.0


@final
@dataclass(frozen=True)
class IF(IntegrateAndFire):
    """Integrate-and-fire neuron without a leak: tau dv/dt = i + drive; otherwise as `LIF`.

    Parameters
    ----------
    tau : float, in units of time, > 0, scales the drive and is also the time constant of the traces; default 1
    threshold, reset, tau_syn, refractory, tau_rate, v : as for `LIF`

    Raises
    ------
    ValueError, TypeError : a number out of its range, a threshold that is not above the reset

    References
    ----------
    L. Lapicque, J. Physiol. Pathol. Gen. 9, 1907; W. Gerstner et al., Neuronal Dynamics, 2014, section 1.3.
    """

    @property
    def leak(self) -> float:
        """0: it does not leak."""
        return 0.0


@final
@dataclass(frozen=True)
class AdaptiveLIF(IntegrateAndFire):
    """Leaky integrate-and-fire neuron with threshold + a as threshold: tau_a da/dt = -a, each spike adds `step` to a.

    Parameters
    ----------
    tau, threshold, reset, tau_syn, refractory, tau_rate, v : as for `LIF`; "subtract" subtracts the fixed threshold
    tau_a : float, time constant of the adaptation in units of time, > 0; default 10
    step : float, how much each spike raises the threshold, in units of v, >= 0; default 0.1

    Raises
    ------
    ValueError, TypeError : a number out of its range, a threshold that is not above the reset

    References
    ----------
    G. Bellec et al., "Long short-term memory and learning-to-learn in networks of spiking neurons", NeurIPS 2018;
    W. Gerstner et al., Neuronal Dynamics, 2014, section 6.1.
    """

    tau_a: float = 10.0
    step: float = 0.1

    @property
    def leak(self) -> float:
        """1: it leaks."""
        return 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("AdaptiveLIF(tau_a=)", self.tau_a, above=0)
        number("AdaptiveLIF(step=)", self.step, least=0)

    def variables(self) -> dict[str, float]:
        return {**super().variables(), "a": 0.0}

    def flow(self, variables: Variables, drive: Drive) -> dict[str, Tensor]:
        return {**super().flow(variables, drive), "a": variables["a"] * (-1 / self.tau_a)}

    def exact(self, variables: Variables, drive: Drive, dt: float) -> dict[str, Tensor]:
        return {**super().exact(variables, drive, dt), "a": variables["a"] * math.exp(-dt / self.tau_a)}

    def compared(self, variables: Variables) -> Units:
        """The threshold moves by a: v - a."""
        return variables["v"] - variables["a"]

    def jump(self, variables: Variables, kick: Tensor | None, slack: float = 0.0) -> tuple[dict[str, Tensor], Units]:
        jumped, spikes = super().jump(variables, kick, slack)
        return {**jumped, "a": torch.add(variables["a"], spikes, alpha=self.step)}, spikes
