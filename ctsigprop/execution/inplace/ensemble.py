"""Members of an ensemble side by side: Euler steps in place, with one call per operation for all members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor

from ctsigprop.dynamics.vector_field import Field, FrameInput
from ctsigprop.execution.base import Outcome, Running, member_of, own_state
from ctsigprop.execution.inplace.rollback import RollbackStepper
from ctsigprop.solvers.base import Counts, broken_off
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.grid import blocks
from ctsigprop.solvers.guard import limit_reached, nonfinite_after, stood_at
from ctsigprop.solvers.samples import Samples
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.times import slack
from ctsigprop.stimuli.members import EnsembleStimulus
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.trace.graph import NotTraceable


class SideBySide:
    """The runs of all members on their way.

    Raises
    ------
    NotTraceable : networks that differ in more than numbers; nothing has run then
    """

    def __init__(self, runs: Sequence[Running], solver: Any, stimuli: Sequence[Stimulus], state: HybridState) -> None:
        self.runs, self.dt, self.max_steps = runs, solver.dt, solver.max_steps
        start = runs[0].start
        self.shows = EnsembleStimulus(stimuli, start, runs[0].stop)
        frames = self.shows.frames()
        self.frame = next(frames)
        self.frames = chain([self.frame], frames)
        self.stepper = RollbackStepper([run.network for run in runs], self.frame.at(start), state)
        self.samples = Samples(runs[0].times)
        self.t = start

    def run(self) -> list[Outcome]:
        """Take all members to the end, or as far as each goes."""
        status, message = Status.COMPLETED, str(Status.COMPLETED)
        cause: BaseException | None = None
        try:
            for time in self.samples.until(self.t + self.runs[0].near):
                self.sample(time, dict(self.stepper.current.items()))
            reason = self.advance()
            if reason is not None:
                status, message = reason
        except NotTraceable:
            raise
        except (KeyboardInterrupt, Exception) as error:
            cause, status = error, broken_off(error)
            message = f"{status} {stood_at(self.t)}"
        self.stepper.verify()
        outcomes = [self.outcome(member, status, message) for member in range(len(self.runs))]
        return [replace(outcome, cause=cause) if outcome.status is status else outcome for outcome in outcomes]

    def advance(self) -> tuple[Status, str] | None:
        """Frame by frame; why it stopped where it did not reach the end."""
        stepper, progress = self.stepper, self.runs[0].progress
        for frame in self.frames:
            self.frame = frame
            if not stepper.show(FrameInput.to(self.runs[0].network, frame.at(frame.start))):
                raise NotTraceable("a gate other than open and closed cannot be carried out in place")
            for points in blocks(Stretch((frame.start, frame.stop), frame.origin), self.dt):
                for t, t1 in pairwise(points):
                    if self.max_steps is not None and stepper.steps >= self.max_steps:
                        return Status.MAX_STEPS, f"{Status.MAX_STEPS} {limit_reached(self.max_steps, t)}"
                    if not self.step(t, t1):
                        return None
                progress(points[-1])
        return None

    def step(self, t: float, t1: float) -> bool:
        """One step of all members, with the samples that are due in it; False where none goes on."""
        near = slack(t1 - t, t1)
        stepper, due = self.stepper, self.samples.until(t1 + near)
        if not due:
            good = stepper.step(t, t1 - t)
            self.t = t1
            return good
        within = [time for time in due if time < t1 - near]
        before: dict[str, Tensor] = {}
        if within:
            stepper.verify()
            before = {name: value.clone() for name, value in stepper.current.items()}
        stepper.step(t, t1 - t)
        self.t = t1
        if not stepper.verify():
            return False
        after = dict(stepper.current.items())
        for time in within:
            share = (time - t) / (t1 - t)
            self.sample(time, {name: torch.lerp(value, after[name], share) for name, value in before.items()})
        for time in due[len(within) :]:
            self.sample(time, dict(stepper.current.items()))
        return True

    def sample(self, time: float, state: Mapping[str, Tensor]) -> None:
        """Hand out the states of those that go on."""
        for member, run in enumerate(self.runs):
            if self.stepper.alive[member]:
                frame = self.shows.of(member, self.frame.start)
                if run.field is None or run.field.frame is not frame:
                    run.field = Field(run.network, frame)
                run.sample(time, {name: value[member] for name, value in state.items()})

    def outcome(self, member: int, status: Status, message: str) -> Outcome:
        """How one member ended."""
        lost = next((lost for lost in self.stepper.lost if lost.member == member), None)
        if lost is not None:
            told = f"{Status.DIVERGED} {nonfinite_after(lost.name, lost.t)}"
            return Outcome(Status.DIVERGED, told, own_state(lost.state, lost.t), Counts(lost.steps, lost.steps))
        steps = self.stepper.steps
        return Outcome(
            status, message, own_state(member_of(self.stepper.current, member), self.t), Counts(steps, steps)
        )
