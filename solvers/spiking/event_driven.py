"""Integrate to the next jump, found as a root, jump, and continue: exact up to tolerance, for small networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torchdiffeq
from torch import Tensor

from ctsigprop.solvers.apply_update import add
from ctsigprop.solvers.base import Counts, Monitor, Solver
from ctsigprop.solvers.field import DenseWeight, HybridState, JumpingField, PacedField, VectorField, bounds_of
from ctsigprop.solvers.guard import Guard
from ctsigprop.solvers.reference.flatten import Flat, Packing
from ctsigprop.solvers.reference.flow import AdaptiveFlow
from ctsigprop.solvers.reference.integrate import Method, advance_adaptive, resample, smooth
from ctsigprop.solvers.settings import Tolerances, check_limit, check_tolerances
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.times import slack

AT_ONCE = 1000
"""Jumps at one instant after which a run is said to diverge: spikes that cause each other without end."""


@final
@dataclass(frozen=True)
class EventDriven(Solver):
    """Dormand-Prince 5(4) up to the next jump of any unit, found by torchdiffeq's root finding, then the jump.

    Spike times are exact up to the tolerances and not on a grid, so it serves as the reference for `Hybrid`. Each jump
    costs a restart, so use it for small networks and with float64. It misses a margin that rises to its threshold and
    falls again within one step; tighter tolerances make the steps shorter.

    Parameters
    ----------
    rtol, atol : float, relative and absolute tolerance of all variables, > 0; jump times are found to `atol` times
        the shortest time constant of the network; default 1e-7, 1e-9
    max_steps : int or None, steps of the whole run after which it ends with `Status.MAX_STEPS`; default no limit

    Raises
    ------
    ValueError, TypeError : a tolerance or limit out of its range

    References
    ----------
    R. T. Q. Chen, B. Amos, M. Nickel, "Learning neural event functions for ordinary differential equations", ICLR
    2021 (odeint_event).
    """

    rtol: float = 1e-7
    atol: float = 1e-9
    max_steps: int | None = None
    order: ClassVar[int] = 5
    jumps: ClassVar[bool] = True
    path: ClassVar[str] = "event driven"

    def __post_init__(self) -> None:
        check_tolerances(self, {"rtol": self.rtol, "atol": self.atol})
        check_limit(self, self.max_steps)

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        stretch: Stretch,
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        guard = Guard(stretch, state, monitor, counts, self.max_steps)
        if not isinstance(field, JumpingField):
            tolerances = Tolerances(self.rtol, self.atol, self.rtol, self.atol)
            return advance_adaptive(Method("dopri5"), tolerances, field, state, guard)
        packing = Packing(state, bounds_of(field))
        flow = ScaledFlow(field, packing, packing.pack(state), guard)
        with guard.breaking_off():
            self.until(flow, field, stretch.stop)
        return packing.unpack(flow.y)

    def until(self, flow: ScaledFlow, field: JumpingField, goal: float) -> None:
        """Integrate to `goal`, with every jump up to it and at it.

        Samples between two jumps come from a second, uncounted integration that starts at the first of them, because
        a stop at each sample would move later jumps.
        """
        guard, before = flow.guard, flow.guard.t
        unwatched = Guard(Stretch((before, goal), before), guard.last_good(), guard.monitor, Counts(), None)
        watcher = AdaptiveFlow(field, flow.packing, flow.y, unwatched)
        between_jumps = smooth(watcher, Method("dopri5", {}, self.rtol, self.atol))
        while True:
            known = field.next_jump(before)
            target = min(goal, known)
            begin = flow.reached
            self.glide(flow, field, target)
            near = slack(guard.t - begin[0], guard.t)
            resample(watcher, begin, [t for t in guard.due(guard.t - near) if t > begin[0]], between_jumps)
            arrived = guard.t >= target
            # a jump from outside that counts as at the goal, if later by rounding, is not there any more after it
            outside = arrived and (known <= goal or field.next_jump(guard.t) > known)
            self.apply_jump(flow, field, (before if outside else guard.t, guard.t))
            for t in guard.due(guard.t + near):
                guard.monitor.sample(t, dict(flow.packing.unpack(flow.y).items()))
            if arrived:
                before = guard.t
                if target >= goal:
                    guard.monitor.progress(goal)
                    return

    def glide(self, flow: ScaledFlow, field: JumpingField, target: float) -> None:
        """Integrate to `target` or to the first margin that reaches 0, whichever comes first.

        torchdiffeq finds it to an absolute tolerance, so its time runs in units of the network's shortest tau.
        """
        packing, (start, y) = flow.packing, flow.reached
        ahead = (target - start) / flow.unit
        if ahead <= 0 or float(field.margin(packing.unpack(y).activities)) >= 0:
            return

        def event(s: Tensor, z: Flat) -> Tensor:
            return torch.minimum(-field.margin(packing.unpack(z).activities), ahead - s)

        flow.start, flow.end = start, math.inf
        options = {"norm": packing.norm, "first_step": min(ahead, self.first(field, flow))}
        clock = torch.tensor([0.0, ahead], dtype=packing.dtype, device=packing.device)
        s, states = torchdiffeq.odeint(
            flow, y, clock, rtol=self.rtol, atol=self.atol, method="dopri5", options=options, event_fn=event
        )
        flow.guard.check_finite(float(states[-1].sum()), lambda: packing.unpack(states[-1]))
        end = packing.hold(states[-1])
        late = float(s) >= ahead - 2 * self.atol and float(field.margin(packing.unpack(end).activities)) < -self.atol
        flow.reached = target if late else min(start + float(s) * flow.unit, target), end

    def first(self, field: JumpingField, flow: ScaledFlow) -> float:
        """A first step for odeint, in its time. It moves the state by about the fifth root of the tolerance."""
        slope = flow.packing.derivative(flow.field, *flow.reached) * flow.unit
        size = float(flow.packing.norm(slope / (1 + flow.y.abs())))
        return float(0.5 * self.rtol**0.2 / max(size, 1e-6))

    def apply_jump(self, flow: ScaledFlow, field: JumpingField, span: tuple[float, float]) -> None:
        """Jump as often as a jump is due at this time."""
        state = flow.packing.unpack(flow.y)
        activities, matrices = dict(state.activities), dict(state.weights)
        rounding = 16 * torch.finfo(flow.packing.dtype).eps
        outside = span[1] > span[0]
        changed = False
        for _ in range(AT_ONCE):
            margin = float(field.margin(activities))
            if not outside and margin < -10 * self.atol - rounding:
                break
            leeway = max(0.0, -margin) + rounding if margin >= -10 * self.atol - rounding else rounding
            weights = {name: DenseWeight(matrix) for name, matrix in matrices.items()}
            jumped, updates = field.jump(span if outside else (span[1], span[1]), activities, weights, leeway)
            outside, changed = False, True
            activities.update(jumped)
            for name, update in updates.items():
                matrices[name] = matrices[name].clone()
                add(matrices[name], update, 1.0)
        else:
            detail = f"{AT_ONCE} jumps at t={flow.guard.t:g}: spikes cause each other without end."
            raise flow.guard.stop(Status.DIVERGED, detail)
        if changed:
            flow.reached = flow.guard.t, flow.packing.hold(flow.packing.pack(HybridState(activities, matrices)))


class ScaledFlow(AdaptiveFlow):
    """The right-hand side on a clock that counts in units of the field's shortest time constant."""

    def __init__(self, field: VectorField, packing: Packing, y: Flat, guard: Guard) -> None:
        super().__init__(field, packing, y, guard)
        self.unit = field.time_scale if isinstance(field, PacedField) else 1.0

    def __call__(self, s: Tensor, y: Flat) -> Flat:
        return super().__call__(s * self.unit, y) * self.unit

    def callback_step(self, s: Tensor, y: Flat, ds: Tensor) -> None:
        super().callback_step(s * self.unit, y, ds * self.unit)
