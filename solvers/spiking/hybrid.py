"""Smooth motion between grid points and jumps at them, for networks of neurons with a reset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal, final

from torch import Tensor

from ctsigprop.solvers.base import Counts, Monitor, Solver, SolverStopped
from ctsigprop.solvers.field import ExactField, HybridState, JumpsInPlace, Stepper, VectorField
from ctsigprop.solvers.grid import blocks
from ctsigprop.solvers.guard import BreakingOff, Guard
from ctsigprop.solvers.settings import STABILITY, check_compile, check_limit, set_step
from ctsigprop.solvers.spiking.grid_run import GridRun
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch

STABLE = {"exponential": math.inf, "euler": STABILITY[1], "midpoint": STABILITY[2], "rk4": STABILITY[4]}
"""Largest step with which a decay of tau = 1 does not grow. The exact flow takes a rule's variables by Euler."""


@final
@dataclass(frozen=True)
class Hybrid(Solver):
    """Flow between grid points, jumps (thresholds, resets, spikes, kicks) at them. Order 1: spikes fall on the grid.

    Activities take an exact step for given input, or a step of one of torchdiffeq's methods. Weights take an Euler
    step per grid step, in factor form and in place. A jump at the end of a step includes all input that arrived during
    the step. Without jumps this is a solver like any other. Steps end at every switch of the stimulus; the last one is
    shortened.

    Parameters
    ----------
    dt : float, step in units of time, > 0
    flow : "exponential" (default), each neuron's own closed form under a drive that is constant during the step,
        exact for linear neurons between spikes; or "euler", "midpoint" or "rk4", for any neuron
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit
    compile : bool, run the exact steps of a network of neurons with a reset as machine code; default False. Without
        a compiled form, a warning says why and the run continues as with False. Your own rules, neurons and
        activations are called once, so they must be pure functions of their arguments. Compiling takes some seconds;
        the result is kept on disk. The code contains the network's numbers, so a change to one compiles it again

    Raises
    ------
    ValueError, TypeError : a step, flow or limit out of its range, compile=True with a flow other than the exact one;
        while running, a field without an exact step

    References
    ----------
    S. Rotter and M. Diesmann, "Exact digital simulation of time-invariant linear systems with applications to
    neuronal modeling", Biol. Cybern. 81, 1999.
    """

    dt: float
    flow: Literal["exponential", "euler", "midpoint", "rk4"] = "exponential"
    max_steps: int | None = None
    compile: bool = False
    order: ClassVar[int] = 1
    jumps: ClassVar[bool] = True
    path: ClassVar[str] = "grid"

    def __post_init__(self) -> None:
        set_step(self, self.dt)
        if self.flow not in STABLE:
            raise ValueError(f"Hybrid(flow=) must be one of {', '.join(STABLE)}, got {self.flow!r}")
        check_limit(self, self.max_steps)
        check_compile(self, self.compile, self.compile_obstacle)

    @property
    def compile_obstacle(self) -> str | None:
        exact = self.flow == "exponential"
        return None if exact else f"only flow='exponential' is compiled, got flow={self.flow!r}"

    def in_place_obstacle(self, jumping: bool) -> str | None:
        if self.flow != "exponential":
            return f"Hybrid takes its exact steps in place, and not those of flow={self.flow!r}"
        return None if jumping else "Hybrid takes steps in place for neurons with a reset, and the network has none"

    @property
    def step(self) -> float:
        return self.dt

    def stable_step(self, tau: float, of_neuron: bool = True) -> float:
        return STABLE[self.flow if of_neuron or self.flow != "exponential" else "euler"] * tau

    def advance(
        self,
        field: VectorField | ExactField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        if self.flow == "exponential" and not isinstance(field, ExactField):
            raise TypeError(f"Hybrid(flow='exponential') needs a field with an exact step, got {type(field).__name__}")
        return self.taken(GridRun(field, state, self.dt, Guard(stretch, state, monitor, counts, self.max_steps)))

    def advance_in_place(
        self, stepper: Stepper, field: VectorField | ExactField, stretch: Stretch, monitor: Monitor, counts: Counts
    ) -> HybridState:
        if not isinstance(stepper, JumpsInPlace):
            raise TypeError(f"Hybrid takes steps of flow and jump in place, got {type(stepper).__name__}")
        guard = Guard(stretch, stepper.current, monitor, counts, self.max_steps)
        return self.taken(GridRun(field, stepper.current, self.dt, guard, stepper))

    def taken(self, run: GridRun) -> HybridState:
        """The state at the end of a stretch of the run, after all its steps."""
        with BreakingOff(lambda status, detail: self.back_to_reached(run, status, detail)):
            for points in blocks(run.guard.stretch, self.dt):
                counted = replace(run.counts)
                run.guard.keep(points[0], run.snapshot())
                try:
                    self.take(run, points)
                except SolverStopped as stopped:
                    if stopped.status is not Status.DIVERGED or len(points) == 2:
                        raise
                    run.counts.reset(counted)
                    self.find_divergence(run, points)
                    raise
        return run.end()

    def take(self, run: GridRun, points: Sequence[float]) -> None:
        """Take the steps between `points`, and check that the state is finite after them."""
        if self.flow == "exponential":
            run.exactly(points)
        else:
            run.by_stages(self.flow, points)
        run.check(run.state())

    def find_divergence(self, run: GridRun, points: Sequence[float]) -> None:
        """Repeat the steps from the last good state, with a check after each. Samples already taken stay valid."""
        run.restore()
        for pair in pairwise(points):
            run.guard.keep(pair[0], run.snapshot())
            self.take(run, pair)

    def back_to_reached(self, run: GridRun, status: Status, detail: str) -> SolverStopped:
        """The exception of a run that broke off within a step, so that the state may be half changed.

        The full steps since the last good state are repeated, without samples or counts.
        """
        guard = run.guard
        if run.reached > guard.t:
            again = replace(self, max_steps=None)
            stretch = Stretch((guard.t, run.reached), guard.stretch.origin)
            with suppress(SolverStopped):
                if run.place is None:
                    state = again.advance(run.field, guard.last_good(), stretch, Unheard(), Counts())
                else:
                    run.place.load(guard.last_good())
                    state = again.advance_in_place(run.place, run.field, stretch, Unheard(), Counts())
                guard.keep(stretch.stop, state)
        return guard.stop(status, detail)


class Unheard:
    """A listener that does not listen."""

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        return

    def progress(self, t: float) -> None:
        return
