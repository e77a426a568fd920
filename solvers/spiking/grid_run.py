"""A run on a grid: flow between its points, jumps at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.apply_update import add, hold
from ctsigprop.solvers.field import (
    CountingField,
    DenseWeight,
    ExactField,
    HybridState,
    Jumping,
    JumpsInPlace,
    VectorField,
    bounds_of,
)
from ctsigprop.solvers.guard import Guard, total
from ctsigprop.solvers.reference.flatten import Flat, Packing
from ctsigprop.solvers.samples import Samples
from ctsigprop.solvers.spiking.flows import FLOWS, Rhs
from ctsigprop.solvers.times import slack

Updates = Mapping[str, Update | DenseUpdate]


class GridRun:
    """A run in progress: activities, weights that are written in place (copies of the caller's), and the listener.

    With steps `place` of memory of their own, which hold the state, the exact ones are taken there.
    """

    def __init__(
        self,
        field: VectorField | ExactField,
        state: HybridState,
        dt: float,
        guard: Guard,
        place: JumpsInPlace | None = None,
    ) -> None:
        self.field, self.dt, self.guard, self.counts = field, dt, guard, guard.counts
        self.bounds = bounds_of(field)
        self.jumping = field if isinstance(field, Jumping) else None
        self.activities = dict(state.activities)
        self.matrices = dict(state.weights)
        self.weights = {name: DenseWeight(matrix) for name, matrix in self.matrices.items()}
        self.shared = set(self.matrices)
        self.reached = guard.t
        self.updates: Updates = {}
        self.place = place

    def end(self) -> HybridState:
        """The state at the end of the run."""
        return self.snapshot() if self.place is None else self.place.current

    def snapshot(self) -> HybridState:
        """The state as it stands; weights that go on being written are copied when they next change."""
        if self.place is not None:
            return self.place.keep()
        self.shared = set(self.matrices)
        return HybridState(dict(self.activities), dict(self.matrices))

    def state(self) -> HybridState:
        """The state at hand; it changes with every step."""
        return HybridState(self.activities, self.matrices)

    def restore(self) -> None:
        """Go back to the last good state; nothing is sampled from there on."""
        state = self.guard.last_good()
        self.guard.samples = Samples(())
        self.updates = {}
        if self.place is not None:
            self.place.load(state)
            return
        self.activities, self.matrices = dict(state.activities), dict(state.weights)
        self.weights = {name: DenseWeight(matrix) for name, matrix in self.matrices.items()}
        self.shared = set(self.matrices)

    def check(self, state: HybridState) -> None:
        """Stop if `state` holds a NaN or an infinity."""
        self.guard.check_finite(total(state), lambda: state)

    def give(self, t: float, state: HybridState) -> None:
        """Hand out a sample, which must be finite."""
        self.check(state)
        self.guard.monitor.sample(t, dict(state.items()))

    def before_step(self, t: float) -> None:
        """Note how far the run has come, and stop where no more steps are allowed."""
        self.reached = t
        self.guard.monitor.progress(t)
        if self.guard.exhausted:
            self.guard.keep(t, self.snapshot())
        self.guard.check_limit()
        self.counts.steps += 1

    def learn(self, updates: Updates, share: float) -> None:
        """Add `share` times each update to its weights, in place where they are ours."""
        for name, update in updates.items():
            if name in self.shared:
                self.shared.discard(name)
                self.matrices[name] = self.matrices[name].clone()
                self.weights[name] = DenseWeight(self.matrices[name])
            add(self.matrices[name], update, share)
            hold(self.matrices[name], self.bounds.get(name))

    def apply_jump(self, t0: float, t1: float, dt: float) -> Mapping[str, Tensor]:
        """End the step at t1: learn what was noted at t0, then jump. Returns the activities that jumped."""
        self.learn(self.updates, dt)
        if self.jumping is None:
            return {}
        jumped, updates = self.jumping.jump((t0, t1), self.activities, self.weights, 0.0)
        self.learn(updates, 1.0)
        self.activities.update(jumped)
        return jumped

    def due(self, t: float, inclusive: bool) -> Sequence[float]:
        """The sample times up to t that have not been taken; those equal to t up to rounding where inclusive."""
        near = slack(self.dt, t)
        return self.guard.due(t + near if inclusive else t - near)

    def length(self, t0: float, t1: float) -> float:
        """The length of a step: exactly dt where it is a whole one."""
        return self.dt if abs(t1 - t0 - self.dt) <= slack(self.dt, t0, t1) else t1 - t0

    def sample(self, t: float) -> None:
        """Hand out the state at the grid point t, after its jump."""
        self.reached = t
        for time in self.due(t, inclusive=True):
            self.give(time, self.state())

    def hand_out(self, time: float, activities: Mapping[str, Tensor], updates: Updates, share: float) -> None:
        """Hand out a state between grid points."""
        matrices = {name: value.clone() if name in updates else value for name, value in self.matrices.items()}
        for name, update in updates.items():
            add(matrices[name], update, share)
            hold(matrices[name], self.bounds.get(name))
        self.give(time, HybridState({**self.activities, **activities}, matrices))

    def exactly(self, points: Sequence[float]) -> None:
        """Take the steps between `points` by the field's own exact step."""
        field = self.field
        if not isinstance(field, ExactField):
            raise TypeError(f"{type(field).__name__} has no exact step")
        for t0, t1 in pairwise(points):
            self.before_step(t0)
            for time in self.due(t1, inclusive=False):
                self.hand_out(time, *field.exact(t0, time - t0, self.activities, self.weights), time - t0)
            self.counts.rhs_evaluations += 1
            dt = self.length(t0, t1)
            if self.place is not None:
                self.place.step(t0, t1, dt)
            else:
                flowed, self.updates = field.exact(t0, dt, self.activities, self.weights)
                self.activities.update(flowed)
                self.apply_jump(t0, t1, dt)
            self.sample(t1)
        self.guard.monitor.progress(points[-1])

    def by_stages(self, method: str, points: Sequence[float]) -> None:
        """Take the steps between `points` by one of the methods in `FLOWS`."""
        flow = GridFlow(self, FLOWS[method])
        clock = torch.tensor([t - points[0] for t in points], dtype=torch.float64).to(flow.packing.dtype)
        y = flow.packing.pack(HybridState(self.activities, {}))
        for k, (t0, t1) in enumerate(pairwise(points)):
            self.before_step(t0)
            for time in self.due(t1, inclusive=False):
                flow.between(time, t0, y)
            dt = self.length(t0, t1)
            counted = flow.counted(y, dt)
            y, self.updates = flow.step(points[0], (clock[k], clock[k + 1]), y)
            self.activities = {**flow.packing.unpack(y).activities, **counted}
            flow.write(y, {**counted, **self.apply_jump(t0, t1, dt)})
            self.activities = dict(flow.packing.unpack(y).activities)
            self.sample(t1)
        self.guard.monitor.progress(points[-1])


class GridFlow:
    """The activities of a run as one flat vector, which a method in `FLOWS` moves."""

    def __init__(self, run: GridRun, method: Callable[[Rhs, Tensor, Tensor, Flat], Flat]) -> None:
        if not isinstance(run.field, VectorField):
            raise TypeError(f"{type(run.field).__name__} has no derivative")
        self.run, self.field, self.method = run, run.field, method
        state = HybridState(run.activities, {})
        self.packing = Packing(state)
        self.counting = self.field if isinstance(self.field, CountingField) else None
        self.held = set(self.counted(self.packing.pack(state), run.dt))

    def slope(self, t: float, y: Flat) -> tuple[Flat, Updates]:
        """The derivative of all activities, and the updates of the weights."""
        rates, updates = self.field(t, self.packing.unpack(y).activities, self.run.weights)
        out = torch.empty_like(y)
        for name, place in zip(self.packing.names, self.packing.views(out), strict=True):
            if name in rates and name not in self.held:
                place.copy_(rates[name])
            else:
                place.zero_()
        return out, updates

    def step(self, start: float, clock: tuple[Tensor, Tensor], y: Flat) -> tuple[Flat, Updates]:
        """(y after a step, in memory of its own; the updates at its beginning); the clock counts from `start`."""
        first: list[Updates] = []

        def rhs(s: Tensor, y: Flat) -> Flat:
            self.run.counts.rhs_evaluations += 1
            out, updates = self.slope(start + float(s), y)
            if not first:
                first.append(updates)
            return out

        return y + self.method(rhs, *clock, y), first[0]

    def counted(self, y: Flat, dt: float) -> Mapping[str, Tensor]:
        """What counts time down, after a time dt: within a step it stays, as a stage may fall on its end or beyond."""
        return {} if self.counting is None else self.counting.counted(self.packing.unpack(y).activities, dt)

    def write(self, y: Flat, activities: Mapping[str, Tensor]) -> None:
        """Put activities into their places in y."""
        for name, place in zip(self.packing.names, self.packing.views(y), strict=True):
            if name in activities:
                place.copy_(activities[name])

    def between(self, time: float, t0: float, y: Flat) -> None:
        """Hand out the state at a time within the step from t0: a shorter step of the same method leads there."""
        start, end = torch.tensor([0.0, time - t0], dtype=torch.float64).to(y.dtype)
        after = y + self.method(lambda s, z: self.slope(t0 + float(s), z)[0], start, end, y)
        activities = {**self.packing.unpack(after).activities, **self.counted(y, time - t0)}
        self.run.hand_out(time, activities, self.slope(t0, y)[1], time - t0)
