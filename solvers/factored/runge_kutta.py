"""One step of a Runge-Kutta method that reads every weight once and writes it once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from ctsigprop.rules.update import Update
from ctsigprop.solvers.apply_update import added
from ctsigprop.solvers.factored.invariants import CachedWeight, FrameInvariants
from ctsigprop.solvers.factored.stage_weight import StagedWeight
from ctsigprop.solvers.field import DenseWeight, HybridState, Weight
from ctsigprop.solvers.reference.flatten import Flat
from ctsigprop.solvers.tableaus import Tableau


class Slope(NamedTuple):
    """What the field says at one moment: derivatives of the activities, updates of the weights."""

    rates: Mapping[str, Tensor]
    updates: Mapping[str, Update]


Rhs = Callable[[float, Mapping[str, Tensor], Mapping[str, Weight]], Slope]
"""The right-hand side as the steps call it: (t, activities, weights) -> slope."""


class Stepper(ABC):
    """A method at work."""

    @abstractmethod
    def step(self, t: float, t1: float, state: HybridState) -> HybridState:
        """The state at t1, `state` being that at t."""

    @abstractmethod
    def between(self, theta: float) -> HybridState:
        """The state at the share theta of the step just taken."""


def dense(weights: Mapping[str, Tensor]) -> dict[str, Weight]:
    """Weights as they stand in a state."""
    return {name: DenseWeight(matrix) for name, matrix in weights.items()}


@final
class EulerStepper(Stepper):
    """Forward Euler: the factors of its one slope are used where they are, no buffer is needed."""

    # A step writes W_1 into new memory, here and below. In place would save the copy of W_0 within addmm, 4 % of
    # the product at 1000 x 1000 and 100 rows, and cost a copy of every weight wherever a state must outlive the
    # next step: the caller's, the last good one, the start of an interpolation. States that are never written
    # again need none, may be handed out as they are, and two of them take turns in the allocator's memory.

    def __init__(self, rhs: Rhs) -> None:
        self.rhs = rhs

    def step(self, t: float, t1: float, state: HybridState) -> HybridState:
        dt = t1 - t
        slope = self.rhs(t, state.activities, dense(state.weights))
        after = HybridState(
            moved(state.activities, slope.rates, dt),
            {
                name: added(matrix, slope.updates[name], dt) if name in slope.updates else matrix
                for name, matrix in state.weights.items()
            },
        )
        self.ends = state, after
        return after

    def between(self, theta: float) -> HybridState:
        return on_the_line(*self.ends, theta)


def moved(activities: Mapping[str, Tensor], rates: Mapping[str, Tensor], dt: float) -> dict[str, Tensor]:
    """Activities after an Euler step; what has no rate stays."""
    return {
        name: torch.add(value, rates[name], alpha=dt) if name in rates else value for name, value in activities.items()
    }


def on_the_line(before: HybridState, after: HybridState, theta: float) -> HybridState:
    """The state at the share theta of a step, read off the line between its ends."""
    return HybridState(
        {name: torch.lerp(value, after.activities[name], theta) for name, value in before.activities.items()},
        {name: torch.lerp(value, after.weights[name], theta) for name, value in before.weights.items()},
    )


@final
class RungeKutta(Stepper):
    """The stages of one step, and the buffers that all steps of a run share.

    Activities stand in one flat vector, so that a stage is one product with the slopes before it.
    """

    def __init__(
        self, rhs: Rhs, tableau: Tableau, state: HybridState, invariants: FrameInvariants | None = None
    ) -> None:
        self.rhs, self.tableau, self.invariants = rhs, tableau, invariants or FrameInvariants()
        self.shapes = {name: value.shape for name, value in state.activities.items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        like = next(value for _, value in state.items())
        self.slopes = like.new_empty(tableau.stages, sum(self.sizes))
        self.places = [self.views(slope) for slope in self.slopes]
        self.scratch = like.new_empty(sum(self.sizes))
        self.at_stage = self.views(self.scratch)
        self.spare = like.new_empty(2, sum(self.sizes))
        self.weights = {name: StagedWeight(tableau.slots) for name in state.weights}
        self.bases: dict[str, CachedWeight] = {}
        self.last: Slope | None = None
        self.after: HybridState | None = None

    def slope(self, t: float, state: HybridState) -> Slope:
        """The right-hand side at the start or end of a step."""
        self.bases = {name: CachedWeight(matrix, self.invariants.inputs) for name, matrix in state.weights.items()}
        return self.rhs(t, state.activities, self.bases)

    def views(self, flat: Flat) -> dict[str, Tensor]:
        """The activities in a flat vector, as views on it."""
        vectors = zip(self.shapes, torch.split(flat, self.sizes), strict=True)
        return {name: vector.view(self.shapes[name]) for name, vector in vectors}

    def begin(self, t: float, state: HybridState, first: Slope) -> None:
        """Start a step from `state` at time t, whose slope is `first`, found by `slope`."""
        self.t = t
        vectors = [value.reshape(-1) for value in state.activities.values()]
        self.y = torch.cat(vectors) if vectors else self.scratch
        for name, weight in self.weights.items():
            weight.begin(self.bases[name])
        self.push(0, first, state.activities)

    def push(self, i: int, slope: Slope, activities: Mapping[str, Tensor]) -> None:
        """Take in the slope of stage i, found at `activities`."""
        for name, place in self.places[i].items():
            rate = slope.rates.get(name)
            _ = place.zero_() if rate is None else place.copy_(rate)
        for name, weight in self.weights.items():
            update = slope.updates.get(name)
            weight.push(update, None if update is None else self.invariants.goal(update.pre, activities))

    def attempt(self, t1: float) -> HybridState:
        """Take the step that `begin` started to time t1; may be called again with another t1."""
        table, self.t1, self.dt = self.tableau, t1, t1 - self.t
        for weight in self.weights.values():
            weight.restart()
        for i in range(1, table.stages - 1):
            self.combine(table.a[i], self.scratch)
            t = t1 if table.c[i] == 1.0 else self.t + table.c[i] * self.dt
            weights = {name: weight.stage(table.a[i], self.dt) for name, weight in self.weights.items()}
            self.push(i, self.rhs(t, self.at_stage, weights), self.at_stage)
        formed = {name: weight.stage(table.b, self.dt).dense() for name, weight in self.weights.items()}
        self.y1 = self.combine(table.b)
        self.after, self.last = HybridState(self.views(self.y1), formed), None
        return self.after

    def probe(self, dt: float) -> None:
        """Take in the slope after an Euler step of length dt as the second stage."""
        self.dt = dt
        self.combine((1.0,), self.scratch)
        weights = {name: weight.stage((1.0,), dt) for name, weight in self.weights.items()}
        self.push(1, self.rhs(self.t + dt, self.at_stage, weights), self.at_stage)

    def combine(self, row: Sequence[float], out: Flat | None = None) -> Flat:
        """Y + dt sum_k row_k k_k of the activities."""
        row_dt = self.slopes.new_tensor([self.dt * a for a in row])
        return torch.addmv(self.y, self.slopes[: len(row)].mT, row_dt, out=out)

    def end(self) -> Slope:
        """The slope at the end of the step: its last stage, and the first of the next step."""
        if self.last is None:
            if self.after is None:
                raise RuntimeError("the slope at the end of a step is asked for before the step")
            self.last = self.slope(self.t1, self.after)
            self.push(self.tableau.stages - 1, self.last, self.after.activities)
        return self.last

    def step(self, t: float, t1: float, state: HybridState) -> HybridState:
        first = self.last
        if first is None or state is not self.after:
            first = self.slope(t, state)
        self.begin(t, state, first)
        return self.attempt(t1)

    def between(self, theta: float) -> HybridState:
        self.end()
        row = self.tableau.between(theta)
        weights = {n: w.weight(*w.combine(row, self.dt, 1.0)).dense() for n, w in self.weights.items()}
        return HybridState(self.views(self.combine(row)), weights)
