"""torchdiffeq's methods as classes: a name, an order and the settings a user chooses."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, final

from ctsigprop.rules.checks import lookup, number, whole
from ctsigprop.solvers import tableaus
from ctsigprop.solvers.base import Counts, Monitor, Solver, check_compile
from ctsigprop.solvers.field import HybridState, VectorField
from ctsigprop.solvers.reference.integrate import advance_adaptive, advance_fixed
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.tableaus import Tableau
from ctsigprop.solvers.times import as_time

SCIPY_METHODS = {name: name for name in ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")}

TABLEAU_FREE = "only explicit Runge-Kutta methods such as RK4 are compiled"


@dataclass(frozen=True)
class Adaptive(Solver, ABC):
    """An adaptive method of torchdiffeq: steps as long as the local error stays within tolerance.

    Parameters
    ----------
    rtol, atol : float, relative and absolute tolerance of activities (and traces, biases), > 0; default 1e-5, 1e-6
    rtol_weights, atol_weights : float or None, those of the weights; default None, the same as the activities'
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the same method as machine code where the network has a compiled form, many steps in one call;
        default False. Without one, a warning says why and the run goes on as if it were False. What is not the
        library's own (a rule, neuron or activation) is asked once: it must be a pure function of its arguments

    Raises
    ------
    ValueError, TypeError : a tolerance or limit out of its range, compile=True for a method without compiled form

    References
    ----------
    R. T. Q. Chen, torchdiffeq, 2018; E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential
    Equations I, 1993, sections II.4 and II.5.
    """

    rtol: float = 1e-5
    atol: float = 1e-6
    rtol_weights: float | None = None
    atol_weights: float | None = None
    max_steps: int | None = None
    compile: bool = False
    method: ClassVar[str]
    order: ClassVar[int]
    tableau: ClassVar[Tableau | None] = None

    def __post_init__(self) -> None:
        check_compile(self, None if self.tableau else TABLEAU_FREE)
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
        return advance_adaptive(
            self.method,
            field,
            state,
            stretch,
            monitor,
            counts,
            tolerances=(
                self.rtol,
                self.atol,
                self.rtol if self.rtol_weights is None else self.rtol_weights,
                self.atol if self.atol_weights is None else self.atol_weights,
            ),
            max_steps=self.max_steps,
            options=self.options(),
        )

    def options(self) -> dict[str, object]:
        """Further options of torchdiffeq's method."""
        return {}


@dataclass(frozen=True)
class Fixed(Solver, ABC):
    """A fixed-step method of torchdiffeq. Steps end at every switch of the stimulus; the last one is shortened.

    Parameters
    ----------
    dt : float, step in units of time, > 0
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the same method as machine code where the network has a compiled form, many steps in one call;
        default False. Without one, a warning says why and the run goes on as if it were False. What is not the
        library's own (a rule, neuron or activation) is asked once: it must be a pure function of its arguments

    Raises
    ------
    ValueError, TypeError : a step or limit out of its range, compile=True for a method without compiled form

    Beyond `stability` (a class attribute, in units of tau) a linear decay grows from step to step.
    """

    dt: float
    max_steps: int | None = None
    compile: bool = False
    method: ClassVar[str]
    order: ClassVar[int]
    stability: ClassVar[float]
    tableau: ClassVar[Tableau | None] = None

    @property
    def step(self) -> float:
        return self.dt

    def stable_step(self, tau: float, of_neuron: bool = True) -> float:
        return self.stability * tau

    def __post_init__(self) -> None:
        check_compile(self, None if self.tableau else TABLEAU_FREE)
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
        return advance_fixed(
            self.method,
            self.dt,
            field,
            state,
            stretch,
            monitor,
            counts,
            max_steps=self.max_steps,
            options=self.options(),
        )

    def options(self) -> dict[str, object]:
        """Further options of torchdiffeq's method; samples between grid points are read off a cubic."""
        return {"interp": "linear" if self.order == 1 else "cubic"}


@final
class Dopri5(Adaptive):
    """Dormand-Prince 5(4), the default choice for smooth problems (J. Comput. Appl. Math. 6, 1980)."""

    method, order, tableau = "dopri5", 5, tableaus.DOPRI5


@final
class Dopri8(Adaptive):
    """Dormand-Prince 8(7), for tight tolerances (Hairer et al., 1993, section II.5)."""

    method, order = "dopri8", 8


@final
class Bosh3(Adaptive):
    """Bogacki-Shampine 3(2), for loose tolerances (Appl. Math. Lett. 2, 1989)."""

    method, order, tableau = "bosh3", 3, tableaus.BOSH3


@final
class Fehlberg2(Adaptive):
    """Runge-Kutta-Fehlberg 2(1) (NASA TR R-315, 1969)."""

    method, order = "fehlberg2", 2


@final
class AdaptiveHeun(Adaptive):
    """Heun 2(1) with step control."""

    method, order = "adaptive_heun", 2


@final
@dataclass(frozen=True)
class SciPy(Adaptive):
    """One of SciPy's `solve_ivp` methods, by torchdiffeq's wrapper; runs on the CPU.

    Parameters
    ----------
    solver : "RK45", "RK23", "DOP853", "Radau", "BDF" or "LSODA" (default), the stiff ones need small networks
    rtol, atol, rtol_weights, atol_weights : as for the other adaptive methods
    max_steps : counts evaluations of the right-hand side, the only thing that SciPy reports
    """

    solver: str = "LSODA"
    method: ClassVar[str] = "scipy_solver"
    order: ClassVar[int] = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("SciPy(solver=)", self.solver, SCIPY_METHODS)

    def options(self) -> dict[str, object]:
        return {"solver": self.solver}


@final
class Euler(Fixed):
    """Forward Euler, order 1. With dt = tau each layer takes the value of its drive in one step."""

    method, order, tableau, stability = "euler", 1, tableaus.EULER, 2.0


@final
class Midpoint(Fixed):
    """Explicit midpoint, order 2."""

    method, order, tableau, stability = "midpoint", 2, tableaus.MIDPOINT, 2.0


@final
class Heun2(Fixed):
    """Heun's method, order 2 (explicit trapezoid)."""

    method, order, tableau, stability = "heun2", 2, tableaus.HEUN, 2.0


@final
class Heun3(Fixed):
    """Heun's third-order method."""

    method, order, stability = "heun3", 3, 2.5127453


@final
class RK4(Fixed):
    """The classical family of fourth order, in Kutta's 3/8 form."""

    method, order, tableau, stability = "rk4", 4, tableaus.RK4, 2.7852936


@final
class ExplicitAdams(Fixed):
    """Adams-Bashforth, order 4 here: history restarts, by Runge-Kutta, at every switch of the stimulus."""

    method, order, stability = "explicit_adams", 4, 0.3

    def options(self) -> dict[str, object]:
        return {"interp": "cubic", "max_order": 5}


@final
class ImplicitAdams(Fixed):
    """Adams-Bashforth-Moulton, order 5 here: history restarts, by Runge-Kutta, at every switch of the stimulus."""

    method, order, stability = "implicit_adams", 5, 1.8367347

    def options(self) -> dict[str, object]:
        return {"interp": "cubic", "max_iters": 50, "max_order": 5}
