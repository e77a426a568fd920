"""Three-factor rules: a modulator times any rule, with or without eligibility traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctsigprop.rules.base import PASSED_ON, Rule, Shapes, as_dense, inherit, inner
from ctsigprop.rules.checks import Checked, number
from ctsigprop.rules.hebb import Hebb
from ctsigprop.rules.local import Local, SpikeTrace
from ctsigprop.rules.update import DenseUpdate, Update


@dataclass(frozen=True)
class Reward(metaclass=Checked):
    """A modulator measured on the network: M = R - its running mean, tau_mean dm/dt = R - m.

    Parameters
    ----------
    value : callable, (activities, labels) -> number or tensor with one value: R at this moment. `activities` is a
        mapping with names as in a state ("r.1", ...); `labels` are one-hot labels or contexts of the stimulus
        (samples, width), or None
    tau_mean : float, time constant of the running mean, > 0; default 100

    References
    ----------
    N. Fremaux and W. Gerstner, "Neuromodulated STDP, and theory of three-factor learning rules", Front. Neural
    Circuits 9, 2016, section 3 (success signal R - <R>).
    """

    value: Callable[[Mapping[str, Tensor], Tensor | None], float | Tensor]
    tau_mean: float = 100.0

    def __post_init__(self) -> None:
        if not callable(self.value):
            raise TypeError(f"Reward(value=) must be a function of (activities, labels), got {self.value!r}")
        number("Reward(tau_mean=)", self.tau_mean, above=0)


@dataclass(frozen=True)
class ThreeFactor(Rule):
    """A modulator times any rule: dW/dt = rate M D, with D = post^T pre - decay W the rule's own derivative.

    With eligibility traces the product is first filtered at each synapse: tau_e de/dt = -e + D, dW/dt = rate M e.
    Around a rule that acts at spikes this is reward-modulated STDP: `ThreeFactor(STDP(), Reward(...), tau_e=10.0)`.
    Bounded if the rule inside is bounded and M is a number >= 0; functions and rewards may change sign.

    Parameters
    ----------
    rule : the rule inside; default `Hebb()`
    modulator : number; function of time; or `Reward(...)`, measured on the network minus its running mean; default 1
    tau_e : float or None, time constant of the eligibility traces, > 0; default None, no traces. With traces the
        rule holds one ODE variable per synapse, `eligibility`, and returns a `DenseUpdate`
    rate : float, factor on the rule inside, >= 0; default 1

    Raises
    ------
    ValueError, TypeError : a modulator or time constant not as described, a rule inside that has eligibility traces or
        a mean reward when this one has them too

    References
    ----------
    W. Gerstner et al., "Eligibility traces and plasticity on behavioral time scales", Front. Neural Circuits 12,
    2018 (the three-factor form with eligibility traces); R. Urbanczik and W. Senn, Nature Neurosci. 12, 2009;
    E. M. Izhikevich, "Solving the distal reward problem", Cereb. Cortex 17, 2007.
    """

    rule: Rule = field(default_factory=Hebb)
    modulator: float | Callable[[float], float] | Reward = 1.0
    tau_e: float | None = None
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise TypeError(f"ThreeFactor(rule=) must be a rule, got {self.rule!r}")
        if not callable(self.modulator) and not isinstance(self.modulator, Reward):
            number("ThreeFactor(modulator=)", self.modulator)
        if self.tau_e is not None:
            number("ThreeFactor(tau_e=)", self.tau_e, above=0)
        number("ThreeFactor(rate=)", self.rate, least=0)
        twice = sorted({*self.variables_here(1, 1)} & {*self.rule.variables(1, 1), *self.rule.spike_traces()})
        if twice:
            raise ValueError(f"ThreeFactor(rule=) must not keep {twice[0]!r}, as the rule around it does")
        inherit(self, self.rule, "traces", *PASSED_ON)
        positive = not callable(self.modulator) and not isinstance(self.modulator, Reward) and self.modulator >= 0
        object.__setattr__(self, "bounded", self.bounds is not None or (self.rule.bounded and positive))
        object.__setattr__(self, "dense", self.rule.dense or self.tau_e is not None)
        object.__setattr__(self, "modulated", self.rule.modulated or isinstance(self.modulator, Reward))

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return {**self.rule.variables(n_post, n_pre), **self.variables_here(n_post, n_pre)}

    def variables_here(self, n_post: int, n_pre: int) -> Shapes:
        """The variables that do not belong to the rule inside."""
        shapes: Shapes = {}
        if isinstance(self.modulator, Reward):
            shapes["reward_mean"] = ((1,), 0.0)
        if self.tau_e is not None:
            shapes["eligibility"] = ((n_post, n_pre), 0.0)
            shapes["eligibility_bias"] = ((n_post,), 0.0)
        return shapes

    def flow(self, local: Local) -> dict[str, Tensor]:
        slopes = dict(self.rule.flow(local))
        if isinstance(self.modulator, Reward):
            mean = local.variables["reward_mean"]
            slopes["reward_mean"] = (self.reward(local, self.modulator) - mean) / self.modulator.tau_mean
        if self.tau_e is not None:
            inside = as_dense(inner(self.rule, local), local)
            e, e_bias = local.variables["eligibility"], local.variables["eligibility_bias"]
            slopes["eligibility"] = (inside.change - e) / self.tau_e
            slopes["eligibility_bias"] = (-e_bias if inside.bias is None else inside.bias - e_bias) / self.tau_e
        return slopes

    def update(self, local: Local) -> Update | DenseUpdate:
        factor = self.factor(local)
        if self.tau_e is None:
            return inner(self.rule, local).scaled(factor)
        return DenseUpdate(local.variables["eligibility"], local.variables["eligibility_bias"]).scaled(factor)

    def spike_traces(self) -> dict[str, SpikeTrace]:
        return self.rule.spike_traces()

    def jump(self, local: Local) -> tuple[Update | DenseUpdate | None, dict[str, Tensor]]:
        """At spikes the rule inside changes the eligibility trace by D / tau_e, or without traces the weight by M D."""
        update, jumped = self.rule.jump(local)
        if update is None:
            return None, jumped
        if self.tau_e is None:
            return update.scaled(self.factor(local)), jumped
        change = as_dense(update, local).change
        e = torch.add(local.variables["eligibility"], change, alpha=1 / self.tau_e)
        return None, {**jumped, "eligibility": e}

    def factor(self, local: Local) -> float | Tensor:
        """Rate M at this moment."""
        modulator = self.modulator
        if isinstance(modulator, Reward):
            return self.rate * (self.reward(local, modulator) - local.variables["reward_mean"])
        return self.rate * float(modulator(local.t) if callable(modulator) else modulator)

    def reward(self, local: Local, modulator: Reward) -> Tensor:
        """R as a tensor of one value."""
        if local.broadcast is None:
            raise ValueError("ThreeFactor with a Reward needs the network's activities")
        value = torch.as_tensor(local.broadcast(modulator.value)).to(local.post)
        if value.numel() != 1:
            raise ValueError(f"Reward(value=) must return one number, got shape {tuple(value.shape)}")
        return value.reshape(1)
