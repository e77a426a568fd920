"""Advance a hybrid state by Runge-Kutta methods that use the factor form of the weights' derivative.

The fixed-step methods take the very steps of `ctsigprop.solvers.reference.integrate`; the adaptive ones are controlled
by the same norms, the weights by theirs of Frobenius.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.base import Counts, Monitor, SolverStopped, first_nonfinite, why_no_step
from ctsigprop.solvers.factored.runge_kutta import RungeKutta, Slope, Stepper, Tolerances, dense
from ctsigprop.solvers.factored.step_control import StepControl, first_step, largest, ratios
from ctsigprop.solvers.field import HybridState, InPlace, VectorField, Weight
from ctsigprop.solvers.grid import blocks
from ctsigprop.solvers.samples import Samples
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.tableaus import Tableau
from ctsigprop.solvers.times import share_of_step, slack

OVERFLOW = 1e-6
"""Share of the largest number beyond which a solution that has no finite next step is said to diverge."""


class IntegrationRun:
    """A run in progress: the right-hand side, counted, and the last good state for whoever must stop.

    `dense_solver` is the solver to name where a rule has no factors.
    """

    def __init__(
        self,
        field: VectorField,
        state: HybridState,
        t: float,
        monitor: Monitor,
        counts: Counts,
        max_steps: int | None,
        dense_solver: str,
    ) -> None:
        self.field, self.monitor, self.counts, self.max_steps = field, monitor, counts, max_steps
        self.state, self.t = state, t
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
        return RungeKutta(self.slope, tableau, self.state, getattr(self.field, "still", None))

    def stop(self, status: Status, detail: str) -> SolverStopped:
        """The exception that carries the last good state."""
        return SolverStopped(status, self.t, self.state, detail)

    def before_step(self, t: float, state: HybridState) -> None:
        """Note the state a step starts from, and stop where no more steps are allowed."""
        self.t, self.state = t, state
        if self.max_steps is not None and self.counts.steps >= self.max_steps:
            raise self.stop(Status.MAX_STEPS, f"max_steps={self.max_steps} was reached at t={t:g}.")

    def check(self, after: HybridState) -> None:
        """Raise if `after` holds a NaN or infinity; the sums tell, and only their overflow needs a second look."""
        if math.isfinite(float(torch.stack([value.sum() for _, value in after.items()]).sum())):
            return
        name = first_nonfinite(after)
        if name is not None:
            raise self.stop(Status.DIVERGED, f"{name} became non-finite after t={self.t:g}.")

    def overflowing(self) -> bool:
        """Whether the last good state or its slope is near the largest number that its precision has."""
        sizes = [value.abs().max() for _, value in (*self.state.items(), *self.slope_now().items()) if value.numel()]
        return float(torch.stack(sizes).max()) > OVERFLOW * torch.finfo(sizes[0].dtype).max

    def slope_now(self) -> HybridState:
        """The derivative of the last good state, uncounted."""
        rates, updates = self.field(self.t, self.state.activities, dense(self.state.weights))
        changes = {name: update.derivative(self.state.weights[name]) for name, update in updates.items()}
        return HybridState(rates, changes)

    def failure(self) -> SolverStopped:
        """Why no step can be taken from here: a derivative that overflows, or one that no step resolves."""
        return self.stop(*why_no_step(self.t, self.slope_now()))

    def sample(self, step: Stepper, t: float, t1: float, after: HybridState, times: Sequence[float]) -> None:
        """Hand out the states at `times`, all within the step from (t, the last good state) to (t1, after)."""
        for time in times:
            theta = share_of_step(time, t, t1)
            if theta == 1.0:
                self.monitor.sample(time, after)
            else:
                self.monitor.sample(time, self.state if theta == 0.0 else step.between(theta))


def advance_fixed(course: IntegrationRun, step: Stepper, dt: float, stretch: Stretch) -> HybridState:
    """Advance on the grid origin + k dt; the last step ends at the end of the span."""
    state, samples = course.state, Samples(stretch.times)
    for points in blocks(stretch, dt):
        for t, t1 in pairwise(points):
            course.before_step(t, state)
            course.counts.steps += 1
            state = step.step(t, t1, state)
            course.check(state)
            course.sample(step, t, t1, state, samples.until(t1))
            course.monitor.progress(t1)
    return state


def advance_in_place(
    course: IntegrationRun,
    place: InPlace,
    careful: Stepper,
    dt: float,
    stretch: Stretch,
) -> HybridState:
    """As `advance_fixed`, by Euler in place; `careful` takes the steps that a sample lies within."""
    place.load(course.state)
    samples = Samples(stretch.times)
    for points in blocks(stretch, dt):
        for t, t1 in pairwise(points):
            due = samples.until(t1)
            inner = any(time < t1 - slack(t1 - t, t1) for time in due)
            last = course.max_steps is not None and course.counts.steps >= course.max_steps
            if (inner or last) and not place.verify():
                raise wrong_turn(course, place)
            course.before_step(t, place.current)
            course.counts.steps += 1
            if inner:
                after = careful.step(t, t1, place.current)
                course.check(after)
                course.sample(careful, t, t1, after, due)
                place.load(after)
            else:
                good = place.step(t, t1 - t)
                course.counts.rhs_evaluations += 1
                course.t = t1
                if not good or (due and not place.verify()):
                    raise wrong_turn(course, place)
                for time in due:
                    course.monitor.sample(time, place.current)
            course.monitor.progress(t1)
    return place.current


def wrong_turn(course: IntegrationRun, place: InPlace) -> SolverStopped:
    """The exception of a run in place whose state is not finite, which may have happened some steps ago."""
    given_up, course.t, name = place.rewind()
    course.state = place.current
    course.counts.steps -= given_up - 1
    course.counts.rhs_evaluations -= given_up - 1
    return course.stop(Status.DIVERGED, f"{name} became non-finite after t={course.t:g}.")


def advance_adaptive(course: IntegrationRun, tableau: Tableau, tol: Tolerances, stretch: Stretch) -> HybridState:
    """Advance in steps as long as the local error stays within tolerance, the last one ending with the span."""
    t, stop = stretch.span
    state, samples = course.state, Samples(stretch.times)
    step = course.runge_kutta(tableau)
    slope = step.slope(t, state)
    control = StepControl(tableau.order, first_step(step, t, state, slope, tol, stop - t))
    while t < stop:
        course.before_step(t, state)
        step.begin(t, state, slope)
        t1, after = accepted(course, step, control, tol, stop)
        slope = step.end()
        course.sample(step, t, t1, after, samples.until(t1))
        course.monitor.progress(t1)
        t, state = t1, after
    return state


def accepted(
    course: IntegrationRun, step: RungeKutta, control: StepControl, tol: Tolerances, stop: float
) -> tuple[float, HybridState]:
    """Try shorter and shorter steps until one is within tolerance: (where it ends, the state there)."""
    error = step.tableau.error
    if error is None:
        raise RuntimeError("step control needs a method with an error estimate")
    while True:
        t1 = control.end(step.t, stop)
        if not t1 - step.t > 4 * math.ulp(max(abs(step.t), abs(t1))):
            raise course.failure()
        after = step.attempt(t1)
        step.end()
        ratio = largest(ratios(step, error, after, step.y1, tol))
        if ratio <= 1:
            course.counts.steps += 1
            control.accept(step.dt, ratio)
            return t1, after
        course.counts.rejected_steps += 1
        if not math.isfinite(ratio) and course.overflowing():
            raise course.failure()
        control.reject(step.dt, ratio)
