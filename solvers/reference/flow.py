"""The right-hand side for torchdiffeq: it counts calls, and keeps the last good state in case the run must stop."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

from torch import Tensor

from ctsigprop.solvers.base import SolverStopped, first_nonfinite
from ctsigprop.solvers.field import VectorField
from ctsigprop.solvers.guard import Guard
from ctsigprop.solvers.reference.flatten import Flat, Packing
from ctsigprop.solvers.status import Status


class Flow:
    """The right-hand side as torchdiffeq calls it. `y` is the last good state as one vector, of the time that the guard
    keeps; `start` is when the clock of odeint begins.
    """

    resumes_anywhere: ClassVar[bool] = True
    """Whether a run may go on from a sample: steps are on no grid."""

    def __init__(self, field: VectorField, packing: Packing, y: Flat, guard: Guard) -> None:
        self.field, self.packing, self.guard, self.counts = field, packing, guard, guard.counts
        self.start = guard.t
        self.reached = guard.t, y

    def __call__(self, s: Tensor, y: Flat) -> Flat:
        self.counts.rhs_evaluations += 1
        return self.packing.derivative(self.field, self.start + float(s), y)

    @property
    def reached(self) -> tuple[float, Flat]:
        """(time of the last good state, that state)."""
        return self.guard.t, self.y

    @reached.setter
    def reached(self, reached: tuple[float, Flat]) -> None:
        t, self.y = reached
        self.guard.keep(t, partial(self.packing.unpack, self.y))

    def before_step(self, s: float, y: Flat) -> None:
        """Note the state a step starts from, within bounds, and stop where no more steps are allowed."""
        self.reached = self.start + s, self.packing.hold(y)
        self.guard.monitor.progress(self.guard.t)
        self.guard.check_limit()

    def failure(self) -> SolverStopped:
        """Why no step can be taken from here: a derivative that overflows, or one that no step resolves."""
        return self.guard.no_step(self.packing.unpack(self.packing.derivative(self.field, self.guard.t, self.y)))


class FixedFlow(Flow):
    """With the callback of torchdiffeq's fixed-step methods."""

    resumes_anywhere = False

    def callback_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        self.before_step(float(s), y)
        self.counts.steps += 1


class AdaptiveFlow(Flow):
    """With the callbacks of torchdiffeq's adaptive methods; keeps the state in which the last step ends.

    Two evaluations lie behind the end of a stretch. One is a trial point, from which torchdiffeq guesses the length of
    its first step. The other comes after the last step, at the very state that it ended in: what torchdiffeq returns
    there is an interpolation, equal up to rounding only. The field is evaluated at the end itself for both.
    """

    def __init__(self, field: VectorField, packing: Packing, y: Flat, guard: Guard) -> None:
        super().__init__(field, packing, y, guard)
        self.end = math.inf
        self.stepping = False
        self.end_y: Flat | None = None

    def begin(self, end: float) -> None:
        """Start a stretch that ends at `end` on the clock of odeint."""
        self.end, self.stepping, self.end_y = end, False, None

    def __call__(self, s: Tensor, y: Flat) -> Flat:
        if float(s) <= self.end:
            return super().__call__(s, y)
        if self.stepping and self.end_y is None:
            self.end_y = y
        return super().__call__(s.new_tensor(self.end), y)

    def callback_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        self.stepping = True
        self.before_step(float(s), y)
        if not (math.isfinite(float(ds)) and float(s + ds) > float(s)):
            raise self.failure()

    def callback_accept_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        self.counts.steps += 1

    def callback_reject_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        self.counts.rejected_steps += 1


class SciPyFlow(Flow):
    """SciPy's solvers have no callbacks: every evaluation counts as a step, and may be a trial that is given up.

    Bounds are kept in each. A derivative that is not finite ends the call, as SciPy's own answers differ from method to
    method: a step of no length, an error of its linear algebra, or none at all.
    """

    def __call__(self, s: Tensor, y: Flat) -> Flat:
        if self.guard.max_steps is not None and self.counts.rhs_evaluations >= self.guard.max_steps:
            raise self.guard.stop(Status.MAX_STEPS, f"max_steps={self.guard.max_steps} evaluations were reached.")
        self.counts.steps += 1
        slope = super().__call__(s, self.packing.hold(y.clone()))
        if not math.isfinite(float(slope.sum())):
            name = first_nonfinite(self.packing.unpack(slope))
            if name is not None:
                raise self.guard.diverged(f"d({name})/dt")
        return slope
