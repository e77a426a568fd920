"""Advance a hybrid state by torchdiffeq's `odeint`: the reference for every other solver.

torchdiffeq is asked for one stretch of smooth time per call, in time counted from the start of that
stretch (its clock has the state's precision). What it leaves to chance ends the run with a named status.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from dataclasses import field as entry
from itertools import pairwise

import numpy as np
import torch
import torchdiffeq
from torch import Tensor

from ctsigprop.solvers.base import SolverStopped, first_nonfinite
from ctsigprop.solvers.field import HybridState, VectorField, bounds_of
from ctsigprop.solvers.grid import BLOCK_STEPS, blocks
from ctsigprop.solvers.guard import Guard
from ctsigprop.solvers.reference.flatten import Flat, Packing
from ctsigprop.solvers.reference.flow import AdaptiveFlow, FixedFlow, Flow, SciPyFlow
from ctsigprop.solvers.settings import Tolerances
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.times import slack, steps_until

SAMPLE_BYTES = 2**28
"""Bytes of sampled states that one call of odeint may hold, which returns none of them before it ends. More are read
off further calls over the same time: what is looked at never changes the steps of the run itself."""
HALVINGS = 12
"""How often a stretch is halved in which one of SciPy's methods fails, to find where."""
Tolerance = float | Flat | np.ndarray
"""One of the whole state, or one of each of its elements."""


@dataclass(frozen=True)
class Method:
    """A method of torchdiffeq: its name, its options and the tolerances that it is called with."""

    name: str
    options: Mapping[str, object] = entry(default_factory=dict)
    rtol: Tolerance = 0.0
    atol: Tolerance = 0.0

    def with_options(self, **more: object) -> Method:
        """The same method with further options."""
        return replace(self, options={**self.options, **more})


def solve(flow: Flow, method: Method, start: float, times: Sequence[float]) -> Tensor:
    """One call of odeint from `flow.y` over `times`, counted from `start` (times[0] is now); (len(times), size)."""
    flow.start = start
    clock = torch.tensor(times, dtype=torch.float64, device=flow.packing.device)
    # times that the clock, which has the state's precision, cannot tell apart are one time: the last of them, which
    # may be where the stretch ends
    _, place = torch.unique_consecutive(clock.to(flow.packing.dtype), return_inverse=True)
    distinct = clock[torch.cat([place.diff(), place.new_ones(1)]) > 0]
    distinct[0] = clock[0]
    if len(distinct) == 1:
        return flow.y.expand(len(times), -1)
    with flow.guard.breaking_off():
        out: Tensor = torchdiffeq.odeint(
            flow, flow.y, distinct, rtol=method.rtol, atol=method.atol, method=method.name, options=dict(method.options)
        )
    flow.packing.hold(out)
    return out if len(distinct) == len(times) or len(out) < len(distinct) else out[place]


Run = Callable[[list[float]], Tensor]
"""From the state that a flow holds over a clock that begins now: the states at its times."""


def with_samples(flow: Flow, samples: Sequence[float], stop: float, run: Run) -> None:
    """Run from now to `stop`, hand the samples to the monitor and leave the state at `stop` in `flow`."""
    guard, begin = flow.guard, flow.reached
    inner = [t for t in samples if t < stop]
    together = inner if len(inner) + 2 <= states_at_once(flow.y) else []
    try:
        out = run([guard.t, *together, stop])
        if out.shape[0] != len(together) + 2:
            raise flow.failure()
    except SolverStopped as stopped:
        with suppress(SolverStopped), guard.breaking_off():  # if that stops too, what counts is why the first did
            resample(flow, begin, [s for s in inner if s <= stopped.t], run)
        raise
    finite = finite_rows(out)
    if finite < len(out):
        if flow.resumes_anywhere:  # else the block is taken once more, to find the step
            hand_over(flow, [t for t in together if t <= guard.t][: max(0, finite - 1)], out[1:])
        name = first_nonfinite(flow.packing.unpack(out[finite]))
        raise guard.diverged(str(name))
    flow.reached = stop, out[-1].clone() if inner else out[-1]
    with guard.breaking_off():
        if together:
            hand_over(flow, inner, out[1:-1])
        elif inner:
            resample(flow, begin, inner, run)
        hand_over(flow, samples[len(inner) :], out[-1:])
        guard.monitor.progress(stop)


