"""Advance a hybrid state by torchdiffeq's `odeint`: the reference that every other solver is held to.

torchdiffeq is asked for one stretch of smooth time per call, in time counted from the start of that
stretch (its clock has the state's precision). What it leaves to chance ends the run with a named status.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
import torchdiffeq
from torch import Tensor

from ctsigprop.solvers.base import Counts, Monitor, SolverStopped, first_nonfinite
from ctsigprop.solvers.field import HybridState, VectorField, bounds_of
from ctsigprop.solvers.packing import Flat, Packing
from ctsigprop.solvers.status import Status

SAMPLE_BYTES = 2**28
SAMPLES = 64
"""Sampled states (and their bytes) held by one call of odeint, which returns none of them before it ends; more are
taken in several calls. An adaptive method chooses its first step anew in each."""
SLACK = 1e-9
"""Share of a step within which a time is taken for a grid point."""
BLOCK_STEPS = 256
"""Fixed steps per call of odeint at most, after which the state is checked for non-finite values."""


class Flow:
    """The right-hand side as torchdiffeq calls it; remembers the last good state for whoever must stop."""

    def __init__(
        self,
        field: VectorField,
        packing: Packing,
        y: Flat,
        start: float,
        max_steps: int | None,
        counts: Counts,
        monitor: Monitor,
    ) -> None:
        self.field, self.packing, self.counts, self.max_steps = field, packing, counts, max_steps
        self.monitor, self.start = monitor, start
        self.y, self.t = y, start
        self.end, self.end_y = torch.inf, y

    def __call__(self, s: Tensor, y: Flat) -> Flat:
        self.counts.rhs_evaluations += 1
        if float(s) > self.end:
            self.end_y, self.end = y, torch.inf
        return self.packing.derivative(self.field, self.start + float(s), y)

    def stop(self, status: Status, detail: str) -> SolverStopped:
        """The exception that carries the last good state."""
        return SolverStopped(status, self.t, self.packing.unpack(self.y), detail)

    def before_step(self, s: float, y: Flat) -> None:
        """Note the state a step starts from, within bounds, and stop where no more steps are allowed."""
        self.y, self.t = self.packing.hold(y), self.start + s
        self.monitor.progress(self.t)
        if self.max_steps is not None and self.counts.steps >= self.max_steps:
            raise self.stop(Status.MAX_STEPS, f"max_steps={self.max_steps} was reached at t={self.t:g}.")

    def failure(self) -> SolverStopped:
        """Why no step can be taken from here: a derivative that overflows, or one that no step resolves."""
        slope = self.packing.unpack(self.packing.derivative(self.field, self.t, self.y))
        name = first_nonfinite(slope)
        if name is not None:
            return self.stop(Status.DIVERGED, f"d({name})/dt is non-finite at t={self.t:g}.")
        sizes = {key: float(value.abs().max()) for key, value in slope.items()}
        worst = max(sizes, key=lambda key: sizes[key])
        status = Status.DIVERGED if sizes[worst] > 1e10 else Status.STEP_UNDERFLOW
        return self.stop(status, f"the fastest quantity at t={self.t:g} is {worst}, |d/dt| = {sizes[worst]:.3g}.")


class FixedFlow(Flow):
    """With the callback of torchdiffeq's fixed-step methods."""

    def callback_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        self.before_step(float(s), y)
        self.counts.steps += 1


class AdaptiveFlow(Flow):
    """With the callbacks of torchdiffeq's adaptive methods."""

    def callback_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        self.before_step(float(s), y)
        if not (math.isfinite(float(ds)) and float(s + ds) > float(s)):
            raise self.failure()

    def callback_accept_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        self.counts.steps += 1

    def callback_reject_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        self.counts.rejected_steps += 1


class SciPyFlow(Flow):
    """SciPy's solvers have no callbacks: every evaluation counts as a step, and bounds are kept in each."""

    def __call__(self, s: Tensor, y: Flat) -> Flat:
        if self.max_steps is not None and self.counts.rhs_evaluations >= self.max_steps:
            raise self.stop(Status.MAX_STEPS, f"max_steps={self.max_steps} evaluations were reached.")
        self.counts.steps += 1
        return super().__call__(s, self.packing.hold(y.clone()))


