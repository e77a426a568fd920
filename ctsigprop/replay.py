"""Steps of Euler in place: the recorded right-hand side, carried out again and again in memory of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ctsigprop.compiled.trace import INPUTS, Traced, merged, record
from ctsigprop.field import Shown
from ctsigprop.in_place import Call, Program
from ctsigprop.network import Network
from ctsigprop.solvers.base import first_nonfinite
from ctsigprop.solvers.field import HybridState
from ctsigprop.stimuli import Input
from ctsigprop.tape import nodes_in

BETWEEN = 16
"""Steps from one look at the state to the next."""
KNOWN: WeakKeyDictionary[Network, dict[Any, Traced]] = WeakKeyDictionary()
"""Graphs of networks that are still in use: to record one takes as long as some hundred steps."""


class Replay:
    """A network's Euler steps in place: state, inputs and every intermediate result have their own memory.

    Every `BETWEEN` steps the state is looked at and, where it is finite, kept; where it is not, the steps since the
    last good one are taken again one by one, to find the first that went wrong.

    Raises
    ------
    NotCompilable : a right-hand side that cannot be recorded
    """

    def __init__(self, network: Network, shown: Input, state: HybridState) -> None:
        self.network, self.example = network, shown
        self.activities = {name: value.clone() for name, value in state.activities.items()}
        self.weights = {name: value.clone() for name, value in state.weights.items()}
        self.current = HybridState(self.activities, self.weights)
        self.good = {name: value.clone() for name, value in self.current.items()}
        self.shown = Shown.to(network, shown)
        names = [name for name in INPUTS if getattr(self.shown, name) is not None]
        self.inputs = {name: getattr(self.shown, name).clone() for name in names}
        self.plans: dict[float, Plan] = {}
        self.plan = self.plans[1.0] = self.planned(1.0)
        self.log: list[tuple[Shown, float, float]] = []
        self.left: list[Call] = []

    def planned(self, gate: float) -> Plan:
        """What a step does under a gate."""
        both = dict(self.current.items())
        trace = traced(self.network, self.example, both, gate)
        places = {node: self.inputs[name] for name, node in trace.inputs.items()}
        places |= {node: both[name] for name, node in trace.state.items()}
        program = Program(trace.arguments, {*nodes_in(trace.rates), *nodes_in(trace.updates)}, places)
        calls, own = list(program.calls), {value.data_ptr() for value in both.values()}
        rates: dict[str, Tensor] = {}
        for name, node in trace.rates.items():
            rates[name] = program.at[node]
            if rates[name].data_ptr() in own or rates[name].shape != both[name].shape:
                rates[name] = torch.empty_like(both[name])
                calls.append((rates[name].copy_, (program.at[node],), {}))
        parts = {name: program.actual(found) for name, found in trace.updates.items()}
        room = {name: torch.empty_like(p[2]) for name, p in parts.items() if len(p) == 3 and isinstance(p[2], Tensor)}
        return Plan(calls, rates, parts, room)

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

    def show(self, shown: Shown) -> bool:
        """Take in an input; False where its gate is neither open nor closed."""
        if shown.gate not in (0.0, 1.0):
            return False
        for name, place in self.inputs.items():
            place.copy_(getattr(shown, name))
        if shown.gate not in self.plans:
            self.plans[shown.gate] = self.planned(shown.gate)
        self.shown, self.plan = shown, self.plans[shown.gate]
        return True

    def step(self, t: float, dt: float) -> bool:
        """One step; False where the state is looked at and found not to be finite."""
        plan = self.plan
        for function, args, kwargs in plan.calls:
            function(*args, **kwargs)
        if plan.dt != dt:
            self.changes(plan, dt)
        self.left[:] = plan.changes
        try:
            self.change()
        except KeyboardInterrupt:  # no state is left half changed
            self.change()
            raise
        self.log.append((self.shown, t, dt))
        return len(self.log) < BETWEEN or self.verify()

    def change(self) -> None:
        """Carry out what is left of a step's changes, from the last to the first."""
        while self.left:
            function, args, kwargs = self.left[-1]
            function(*args, **kwargs)
            self.left.pop()

    def changes(self, plan: Plan, dt: float) -> None:
        """The changes of a step of length dt: W += dt (post^T pre - diag(decay) W), activities += dt rate."""
        found: list[Call] = []
        for name, parts in plan.parts.items():
            found += learning(self.weights[name], parts, plan.room.get(name), dt)
        found += [(self.activities[name].add_, (rate,), {"alpha": dt}) for name, rate in plan.rates.items()]
        plan.dt, plan.changes = dt, found[::-1]

    def verify(self) -> bool:
        """Whether the state is finite; it is kept if so."""
        total = sum(float(value.sum()) for _, value in self.current.items())
        if not math.isfinite(total) and first_nonfinite(self.current) is not None:
            return False
        if self.log:
            self.keep()
        return True

    def rewind(self) -> tuple[int, float, str]:
        """Go back to the last finite state: (number of steps given up, its time, what was not finite after it)."""
        steps: Sequence[tuple[Shown, float, float]] = tuple(self.log)
        for name, value in self.good.items():
            self.tensor(name).copy_(value)
        for k, (shown, t, dt) in enumerate(steps):
            self.log.clear()
            self.show(shown)
            self.step(t, dt)
            wrong = first_nonfinite(self.current)
            if wrong is not None:
                for key, value in self.good.items():
                    self.tensor(key).copy_(value)
                self.log.clear()
                return len(steps) - k, t, wrong
            self.keep()
        raise RuntimeError("steps taken again went another way")


def learning(weight: Tensor, parts: tuple[Any, ...], room: Tensor | None, dt: float) -> list[Call]:
    """W += dt (post^T pre - diag(decay) W), or W += dt change, in place; `room` for the share of W that stays."""
    if len(parts) == 1:
        return [(weight.add_, (parts[0],), {"alpha": dt})]
    post, pre, decay = parts
    found: list[Call] = []
    if room is not None:
        found.append((torch.mul, (decay, -dt), {"out": room}))
        found.append((room.add_, (1.0,), {}))
        found.append((weight.mul_, (room.unsqueeze(-1),), {}))
    product = weight.addmm_ if weight.dim() == 2 else weight.baddbmm_
    found.append((product, (post.mT, pre), {"beta": 1.0 if room is not None else 1.0 - dt * decay, "alpha": dt}))
    return found


@dataclass
class Plan:
    """One step: calls to make, where they leave rates and factors, room for decays; the changes of steps of `dt`."""

    calls: list[Call]
    rates: dict[str, Tensor]
    parts: dict[str, tuple[Any, ...]]
    room: dict[str, Tensor]
    dt: float = math.nan
    changes: list[Call] = field(default_factory=list)


def traced(network: Network, shown: Input, state: Mapping[str, Tensor], gate: float) -> Traced:
    """The graph of a network for data of a shape, recorded once."""
    shapes = tuple((name, tuple(value.shape), value.dtype) for name, value in state.items())
    target = None if shown.target is None else (tuple(shown.target.shape), shown.target.dtype)
    key = (shapes, tuple(shown.x.shape), target, gate)
    known = KNOWN.setdefault(network, {})
    if key not in known:
        known[key] = merged([record(network, shown, state, gate)])[0]
    return known[key]
