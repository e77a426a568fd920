"""Steps of `Hybrid` in place: flow and jump, recorded once, carried out again and again in memory of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.inplace.buffer_pool import Memory
from ctsigprop.execution.inplace.out_calls import POINTWISE, Call, OutCalls, computed, renames
from ctsigprop.execution.inplace.step import bounds_of_each, learning
from ctsigprop.model.network import Network
from ctsigprop.solvers.field import HybridState
from ctsigprop.stimuli.frame import Events, Frame
from ctsigprop.trace.graph import INPUTS, NotTraceable, StepGraph
from ctsigprop.trace.passes import following, nodes_in
from ctsigprop.trace.record import ExactStep, record_step

Key = tuple[float, float, bool, bool]
"""What decides how a step goes: gate, length, whether input comes as spikes, whether there are any."""


@dataclass
class Plan:
    """The calls of a step, and those whose results stay while nothing else changes the weights or what is shown."""

    before: list[Call]
    calls: list[Call]
    learns: bool


class JumpInPlaceStepper:
    """A network's steps of flow and jump in place, the same to the last bit as those of the plain path.

    Raises
    ------
    NotTraceable : a step that cannot be recorded
    """

    def __init__(self, network: Network, frame: Frame, state: HybridState, dt: float) -> None:
        self.network = network
        with torch.inference_mode(False):
            self.activities = {name: value.clone() for name, value in state.activities.items()}
            self.weights = {name: value.clone() for name, value in state.weights.items()}
            self.good = HybridState(
                {name: value.clone() for name, value in state.activities.items()},
                {name: value.clone() for name, value in state.weights.items()},
            )
        self.current = HybridState(self.activities, self.weights)
        self.bounds = {
            name: (low[0], high[0]) for name, (low, high) in bounds_of_each([network], [0], self.weights).items()
        }
        self.memory = Memory()
        self.plans: dict[Key, Plan] = {}
        self.last: Plan | None = None
        self.kept = False
        self.events = frame.events
        self.shown = FrameInput.to(network, frame.at(frame.start))
        names = [name for name in INPUTS if getattr(self.shown, name) is not None]
        self.inputs = {name: getattr(self.shown, name).clone() for name in names}
        self.spikes = self.shown.x.clone()
        self.dt = dt
        self.refused: set[float] = set()
        self.prepare()

    def prepare(self) -> None:
        """Record whole steps under the gate at hand."""
        for arriving in (False, True) if self.events is not None else (False,):
            self.plan(self.dt, arriving)

    def show(self, shown: FrameInput, events: Events | None) -> bool:
        """Take in an input; False where its gate is neither open nor closed, or steps under it cannot be recorded."""
        if shown.gate not in (0.0, 1.0) or shown.gate in self.refused:
            return False
        if shown is not self.shown:
            for name, place in self.inputs.items():
                place.copy_(getattr(shown, name))
        self.shown, self.events, self.last = shown, events, None
        try:
            self.prepare()
        except NotTraceable:
            self.refused.add(shown.gate)
            return False
        return True

    def load(self, state: HybridState) -> None:
        """Go on from `state`."""
        if state is not self.current:
            for name, value in state.items():
                self.tensor(name).copy_(value)
            self.last, self.kept = None, False

    def tensor(self, name: str) -> Tensor:
        """One tensor of the state."""
        return self.activities[name] if name in self.activities else self.weights[name]

    def keep(self) -> HybridState:
        """The state at hand, in memory of its own until the next time."""
        for name, value in self.good.activities.items():
            value.copy_(self.activities[name])
        if not self.kept:
            for name, value in self.good.weights.items():
                value.copy_(self.weights[name])
        self.kept = True
        return self.good

    def step(self, t0: float, t1: float, dt: float) -> None:
        """One step from t0 to t1, of length dt, and the jump at its end."""
        spikes = None if self.events is None else self.events.between(t0, t1)
        if spikes is not None:
            self.spikes.copy_(spikes)
        plan = self.plan(dt, spikes is not None)
        if plan is not self.last:
            for call in plan.before:
                call()
            self.last = plan
        if plan.learns:
            self.kept = False
        for call in plan.calls:
            call()

    def plan(self, dt: float, arriving: bool) -> Plan:
        """What a step of length dt does."""
        key = (self.shown.gate, dt, self.events is not None, arriving)
        if key not in self.plans:
            spikes = self.spikes if arriving else None
            step = ExactStep(dt, self.events is not None, spikes)
            state = dict(self.current.items())
            self.plans[key] = self.planned(record_step(self.network, self.shown, state, step), dt)
        return self.plans[key]

    def planned(self, step: StepGraph, dt: float) -> Plan:
        """A recorded step as calls."""
        places = {node: self.inputs[name] for name, node in step.inputs.items() if name in self.inputs}
        places |= {node: self.spikes for name, node in step.inputs.items() if name not in self.inputs}
        places |= {node: self.tensor(name) for name, node in (*step.state.items(), *step.landed.items())}
        operations = [*step.flow.operations, *step.jump.operations]
        fixed = following(operations, self.still(step))
        final = [*step.after.values(), *nodes_in([step.flow.updates, step.jump.updates])]
        ahead = [node for node in operations if node in fixed]
        before = OutCalls(ahead, fixed, places, memory=Memory())
        flow, jump = ([n for n in stage.operations if n not in fixed] for stage in (step.flow, step.jump))
        into = self.written_in_place(step, flow, jump)
        read_later = {*final, *(source for node in jump for source in node.all_input_nodes)}
        first = OutCalls(flow, read_later, before.at, into, self.memory)
        second = OutCalls(jump, set(final), first.at, into, self.memory)
        calls = [*first.calls, *self.changes(step.flow.updates, first, dt)]
        calls += [*second.calls, *self.changes(step.jump.updates, second, 1.0), *self.copies(step, second, into)]
        self.memory.give_all()
        return Plan(before.calls, calls, step.learns)

    def still(self, step: StepGraph) -> set[Node]:
        """What no step under this plan changes: the inputs, and weights that do not learn."""
        changed = {*self.activities, *step.flow.updates, *step.jump.updates}
        state = (*step.state.items(), *step.landed.items())
        inputs = {node for name, node in step.inputs.items() if name in self.inputs}
        return inputs | {node for name, node in state if name not in changed}

    def written_in_place(self, step: StepGraph, flow: list[Node], jump: list[Node]) -> dict[Node, Tensor]:
        """Results that may be written over the activity that they replace: nothing reads its old value later."""
        last: dict[Node, float] = {}
        roots: dict[Node, Node] = {}
        order: dict[Node, int] = {}
        after_flow = len(flow) - 0.5
        for k, node in enumerate([*flow, *jump]):
            order[node] = k
            for n in nodes_in([node.args, node.kwargs]):
                last[roots.get(n, n)] = max(last.get(roots.get(n, n), -1.0), k + 0.25 * (n in roots))
            if renames(node):
                source = nodes_in(node.args)[0]
                roots[node] = roots.get(source, source)
        for nodes, when in ((nodes_in(step.flow.updates), after_flow), (nodes_in(step.jump.updates), math.inf)):
            for n in nodes:
                last[roots.get(n, n)] = max(last.get(roots.get(n, n), -1.0), when)
        for n in step.after.values():
            if n in roots:
                last[roots[n]] = math.inf
        into: dict[Node, Tensor] = {}
        for name, node in step.after.items():
            value = self.activities[name]
            if node in into or node not in order or not computed(node) or node.meta["val"].shape != value.shape:
                continue
            read = last.get(step.state[name], -1.0)
            if read < order[node] or (read == order[node] and node.target in POINTWISE):
                into[node] = value
        return into

    def changes(self, parts: Mapping[str, tuple[Any, ...]], program: OutCalls, share: float) -> list[Call]:
        """What learning does to the weights."""
        calls: list[Call] = []
        for name, found in parts.items():
            calls += learning(self.weights[name], program.actual(found), share, self.bounds.get(name))
        return calls

    def copies(self, step: StepGraph, program: OutCalls, into: Mapping[Node, Tensor]) -> list[Call]:
        """What brings results to the state that are not there yet.

        Raises
        ------
        NotTraceable : an activity that takes the old value of another one
        """
        own = {value.data_ptr(): name for name, value in self.activities.items()}
        calls: list[Call] = []
        for name, node in step.after.items():
            value, target = program.at[node], self.activities[name]
            if into.get(node) is target or value.data_ptr() == target.data_ptr():
                continue
            if value.data_ptr() in own and node not in into:
                raise NotTraceable(f"{name} takes the old value of {own[value.data_ptr()]}")
            calls.append(partial(target.copy_, value))
        return calls
