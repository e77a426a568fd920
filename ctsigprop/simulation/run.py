"""One simulation in progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import xarray as xr
from torch import Tensor

from ctsigprop.display.progress import Progress
from ctsigprop.dynamics.vector_field import Field
from ctsigprop.errors import SimulationError, naming, sentence
from ctsigprop.execution.base import Outcome
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.recording.memory_sink import Sink
from ctsigprop.recording.prepare import lay_out
from ctsigprop.recording.recorder import Recorder
from ctsigprop.recording.schema import Layout
from ctsigprop.recording.zarr_sink import StoreFailed
from ctsigprop.results.format import read
from ctsigprop.results.solution import Solution
from ctsigprop.simulation.provenance import outcome
from ctsigprop.solvers.base import Counts
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.times import slack, smallest_interval


def laid_out(
    network: Network, recorders: Sequence[Recorder], state: State, span: tuple[float, float], in_memory: bool
) -> list[Layout]:
    """How each probe is recorded.

    Raises
    ------
    SimulationError : a probe raised an error when it was asked for its value at the start
    MemoryError : what is recorded is larger than the memory that is free
    """
    begin = State(dict(state.items()), span[0])
    try:
        return lay_out(recorders, begin, *span, in_memory)
    except SimulationError as error:
        message = f"{Status.FAILED} {error}"
        error.solution = Solution(xr.Dataset(), begin, asdict(Counts()), Status.FAILED, message, network)
        raise


class Run:
    """One simulation in progress: listens to the solver, records, and keeps the last good state."""

    sink: Sink

    def __init__(
        self,
        network: Network,
        recorders: Sequence[Recorder],
        layouts: Sequence[Layout],
        attrs: dict[str, Any],
        span: tuple[float, float],
        progress: bool,
    ) -> None:
        self.network, self.recorders, self.layouts, self.attrs = network, recorders, layouts, attrs
        self.start, self.stop = span
        self.schedules = [layout.clock.tolist() for layout in self.layouts]
        spacing = min(smallest_interval(schedule, self.stop - self.start) for schedule in [*self.schedules, ()])
        self.near = slack(spacing, self.start, self.stop)
        self.times = merge_close_times(sorted({t for schedule in self.schedules for t in schedule}), self.near)
        self.taken = [0] * len(recorders)
        self.field: Field | None = None
        self.failure: StoreFailed | None = None
        self.bar = Progress(self.start, self.stop, progress, network.time_unit)

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
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

    def close(self) -> None:
        """No more progress is told."""
        self.bar.close()

    def solution(self, ended: Outcome, cost: dict[str, Any]) -> Solution:
        """What the run gives back; where its store fails, with the records that this holds."""
        self.close()
        stats = {**asdict(ended.counts), **cost, "path": ended.path, "path_reason": ended.reason}
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


def merge_close_times(times: Sequence[float], near: float) -> list[float]:
    """Increasing times without those that differ from the one before by rounding only."""
    kept: list[float] = []
    for t in times:
        if not kept or t > kept[-1] + near:
            kept.append(t)
    return kept
