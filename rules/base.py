"""The base class of rules, with sums and multiples of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import final

import torch
from torch import Tensor

from ctsigprop.rules.checks import Checked, number
from ctsigprop.rules.local import Local, SpikeTrace
from ctsigprop.rules.update import DenseUpdate, Update

Shapes = dict[str, tuple[tuple[int, ...], float]]
"""Name of each ODE variable of a rule, with its shape and initial value."""
PASSED_ON = ("supervised", "differential", "uses_pre", "potential", "of_voltage", "jumps", "bounds")
"""What a rule around another one needs because that one does."""


class Rule(metaclass=Checked):
    """A plasticity rule. Subclasses are frozen dataclasses with the fields `rate` and `traces`.

    `rate` (1 / time, >= 0) multiplies the whole right-hand side. With `traces` the rule sees presynaptic
    activity, postsynaptic gain and label through low-pass filters with the postsynaptic neuron's own tau, so
    that both factors of a synapse come from the same moment of the stimulus.

    Rules add, `Oja(rate=0.1) + Scaling(rate=0.01)`, and can be multiplied by a number, `0.5 * Hebb()`.
    """

    traces: bool = False
    supervised: bool = False
    """True for a rule that needs a learning signal `delta`."""
    dense: bool = False
    """True for a rule that needs the weights themselves or returns a `DenseUpdate`."""
    differential: bool = False
    """True for a rule that needs the time derivatives of activities."""
    modulated: bool = False
    """True for a rule that needs a number computed from the whole network."""
    uses_pre: bool = True
    """False for a term that ignores presynaptic activity, and so combines with any choice of `traces`."""
    potential: bool = False
    """True for a rule that needs the distance of the membrane potential from threshold."""
    of_voltage: bool = False
    """True for a rule whose learning signal is read out of membrane potentials instead of activities."""
    jumps: bool = False
    """True for a rule that acts at spikes, by `jump`."""
    rests: bool = False
    """True for a rule that acts at spikes only: nothing changes between them, and `update` is not asked."""
    bounded: bool = False
    """Whether the weights stay finite for bounded input, whatever the activation."""
    bounds: tuple[float, float] | None = None
    """Least and largest weight of a `dense` rule: a network starts and every step of every solver ends within."""

    @property
    def name(self) -> str:
        """Name of the rule, for messages."""
        return type(self).__name__

    @abstractmethod
    def update(self, local: Local) -> Update | DenseUpdate:
        """The weight derivative of one population of synapses."""

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        """Name, shape and initial value of each ODE variable that the rule keeps per population; none by default."""
        return {}

    def flow(self, local: Local) -> dict[str, Tensor]:
        """Time derivative of each of those variables."""
        return {}

    def spike_traces(self) -> dict[str, SpikeTrace]:
        """Filters of spikes that the network keeps for this rule, by name. The rule finds them in `local.variables`."""
        return {}

    def jump(self, local: Local) -> tuple[Update | DenseUpdate | None, dict[str, Tensor]]:
        """Changes at the time of spikes: (change of the weights, new value of each variable that jumps)."""
        return None, {}

    def __add__(self, other: Rule) -> Rule:
        if not isinstance(other, Rule):
            return NotImplemented
        parts = (
            *(self.parts if isinstance(self, Sum) else (self,)),
            *(other.parts if isinstance(other, Sum) else (other,)),
        )
        return Sum(parts)

    def __mul__(self, factor: float) -> Rule:
        return Scaled(self, factor)

    __rmul__ = __mul__


@final
@dataclass(frozen=True)
class Sum(Rule):
    """Several rules on the same synapses: their derivatives add. Made by `a + b`.

    Raises
    ------
    ValueError : rules that disagree on `traces`, or that call two ODE variables by one name
    """

    parts: tuple[Rule, ...]

    def __post_init__(self) -> None:
        wishes = {part.traces for part in self.parts if part.uses_pre}
        if len(wishes) > 1:
            said = ", ".join(f"{type(part).__name__}(traces={part.traces})" for part in self.parts if part.uses_pre)
            raise ValueError(f"rules that add up must agree on traces, got {said}")
        names = [name for part in self.parts for name in (*part.variables(1, 1), *part.spike_traces())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rules that add up must not share an ODE variable, two of them have {twice[0]!r}")
        object.__setattr__(self, "traces", True in wishes)
        object.__setattr__(self, "bounds", narrowest([part.bounds for part in self.parts]))
        object.__setattr__(self, "bounded", self.bounds is not None or all(part.bounded for part in self.parts))
        for flag in ("supervised", "dense", "differential", "modulated", "uses_pre", "potential", "jumps"):
            object.__setattr__(self, flag, any(getattr(part, flag) for part in self.parts))
        if len({part.of_voltage for part in self.parts if part.supervised}) > 1:
            raise ValueError("rules that add up must read the learning signal out of one thing, got rates and voltages")
        object.__setattr__(self, "of_voltage", any(part.of_voltage for part in self.parts))

    def update(self, local: Local) -> Update | DenseUpdate:
        return together([inner(part, local) for part in self.parts], local)

    def spike_traces(self) -> dict[str, SpikeTrace]:
        return {name: trace for part in self.parts for name, trace in part.spike_traces().items()}

    def jump(self, local: Local) -> tuple[Update | DenseUpdate | None, dict[str, Tensor]]:
        jumps = [part.jump(local) for part in self.parts if part.jumps]
        updates = [update for update, _ in jumps if update is not None]
        jumped = {name: value for _, values in jumps for name, value in values.items()}
        return (together(updates, local) if updates else None), jumped

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return {name: shape for part in self.parts for name, shape in part.variables(n_post, n_pre).items()}

    def flow(self, local: Local) -> dict[str, Tensor]:
        return {name: slope for part in self.parts for name, slope in part.flow(local).items()}


@final
@dataclass(frozen=True)
class Scaled(Rule):
    """A rule at `rate` times its own rate. Made by `0.5 * rule`. Its ODE variables keep their speed.

    Raises
    ------
    TypeError, ValueError : a factor that is not a finite number
    """

    rule: Rule
    rate: float

    def __post_init__(self) -> None:
        number("the factor of a rule", self.rate)
        inherit(self, self.rule, "traces", "dense", "modulated", *PASSED_ON)
        object.__setattr__(self, "bounded", self.bounds is not None or (self.rule.bounded and self.rate >= 0))

    def spike_traces(self) -> dict[str, SpikeTrace]:
        return self.rule.spike_traces()

    def jump(self, local: Local) -> tuple[Update | DenseUpdate | None, dict[str, Tensor]]:
        update, jumped = self.rule.jump(local)
        return (None if update is None else update.scaled(self.rate)), jumped

    def update(self, local: Local) -> Update | DenseUpdate:
        return inner(self.rule, local).scaled(self.rate)

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return self.rule.variables(n_post, n_pre)

    def flow(self, local: Local) -> dict[str, Tensor]:
        return self.rule.flow(local)


def inherit(rule: Rule, inside: Rule, *flags: str) -> None:
    """Set flags of a rule around another one as that one has them."""
    for flag in flags:
        object.__setattr__(rule, flag, getattr(inside, flag))


def narrowest(bounds: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    """What lies within all of some bounds; None where there are none.

    Raises
    ------
    ValueError : bounds that have nothing in common
    """
    given = [pair for pair in bounds if pair is not None]
    if not given:
        return None
    low, high = max(low for low, _ in given), min(high for _, high in given)
    if low >= high:
        raise ValueError(f"the weights of one rule cannot keep bounds that exclude each other, got {given}")
    return low, high


def inner(rule: Rule, local: Local) -> Update | DenseUpdate:
    """The update of one population by `rule`, held to the shape contract.

    Raises
    ------
    TypeError, ValueError : what the rule, by name and layer, returned instead
    """
    update = rule.update(local)
    check_update(update, local, f"rule {rule.name}{local.place}")
    return update


def check_update(update: object, local: Local, name: str) -> None:
    """Raise unless `update` is an update of the shapes of `local`."""
    batch, post, pre = tuple(local.post.shape[:-2]), local.post.shape[-1], local.pre.shape[-1]
    if isinstance(update, DenseUpdate):
        change, bias = tuple(update.change.shape), None if update.bias is None else tuple(update.bias.shape)
        if change != (*batch, post, pre):
            raise ValueError(f"{name} must return a change of shape (..., {post}, {pre}), got {change}")
        if bias not in (None, (*batch, post)):
            raise ValueError(f"{name} must return a bias of shape (..., {post}), got {bias}")
    elif isinstance(update, Update):
        a, b = tuple(update.post.shape), tuple(update.pre.shape)
        if len(a) != len(b) or len(a) != len(batch) + 2 or (a[-2], a[-1], b[-1]) != (b[-2], post, pre):
            raise ValueError(
                f"{name} must return post of shape (..., rows, {post}) and pre of shape (..., rows, {pre}), "
                f"got {a} and {b}"
            )
        decay = tuple(update.decay.shape) if isinstance(update.decay, Tensor) else ()
        if decay and (len(decay) > len(batch) + 1 or decay[-1] not in (1, post)):
            raise ValueError(f"{name} must return a decay of shape (..., {post}), got {decay}")
    else:
        raise TypeError(f"{name} must return rules.Update or rules.DenseUpdate, got {type(update).__name__}")


def as_dense(update: Update | DenseUpdate, local: Local) -> DenseUpdate:
    """An update as one derivative per synapse; a decay needs the weights, so one of the rules must be `dense`."""
    if isinstance(update, DenseUpdate):
        return update
    if local.weight is None:
        raise ValueError("a rule that returns a DenseUpdate must say so: set dense = True in its class")
    bias = None if local.bias is None else update.bias_derivative(local.bias)
    return DenseUpdate(update.derivative(local.weight), bias)


def together(updates: list[Update | DenseUpdate], local: Local) -> Update | DenseUpdate:
    """The sum of updates, in factor form where all are."""
    factors = [update for update in updates if isinstance(update, Update)]
    if len(factors) == len(updates):
        return Update(
            torch.cat([update.post for update in factors], -2),
            torch.cat([update.pre for update in factors], -2),
            sum((update.decay for update in factors), start=0.0),
        )
    return total([as_dense(update, local) for update in updates])


def total(updates: list[DenseUpdate]) -> DenseUpdate:
    """The sum of dense updates."""
    biases = [update.bias for update in updates if update.bias is not None]
    return DenseUpdate(reduce(add, [update.change for update in updates]), reduce(add, biases) if biases else None)
