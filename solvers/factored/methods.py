"""The factored methods as classes: a tableau, an order and the settings a user chooses."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, final

from ctsigprop.rules.checks import number, whole
from ctsigprop.solvers import tableaus
from ctsigprop.solvers.base import BreakingOff, Counts, Monitor, Solver, check_compile
from ctsigprop.solvers.factored.integrate import IntegrationRun, advance_adaptive, advance_fixed, advance_in_place
from ctsigprop.solvers.factored.runge_kutta import EulerStepper, Tolerances
from ctsigprop.solvers.field import HybridState, VectorField
from ctsigprop.solvers.reference.methods import RK4, Euler, Heun2
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.tableaus import Tableau
from ctsigprop.solvers.times import as_time


@dataclass(frozen=True)
class FactoredAdaptive(Solver, ABC):
    """A Runge-Kutta method with step control that keeps the weights of its stages in factor form.

    The steps end on the end of every segment, and samples between their ends are read off the method's own
    polynomial. Rules must return `rules.Update`; the result is the same method's up to rounding as if
    every derivative of the weights had been formed, for a fraction of the memory traffic.

    Parameters
    ----------
    rtol, atol : float, relative and absolute tolerance of activities (and traces, biases), > 0; default 1e-5, 1e-6
    rtol_weights, atol_weights : float or None, those of the weights, of which the Frobenius norm counts;
        default None, the same as the activities'
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the same method as machine code where the network has a compiled form; default False

    Raises
    ------
    ValueError, TypeError : a tolerance or limit out of its range; while running, a rule without factors
    """

    rtol: float = 1e-5
    atol: float = 1e-6
    rtol_weights: float | None = None
    atol_weights: float | None = None
    max_steps: int | None = None
    compile: bool = False
    tableau: ClassVar[Tableau]
    order: ClassVar[int]
    dense_solver: ClassVar[str]

    def __post_init__(self) -> None:
        check_compile(self, None)
        for name in ("rtol", "atol", "rtol_weights", "atol_weights"):
            value = getattr(self, name)
            if value is not None:
                number(f"{type(self).__name__}({name}=)", value, above=0)
        if self.max_steps is not None:
            whole(f"{type(self).__name__}(max_steps=)", self.max_steps, 1)

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        tol = Tolerances(
            self.rtol,
            self.atol,
            self.rtol if self.rtol_weights is None else self.rtol_weights,
            self.atol if self.atol_weights is None else self.atol_weights,
        )
        course = IntegrationRun(field, state, stretch.start, monitor, counts, self.max_steps, self.dense_solver)
        with BreakingOff(course.stop):
            return advance_adaptive(course, self.tableau, tol, stretch)


@dataclass(frozen=True)
class FactoredFixed(Solver, ABC):
    """A fixed-step Runge-Kutta method that keeps the weights of its stages in factor form.

    Steps end at every switch of the stimulus; the last one is shortened. Samples between their ends are read
    off a cubic, of Euler off a line.

    Parameters
    ----------
    dt : float, step in units of time, > 0
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the same method as machine code where the network has a compiled form; default False

    Raises
    ------
    ValueError, TypeError : a step or limit out of its range; while running, a rule without factors
    """

    dt: float
    max_steps: int | None = None
    compile: bool = False
    tableau: ClassVar[Tableau]
    order: ClassVar[int]
    stability: ClassVar[float]
    dense_solver: ClassVar[str]

    @property
    def step(self) -> float:
        return self.dt

    def stable_step(self, tau: float, of_neuron: bool = True) -> float:
        return self.stability * tau

    def __post_init__(self) -> None:
        check_compile(self, None)
        number(f"{type(self).__name__}(dt=)", self.dt, above=0)
        object.__setattr__(self, "dt", as_time(self.dt))
        if self.max_steps is not None:
            whole(f"{type(self).__name__}(max_steps=)", self.max_steps, 1)

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        course = IntegrationRun(field, state, stretch.start, monitor, counts, self.max_steps, self.dense_solver)
        euler = self.order == 1
        step = EulerStepper(course.slope) if euler else course.runge_kutta(self.tableau)
        place = getattr(field, "in_place", None) if euler else None
        with BreakingOff(course.stop):
            if place is not None:
                return advance_in_place(course, place, step, self.dt, stretch)
            return advance_fixed(course, step, self.dt, stretch)


@final
class FactoredEuler(FactoredFixed):
    """Forward Euler, order 1: one right-hand side and one product per weight matrix and step."""

    tableau, order, stability, dense_solver = tableaus.EULER, 1, Euler.stability, "Euler(dt=...)"


@final
class FactoredHeun(FactoredFixed):
    """Heun's method, order 2 (explicit trapezoid)."""

    tableau, order, stability, dense_solver = tableaus.HEUN, 2, Heun2.stability, "Heun2(dt=...)"


@final
class FactoredRK4(FactoredFixed):
    """The classical family of fourth order, in Kutta's 3/8 form."""

    tableau, order, stability, dense_solver = tableaus.RK4, 4, RK4.stability, "RK4(dt=...)"


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
    """Tsitouras 5(4), a pair of the same cost as Dormand-Prince with somewhat smaller errors."""

    tableau, order, dense_solver = tableaus.TSIT5, 5, "Dopri5()"
