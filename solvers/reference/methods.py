"""torchdiffeq's methods as classes: a name, an order and the user's settings."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from ctsigprop.rules.checks import lookup
from ctsigprop.solvers import tableaus
from ctsigprop.solvers.base import Counts, Monitor
from ctsigprop.solvers.field import HybridState, VectorField
from ctsigprop.solvers.guard import Guard
from ctsigprop.solvers.reference.integrate import Method, advance_adaptive, advance_fixed
from ctsigprop.solvers.settings import STABILITY, FixedStep, StepControlled
from ctsigprop.solvers.stretch import Stretch

SCIPY_METHODS = {name: name for name in ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")}


@dataclass(frozen=True)
class Adaptive(StepControlled, ABC):
    """An adaptive method of torchdiffeq. It takes the longest steps that keep the local error within tolerance.

    Parameters
    ----------
    rtol, atol : float, relative and absolute tolerance of activities (and traces, biases), > 0; default 1e-5, 1e-6
    rtol_weights, atol_weights : float or None, tolerances of the weights; default None, the same as for activities
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the same method as machine code if the network has a compiled form, many steps in one call;
        default False. Without one, a warning says why and the run continues as with False. Your own rules, neurons
        and activations are called once, so they must be pure functions of their arguments

    Raises
    ------
    ValueError, TypeError : a tolerance or limit out of its range, compile=True for a method without a compiled form

    References
    ----------
    R. T. Q. Chen, torchdiffeq, 2018; E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential
    Equations I, 1993, sections II.4 and II.5.
    """

    method: ClassVar[str]
    path: ClassVar[str] = "torchdiffeq"

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        guard = Guard(stretch, state, monitor, counts, self.max_steps)
        return advance_adaptive(Method(self.method, self.options()), self.tolerances, field, state, guard)

    def options(self) -> Mapping[str, object]:
        """Further options of torchdiffeq's method."""
        return {}


@dataclass(frozen=True)
class Fixed(FixedStep, ABC):
    """A fixed-step method of torchdiffeq. Steps end at every switch of the stimulus; the last one is shortened.

    Parameters
    ----------
    dt : float, step in units of time, > 0
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the same method as machine code if the network has a compiled form, many steps in one call;
        default False. Without one, a warning says why and the run continues as with False. Your own rules, neurons
        and activations are called once, so they must be pure functions of their arguments

    Raises
    ------
    ValueError, TypeError : a step or limit out of its range, compile=True for a method without a compiled form
    """

    method: ClassVar[str]
    path: ClassVar[str] = "torchdiffeq"

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        guard = Guard(stretch, state, monitor, counts, self.max_steps)
        return advance_fixed(Method(self.method, self.options()), self.dt, field, state, guard)

    def options(self) -> Mapping[str, object]:
        """Further options of torchdiffeq's method; samples between grid points come from a cubic."""
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
    """One of SciPy's `solve_ivp` methods, through torchdiffeq's wrapper; runs on the CPU.

    Parameters
    ----------
    solver : "RK45", "RK23", "DOP853", "Radau", "BDF" or "LSODA" (default); stiff methods need small networks
    rtol, atol, rtol_weights, atol_weights : as for the other adaptive methods
    max_steps : counts evaluations of the right-hand side, because SciPy reports nothing else
    """

    solver: str = "LSODA"
    method: ClassVar[str] = "scipy_solver"
    order: ClassVar[int] = 5
    path: ClassVar[str] = "scipy"

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("SciPy(solver=)", self.solver, SCIPY_METHODS)

    def options(self) -> Mapping[str, object]:
        return {"solver": self.solver}


@final
class Euler(Fixed):
    """Forward Euler, order 1. With dt = tau each layer takes the value of its drive in one step."""

    method, order, tableau, stability = "euler", 1, tableaus.EULER, STABILITY[1]


@final
class Midpoint(Fixed):
    """Explicit midpoint, order 2."""

    method, order, tableau, stability = "midpoint", 2, tableaus.MIDPOINT, STABILITY[2]


@final
class Heun2(Fixed):
    """Heun's method, order 2 (explicit trapezoid)."""

    method, order, tableau, stability = "heun2", 2, tableaus.HEUN, STABILITY[2]


@final
class Heun3(Fixed):
    """Heun's third-order method."""

    method, order, stability = "heun3", 3, STABILITY[3]


@final
class RK4(Fixed):
    """Fourth-order Runge-Kutta, in Kutta's 3/8 form."""

    method, order, tableau, stability = "rk4", 4, tableaus.RK4, STABILITY[4]


@final
class ExplicitAdams(Fixed):
    """Adams-Bashforth, order 4 here. The history restarts with Runge-Kutta at every switch of the stimulus."""

    method, order, stability = "explicit_adams", 4, 0.3

    def options(self) -> Mapping[str, object]:
        return {"interp": "cubic", "max_order": 5}


@final
class ImplicitAdams(Fixed):
    """Adams-Bashforth-Moulton, order 5 here. The history restarts with Runge-Kutta at every switch of the stimulus."""

    method, order, stability = "implicit_adams", 5, 1.8367347

    def options(self) -> Mapping[str, object]:
        return {"interp": "cubic", "max_iters": 50, "max_order": 5}
