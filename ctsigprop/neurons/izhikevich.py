"""Izhikevich's two-variable neuron with a reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.neurons.integrate_and_fire import Drive, Variables, counted
from ctsigprop.rules.checks import Checked, number

Units = Float[Tensor, "*batch rows n"]


@final
@dataclass(frozen=True)
class Izhikevich(metaclass=Checked):
    """Izhikevich's simple model: dv/dt = 0.04 v^2 + 5 v + 140 - u + drive, du/dt = a (b v - u), a spike at v = 30.

    At a spike v becomes c, and d is added to u. Time is in ms and v in mV, so dt, durations and time constants of the
    network are in milliseconds. A spike from below adds its weight, in mV, to v. The rate r that rules and signals
    see is in spikes per ms. There is no closed form: use `Hybrid(dt=0.1, flow="rk4")`, as "auto" does.

    Parameters
    ----------
    a : float, rate of the recovery variable, in 1 / ms, > 0; default 0.02
    b : float, its dependence on v, in 1 / ms; default 0.2
    c : float, v after a spike, in mV, below 30; default -65
    d : float, how much a spike adds to u, in mV / ms; default 8; by default a, b, c, d give a regular spiking cell
    tau : float, time constant of the rate estimate and of the traces, in ms, > 0; default 20
    v : float, potential at the start, in mV, below 30; default -65; u starts at b v

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    E. M. Izhikevich, "Simple model of spiking neurons", IEEE Trans. Neural Networks 14, 2003, eqs. 1 to 3.
    """

    a: float = 0.02
    b: float = 0.2
    c: float = -65.0
    d: float = 8.0
    tau: float = 20.0
    v: float = -65.0
    tau_syn: ClassVar[float | None] = None
    refractory: ClassVar[float] = 0.0
    peak: ClassVar[float] = 30.0
    initial_gain: ClassVar[float] = 15.0
    largest_step: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        number("Izhikevich(a=)", self.a, above=0)
        number("Izhikevich(b=)", self.b)
        number("Izhikevich(c=)", self.c)
        number("Izhikevich(d=)", self.d)
        number("Izhikevich(tau=)", self.tau, above=0)
        number("Izhikevich(v=)", self.v)
        for name, potential in (("c", self.c), ("v", self.v)):
            if potential >= self.peak:
                raise ValueError(f"Izhikevich({name}=) must be below the peak, 30 mV, got {potential!r}")

    def variables(self) -> dict[str, float]:
        return {"v": float(self.v), "u": float(self.b * self.v), "r": 0.0, "n": 0.0}

    def flow(self, variables: Variables, drive: Drive) -> dict[str, Tensor]:
        v, u = variables["v"], variables["u"]
        return {
            "v": (0.04 * v + 5.0) * v + (140.0 - u) + drive,
            "u": self.a * (self.b * v - u),
            "r": variables["r"] * (-1 / self.tau),
        }

    def output(self, variables: Variables) -> Units:
        return variables["r"]

    def gain(self, variables: Variables, drive: Drive) -> Units:
        """1: spikes have no derivative; `rules.Surrogate` brings its own."""
        return torch.ones_like(variables["v"])

    def voltage(self, variables: Variables) -> Units:
        return variables["v"]

    def distance(self, variables: Variables) -> Units:
        return (variables["v"] - self.peak) / (self.peak - self.c)

    def margin(self, variables: Variables) -> Units:
        return variables["v"] - self.peak

    def jump(self, variables: Variables, kick: Tensor | None, slack: float = 0.0) -> tuple[dict[str, Tensor], Units]:
        v = variables["v"] if kick is None else variables["v"] + kick
        fires = v >= self.peak - slack
        spikes = fires.to(v.dtype)
        return {
            "v": v.masked_fill(fires, self.c),
            "u": torch.add(variables["u"], spikes, alpha=self.d),
            "r": torch.add(variables["r"], spikes, alpha=1 / self.tau),
            "n": counted(variables["n"], spikes),
        }, spikes
