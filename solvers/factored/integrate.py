"""Advance a hybrid state by Runge-Kutta methods that use the factor form of the weights' derivative.

The fixed-step methods take the very steps of `ctsigprop.solvers.reference.integrate`; the adaptive ones are controlled
by the same norms, the weights by theirs of Frobenius.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.base import SolverStopped
from ctsigprop.solvers.factored.invariants import InvariantField
from ctsigprop.solvers.factored.runge_kutta import RungeKutta, Slope, Stepper, dense
from ctsigprop.solvers.factored.step_control import StepControl, first_step, largest, ratios
from ctsigprop.solvers.field import HybridState, InPlace, VectorField, Weight
from ctsigprop.solvers.grid import blocks
from ctsigprop.solvers.guard import Guard, total
from ctsigprop.solvers.settings import Tolerances
from ctsigprop.solvers.tableaus import Tableau
from ctsigprop.solvers.times import share_of_step, slack

OVERFLOW = 1e-6
"""Share of the largest number beyond which a solution that has no finite next step is said to diverge."""


class IntegrationRun:
    """A run in progress: the right-hand side, counted, and the guard that watches it.

    `dense_solver` is the solver to name where a rule has no factors.
    """

    def __init__(self, field: VectorField, state: HybridState, guard: Guard, dense_solver: str) -> None:
        self.field, self.start, self.guard, self.counts = field, state, guard, guard.counts
        self.dense_solver = dense_solver

    def slope(self, t: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]) -> Slope:
        """The right-hand side.

        Raises
        ------
        TypeError : an update without factors
        """
        self.counts.rhs_evaluations += 1
        rates, updates = self.field(t, activities, weights)
        for name, update in updates.items():
            if isinstance(update, DenseUpdate):
                raise TypeError(
                    f"the rule of {name} returns a DenseUpdate, a derivative without post and pre factors, "
                    f"and factored solvers need the factors of an Update: use solver=ct.solvers.{self.dense_solver}"
                )
        return Slope(rates, cast(Mapping[str, Update], updates))

    def runge_kutta(self, tableau: Tableau) -> RungeKutta:
        """A method at work on this run, which uses what the field says of itself."""
        invariants = self.field.invariants if isinstance(self.field, InvariantField) else None
        return RungeKutta(self.slope, tableau, self.start, invariants)

    def before_step(self, t: float, state: HybridState) -> None:
        """Note the state a step starts from, and stop where no more steps are allowed."""
        self.guard.keep(t, state)
        self.guard.check_limit()

    def overflowing(self) -> bool:
        """Whether the last good state or its slope is near the largest number that its precision has."""
        both = (*self.guard.last_good().items(), *self.slope_uncounted().items())
        sizes = [value.abs().max() for _, value in both if value.numel()]
        return float(torch.stack(sizes).max()) > OVERFLOW * torch.finfo(sizes[0].dtype).max

    def slope_uncounted(self) -> HybridState:
        """The derivative of the last good state, uncounted."""
        state = self.guard.last_good()
        rates, updates = self.field(self.guard.t, state.activities, dense(state.weights))
        changes = {name: update.derivative(state.weights[name]) for name, update in updates.items()}
        return HybridState(rates, changes)

    def failure(self) -> SolverStopped:
        """Why no step can be taken from here: a derivative that overflows, or one that no step resolves."""
        return self.guard.no_step(self.slope_uncounted())

    def take(self, stepper: Stepper, t1: float, times: Sequence[float]) -> HybridState:
        """One step from the last good state to t1, looked at, with the samples at `times` within it."""
        self.counts.steps += 1
        after = stepper.step(self.guard.t, t1, self.guard.last_good())
        self.guard.check_finite(total(after), lambda: after)
        self.sample(stepper, t1, after, times)
        return after

    def sample(self, stepper: Stepper, t1: float, after: HybridState, times: Sequence[float]) -> None:
        """Hand out the states at `times`, all within the step from the last good state to (t1, after)."""
        for time in times:
            theta = share_of_step(time, self.guard.t, t1)
            within = self.guard.last_good if theta == 0.0 else partial(stepper.between, theta)
            state = after if theta == 1.0 else within()
            self.guard.monitor.sample(time, dict(state.items()))


def advance_fixed(run: IntegrationRun, stepper: Stepper, dt: float) -> HybridState:
    """Advance on the grid origin + k dt; the last step ends at the end of the stretch."""
    state, guard = run.start, run.guard
    for points in blocks(guard.stretch, dt):
        for t, t1 in pairwise(points):
            run.before_step(t, state)
            state = run.take(stepper, t1, guard.due(t1))
            guard.monitor.progress(t1)
    return state


def advance_in_place(run: IntegrationRun, place: InPlace, careful: Stepper, dt: float) -> HybridState:
    """As `advance_fixed`, by Euler in place; `careful` takes the steps that a sample lies within."""
    guard = run.guard
    for points in blocks(guard.stretch, dt):
        for t, t1 in pairwise(points):
            due = guard.due(t1)
            inner = any(time < t1 - slack(t1 - t, t1) for time in due)
            if (inner or guard.exhausted) and not place.verify():
                raise wrong_turn(run, place)
            run.before_step(t, place.current)
            if inner:
                place.load(run.take(careful, t1, due))
            else:
                run.counts.steps += 1
                good = place.step(t, t1 - t)
                run.counts.rhs_evaluations += 1
                guard.t = t1
                if not good or (due and not place.verify()):
                    raise wrong_turn(run, place)
                for time in due:
                    guard.monitor.sample(time, dict(place.current.items()))
            guard.monitor.progress(t1)
    return place.current


def wrong_turn(run: IntegrationRun, place: InPlace) -> SolverStopped:
    """The exception of a run in place whose state is not finite, which may have happened some steps ago."""
    given_up, t, name = place.rewind()
    run.guard.keep(t, place.current)
    run.counts.steps -= given_up - 1
    run.counts.rhs_evaluations -= given_up - 1
    return run.guard.diverged(name)


def advance_adaptive(run: IntegrationRun, tableau: Tableau, tol: Tolerances) -> HybridState:
    """Advance in steps as long as the local error stays within tolerance, the last one ending with the stretch."""
    guard, state = run.guard, run.start
    t, stop = guard.stretch.span
    method = run.runge_kutta(tableau)
    slope = method.slope(t, state)
    control = StepControl(tableau.order, first_step(method, (t, state, slope), tol, stop - t))
    while t < stop:
        run.before_step(t, state)
        method.begin(t, state, slope)
        t, state = accepted(run, method, control, tol)
        slope = method.end()
        run.sample(method, t, state, guard.due(t))
        guard.monitor.progress(t)
    return state


def accepted(
    run: IntegrationRun, method: RungeKutta, control: StepControl, tol: Tolerances
) -> tuple[float, HybridState]:
    """Try shorter and shorter steps until one is within tolerance: (where it ends, the state there)."""
    error = method.tableau.error
    if error is None:
        raise RuntimeError("step control needs a method with an error estimate")
    while True:
        t1 = control.end(method.t, run.guard.stretch.stop)
        if not t1 - method.t > 4 * math.ulp(max(abs(method.t), abs(t1))):
            raise run.failure()
        after = method.attempt(t1)
        method.end()
        ratio = largest(ratios(method, error, after, method.y1, tol))
        if ratio <= 1:
            run.counts.steps += 1
            control.accept(method.dt, ratio)
            return t1, after
        run.counts.rejected_steps += 1
        if not math.isfinite(ratio) and run.overflowing():
            raise run.failure()
        control.reject(method.dt, ratio)
