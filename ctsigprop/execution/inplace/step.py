"""Steps of a network in their own memory. Each kind of step is recorded once and then repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.inplace.plan import Plan
from ctsigprop.execution.inplace.step_memory import StepMemory
from ctsigprop.solvers.field import HybridState
from ctsigprop.stimuli.frame import Events
from ctsigprop.trace.graph import NotTraceable, StepGraph


class StepKind(NamedTuple):
    """What decides how a step goes: the gate, the length in units of time or None where a graph serves any, whether
    input comes as spikes, and whether there are any.
    """

    gate: float
    dt: float | None
    has_events: bool
    arriving: bool


class InPlaceStepper:
    """A network's steps, with or without jumps, of one network or of the members of an ensemble.

    Parameters
    ----------
    memory : what the steps read and write
    record : the graph of a kind of step, where a frame input is shown
    lower : makes calls of a graph, for memory and a length of step
    shown, events : what is shown at first
    dt : length of whole steps in units of time; None where one graph serves steps of any length

    Raises
    ------
    NotTraceable : a step that cannot be recorded or lowered
    """

    def __init__(
        self,
        memory: StepMemory,
        record: Callable[[StepKind, FrameInput], StepGraph],
        lower: Callable[[StepGraph, StepMemory, float], Plan],
        shown: tuple[FrameInput, Events | None],
        dt: float | None,
    ) -> None:
        self.memory, self.record, self.lower, self.dt = memory, record, lower, dt
        self.current = memory.state
        with torch.inference_mode(False):
            parts = (memory.activities, memory.weights)
            self.good = HybridState(*({name: value.clone() for name, value in part.items()} for part in parts))
        self.shown, self.events = shown
        self.plans: dict[StepKind, Plan] = {}
        self.prepared: Plan | None = None
        self.weights_kept = False
        self.refused: set[float] = set()
        self.prepare()

    def prepare(self) -> None:
        """Record whole steps under the gate at hand."""
        for arriving in (False, True) if self.events is not None else (False,):
            self.plan(self.dt, arriving)

    def show(self, shown: FrameInput, events: Events | None = None, source: torch.Tensor | None = None) -> bool:
        """Take in an input; False where its gate is neither open nor closed, or steps under it cannot be recorded.

        `source` : for each member of an ensemble the one whose input it sees; default its own
        """
        if shown.gate not in (0.0, 1.0) or shown.gate in self.refused:
            return False
        if shown is not self.shown or source is not None:
            self.memory.take_in(shown.tensors(), source)
        self.shown, self.events, self.prepared = shown, events, None
        try:
            self.prepare()
        except NotTraceable:
            self.refused.add(shown.gate)
            return False
        return True

    def load(self, state: HybridState) -> None:
        """Go on from `state`."""
        if state is not self.current:
            self.memory.load(state)
            self.prepared, self.weights_kept = None, False

    def keep(self) -> HybridState:
        """The state at hand, in memory of its own until the next time."""
        for name, value in self.good.activities.items():
            value.copy_(self.memory.activities[name])
        if not self.weights_kept:
            for name, value in self.good.weights.items():
                value.copy_(self.memory.weights[name])
        self.weights_kept = True
        return self.good

    def step(self, t0: float, t1: float, dt: float) -> None:
        """One step from t0 to t1, of length dt, and the jump at its end."""
        spikes = None if self.events is None else self.events.between(t0, t1)
        if spikes is not None:
            self.memory.spikes.copy_(spikes)
        plan = self.plan(None if self.dt is None else dt, spikes is not None)
        if plan is not self.prepared:
            for call in plan.before:
                call()
            self.prepared = plan
        if plan.learns:
            self.weights_kept = False
        plan.run(dt)

    def plan(self, dt: float | None, arriving: bool) -> Plan:
        """What a step of length dt calls."""
        kind = StepKind(self.shown.gate, dt, self.events is not None, arriving)
        if kind not in self.plans:
            self.plans[kind] = self.lower(self.record(kind, self.shown), self.memory, dt or 0.0)
        return self.plans[kind]