def solve(
    flow: Flow,
    method: str,
    start: float,
    times: Sequence[float],
    rtol: Any,
    atol: Any,
    options: dict[str, Any],
) -> Tensor:
    """One call of odeint from `flow.y` over `times`, counted from `start` (times[0] is now); (len(times), size)."""
    flow.start = start
    clock = torch.tensor(times, dtype=torch.float64, device=flow.packing.device)
    # times that the clock, which has the state's precision, cannot tell apart are one time
    _, place = torch.unique_consecutive(clock.to(flow.packing.dtype), return_inverse=True)
    first = torch.cat([place.new_ones(1), place.diff()]) > 0
    apart = clock[first]
    if len(apart) == 1:
        return flow.y.expand(len(times), -1)
    try:
        out: Tensor = torchdiffeq.odeint(flow, flow.y, apart, rtol=rtol, atol=atol, method=method, options=options)
    except KeyboardInterrupt:
        raise flow.stop(Status.INTERRUPTED, f"It stood at t={flow.t:g}.") from None
    flow.packing.hold(out)
    return out if len(apart) == len(times) or len(out) < len(apart) else out[place]


def with_samples(flow: Flow, samples: Sequence[float], stop: float, run: Callable[[list[float]], Tensor]) -> None:
    """Run from now to `stop`, hand the samples to the monitor and leave the state at `stop` in `flow`."""
    inner = [t for t in samples if t < stop]
    t, y = flow.t, flow.y
    try:
        out = run([t, *inner, stop])
        if out.shape[0] != len(inner) + 2:
            raise flow.failure()
    except SolverStopped as stopped:
        salvage(flow, (t, y), [s for s in inner if s <= stopped.t], run)
        raise
    check_finite(flow, out[-1])
    flow.y, flow.t = out[-1].clone() if inner else out[-1], stop
    try:
        hand_over(flow, samples, out[1 : len(samples) + 1])
        flow.monitor.progress(stop)
    except KeyboardInterrupt:
        raise flow.stop(Status.INTERRUPTED, f"It stood at t={flow.t:g}.") from None


def hand_over(flow: Flow, times: Sequence[float], states: Tensor) -> None:
    """Give sampled states to the monitor."""
    for t, y in zip(times, states, strict=True):
        flow.monitor.sample(t, flow.packing.unpack(y))


def salvage(flow: Flow, start: tuple[float, Flat], samples: list[float], run: Callable[[list[float]], Tensor]) -> None:
    """Take the samples that a stopped call had passed but not returned: run it again, uncounted, up to the last."""
    if not samples:
        return
    counts, max_steps = replace(flow.counts), flow.max_steps
    (flow.t, flow.y), flow.max_steps = start, None
    try:
        hand_over(flow, samples, run([flow.t, *samples])[1:])
    finally:
        flow.max_steps = max_steps
        vars(flow.counts).update(vars(counts))


def check_finite(flow: Flow, y: Flat) -> None:
    """Raise if `y` holds a NaN or infinity; the sum tells in one pass, and only its overflow needs a second."""
    if math.isfinite(float(y.sum())):
        return
    name = first_nonfinite(flow.packing.unpack(y))
    if name is not None:
        raise flow.stop(Status.DIVERGED, f"{name} became non-finite after t={flow.t:g}.")


def advance_adaptive(
    method: str,
    field: VectorField,
    state: HybridState,
    span: tuple[float, float],
    times: Sequence[float],
    monitor: Monitor,
    counts: Counts,
    *,
    tolerances: tuple[float, float, float, float],
    max_steps: int | None,
    options: dict[str, Any],
) -> HybridState:
    """Advance by an adaptive method; tolerances = (rtol, atol, rtol of weights, atol of weights)."""
    packing = Packing(state, bounds_of(field))
    y = packing.pack(state)
    is_scipy = method == "scipy_solver"
    flow = (SciPyFlow if is_scipy else AdaptiveFlow)(field, packing, y, span[0], max_steps, counts, monitor)
    rtol: Any = packing.per_group(tolerances[0], tolerances[2])
    atol: Any = packing.per_group(tolerances[1], tolerances[3])
    if is_scipy:
        rtol, atol = (tol.cpu().numpy() if isinstance(tol, Tensor) else tol for tol in (rtol, atol))

    def run(clock: list[float]) -> Tensor:
        end = torch.tensor([clock[-1] - clock[0]], dtype=torch.float64, device=packing.device)
        own = options if is_scipy else {**options, "norm": packing.norm, "jump_t": end}  # step onto the end
        # after a step onto a jump torchdiffeq evaluates just behind it, at the very state that the step ended in; what
        # it returns there is an interpolation, equal up to rounding
        flow.end = float("inf") if is_scipy else float(end.to(packing.dtype))
        with warnings.catch_warnings():  # torchdiffeq hands min_step to SciPy methods that have none
            warnings.filterwarnings("ignore", "The following arguments have no effect for a chosen solver")
            out = solve(flow, method, clock[0], [t - clock[0] for t in clock], rtol, atol, own)
            if not is_scipy and flow.end == float("inf"):
                out[-1] = packing.hold(flow.end_y.clone())
            return out

    for group, stop in groups(times, span[1], y):
        with_samples(flow, group, stop, run)
    return packing.unpack(flow.y)


