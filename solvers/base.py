"""The types of a solver and of its monitor, and the exception that carries a partial result."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from ctsigprop.rules.checks import Checked
from ctsigprop.solvers.field import HybridState, Stepper, VectorField
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch


@runtime_checkable
class Monitor(Protocol):
    """Receives what a solver reports while it runs."""

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        """Called with the state at a requested time, all tensors by name; valid only during the call."""
        ...

    def progress(self, t: float) -> None:
        """Called when everything up to time t is done."""
        ...


@dataclass
class Counts:
    """What a run has cost so far; solvers add to it."""

    steps: int = 0
    rhs_evaluations: int = 0
    rejected_steps: int = 0

    def reset(self, before: Counts) -> None:
        """Forget what was done since the copy `before` was made."""
        vars(self).update(vars(before))


class SolverStopped(Exception):
    """An integration that could not continue.

    Parameters
    ----------
    status : Status, the reason
    t : float, time of the last good state
    state : HybridState, the last good state
    detail : str, what happened exactly
    """

    def __init__(self, status: Status, t: float, state: HybridState, detail: str) -> None:
        super().__init__(f"{status} {detail}")
        self.status, self.t, self.state, self.detail = status, t, state, detail


def broken_off(error: BaseException) -> Status:
    """The status of a run that ended because `error` was raised. Only stores raise an OSError that has no name yet."""
    if isinstance(error, OSError):
        return Status.STORE_FAILED
    return Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.FAILED


@dataclass(frozen=True)
class Solver(metaclass=Checked):
    """A way to advance time. Subclasses are frozen dataclasses of their settings and hold no state.

    `jumps` says whether the solver handles the jumps of a `JumpingField`; `path` is the name of its own steps in
    `stats["path"]`.
    """

    jumps: ClassVar[bool] = False
    path: ClassVar[str] = "own solver"

    @property
    def step(self) -> float | None:
        """The length of a fixed step, in units of time; None if the solver chooses its steps."""
        return None

    def stable_step(self, tau: float, of_neuron: bool = True) -> float:
        """The largest step at which a decay dv/dt = -v / tau, of a neuron or of a rule's variable, does not grow."""
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
        """Integrate over `stretch`, where `field` is smooth, and return the state at its end.

        Parameters
        ----------
        field : the right-hand side
        state : the initial state; not modified
        stretch : start, stop, the origin of fixed steps, and the times at which `monitor.sample` is called
        monitor : receives samples and progress
        counts : counters that are increased

        Raises
        ------
        SolverStopped : if the integration cannot continue; it has the last good state
        """


@runtime_checkable
class StepsInPlace(Protocol):
    """A solver that can let others take its steps, in memory of their own."""

    def in_place_obstacle(self, jumping: bool) -> str | None:
        """Why the steps of a field with or without jumps cannot be taken in place, as a clause; None where they can."""
        ...

    def advance_in_place(
        self, stepper: Stepper, field: VectorField, stretch: Stretch, monitor: Monitor, counts: Counts
    ) -> HybridState:
        """As `Solver.advance`, from the state that `stepper` holds, by its steps.

        Raises
        ------
        SolverStopped : as `Solver.advance`
        TypeError : a stepper of another kind
        """
        ...


@runtime_checkable
class Compilable(Protocol):
    """A solver with a setting `compile`, whose steps may have a form in machine code."""

    @property
    def compile(self) -> bool:
        """Whether that is asked for."""
        ...

    @property
    def compile_obstacle(self) -> str | None:
        """Why there is none for these settings, as a clause; None where there may be one."""
        ...


def first_nonfinite(state: HybridState) -> str | None:
    """Name of the first tensor of `state` that holds a NaN or an infinity, or None."""
    return next((name for name, value in state.items() if not bool(torch.isfinite(value).all())), None)
