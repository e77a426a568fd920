"""Settings of solvers: the step of fixed methods, the tolerances of adaptive ones, the step limit of both."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ctsigprop.rules.checks import number, whole
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.tableaus import Tableau
from ctsigprop.solvers.times import as_time

STABILITY = {1: 2.0, 2: 2.0, 3: 2.5127453, 4: 2.7852936}
"""Largest step, in units of tau, with which a linear decay does not grow: of explicit Runge-Kutta methods, by order."""
TABLEAU_FREE = "only explicit Runge-Kutta methods such as RK4 are compiled"


class Tolerances(NamedTuple):
    """Relative and absolute, of the activities and of the weights."""

    rtol: float
    atol: float
    rtol_weights: float
    atol_weights: float


def check_limit(solver: Solver, max_steps: int | None) -> None:
    """Raise unless `max_steps` of a solver is None or a whole number >= 1."""
    if max_steps is not None:
        whole(f"{type(solver).__name__}(max_steps=)", max_steps, 1)


def set_step(solver: Solver, dt: float) -> None:
    """Set the step of a solver, in units of time, to the decimal that is meant; raise unless it is a number > 0."""
    number(f"{type(solver).__name__}(dt=)", dt, above=0)
    object.__setattr__(solver, "dt", as_time(dt))


def check_tolerances(solver: Solver, tolerances: Mapping[str, float | None]) -> None:
    """Raise unless the tolerances of a solver, by name, are numbers > 0, or None."""
    for name, value in tolerances.items():
        if value is not None:
            number(f"{type(solver).__name__}({name}=)", value, above=0)


def check_compile(solver: Solver, value: object, obstacle: str | None) -> None:
    """Raise unless `compile` of a solver is True or False, and False where there is an obstacle."""
    name = type(solver).__name__
    if not isinstance(value, bool):
        raise TypeError(f"{name}(compile=) must be True or False, got {value!r}")
    if value and obstacle is not None:
        raise ValueError(f"{name}(compile=) must be False: {obstacle}")


@dataclass(frozen=True)
class FixedStep(Solver, ABC):
    """The settings of methods with a fixed step, documented where the methods are.

    With steps above `stability` (a class attribute, in units of tau) a linear decay grows. A method without
    `tableau` has no compiled form.
    """

    dt: float
    max_steps: int | None = None
    compile: bool = False
    order: ClassVar[int]
    stability: ClassVar[float]
    tableau: ClassVar[Tableau | None] = None

    @property
    def compile_obstacle(self) -> str | None:
        """Why there is no compiled form, as a clause; None if there may be one."""
        return None if self.tableau else TABLEAU_FREE

    def __post_init__(self) -> None:
        check_compile(self, self.compile, self.compile_obstacle)
        set_step(self, self.dt)
        check_limit(self, self.max_steps)

    @property
    def step(self) -> float:
        return self.dt

    def stable_step(self, tau: float, of_neuron: bool = True) -> float:
        return self.stability * tau


@dataclass(frozen=True)
class StepControlled(Solver, ABC):
    """The settings of methods that choose their steps, documented where the methods are.

    A method without `tableau` has no compiled form.
    """

    rtol: float = 1e-5
    atol: float = 1e-6
    rtol_weights: float | None = None
    atol_weights: float | None = None
    max_steps: int | None = None
    compile: bool = False
    order: ClassVar[int]
    tableau: ClassVar[Tableau | None] = None

    @property
    def compile_obstacle(self) -> str | None:
        """Why there is no compiled form, as a clause; None if there may be one."""
        return None if self.tableau else TABLEAU_FREE

    def __post_init__(self) -> None:
        check_compile(self, self.compile, self.compile_obstacle)
        of_weights = {"rtol_weights": self.rtol_weights, "atol_weights": self.atol_weights}
        check_tolerances(self, {"rtol": self.rtol, "atol": self.atol, **of_weights})
        check_limit(self, self.max_steps)

    @property
    def tolerances(self) -> Tolerances:
        """Tolerances; those of the weights default to those of the activities."""
        return Tolerances(
            self.rtol,
            self.atol,
            self.rtol if self.rtol_weights is None else self.rtol_weights,
            self.atol if self.atol_weights is None else self.atol_weights,
        )