def groups(times: Sequence[float], stop: float, y: Flat) -> Iterator[tuple[Sequence[float], float]]:
    """Cut sample times so that the states sampled in one group fit in memory: (times, where the group stops)."""
    size = max(1, min(SAMPLES, SAMPLE_BYTES // (y.numel() * y.element_size())))
    for first in range(0, len(times), size):
        group = times[first : first + size]
        if first + size < len(times):
            yield group, group[-1]
        else:
            yield group, stop
    if not times:
        yield (), stop


def advance_fixed(
    method: str,
    dt: float,
    field: VectorField,
    state: HybridState,
    span: tuple[float, float],
    origin: float,
    times: Sequence[float],
    monitor: Monitor,
    counts: Counts,
    *,
    max_steps: int | None,
    options: dict[str, Any],
) -> HybridState:
    """Advance by a fixed-step method on the grid origin + k dt; the last step ends at the end of the span."""
    packing = Packing(state, bounds_of(field))
    flow = FixedFlow(field, packing, packing.pack(state), span[0], max_steps, counts, monitor)
    resolution = 100 * torch.finfo(packing.dtype).eps  # of the implicit method's inner iteration

    def take(points: Sequence[float], samples: Sequence[float]) -> None:
        """Take the steps between `points` in one call, on a clock that starts at the last multiple of a block."""
        anchor = math.floor((points[0] - origin) / dt + SLACK) // BLOCK_STEPS * BLOCK_STEPS

        def local(t: float) -> float:
            """Time since the anchor, exactly on the grid where it is meant to be, wherever the run began."""
            k = round((t - origin) / dt)
            on_grid = abs(t - origin - k * dt) <= SLACK * dt
            return (k - anchor) * dt if on_grid else t - origin - anchor * dt

        def run(clock: list[float]) -> Tensor:
            grid = [local(p) for p in points if p < clock[-1]] + [local(clock[-1])]
            on_grid = {local(t) for t in clock} <= set(grid)
            own = {
                **options,
                "interp": "linear" if on_grid else options["interp"],
                "grid_constructor": lambda _func, _y, t: torch.tensor(grid, dtype=t.dtype, device=t.device),
            }
            start = origin + anchor * dt
            return solve(flow, method, start, [local(t) for t in clock], resolution, resolution, own)

        with_samples(flow, samples, points[-1], run)

    def step_by_step(points: Sequence[float], samples: Sequence[float]) -> None:
        """Take the steps between `points` in one call each."""
        for pair in pairwise(points):
            take(pair, [t for t in samples if pair[0] < t <= pair[1]])

    per_block = max(1, SAMPLE_BYTES // (flow.y.numel() * flow.y.element_size()))
    for points in blocks(span, origin, dt):
        samples = [t for t in times if points[0] < t <= points[-1]]
        if len(samples) > per_block:
            step_by_step(points, samples)
            continue
        before, counted = flow.y, replace(counts)
        try:
            take(points, samples)
        except SolverStopped as stopped:
            if stopped.status is not Status.DIVERGED or len(points) == 2:
                raise
            flow.y, flow.t = before, points[0]
            vars(counts).update(vars(counted))
            step_by_step(points, samples)  # to see which step it is
    return packing.unpack(flow.y)


def blocks(span: tuple[float, float], origin: float, dt: float) -> Iterator[list[float]]:
    """The grid points of a span, in blocks that share their end points and end on the same points in every run.

    A step shortened by the start or the end of the span is a block of its own: methods with a history of steps
    take it for one of full length.
    """
    start, stop = span
    first = math.floor((start - origin) / dt + SLACK) + 1
    last = math.ceil((stop - origin) / dt - SLACK) - 1
    block = [start]
    for k in range(first, last + 1):
        t = origin + k * dt
        block.append(t)
        if k % BLOCK_STEPS == 0 or (len(block) == 2 and t - start < dt * (1 - SLACK)):
            yield block
            block = [t]
    if len(block) > 1 and stop - block[-1] < dt * (1 - SLACK):
        yield block
        block = block[-1:]
    yield [*block, stop]
