"""Weights in long steps, activities in short ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from ctsigprop.rules.checks import whole
from ctsigprop.solvers.base import Counts, Monitor, Solver
from ctsigprop.solvers.factored.integrate import IntegrationRun, advance_fixed
from ctsigprop.solvers.factored.invariants import CachedWeight
from ctsigprop.solvers.factored.runge_kutta import Rhs, Stepper, dense, moved, on_the_line
from ctsigprop.solvers.factored.stage_weight import StagedWeight
from ctsigprop.solvers.field import HybridState, VectorField, Weight
from ctsigprop.solvers.guard import Guard
from ctsigprop.solvers.settings import check_limit, set_step
from ctsigprop.solvers.stretch import Stretch


@final
@dataclass(frozen=True)
class Multirate(Solver):
    """Heun's method with macro steps of dt for the weights, and `micro` steps of dt / micro in each for activities.

    k_1 is the slope of the weights at the start of a macro step. Activities move to its end by Heun's method, under the
    weights W + s k_1. With the slope k_2 there, the weights become W + dt (k_1 + k_2) / 2. Second order in dt, and in
    dt / micro for activities. Use it if weights are slow compared with activities and each input lasts several macro
    steps: plasticity is evaluated twice in each. Weights keep their factor form, read and written once per macro step.
    Steps end at every switch of the stimulus; samples within a macro step come from the line.

    Parameters
    ----------
    dt : float, macro step in units of time, > 0
    micro : int, steps of the activities within it, >= 1; default 10
    max_steps : int or None, macro steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit

    Raises
    ------
    ValueError, TypeError : a step, number or limit out of its range; while running, a rule without factors

    References
    ----------
    C. W. Gear and D. R. Wells, "Multirate linear multistep methods", BIT 24, 1984, 484-502 (the slow part first, with
    extrapolated values in between).
    """

    dt: float
    micro: int = 10
    max_steps: int | None = None
    order: ClassVar[int] = 2
    path: ClassVar[str] = "factored"

    def __post_init__(self) -> None:
        set_step(self, self.dt)
        whole("Multirate(micro=)", self.micro, 1)
        check_limit(self, self.max_steps)

    @property
    def step(self) -> float:
        return self.dt

    def stable_step(self, tau: float, of_neuron: bool = True) -> float:
        return 2.0 * self.micro * tau

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        guard = Guard(stretch, state, monitor, counts, self.max_steps)
        run = IntegrationRun(field, state, guard, "Heun2(dt=...)")
        with guard.breaking_off():
            return advance_fixed(run, MultirateStepper(run.slope, self.dt, self.micro), self.dt)


@final
class MultirateStepper(Stepper):
    """Heun's method in macro steps for the weights, in micro steps for the activities; a macro step of length dt has
    `micro` of them, a shorter one fewer.
    """

    def __init__(self, rhs: Rhs, dt: float, micro: int) -> None:
        self.rhs, self.dt, self.micro = rhs, dt, micro

    def step(self, t: float, t1: float, state: HybridState) -> HybridState:
        dt = t1 - t
        micro = max(1, round(self.micro * dt / self.dt))
        slope = self.rhs(t, state.activities, dense(state.weights))
        staged = {name: StagedWeight((0, 1)) for name in state.weights}
        for name, weight in staged.items():
            weight.begin(CachedWeight(state.weights[name]))
            weight.push(slope.updates.get(name))

        def weights(share: float) -> dict[str, Weight]:
            """W + share dt k_1."""
            return {name: weight.weight(*weight.combine((share,), dt, 1.0)) for name, weight in staged.items()}

        activities = dict(state.activities)
        for k in range(micro):
            share = (k + 1) / micro
            ahead = moved(activities, slope.rates, dt / micro)
            later = self.rhs(t + dt * (k + 1) / micro, ahead, weights(share))
            activities = {
                name: value + dt / micro / 2 * (slope.rates[name] + later.rates[name]) if name in slope.rates else value
                for name, value in activities.items()
            }
            if k + 1 < micro:
                slope = self.rhs(t + dt * (k + 1) / micro, activities, weights(share))
        last = self.rhs(t1, activities, weights(1.0))
        for name, weight in staged.items():
            weight.stage((1.0,), dt)
            weight.push(last.updates.get(name))
        formed = {name: weight.stage((0.5, 0.5), dt).dense() for name, weight in staged.items()}
        self.ends = state, HybridState(activities, formed)
        return self.ends[1]

    def between(self, theta: float) -> HybridState:
        return on_the_line(*self.ends, theta)
