"""Steps of Euler in place: the recorded right-hand side, carried out again and again in memory of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.inplace.buffer_pool import Memory, laid_out
from ctsigprop.execution.inplace.out_calls import Call, OutCalls
from ctsigprop.model.network import Network
from ctsigprop.solvers.base import first_nonfinite
from ctsigprop.solvers.field import HybridState
from ctsigprop.stimuli.frame import Input
from ctsigprop.trace.graph import INPUTS
from ctsigprop.trace.passes import following, nodes_in
from ctsigprop.trace.record import distinct, record

BETWEEN = 16
"""Steps from one look at the state to the next."""


class Step(NamedTuple):
    """A step that was taken: what was shown, its start and its length."""

    shown: FrameInput
    t: float
    dt: float


class Lost(NamedTuple):
    """A member that diverged: its number, its last good state and the time of that, what was not finite after it, and
    the steps that were taken until then, this one included.
    """

    member: int
    state: HybridState
    t: float
    name: str
    steps: int


class InPlaceStepper:
    """A network's Euler steps in place: state, inputs and every intermediate result have their own memory.

    Every `BETWEEN` steps the state is looked at and, where it is finite, kept; where it is not, the steps since the
    last good one are taken again one by one, to find the first that went wrong.

    Members of an ensemble lie along the first dimension of all tensors. One that diverges is put down in `lost`, and
    its place follows another member from then on, so that the others go on as if nothing had happened.

    Parameters
    ----------
    networks : of each member, of one structure; or one network alone, without that dimension
    shown : an input, for its shapes
    state : where to start; it is copied

    Raises
    ------
    NotTraceable : a right-hand side that cannot be recorded, networks that differ in more than numbers
    """

    def __init__(self, networks: Network | Sequence[Network], shown: Input, state: HybridState) -> None:
        alone = isinstance(networks, Network)
        self.networks, which = distinct([networks] if isinstance(networks, Network) else networks)
        self.which, self.example = torch.tensor(which), shown
        self.lost: list[Lost] = []
        self.steps = 0
        self.alive = [] if alone else [True] * len(which)
        self.source = torch.arange(len(which))
        own = torch.clone if alone else laid_out
        self.activities = {name: own(value) for name, value in state.activities.items()}
        self.weights = {name: value.clone() for name, value in state.weights.items()}
        self.current = HybridState(self.activities, self.weights)
        self.good = {name: value.clone() for name, value in self.current.items()}
        self.shown = FrameInput.to(self.networks[0], shown)
        names = [name for name in INPUTS if getattr(self.shown, name) is not None]
        self.inputs = {name: own(getattr(self.shown, name)) for name in names}
        self.bounds = bounds_of_each(self.networks, which, self.weights)
        if alone:
            self.bounds = {name: (low[0], high[0]) for name, (low, high) in self.bounds.items()}
        self.plans: dict[float, Plan] = {}
        self.plan = self.plans[1.0] = self.planned(1.0)
        self.log: list[Step] = []

    def planned(self, gate: float) -> Plan:
        """What a step does under a gate."""
        both = dict(self.current.items())
        ensemble = bool(self.alive)
        graph = record(self.networks, self.example, both, gate)
        constants = torch.tensor(graph.constants, dtype=next(iter(both.values())).dtype)[self.which]
        places = {node: self.inputs[name] for name, node in graph.inputs.items()}
        places |= {node: both[name] for name, node in graph.state.items()}
        still = following(graph.flow.operations, list(graph.inputs.values()))
        shown, moving = ([n for n in graph.flow.operations if (n in still) == early] for early in (True, False))
        ends = {*nodes_in(graph.rates), *nodes_in(graph.flow.updates)}
        read_later = {*ends, *(source for node in moving for source in node.all_input_nodes)}
        once = OutCalls(shown, read_later, places, memory=Memory(ensemble), constants=constants)
        program = OutCalls(moving, ends, once.at, memory=Memory(ensemble), constants=constants)
        calls, own = list(program.calls), {value.data_ptr() for value in both.values()}
        rates: dict[str, Tensor] = {}
        for name, node in graph.rates.items():
            rates[name] = program.at[node]
            if rates[name].data_ptr() in own or rates[name].shape != both[name].shape:
                rates[name] = torch.empty_like(both[name])
                calls.append(partial(rates[name].copy_, program.at[node]))
        parts = {name: program.actual(found) for name, found in graph.flow.updates.items()}
        return Plan(once.calls, calls, rates, parts, constants)

    def load(self, state: HybridState) -> None:
        """Go on from `state`, which is good."""
        if state is not self.current:
            for name, value in state.items():
                self.tensor(name).copy_(value)
            self.keep()

    def tensor(self, name: str) -> Tensor:
        """One tensor of the state."""
        return self.activities[name] if name in self.activities else self.weights[name]

    def keep(self) -> None:
        """The state at hand is good."""
        for name, value in self.current.items():
            self.good[name].copy_(value)
        self.log.clear()

    def show(self, shown: FrameInput) -> bool:
        """Take in an input; False where its gate is neither open nor closed."""
        if shown.gate not in (0.0, 1.0):
            return False
        for name, place in self.inputs.items():
            value = getattr(shown, name)
            place.copy_(value[self.source] if self.lost else value)
        if shown.gate not in self.plans:
            self.plans[shown.gate] = self.planned(shown.gate)
        self.shown, self.plan = shown, self.plans[shown.gate]
        for call in self.plan.once:
            call()
        return True

    def step(self, t: float, dt: float) -> bool:
        """One step; False where the state is looked at and found not to be finite."""
        plan = self.plan
        for call in plan.calls:
            call()
        if plan.dt != dt:
            self.changes(plan, dt)
        changes = iter(plan.changes)
        try:
            for call in changes:
                call()
        except KeyboardInterrupt:  # no state is left half changed
            for call in changes:
                call()
            raise
        self.log.append(Step(self.shown, t, dt))
        self.steps += 1
        return len(self.log) < BETWEEN or self.verify()

    def changes(self, plan: Plan, dt: float) -> None:
        """The changes of a step of length dt: W += dt (post^T pre - diag(decay) W), whose factors may be activities as
        they stand, then activities += dt rate.
        """
        found: list[Call] = []
        for name, parts in plan.parts.items():
            found += learning(self.weights[name], parts, dt, self.bounds.get(name))
        found += [partial(self.activities[name].add_, rate, alpha=dt) for name, rate in plan.rates.items()]
        plan.dt, plan.changes = dt, found

    def verify(self) -> bool:
        """Whether the state is finite, and kept; of an ensemble, whether any member goes on."""
        total = sum(float(value.sum()) for _, value in self.current.items())
        if not math.isfinite(total):
            if self.alive and bool(self.wrong().any()):
                return self.part()
            if not self.alive and first_nonfinite(self.current) is not None:
                return False
        if self.log:
            self.keep()
        return True

    def wrong(self) -> Tensor:
        """Of each member, whether something in its state is not finite."""
        return torch.stack([~value.isfinite().flatten(1).all(1) for _, value in self.current.items()]).any(0)

    def part(self) -> bool:
        """Take the steps since the last good state again, one by one, and part with members that diverge."""
        steps = tuple(self.log)
        self.restore()
        for k, (shown, t, dt) in enumerate(steps):
            self.show(shown)
            self.step(t, dt)
            self.steps -= 1
            wrong = self.wrong()
            if bool(wrong.any()):
                donors = [member for member, alive in enumerate(self.alive) if alive and not wrong[member]]
                for member in torch.nonzero(wrong).flatten().tolist():
                    if self.alive[member]:
                        self.alive[member] = False
                        self.lose(member, t, self.steps - len(steps) + k + 1)
                if not donors:
                    return False
                self.follow(wrong, donors[0])
            self.keep()
        return True

    def lose(self, member: int, t: float, steps: int) -> None:
        """Put down a member that was good at t and is not any more."""
        name = first_nonfinite(HybridState({name: value[member] for name, value in self.current.items()}, {}))
        parts = (self.activities, self.weights)
        state = HybridState(*({name: self.good[name][member].clone() for name in part} for part in parts))
        self.lost.append(Lost(member, state, t, name or "a quantity", steps))

    def follow(self, members: Tensor, donor: int) -> None:
        """Let some members' places follow another member."""
        for _, value in self.current.items():
            value[members] = value[donor].clone()
        self.source[members] = self.source[donor].clone()
        self.which[members] = self.which[donor].clone()
        for low, high in self.bounds.values():
            low[members], high[members] = low[donor].clone(), high[donor].clone()
        for plan in self.plans.values():
            plan.constants[members] = plan.constants[donor].clone()

    def restore(self) -> None:
        """Go back to the last state that was kept."""
        for name, value in self.good.items():
            self.tensor(name).copy_(value)
        self.log.clear()

    def rewind(self) -> tuple[int, float, str]:
        """Go back to the last finite state: (number of steps given up, its time, what was not finite after it)."""
        steps = tuple(self.log)
        self.restore()
        for k, (shown, t, dt) in enumerate(steps):
            self.show(shown)
            self.step(t, dt)
            wrong = first_nonfinite(self.current)
            if wrong is not None:
                self.restore()
                return len(steps) - k, t, wrong
            self.keep()
        raise RuntimeError("steps taken again went another way")


