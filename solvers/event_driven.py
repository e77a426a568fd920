"""Flow to the next jump, found by its root, jump, and go on: exact up to tolerance, for small networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
import torchdiffeq
from torch import Tensor

from ctsigprop.rules.checks import number, whole
from ctsigprop.solvers.base import Counts, Monitor, Solver, SolverStopped
from ctsigprop.solvers.field import DenseWeight, HybridState, JumpingField, VectorField, bounds_of
from ctsigprop.solvers.hybrid import add
from ctsigprop.solvers.packing import Flat, Packing
from ctsigprop.solvers.reference import AdaptiveFlow, advance_adaptive, check_finite
from ctsigprop.solvers.status import Status

AT_ONCE = 1000
"""Jumps at one instant after which a run is said to diverge: spikes that cause each other without end."""


@final
@dataclass(frozen=True)
class EventDriven(Solver):
    """Dormand-Prince 5(4) up to the next jump of any unit, located by torchdiffeq's root finding, then the jump.

    Spike times are exact up to the tolerances, and not on a grid: the oracle for `Hybrid`. Each jump costs a restart,
    so this is for small networks and for float64. A margin that rises to its threshold and falls again within one step
    is missed; tighter tolerances make the steps shorter.

    Parameters
    ----------
    rtol, atol : float, relative and absolute tolerance of all variables, > 0; jumps are located in time to `atol`;
        default 1e-7, 1e-9
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

    def __post_init__(self) -> None:
        number("EventDriven(rtol=)", self.rtol, above=0)
        number("EventDriven(atol=)", self.atol, above=0)
        if self.max_steps is not None:
            whole("EventDriven(max_steps=)", self.max_steps, 1)

    def advance(
        self,
        field: VectorField,
        state: HybridState,
        span: tuple[float, float],
        origin: float,
        times: Sequence[float],
        monitor: Monitor,
        counts: Counts,
    ) -> HybridState:
        if not isinstance(field, JumpingField):
            tolerances = (self.rtol, self.atol, self.rtol, self.atol)
            return advance_adaptive(
                "dopri5",
                field,
                state,
                span,
                times,
                monitor,
                counts,
                tolerances=tolerances,
                max_steps=self.max_steps,
                options={},
            )
        packing = Packing(state, bounds_of(field))
        flow = AdaptiveFlow(field, packing, packing.pack(state), span[0], self.max_steps, counts, monitor)
        try:
            for goal in (*times, *(() if times and times[-1] >= span[1] else (span[1],))):
                self.until(flow, field, goal)
                if goal in times:
                    monitor.sample(goal, packing.unpack(flow.y))
        except KeyboardInterrupt:
            raise flow.stop(Status.INTERRUPTED, f"It stood at t={flow.t:g}.") from None
        return packing.unpack(flow.y)

    def until(self, flow: AdaptiveFlow, field: JumpingField, goal: float) -> None:
        """Integrate to `goal`, with every jump up to it and at it."""
        before = flow.t
        while True:
            known = field.next_jump(before)
            target = min(goal, known)
            self.glide(flow, field, target)
            arrived = flow.t >= target
            self.land(flow, field, (before, flow.t) if arrived and known <= goal else (flow.t, flow.t))
            if arrived:
                before = flow.t
                if target >= goal:
                    flow.monitor.progress(goal)
                    return

    def glide(self, flow: AdaptiveFlow, field: JumpingField, target: float) -> None:
        """Integrate to `target` or to the first margin that reaches 0, whichever comes first."""
        packing, start, y = flow.packing, flow.t, flow.y
        ahead = target - start
        if ahead <= 0 or float(field.margin(packing.unpack(y).activities)) >= 0:
            return

        def event(s: Tensor, z: Flat) -> Tensor:
            return torch.minimum(-field.margin(packing.unpack(z).activities), ahead - s)

        flow.start, flow.end = start, math.inf
        options: dict[str, Any] = {"norm": packing.norm, "first_step": min(ahead, self.first(field, flow))}
        clock = torch.tensor([0.0, ahead], dtype=packing.dtype, device=packing.device)
        s, states = torchdiffeq.odeint(
            flow, y, clock, rtol=self.rtol, atol=self.atol, method="dopri5", options=options, event_fn=event
        )
        check_finite(flow, states[-1])
        flow.y = packing.hold(states[-1])
        late = float(s) >= ahead - 2 * self.atol and float(field.margin(packing.unpack(flow.y).activities)) < -self.atol
        flow.t = target if late else min(start + float(s), target)

    def first(self, field: JumpingField, flow: AdaptiveFlow) -> float:
        """A first step for odeint: what moves the state by about its tolerance's fifth root."""
        slope = flow.packing.derivative(flow.field, flow.t, flow.y)
        size = float(flow.packing.norm(slope / (1 + flow.y.abs())))
        return float(0.5 * self.rtol**0.2 / max(size, 1e-6))

    def land(self, flow: AdaptiveFlow, field: JumpingField, span: tuple[float, float]) -> None:
        """Jump as often as one is due at this instant."""
        state = flow.packing.unpack(flow.y)
        activities, matrices = dict(state.activities), dict(state.weights)
        rounding = 16 * torch.finfo(flow.packing.dtype).eps
        outside = span[1] > span[0]
        changed = False
        for _ in range(AT_ONCE):
            margin = float(field.margin(activities))
            if not outside and margin < -10 * self.atol - rounding:
                break
            slack = max(0.0, -margin) + rounding if margin >= -10 * self.atol - rounding else rounding
            weights = {name: DenseWeight(matrix) for name, matrix in matrices.items()}
            jumped, updates = field.jump(span if outside else (span[1], span[1]), activities, weights, slack)
            outside, changed = False, True
            activities.update(jumped)
            for name, update in updates.items():
                matrices[name] = matrices[name].clone()
                add(matrices[name], update, 1.0)
        else:
            raise SolverStopped(
                Status.DIVERGED, flow.t, state, f"{AT_ONCE} jumps at t={flow.t:g}: spikes cause each other without end."
            )
        if changed:
            flow.y = flow.packing.hold(flow.packing.pack(HybridState(activities, matrices)))
