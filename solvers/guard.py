"""What watches a run: limits, numbers that are not finite, interrupts, and the samples that are due."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import TracebackType

import torch

from ctsigprop.solvers.base import Counts, Monitor, SolverStopped, broken_off, first_nonfinite
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.samples import Samples
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch


class Guard:
    """Watches one stretch of a run, and knows its last good state for whoever must stop.

    Parameters
    ----------
    stretch : from when to when, and the times at which the state is asked for
    state : HybridState at its start
    monitor : told of samples and progress
    counts : what the whole run has cost so far
    max_steps : int or None, steps of the whole run after which it ends; None is no limit
    """

    def __init__(
        self, stretch: Stretch, state: HybridState, monitor: Monitor, counts: Counts, max_steps: int | None
    ) -> None:
        self.stretch, self.monitor, self.counts, self.max_steps = stretch, monitor, counts, max_steps
        self.samples = Samples(stretch.times)
        self.keep(stretch.start, state)

    def keep(self, t: float, state: HybridState | Callable[[], HybridState]) -> None:
        """The last good state is that of time t; it may be given as a function that is called only to stop."""
        self.t, self.state = t, state

    def last_good(self) -> HybridState:
        """The last good state, that of time `t`."""
        return self.state if isinstance(self.state, HybridState) else self.state()

    @property
    def exhausted(self) -> bool:
        """Whether no more steps are allowed."""
        return self.max_steps is not None and self.counts.steps >= self.max_steps

    def check_limit(self) -> None:
        """Stop where no more steps are allowed."""
        if self.exhausted:
            raise self.stop(Status.MAX_STEPS, limit_reached(self.max_steps, self.t))

    def check_finite(self, total: float, after: Callable[[], HybridState]) -> None:
        """Stop if `after()` holds a NaN or an infinity: its sum `total` tells, only an overflow needs a second look."""
        if math.isfinite(total):
            return
        name = first_nonfinite(after())
        if name is not None:
            raise self.diverged(name)

    def stop(self, status: Status, detail: str) -> SolverStopped:
        """The exception that carries the last good state."""
        return SolverStopped(status, self.t, self.last_good(), detail)

    def diverged(self, name: str) -> SolverStopped:
        """The exception of a run in which `name` is not finite any more."""
        return self.stop(Status.DIVERGED, nonfinite_after(name, self.t))

    def no_step(self, slope: HybridState) -> SolverStopped:
        """The exception of a run that no step leads on from its last good state, whose derivative is `slope`."""
        return self.stop(*why_no_step(self.t, slope))

    def due(self, t: float) -> Sequence[float]:
        """The times up to t at which the state is asked for, each once."""
        return self.samples.until(t)

    def breaking_off(self) -> BreakingOff:
        """A context in which an error or an interrupt ends the run at its last good state."""
        return BreakingOff(self.stop)


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
            raise SolverStopped(good.status, good.t, good.state, stood_at(good.t)) from error


def total(state: HybridState) -> float:
    """The sum of everything in a state: finite where all of it is, unless it overflows."""
    return float(torch.stack([value.sum() for _, value in state.items()]).sum())


def limit_reached(max_steps: int | None, t: float) -> str:
    """Why a run ended before a step at time t."""
    return f"max_steps={max_steps} was reached at t={t:g}."


def nonfinite_after(name: str, t: float) -> str:
    """What is not finite any more in a run whose last good state is that of time t."""
    return f"{name} became non-finite after t={t:g}."


def stood_at(t: float) -> str:
    """Where a run was that an error ended."""
    return f"It stood at t={t:g}."


def why_no_step(t: float, slope: HybridState) -> tuple[Status, str]:
    """Why no step leads on from time t, where `slope` is the derivative: (how the run ends, what is too fast)."""
    name = first_nonfinite(slope)
    if name is not None:
        return Status.DIVERGED, f"d({name})/dt is non-finite at t={t:g}."
    sizes = {key: float(value.abs().max()) for key, value in slope.items()}
    worst = max(sizes, key=lambda key: sizes[key])
    status = Status.DIVERGED if sizes[worst] > 1e10 else Status.STEP_UNDERFLOW
    return status, f"the fastest quantity at t={t:g} is {worst}, |d/dt| = {sizes[worst]:.3g}."