def bounds_of_each(
    networks: Sequence[Network], which: Sequence[int], weights: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Least and largest weight of each member, (members, 1, 1), of each matrix that has bounds."""
    return {
        name: (
            weights[name].new_tensor([networks[k].bounds[name][0] for k in which]).view(-1, 1, 1),
            weights[name].new_tensor([networks[k].bounds[name][1] for k in which]).view(-1, 1, 1),
        )
        for name in networks[0].bounds
    }


def learning(
    weight: Tensor, parts: tuple[Any, ...], dt: float, bounds: tuple[Tensor, Tensor] | None = None
) -> list[Call]:
    """W += dt (post^T pre - diag(decay) W), or W += dt change, in place; what leaves the bounds is put onto them."""
    if bounds is not None:
        return [*learning(weight, parts, dt), partial(weight.clamp_, *bounds)]
    if len(parts) == 1:
        return [partial(weight.add_, parts[0], alpha=dt)]
    post, pre, decay = parts
    product = weight.addmm_ if weight.dim() == 2 else weight.baddbmm_
    if not isinstance(decay, Tensor):
        return [partial(product, post.mT, pre, beta=1.0 - dt * decay, alpha=dt)]
    kept = torch.empty_like(decay)
    return [
        partial(torch.sub, torch.ones_like(decay), decay, alpha=dt, out=kept),
        partial(weight.mul_, kept.unsqueeze(-1)),
        partial(product, post.mT, pre, beta=1.0, alpha=dt),
    ]


@dataclass
class Plan:
    """One step: calls to make for each input, and at every step; where they leave rates and factors; numbers of the
    members; the changes of steps of `dt`.
    """

    once: list[Call]
    calls: list[Call]
    rates: dict[str, Tensor]
    parts: dict[str, tuple[Any, ...]]
    constants: Tensor
    dt: float = math.nan
    changes: list[Call] = field(default_factory=list)
