"""Weights in long steps, activities in short ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import torch
from torch import Tensor

from ctsigprop.rules.checks import number, whole
from ctsigprop.solvers.base import BreakingOff, Counts, Monitor, Solver
from ctsigprop.solvers.factored.integrate import IntegrationRun
from ctsigprop.solvers.factored.invariants import CachedWeight
from ctsigprop.solvers.factored.runge_kutta import Slope, dense
from ctsigprop.solvers.factored.stage_weight import StagedWeight
from ctsigprop.solvers.field import HybridState, VectorField, Weight
from ctsigprop.solvers.grid import blocks
from ctsigprop.solvers.samples import Samples
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.times import as_time, share_of_step

Activities = dict[str, Tensor]


@final
@dataclass(frozen=True)
class Multirate(Solver):
    """Weights advanced by Heun's method in macro steps of dt, activities in `micro` steps of dt / micro within each.

    From the slope k_1 of the weights at the start of a macro step, activities move under the weights W + s k_1 to its
    end, by Heun's method; the slope k_2 there gives W + dt (k_1 + k_2) / 2. Second order in dt, and in dt / micro for
    the activities. Right where weights are slow against activities, and what the stimulus shows lasts for macro steps:
    plasticity is looked at twice in each. Weights keep their factor form, read and written once in a macro step.
    Steps end at every switch of the stimulus; samples within a macro step are read off the line.

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
    C. W. Gear and D. R. Wells, "Multirate linear multistep methods", BIT 24, 1984, 484-502 (the slow part first, its
    values in between extrapolated).
    """

    dt: float
    micro: int = 10
    max_steps: int | None = None
    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        number("Multirate(dt=)", self.dt, above=0)
        object.__setattr__(self, "dt", as_time(self.dt))
        whole("Multirate(micro=)", self.micro, 1)
        if self.max_steps is not None:
            whole("Multirate(max_steps=)", self.max_steps, 1)

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
        course = IntegrationRun(field, state, stretch.start, monitor, counts, self.max_steps, "Heun2(dt=...)")
        samples = Samples(stretch.times)
        with BreakingOff(course.stop):
            for points in blocks(stretch, self.dt):
                for t, t1 in pairwise(points):
                    course.before_step(t, state)
                    counts.steps += 1
                    after = macro_step(course, state, t, t1, max(1, round(self.micro * (t1 - t) / self.dt)))
                    course.check(after)
                    for time in samples.until(t1):
                        theta = share_of_step(time, t, t1)
                        monitor.sample(time, after if theta == 1.0 else on_the_line(state, after, theta))
                    state = after
                    monitor.progress(t1)
        return state


def macro_step(course: IntegrationRun, state: HybridState, t: float, t1: float, micro: int) -> HybridState:
    """The state at t1, `state` being that at t."""
    dt = t1 - t
    first = course.slope(t, state.activities, dense(state.weights))
    staged = {name: StagedWeight((0, 1)) for name in state.weights}
    for name, weight in staged.items():
        weight.begin(CachedWeight(state.weights[name]))
        weight.push(first.updates.get(name))

    def weights(share: float) -> dict[str, Weight]:
        """W + share dt k_1."""
        return {name: weight.weight(*weight.combine((share,), dt, 1.0)) for name, weight in staged.items()}

    now, slope = dict(state.activities), first
    for k in range(micro):
        ahead = moved(now, slope, dt / micro)
        later = course.slope(t + dt * (k + 1) / micro, ahead, weights((k + 1) / micro))
        now = {
            name: value if name not in slope.rates else value + dt / micro / 2 * (slope.rates[name] + later.rates[name])
            for name, value in now.items()
        }
        if k + 1 < micro:
            slope = course.slope(t + dt * (k + 1) / micro, now, weights((k + 1) / micro))
    last = course.slope(t1, now, weights(1.0))
    for name, weight in staged.items():
        weight.stage((1.0,), dt)
        weight.push(last.updates.get(name))
    return HybridState(now, {name: weight.stage((0.5, 0.5), dt).dense() for name, weight in staged.items()})


def moved(activities: Activities, slope: Slope, dt: float) -> Activities:
    """Activities after an Euler step."""
    return {
        name: torch.add(value, slope.rates[name], alpha=dt) if name in slope.rates else value
        for name, value in activities.items()
    }


def on_the_line(before: HybridState, after: HybridState, theta: float) -> HybridState:
    """The state at the share theta of a step."""
    return HybridState(
        {name: torch.lerp(value, after.activities[name], theta) for name, value in before.activities.items()},
        {name: torch.lerp(value, after.weights[name], theta) for name, value in before.weights.items()},
    )
