"""The type of a solver, of its listener, and of the exception that carries a partial result."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

from ctsigprop.rules.checks import Checked
from ctsigprop.solvers.field import HybridState, VectorField
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch


@runtime_checkable
class Monitor(Protocol):
    """What a solver tells while it runs."""

    def sample(self, t: float, state: HybridState) -> None:
        """The state at one of the requested times; valid only during the call."""
        ...

    def progress(self, t: float) -> None:
        """Everything up to time t is done."""
        ...


@dataclass
class Counts:
    """What a run has cost so far; solvers add to it."""

    steps: int = 0
    rhs_evaluations: int = 0
    rejected_steps: int = 0


class SolverStopped(Exception):
    """An integration that could not go on.

    Parameters
    ----------
    status : Status, why
    t : float, time of the last good state
    state : HybridState, that state
    detail : str, what exactly happened
    """

    def __init__(self, status: Status, t: float, state: HybridState, detail: str) -> None:
        super().__init__(f"{status} {detail}")
        self.status, self.t, self.state, self.detail = status, t, state, detail


class BreakingOff:
    """A context that turns an error, or an interrupt from the keyboard, into the end of the run at its last good state.

    Parameters
    ----------
    stop : makes the `SolverStopped` that carries that state; what was raised becomes its cause
    """

    def __init__(self, stop: Callable[[Status, str], SolverStopped]) -> None:
        self.stop = stop

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt | Exception) and not isinstance(error, SolverStopped):
            good = self.stop(broken_off(error), "")
            raise SolverStopped(good.status, good.t, good.state, f"It stood at t={good.t:g}.") from error


def broken_off(error: BaseException) -> Status:
    """The status of a run that ended because `error` was raised. Only stores raise an OSError that has no name yet."""
    if isinstance(error, OSError):
        return Status.STORE_FAILED
    return Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.FAILED


@dataclass(frozen=True)
class Solver(metaclass=Checked):
    """A way to advance time. Subclasses are frozen dataclasses of their settings and hold no state.

    `jumps` says whether the solver takes the jumps of a `JumpingField`.
    """

    jumps: ClassVar[bool] = False

    @property
    def step(self) -> float | None:
        """The length of a fixed step, in units of time; None where steps choose their own."""
        return None

    def stable_step(self, tau: float, of_neuron: bool = True) -> float:
        """The largest step with which a decay dv/dt = -v / tau of a neuron, or of a rule's variable, does not grow."""
        return math.inf

    @abstractmethod
    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        """Integrate over `stretch`, inside which `field` is smooth, and return the state at its end.

        Parameters
        ----------
        field : the right-hand side
        state : where to start; not modified
        stretch : from when to when, where a fixed step counts from, and the times at which `monitor.sample` is called
        monitor : told of samples and progress
        counts : added to

        Raises
        ------
        SolverStopped : with the last good state, where the integration cannot go on
        """


def check_compile(solver: Any, obstacle: str | None) -> None:
    """Raise unless `compile` of a solver is True or False, and False where there is an obstacle."""
    name = type(solver).__name__
    if not isinstance(solver.compile, bool):
        raise TypeError(f"{name}(compile=) must be True or False, got {solver.compile!r}")
    if solver.compile and obstacle is not None:
        raise ValueError(f"{name}(compile=) must be False: {obstacle}")


def first_nonfinite(state: HybridState) -> str | None:
    """Name of the first tensor of `state` that holds a NaN or an infinity, or None."""
    return next((name for name, value in state.items() if not bool(torch.isfinite(value).all())), None)


def why_no_step(t: float, slope: HybridState) -> tuple[Status, str]:
    """Why no step leads on from time t, where `slope` is the derivative: (how the run ends, what is too fast)."""
    name = first_nonfinite(slope)
    if name is not None:
        return Status.DIVERGED, f"d({name})/dt is non-finite at t={t:g}."
    sizes = {key: float(value.abs().max()) for key, value in slope.items()}
    worst = max(sizes, key=lambda key: sizes[key])
    status = Status.DIVERGED if sizes[worst] > 1e10 else Status.STEP_UNDERFLOW
    return status, f"the fastest quantity at t={t:g} is {worst}, |d/dt| = {sizes[worst]:.3g}."
