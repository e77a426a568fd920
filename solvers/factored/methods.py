"""The factored methods as classes: a tableau, an order and the user's settings."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, final

from ctsigprop.solvers import tableaus
from ctsigprop.solvers.base import Counts, Monitor
from ctsigprop.solvers.factored.integrate import IntegrationRun, advance_adaptive, advance_fixed, advance_in_place
from ctsigprop.solvers.factored.runge_kutta import EulerStepper
from ctsigprop.solvers.field import HybridState, InPlace, Stepper, VectorField
from ctsigprop.solvers.guard import Guard
from ctsigprop.solvers.settings import STABILITY, FixedStep, StepControlled
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.tableaus import Tableau


@dataclass(frozen=True)
class FactoredAdaptive(StepControlled, ABC):
    """A Runge-Kutta method with step control that keeps the weights of its stages in factor form.

    Steps end at the end of every segment. Samples within a step come from the method's own polynomial. Rules
    must return `rules.Update`. Up to rounding, the result is the same as if every derivative of the weights had
    been formed, with a fraction of the memory traffic.

    Parameters
    ----------
    rtol, atol : float, relative and absolute tolerance of activities (and traces, biases), > 0; default 1e-5, 1e-6
    rtol_weights, atol_weights : float or None, tolerances of the weights, applied to their Frobenius norm;
        default None, the same as for activities
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the same method as machine code if the network has a compiled form; default False

    Raises
    ------
    ValueError, TypeError : a tolerance or limit out of its range; while running, a rule without factors
    """

    tableau: ClassVar[Tableau]
    dense_solver: ClassVar[str]
    path: ClassVar[str] = "factored"

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        guard = Guard(stretch, state, monitor, counts, self.max_steps)
        run = IntegrationRun(field, state, guard, self.dense_solver)
        with guard.breaking_off():
            return advance_adaptive(run, self.tableau, self.tolerances)


@dataclass(frozen=True)
class FactoredFixed(FixedStep, ABC):
    """A fixed-step Runge-Kutta method that keeps the weights of its stages in factor form.

    Steps end at every switch of the stimulus; the last one is shortened. Samples within a step come from
    a cubic, with Euler from a line.

    Parameters
    ----------
    dt : float, step in units of time, > 0
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the same method as machine code if the network has a compiled form; default False

    Raises
    ------
    ValueError, TypeError : a step or limit out of its range; while running, a rule without factors
    """

    tableau: ClassVar[Tableau]
    dense_solver: ClassVar[str]
    path: ClassVar[str] = "factored"

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        guard = Guard(stretch, state, monitor, counts, self.max_steps)
        run = IntegrationRun(field, state, guard, self.dense_solver)
        stepper = EulerStepper(run.slope) if self.order == 1 else run.runge_kutta(self.tableau)
        with guard.breaking_off():
            return advance_fixed(run, stepper, self.dt)


@final
class FactoredEuler(FactoredFixed):
    """Forward Euler, order 1: one right-hand side per step, and one product per weight matrix and step."""

    tableau, order, stability, dense_solver = tableaus.EULER, 1, STABILITY[1], "Euler(dt=...)"

    def in_place_obstacle(self, jumping: bool) -> str | None:
        return "neurons with a reset take Hybrid(dt=...)" if jumping else None

    def advance_in_place(
        self, stepper: Stepper, field: VectorField, stretch: Stretch, monitor: Monitor, counts: Counts
    ) -> HybridState:
        if not isinstance(stepper, InPlace):
            raise TypeError(f"FactoredEuler takes steps of Euler in place, got {type(stepper).__name__}")
        guard = Guard(stretch, stepper.current, monitor, counts, self.max_steps)
        run = IntegrationRun(field, stepper.current, guard, self.dense_solver)
        with guard.breaking_off():
            return advance_in_place(run, stepper, EulerStepper(run.slope), self.dt)


@final
class FactoredHeun(FactoredFixed):
    """Heun's method, order 2 (explicit trapezoid)."""

    tableau, order, stability, dense_solver = tableaus.HEUN, 2, STABILITY[2], "Heun2(dt=...)"


@final
class FactoredRK4(FactoredFixed):
    """Fourth-order Runge-Kutta, in Kutta's 3/8 form."""

    tableau, order, stability, dense_solver = tableaus.RK4, 4, STABILITY[4], "RK4(dt=...)"


@final
class FactoredBosh3(FactoredAdaptive):
    """Bogacki-Shampine 3(2), for loose tolerances."""

    tableau, order, dense_solver = tableaus.BOSH3, 3, "Bosh3()"


@final
class FactoredDopri5(FactoredAdaptive):
    """Dormand-Prince 5(4)."""

    tableau, order, dense_solver = tableaus.DOPRI5, 5, "Dopri5()"


@final
class FactoredTsit5(FactoredAdaptive):
    """Tsitouras 5(4), at the same cost as Dormand-Prince, with slightly smaller errors."""

    tableau, order, dense_solver = tableaus.TSIT5, 5, "Dopri5()"
