"""Euler steps in place, checked from time to time, and undone if they went wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.inplace.plan import planned
from ctsigprop.execution.inplace.step import InPlaceStepper, StepKind
from ctsigprop.execution.inplace.step_memory import StepMemory
from ctsigprop.model.network import Network
from ctsigprop.solvers.base import first_nonfinite
from ctsigprop.solvers.field import HybridState
from ctsigprop.stimuli.frame import Events, Input
from ctsigprop.trace.graph import StepGraph
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


class RollbackStepper:
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
        unlike, which = distinct([networks] if isinstance(networks, Network) else networks)
        frame_input = FrameInput.to(unlike[0], shown)
        memory = StepMemory(unlike, None if alone else which, state, frame_input.tensors())

        def record_gate(kind: StepKind, _shown: FrameInput) -> StepGraph:
            return record(unlike, shown, dict(memory.state.items()), kind.gate)

        self.stepper = InPlaceStepper(memory, record_gate, planned, (frame_input, None), None)
        self.memory, self.current = memory, memory.state
        self.lost: list[Lost] = []
        self.steps = 0
        self.alive = [] if alone else [True] * len(which)
        self.source = torch.arange(len(which))
        self.log: list[Step] = []

    def load(self, state: HybridState) -> None:
        """Go on from `state`, which is good."""
        if state is not self.current:
            self.stepper.load(state)
            self.keep()

    def keep(self) -> None:
        """The state at hand is good."""
        self.stepper.keep()
        self.log.clear()

    def show(self, shown: FrameInput, events: Events | None = None) -> bool:
        """Take in an input; False where steps under it cannot be taken in place."""
        return self.stepper.show(shown, events, self.source if self.lost else None)

    def step(self, t: float, dt: float) -> bool:
        """One step; False where the state is looked at and found not to be finite."""
        self.stepper.step(t, t + dt, dt)
        self.log.append(Step(self.stepper.shown, t, dt))
        self.steps += 1
        return len(self.log) < BETWEEN or self.verify()

    def verify(self) -> bool:
        """Whether the state is finite, and kept; of an ensemble, whether any member goes on."""
        total = sum(float(value.sum()) for _, value in self.current.items())
        if not math.isfinite(total):
            if self.alive and bool(self.wrong().any()):
                return self.part_with_members()
            if not self.alive and first_nonfinite(self.current) is not None:
                return False
        if self.log:
            self.keep()
        return True

    def wrong(self) -> Tensor:
        """Of each member, whether something in its state is not finite."""
        return torch.stack([~value.isfinite().flatten(1).all(1) for _, value in self.current.items()]).any(0)

    def part_with_members(self) -> bool:
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
        good = self.stepper.good
        parts = (good.activities, good.weights)
        state = HybridState(*({name: value[member].clone() for name, value in part.items()} for part in parts))
        self.lost.append(Lost(member, state, t, name or "a quantity", steps))

    def follow(self, members: Tensor, donor: int) -> None:
        """Let some members' places follow another member."""
        bounds = [end for ends in self.memory.bounds.values() for end in ends]
        constants = [plan.constants for plan in self.stepper.plans.values()]
        state = [value for _, value in self.current.items()]
        for value in (*state, self.source, self.memory.which, *bounds, *constants):
            value[members] = value[donor].clone()
        self.stepper.prepared, self.stepper.weights_kept = None, False

    def restore(self) -> None:
        """Go back to the last state that was kept."""
        self.stepper.load(self.stepper.good)
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
