"""Weight bounds around any rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ctsigprop.rules.base import PASSED_ON, Rule, Shapes, as_dense, inherit, inner, narrowest
from ctsigprop.rules.checks import number
from ctsigprop.rules.hebb import Hebb
from ctsigprop.rules.local import Local, SpikeTrace
from ctsigprop.rules.update import DenseUpdate


@dataclass(frozen=True)
class Bounded(Rule):
    """Any rule, its dW/dt = rate D kept within w_min ... w_max. Bounded.

    Soft: potentiation (D > 0) is multiplied by (w_max - W), depression by (W - w_min), so weights approach
    the bounds without reaching them. Hard: D is set to 0 where it would lead out of the bounds.

    The bounds hold for every step size: `initial_state` clips the weights that it draws, `simulate` rejects a state
    outside the bounds, and a solver step that would pass a bound ends on it. This includes the target generator S if
    it learns, and changes from other rules and modulators at the same synapses. Biases have no bounds.

    Parameters
    ----------
    rule : the rule inside; default `Hebb()`
    w_min, w_max : float, the bounds, w_min < w_max; default 0 and 1
    kind : "soft" (default) or "hard"
    rate : float, factor on the rule inside, >= 0; default 1

    Raises
    ------
    ValueError, TypeError : bounds in the wrong order, an unknown kind

    References
    ----------
    W. Gerstner and W. M. Kistler, Spiking Neuron Models, Cambridge 2002, section 10.2 (soft and hard bounds);
    R. Gutig, R. Aharonov, S. Rotter, H. Sompolinsky, J. Neurosci. 23, 2003 (their dependence on the weight).
    """

    rule: Rule = field(default_factory=Hebb)
    w_min: float = 0.0
    w_max: float = 1.0
    kind: Literal["soft", "hard"] = "soft"
    rate: float = 1.0
    dense = True
    bounded = True

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise TypeError(f"Bounded(rule=) must be a rule, got {self.rule!r}")
        number("Bounded(w_min=)", self.w_min)
        number("Bounded(w_max=)", self.w_max, above=self.w_min)
        number("Bounded(rate=)", self.rate, least=0)
        if self.kind not in ("soft", "hard"):
            raise ValueError(f"Bounded(kind=) must be 'soft' or 'hard', got {self.kind!r}")
        inherit(self, self.rule, "traces", "modulated", *PASSED_ON)
        object.__setattr__(self, "bounds", narrowest([(self.w_min, self.w_max), self.rule.bounds]))

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return self.rule.variables(n_post, n_pre)

    def flow(self, local: Local) -> dict[str, Tensor]:
        return self.rule.flow(local)

    def spike_traces(self) -> dict[str, SpikeTrace]:
        return self.rule.spike_traces()

    def jump(self, local: Local) -> tuple[DenseUpdate | None, dict[str, Tensor]]:
        """A jump D of the rule inside, scaled if bounds are soft. A jump that would pass a bound ends on it."""
        update, jumped = self.rule.jump(local)
        w = local.weight
        if update is None or w is None:
            return None, jumped
        change = as_dense(update, local).change * self.rate
        if self.kind == "soft":
            change = change * torch.where(change > 0, self.w_max - w, w - self.w_min)
        return DenseUpdate((w + change).clamp(self.w_min, self.w_max) - w), jumped

    def update(self, local: Local) -> DenseUpdate:
        inside = as_dense(inner(self.rule, local), local)
        w = local.weight
        if w is None:
            raise ValueError("Bounded needs the weights of its synapses")
        up = self.w_max - w
        down = w - self.w_min
        if self.kind == "hard":
            up, down = (up > 0).to(w.dtype), (down > 0).to(w.dtype)
        change = inside.change * torch.where(inside.change > 0, up, down)
        return DenseUpdate(change, inside.bias).scaled(self.rate)
