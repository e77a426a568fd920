"""Members of an ensemble as one batch: all tensors get an extra first dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ctsigprop.dynamics.vector_field import Field
from ctsigprop.execution.base import Outcome, Running, member_of, own_state, split, stacked, stretches
from ctsigprop.model.state import State
from ctsigprop.solvers.base import Counts, Solver, SolverStopped, broken_off
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.stimuli.frame import Frame
from ctsigprop.stimuli.members import repeated
from ctsigprop.stimuli.stimulus import Stimulus


class Batched:
    """The runs of all members of one network under one stimulus; one that diverges ends and the others go on."""

    def __init__(self, runs: Sequence[Running], solver: Solver, stimulus: Stimulus, states: Sequence[State]) -> None:
        self.runs, self.solver, self.stimulus = runs, solver, stimulus
        self.network, self.counts = runs[0].network, Counts()
        self.alive = list(range(len(runs)))
        self.ended: dict[int, Outcome] = {}
        self.state = stacked([split(self.network, state) for state in states])
        self.t = runs[0].start

    def run(self) -> list[Outcome]:
        """Take all members to the end, or as far as each goes."""
        try:
            for frame, stretch, at_start in stretches(self.runs[0], self.stimulus):
                self.show(frame)
                if at_start:
                    self.group().sample(frame.start, dict(self.state.items()))
                self.advance(frame, stretch)
                if not self.alive:
                    break
                self.t = frame.stop
        except SolverStopped as stopped:
            self.end(stopped.status, str(stopped), stopped.state, stopped.t, stopped.__cause__)
        except (KeyboardInterrupt, Exception) as error:
            status = broken_off(error)
            self.end(status, f"{status} It stood at t={self.t:g}.", self.state, self.t, error)
        else:
            self.end(Status.COMPLETED, str(Status.COMPLETED), self.state, self.t)
        return [self.ended[k] for k in range(len(self.runs))]

    def show(self, frame: Frame) -> None:
        """Let the probes of all members that go on see what is shown."""
        for k in self.alive:
            self.runs[k].field = Field(self.network, frame)

    def group(self) -> EveryMember:
        """Those who take the samples of the members that go on."""
        return EveryMember([self.runs[k] for k in self.alive])

    def advance(self, frame: Frame, stretch: Stretch) -> None:
        """Take the members that go on through a frame."""
        before, counted = self.state, replace(self.counts)
        field = Field(self.network, repeated(frame, len(self.alive)))
        try:
            self.state = self.solver.advance(field, before, stretch, self.group(), self.counts)
        except SolverStopped as stopped:
            if stopped.status is not Status.DIVERGED:
                raise
            self.one_by_one(frame, stretch, before, counted)

    def one_by_one(self, frame: Frame, stretch: Stretch, before: HybridState, counted: Counts) -> None:
        """Take members through a frame one after another, to see which of them diverges."""
        kept: dict[int, HybridState] = {}
        cost = counted
        for row, k in enumerate(self.alive):
            counts, field = replace(counted), Field(self.network, frame)
            try:
                kept[k] = self.solver.advance(field, member_of(before, row), stretch, SamplesOnly(self.runs[k]), counts)
            except SolverStopped as stopped:
                final = own_state(stopped.state, stopped.t)
                self.ended[k] = Outcome(stopped.status, str(stopped), final, counts, stopped.__cause__)
            else:
                cost = counts
        vars(self.counts).update(vars(cost))
        self.alive = list(kept)
        if kept:
            self.state = stacked(list(kept.values()))

    def end(
        self, status: Status, message: str, state: HybridState, t: float, cause: BaseException | None = None
    ) -> None:
        """Put down how the members that went on until now ended."""
        for row, k in enumerate(self.alive):
            if k not in self.ended:
                final = own_state(member_of(state, row), t)
                self.ended[k] = Outcome(status, message, final, replace(self.counts), cause)


class EveryMember:
    """Takes the samples of a batch apart into those of its members."""

    def __init__(self, runs: Sequence[Running]) -> None:
        self.runs = runs

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        """The states of all members at time t."""
        for k, run in enumerate(self.runs):
            run.sample(t, {name: value[k] for name, value in state.items()})

    def progress(self, t: float) -> None:
        """How far all are."""
        self.runs[0].progress(t)


class SamplesOnly:
    """A run whose samples of this frame may have been taken already, before it was found that another one diverges."""

    def __init__(self, run: Running) -> None:
        self.run = run

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        """Taken once: a run knows what is due."""
        self.run.sample(t, state)

    def progress(self, t: float) -> None:
        """Told by the batch."""
