"""Members of an ensemble side by side: steps of Euler in place, all of them in one call of every operation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from ctsigprop.compiled import NotCompilable, Outcome
from ctsigprop.ensemble import Running, known_parts, member_of, own_state
from ctsigprop.field import Field, Shown
from ctsigprop.network import Network
from ctsigprop.replay import Replay
from ctsigprop.shows import Shows, at_same_times
from ctsigprop.solvers.base import Counts, Solver
from ctsigprop.solvers.factored_methods import FactoredEuler
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.methods import Euler
from ctsigprop.solvers.reference import blocks
from ctsigprop.solvers.status import Status
from ctsigprop.stimuli import Stimulus

ON_GRID = 1e-9
"""Share of a step within which a sample is taken at the end of the step."""


def possible(networks: Sequence[Network], solver: Solver, stimuli: Sequence[Stimulus], start: float = 0.0) -> bool:
    """Whether members can go side by side: Euler's steps on the CPU, parts of the library's own, inputs that are
    constant between switches that all share.
    """
    if not isinstance(solver, Euler | FactoredEuler) or not at_same_times(stimuli):
        return False
    frame = next(stimuli[0].frames(start, stimuli[0].duration_total), None)
    if frame is None or not frame.constant or stimuli[0].device.type != "cpu":
        return False
    if any(variables(network) != variables(networks[0]) for network in networks[1:]):
        return False
    layers = [layer for network in networks for layer in network.layers]
    refused = isinstance(solver, FactoredEuler) and any(layer.rule is not None and layer.rule.dense for layer in layers)
    return not refused and all(map(known_parts, networks))


def variables(network: Network) -> dict[str, tuple[int, ...]]:
    """Shape of everything in a network's state, for one row."""
    shapes = {**network.row_shapes(1), **network.unit_shapes}
    return {**{name: shape for name, (shape, _) in shapes.items()}, **network.weight_shapes}


class SideBySide:
    """The runs of all members on their way.

    Raises
    ------
    NotCompilable : networks that differ in more than numbers; nothing has run then
    """

    def __init__(self, runs: Sequence[Running], solver: Any, stimuli: Sequence[Stimulus], now: HybridState) -> None:
        self.runs, self.dt, self.max_steps = runs, solver.dt, solver.max_steps
        start, stop = runs[0].start, runs[0].stop
        self.shows = Shows(stimuli, start, stop)
        self.frames = self.shows.frames()
        self.frame = next(self.frames)
        self.place = Replay([run.network for run in runs], self.frame.at(start), now)
        self.slack = 1e-9 * max(1.0, abs(stop))
        self.position, self.t = 0, start

    def run(self) -> list[Outcome]:
        """Take all members to the end, or as far as each goes."""
        status, message = Status.COMPLETED, str(Status.COMPLETED)
        try:
            self.sample(self.runs[0].start, self.due(self.t), self.place.current)
            reason = self.advance()
            if reason is not None:
                status, message = reason
        except KeyboardInterrupt:
            status, message = Status.INTERRUPTED, f"{Status.INTERRUPTED} It stood at t={self.t:g}."
        self.place.verify()
        return [self.outcome(member, status, message) for member in range(len(self.runs))]

    def advance(self) -> tuple[Status, str] | None:
        """Frame by frame; why it stopped where it did not reach the end."""
        place, progress = self.place, self.runs[0].progress
        while True:
            frame = self.frame
            if not place.show(Shown.to(self.runs[0].network, frame.at(frame.start))):
                raise NotCompilable("a gate other than open and closed cannot be carried out in place")
            for points in blocks((frame.start, frame.stop), frame.origin, self.dt):
                for t, t1 in pairwise(points):
                    if self.max_steps is not None and place.steps >= self.max_steps:
                        return (
                            Status.MAX_STEPS,
                            f"{Status.MAX_STEPS} max_steps={self.max_steps} was reached at t={t:g}.",
                        )
                    if not self.step(t, t1):
                        return None
                    self.t = t1
                progress(points[-1])
            following = next(self.frames, None)
            if following is None:
                return None
            self.frame = following

    def step(self, t: float, t1: float) -> bool:
        """One step of all members, with the samples that are due in it; False where none goes on."""
        place, due = self.place, self.due(t1)
        if not due:
            return place.step(t, t1 - t)
        within = [time for time in due if time < t1 - ON_GRID * (t1 - t)]
        before = dict(place.current.items())
        if within:
            place.verify()
            before = {name: value.clone() for name, value in before.items()}
        place.step(t, t1 - t)
        if not place.verify():
            return False
        after = dict(place.current.items())
        for time in due:
            share = (time - t) / (t1 - t)
            inside = {name: torch.lerp(value, after[name], share) for name, value in before.items()}
            self.sample(self.frame.start, [time], HybridState(inside, {}) if time in within else place.current)
        return True

    def due(self, t: float) -> list[float]:
        """The times up to t at which a sample is to be taken and has not been."""
        first, times = self.position, self.runs[0].times
        while self.position < len(times) and times[self.position] <= t + self.slack:
            self.position += 1
        return list(times[first : self.position])

    def sample(self, start: float, times: Sequence[float], state: HybridState) -> None:
        """Hand out the states of those that go on; their frame began at `start`."""
        for time in times:
            for member, run in enumerate(self.runs):
                if self.place.alive[member]:
                    frame = self.shows.of(member, start)
                    if run.field is None or run.field.frame is not frame:
                        run.field = Field(run.network, frame)
                    run.sample(time, member_of(state, member))

    def outcome(self, member: int, status: Status, message: str) -> Outcome:
        """How one member ended."""
        lost = next((lost for lost in self.place.lost if lost.member == member), None)
        if lost is not None:
            told = f"{Status.DIVERGED} {lost.name} became non-finite after t={lost.t:g}."
            return Outcome(Status.DIVERGED, told, own_state(lost.state, lost.t), Counts(lost.steps, lost.steps))
        steps = self.place.steps
        return Outcome(status, message, own_state(member_of(self.place.current, member), self.t), Counts(steps, steps))