def hand_over(flow: Flow, times: Sequence[float], states: Tensor) -> None:
    """Give sampled states to the monitor."""
    for t, y in zip(times, states, strict=False):
        flow.guard.monitor.sample(t, dict(flow.packing.unpack(y).items()))


def resample(flow: Flow, begin: tuple[float, Flat], samples: list[float], run: Run) -> None:
    """Hand out samples of a run that is over: run again, uncounted, from `begin`, as many at once as fit in memory."""
    guard, ended = flow.guard, flow.reached
    counted, max_steps = replace(flow.counts), guard.max_steps
    flow.reached, guard.max_steps = begin, None
    size = states_at_once(flow.y) - 1
    try:
        for first in range(0, len(samples), size):
            group = samples[first : first + size]
            out = run([guard.t, *group])
            finite = finite_rows(out) - 1
            hand_over(flow, group[:finite], out[1:])
            if finite < len(group):
                return
            flow.reached = (group[-1], out[-1].clone()) if flow.resumes_anywhere else begin
    finally:
        guard.max_steps = max_steps
        flow.counts.reset(counted)
        flow.reached = ended


def states_at_once(y: Flat) -> int:
    """How many states like `y` one call of odeint may hold."""
    return max(2, SAMPLE_BYTES // max(1, y.numel() * y.element_size()))


def finite_rows(states: Tensor) -> int:
    """How many of these states, from the first on, hold no NaN and no infinity."""
    if math.isfinite(float(states.sum())):
        return len(states)
    return int(torch.isfinite(states).all(1).cumprod(0).sum())


def advance_adaptive(
    method: Method, tol: Tolerances, field: VectorField, state: HybridState, guard: Guard
) -> HybridState:
    """Advance by an adaptive method."""
    packing, stretch = Packing(state, bounds_of(field)), guard.stretch
    is_scipy = method.name == "scipy_solver"
    flow = (SciPyFlow if is_scipy else AdaptiveFlow)(field, packing, packing.pack(state), guard)
    rtol: Tolerance = packing.per_group(tol.rtol, tol.rtol_weights)
    atol: Tolerance = packing.per_group(tol.atol, tol.atol_weights)
    if is_scipy:
        rtol, atol = (each.cpu().numpy() if isinstance(each, Tensor) else each for each in (rtol, atol))

    run = smooth(flow, replace(method, rtol=rtol, atol=atol))
    if is_scipy:
        in_halves(flow, stretch.times, stretch.stop, run, HALVINGS)
    else:
        with_samples(flow, stretch.times, stretch.stop, run)
    return packing.unpack(flow.y)


def in_halves(flow: Flow, samples: Sequence[float], stop: float, run: Run, halvings: int) -> None:
    """As `with_samples`; a stretch that fails is taken in halves, uncounted, down to the one where it happens.

    This is for methods that tell nothing while they run, not even how far they came.
    """
    begin, counted = flow.reached, replace(flow.counts)
    try:
        with_samples(flow, samples, stop, run)
    except SolverStopped as stopped:
        if stopped.status not in (Status.DIVERGED, Status.STEP_UNDERFLOW) or not halvings:
            raise
        flow.reached, middle = begin, begin[0] + (stop - begin[0]) / 2
        flow.counts.reset(counted)
        for end in (middle, stop):
            due = [t for t in samples if flow.guard.t < t <= end]
            in_halves(flow, due, end, run, halvings - 1)


def smooth(flow: Flow, method: Method) -> Run:
    """An adaptive method at work on `flow`; its last step ends with the clock."""

    def run(clock: list[float]) -> Tensor:
        local = [t - clock[0] for t in clock]
        if not isinstance(flow, AdaptiveFlow):
            with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
                # torchdiffeq hands min_step to SciPy methods that have none
                warnings.filterwarnings("ignore", "The following arguments have no effect for a chosen solver")
                return solve(flow, method, clock[0], local)
        end = torch.tensor(local[-1:], dtype=torch.float64, device=flow.packing.device)
        flow.begin(float(end.to(flow.packing.dtype)))
        out = solve(flow, method.with_options(norm=flow.packing.norm, jump_t=end), clock[0], local)
        if flow.end_y is not None:
            out[-1] = flow.packing.hold(flow.end_y.clone())
        return out

    return run


class FixedRun:
    """A fixed-step method at work on the grid origin + k dt."""

    def __init__(self, method: Method, dt: float, flow: FixedFlow) -> None:
        resolution = 100 * torch.finfo(flow.packing.dtype).eps  # of the implicit method's inner iteration
        self.method = replace(method, rtol=resolution, atol=resolution)
        self.dt, self.origin, self.flow = dt, flow.guard.stretch.origin, flow

    def take(self, points: Sequence[float], samples: Sequence[float]) -> None:
        """Take the steps between `points` in one call, on a clock that starts at the last multiple of a block."""
        dt, origin = self.dt, self.origin
        anchor = steps_until(points[0], origin, dt) // BLOCK_STEPS * BLOCK_STEPS

        def local(t: float) -> float:
            """Time since the anchor, exactly on the grid where it is meant to be, wherever the run began."""
            k = round((t - origin) / dt)
            on_grid = abs(t - origin - k * dt) <= slack(dt, t, origin)
            return (k - anchor) * dt if on_grid else t - origin - anchor * dt

        def run(clock: list[float]) -> Tensor:
            # a clock that ends within a step goes on to its end: methods with a history need steps of one length
            clock_end = next(p for p in points if p >= clock[-1])
            times = [local(t) for t in clock] + ([] if clock_end == clock[-1] else [local(clock_end)])
            grid = [local(p) for p in points if p <= clock_end]
            method = self.method.with_options(
                grid_constructor=lambda _func, _y, t: torch.tensor(grid, dtype=t.dtype, device=t.device)
            )
            if set(times) <= set(grid):
                method = method.with_options(interp="linear")
            return solve(self.flow, method, origin + anchor * dt, times)[: len(clock)]

        with_samples(self.flow, samples, points[-1], run)

    def step_by_step(self, points: Sequence[float], samples: Sequence[float]) -> None:
        """Take the steps between `points` in one call each."""
        for pair in pairwise(points):
            self.take(pair, [t for t in samples if pair[0] < t <= pair[1]])

    def find_divergence(self, points: Sequence[float], samples: list[float]) -> None:
        """Stop at the last good point of a block that is known to diverge, and hand out the samples up to it.

        How many steps are good is found by bisection, each time from the start of the block, as a method with a history
        must not begin anywhere else.
        """
        flow = self.flow
        begin, counted = flow.reached, replace(flow.counts)

        def again(steps: int, samples: Sequence[float]) -> None:
            flow.reached = begin
            flow.counts.reset(counted)
            self.take(points[: steps + 1], samples)

        def diverges(steps: int) -> bool:
            try:
                again(steps, ())
            except SolverStopped as stopped:
                return stopped.status is Status.DIVERGED
            return False

        good = bisect_left(range(1, len(points) - 1), True, key=diverges)
        if good:
            again(good, [t for t in samples if t <= points[good]])
        again(good + 1, ())


def advance_fixed(method: Method, dt: float, field: VectorField, state: HybridState, guard: Guard) -> HybridState:
    """Advance by a fixed-step method on the grid origin + k dt; the last step ends at the end of the stretch."""
    packing = Packing(state, bounds_of(field))
    flow = FixedFlow(field, packing, packing.pack(state), guard)
    run = FixedRun(method, dt, flow)
    one_step = not method.name.endswith("adams")
    for points in blocks(guard.stretch, dt):
        samples = [t for t in guard.stretch.times if points[0] < t <= points[-1]]
        if one_step and len(samples) + 2 > states_at_once(flow.y):
            run.step_by_step(points, samples)
            continue
        before, counted = flow.y, replace(flow.counts)
        try:
            run.take(points, samples)
        except SolverStopped as stopped:
            if stopped.status is not Status.DIVERGED or len(points) == 2:
                raise
            flow.reached = points[0], before
            flow.counts.reset(counted)
            run.find_divergence(points, samples)
    return packing.unpack(flow.y)
