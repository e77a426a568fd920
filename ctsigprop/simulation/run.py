"""One simulation in progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import xarray as xr

from ctsigprop.display.progress import Progress
from ctsigprop.dynamics.event_field import JumpField
from ctsigprop.dynamics.vector_field import Field
from ctsigprop.errors import SimulationError, naming, sentence
from ctsigprop.execution.dispatch import (
    Running,
    own_state,
    recorded,
    wrong_end,
)
from ctsigprop.execution.inplace.step import InPlaceStepper
from ctsigprop.execution.numba import Outcome
from ctsigprop.execution.numba.grid_step import NumbaGridStepper
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.recording.memory_sink import Sink
from ctsigprop.recording.prepare import lay_out
from ctsigprop.recording.recorder import Recorder
from ctsigprop.recording.zarr_sink import StoreFailed
from ctsigprop.results.format import read
from ctsigprop.results.solution import Solution
from ctsigprop.simulation.provenance import outcome
from ctsigprop.solvers.base import Counts, Solver, SolverStopped, broken_off
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.times import slack, smallest_interval
from ctsigprop.stimuli.frame import Frame
from ctsigprop.stimuli.stimulus import Stimulus


class Run:
    """One simulation in progress: listens to the solver, records, and keeps the last good state."""

    sink: Sink

    def __init__(
        self,
        network: Network,
        recorders: Sequence[Recorder],
        state: State,
        attrs: dict[str, Any],
        span: tuple[float, float],
        progress: bool,
        in_memory: bool,
    ) -> None:
        self.network, self.recorders, self.attrs = network, recorders, attrs
        self.start, self.stop = span
        begin = State(dict(state.items()), self.start)
        try:
            self.layouts = lay_out(recorders, begin, self.start, self.stop, in_memory)
        except SimulationError as error:
            message = f"{Status.FAILED} {error}"
            error.solution = Solution(xr.Dataset(), begin, asdict(Counts()), Status.FAILED, message, network)
            raise
        self.counts = Counts()
        self.schedules = [layout.clock.tolist() for layout in self.layouts]
        spacing = min(smallest_interval(schedule, self.stop - self.start) for schedule in [*self.schedules, ()])
        self.near = slack(spacing, self.start, self.stop)
        self.times = apart(sorted({t for schedule in self.schedules for t in schedule}), self.near)
        self.taken = [0] * len(recorders)
        self.field: Field | None = None
        self.compiled = False
        self.failure: StoreFailed | None = None
        self.bar = Progress(self.start, self.stop, progress, network.time_unit)

    def integrate(self, solver: Solver, stimulus: Stimulus, state: State) -> Outcome:
        """Advance frame by frame, to the end or as far as it goes."""
        now = first = split(self.network, state)
        place = None
        t = self.start
        position = 0
        try:
            for frame in stimulus.frames(self.start, self.stop):
                if place is None and (now is first or not getattr(solver, "compile", False)):
                    place = recorded(self.network, solver, frame, now, self.stop - frame.start)
                    self.compiled = isinstance(place, NumbaGridStepper)
                self.field = (JumpField if self.network.jumps else Field)(self.network, frame, place)
                if position == 0 and self.times and self.times[0] <= frame.start + self.near:
                    self.sample(frame.start, now)
                    position = 1
                position, due = take_due(self, frame, position)
                stretch = Stretch((frame.start, frame.stop), frame.origin, due)
                now = solver.advance(self.field, now, stretch, self, self.counts)
                t = frame.stop
            if isinstance(place, InPlaceStepper) and not place.verify():
                return wrong_end(place, self.counts)
            return Outcome(Status.COMPLETED, str(Status.COMPLETED), own_state(now, t), self.counts)
        except SolverStopped as stopped:
            final = own_state(stopped.state, stopped.t)
            return Outcome(stopped.status, str(stopped), final, self.counts, stopped.__cause__)
        except (KeyboardInterrupt, Exception) as error:
            status = broken_off(error)
            return Outcome(status, f"{status} It stood at t={t:g}.", own_state(now, t), self.counts, error)
        finally:
            self.bar.close()

    def sample(self, t: float, state: HybridState) -> None:
        """Let every probe that is due take its value."""
        view = State(dict(state.items()), t)
        if self.field is None:
            return
        for k, recorder in enumerate(self.recorders):
            schedule = self.schedules[k]
            while self.taken[k] < len(schedule) and schedule[self.taken[k]] <= t + self.near:
                slot = self.sink.next_slot(k)
                with naming(f"probe {recorder.probe.label!r}", schedule[self.taken[k]]):
                    recorder.take(schedule[self.taken[k]], view, self.field, slot)
                self.bar.recorded(recorder.probe.label, slot)
                self.sink.commit(k)
                self.taken[k] += 1

    def progress(self, t: float) -> None:
        """Move the progress bar to time t."""
        with naming("the progress bar", t):
            self.bar.reached(t)

    def solution(self, ended: Outcome, cost: dict[str, Any]) -> Solution:
        """What the run gives back; where its store fails, with the records that this holds."""
        self.bar.close()
        stats = {**asdict(ended.counts), **cost}
        message = ended.message
        if isinstance(ended.cause, Exception):
            message = f"{message} {sentence(ended.cause)}"
        sol = Solution(xr.Dataset(), ended.state, stats, ended.status, message, self.network)
        self.attrs.update(outcome(ended.status, message, ended.counts))
        try:
            dataset = self.sink.finish(self.attrs, ended.state, sol.about)
        except StoreFailed as failure:
            self.failure, dataset = failure, read(failure.place)[0]
            sol = replace(sol, status=Status.STORE_FAILED, message=f"{Status.STORE_FAILED} {failure}")
        if ended.cause is not None and ended.state.t <= self.start:
            dataset = dataset.load()
            self.sink.discard()
        return replace(sol, dataset=dataset)


def take_due(run: Running, frame: Frame, position: int) -> tuple[int, list[float]]:
    """The times of a run that are due within a frame, from `position` on, and the position after them."""
    due = []
    while position < len(run.times) and run.times[position] <= frame.stop + run.near:
        t = run.times[position]
        due.append(frame.stop if t > frame.stop - run.near else t)
        position += 1
    return position, due


def apart(times: Sequence[float], near: float) -> list[float]:
    """Increasing times without those that differ from the one before by rounding only."""
    kept: list[float] = []
    for t in times:
        if not kept or t > kept[-1] + near:
            kept.append(t)
    return kept


def split(network: Network, state: State) -> HybridState:
    """A state as the solvers take it."""
    names = network.weight_shapes
    return HybridState(
        {name: value for name, value in state.items() if name not in names},
        {name: state[name] for name in network.weight_shapes},
    )
