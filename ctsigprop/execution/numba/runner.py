"""Runs compiled programs, block by block of frames, for all members of an ensemble, with samples in between."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.base import Outcome
from ctsigprop.execution.numba.arguments import (
    AdaptiveFrames,
    Coefficients,
    Control,
    Ends,
    FixedFrames,
    Members,
    Samples,
)
from ctsigprop.execution.numba.compiled_module import CompiledModule, compiled
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.solvers.base import Counts, broken_off
from ctsigprop.solvers.factored.step_control import TRUSTED
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.tableaus import Tableau
from ctsigprop.solvers.times import slack, steps_covering, steps_until
from ctsigprop.stimuli.frame import Frame
from ctsigprop.stimuli.members import EnsembleStimulus, at_same_times, together
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.trace.graph import NotTraceable

FRAMES = 512
"""Frames in one call of a kernel at most."""
STEPS = 4096
"""Steps of a fixed length in one frame; a longer one is cut."""
BYTES = 2**27
"""Of inputs, and of sampled states, held at once."""
SECONDS = 0.3
"""Wall time of a call that is aimed at, so that progress shows and an interrupt from the keyboard is heard."""


@runtime_checkable
class Listener(Protocol):
    """What the engine tells while it runs."""

    def sample(self, member: int, t: float, state: dict[str, Tensor], frame: Frame) -> None:
        """The state of a member at one of the requested times; valid only during the call."""
        ...

    def progress(self, t: float) -> None:
        """Every member that goes on has reached time t."""
        ...


@dataclass(frozen=True)
class Method:
    """How steps are taken: of length `dt`, or where that is None within the tolerances (activities, weights)."""

    tableau: Tableau
    dt: float | None
    rtol: tuple[float, float]
    atol: tuple[float, float]
    max_steps: int | None


@dataclass
class Piece:
    """Part of a frame: between two times, with the samples due in it."""

    frame: Frame
    start: float
    stop: float
    due: list[float]


class Engine:
    """A compiled run of one or more members, each under its own stimulus or all under one.

    Raises
    ------
    NotTraceable : something without a compiled form; nothing has run then
    """

    def __init__(
        self,
        networks: Sequence[Network],
        stimuli: Sequence[Stimulus],
        method: Method,
        states: Sequence[State],
        start: float,
    ) -> None:
        self.networks, self.stimuli, self.method, self.states = networks, stimuli, method, states
        self.one = all(stimulus is stimuli[0] for stimulus in stimuli)
        if not at_same_times(stimuli):
            raise NotTraceable("the members' stimuli do not switch at the same times")
        frame = next(stimuli[0].frames(start, stimuli[0].duration_total), None)
        if frame is None or not frame.constant:
            raise NotTraceable("the stimulus is a function of time; only presentations have a compiled form")
        self.euler = method.tableau.stages == 2 and method.dt is not None
        gates = [1.0, 0.0] if isinstance(getattr(stimuli[0], "gate", None), tuple) else [1.0]
        self.compiled: CompiledModule = compiled(networks, frame.at(frame.start), states[0], gates, self.euler)
        layout, members, dtype = self.compiled.layout, len(states), states[0][next(iter(states[0]))].numpy().dtype
        n = layout.last - layout.first
        self.memory = np.zeros((members, layout.size), dtype)
        self.done = np.zeros((members, 4))
        self.done[:, 0] = start
        self.status = np.zeros(members, np.int64)
        self.bad = np.zeros((members, n), dtype)
        for k, state in enumerate(states):
            for name, (offset, _) in layout.state.items():
                self.memory[k, offset : offset + state[name].numel()] = state[name].numpy().ravel()
            constants = self.compiled.constants[k]
            self.memory[k, layout.constants : layout.constants + len(constants)] = constants
        sizes = [size for _, size in layout.inputs.values()]
        first = np.cumsum([0, *sizes])
        rows = zip(layout.inputs.values(), first[:-1], strict=True)
        self.places = np.array([(at, begin, size) for (at, size), begin in rows], np.int64).reshape(-1, 3)
        self.width = int(first[-1])
        weights = networks[0].weight_shapes
        self.groups = np.array(
            [
                (at - layout.first, at - layout.first + states[0][name].numel(), name in weights)
                for name, (at, _) in layout.state.items()
            ],
            np.int64,
        )
        held = networks[0].bounds
        places = [self.groups[list(layout.state).index(name), :2] for name in held]
        values = [[network.bounds[name] for name in held] for network in networks]
        self.bounds = np.array(places, np.int64).reshape(-1, 2), np.array(values, dtype).reshape(members, -1, 2)
        a = np.zeros((method.tableau.stages, method.tableau.stages), dtype)
        for k, row in enumerate(method.tableau.a):
            a[k, : len(row)] = row
        zeros = (0.0,) * method.tableau.stages
        error, quartic = (np.array(c or zeros, dtype) for c in (method.tableau.error, method.tableau.quartic))
        self.coefficients = Coefficients(a, error, quartic)

    def run(self, stop: float, times: Sequence[float], listener: Listener, near: float) -> list[Outcome]:
        """All members to `stop`, with samples at `times`, which are those of a switch where they are `near` it."""
        self.most = 8
        t = float(self.done[:, 0].max())
        try:
            for pieces in self.blocks(t, stop, times, near):
                began = time.perf_counter()
                samples = self.block(pieces)
                spent = time.perf_counter() - began
                for member, place, when, frame in samples:
                    listener.sample(member, when, self.tensors(place), frame)
                listener.progress(pieces[-1].stop)
                self.most = max(1, min(FRAMES, int(self.most * min(4.0, SECONDS / max(spent, 1e-6)))))
                if self.status.all():
                    break
        except (KeyboardInterrupt, Exception) as error:
            return [self.outcome(k, error) for k in range(len(self.states))]
        return [self.outcome(k) for k in range(len(self.states))]

    def blocks(self, start: float, stop: float, times: Sequence[float], near: float) -> Iterator[list[Piece]]:
        """Pieces of frames in groups whose inputs and samples fit in memory."""
        position = 0
        while position < len(times) and times[position] <= start + near:
            position += 1  # the state at the start is known
        row, kinds = self.bad.nbytes, 1 if self.one else len(self.stimuli)
        per_sample, per_frame = max(1, BYTES // row), max(1, BYTES // (1 + kinds * self.width * self.memory.itemsize))
        group: list[Piece] = []
        count = 0
        alone, together = self.stimuli[0].frames(start, stop), EnsembleStimulus(self.stimuli, start, stop).frames()
        for frame in alone if self.one else together:
            if not frame.constant:
                raise NotTraceable("the stimulus is a function of time; only presentations have a compiled form")
            begin = frame.start
            for end in self.cuts(frame):
                due = []
                while position < len(times) and times[position] <= end + near:
                    due.append(min(times[position], end))
                    position += 1
                group.append(Piece(frame, begin, end, due))
                begin, count = end, count + len(due)
                if len(group) >= min(self.most, per_frame) or count >= per_sample:
                    yield group
                    group, count = [], 0
        if group:
            yield group

    def cuts(self, frame: Frame) -> list[float]:
        """Where a frame of many steps is cut, on its grid, and its end."""
        dt = self.method.dt
        if dt is None:
            return [frame.stop]
        steps = max(1, min(STEPS, BYTES // self.bad.nbytes))  # with a sample at every step they still fit
        whole = steps_until(frame.stop, frame.origin, dt)
        first = steps_until(frame.start, frame.origin, dt) // steps + 1
        grid = [frame.origin + k * steps * dt for k in range(first, whole // steps + 1)]
        return [*(t for t in grid if frame.start < t < frame.stop - slack(dt, t)), frame.stop]

    def inputs(self, pieces: Sequence[Piece]) -> tuple[np.ndarray, list[int]]:
        """What each piece shows (1 or members, pieces, width), and the variant of the right-hand side for its gate."""
        shown_inputs = [piece.frame.at(piece.start) for piece in pieces]
        if any(shown.gate not in self.compiled.variants for shown in shown_inputs):
            raise NotTraceable("a gate other than open and closed has no compiled form")
        variants = [self.compiled.variants[shown.gate] for shown in shown_inputs]
        seen = FrameInput.to(self.networks[0], together(shown_inputs)).tensors()
        kinds = 1 if self.one else len(self.stimuli)
        parts = [seen[name].reshape(len(shown_inputs), kinds, -1) for name in self.compiled.layout.inputs]
        flat = torch.cat(parts, 2) if parts else seen["x"].new_zeros(len(shown_inputs), kinds, 0)
        return flat.transpose(0, 1).contiguous().numpy(), variants

    def block(self, pieces: Sequence[Piece]) -> list[tuple[int, np.ndarray, float, Frame]]:
        """One call of the kernel: (member, sampled state, time, frame) in the order of time."""
        shown, variants = self.inputs(pieces)
        dues = np.cumsum([0, *(len(piece.due) for piece in pieces)])
        due = np.stack([dues[:-1], dues[1:]], 1)
        times = np.array([t for piece in pieces for t in piece.due])
        taken = np.full((len(self.states), len(times), self.bad.shape[1]), np.nan, self.memory.dtype)
        start, stop = (np.array([getattr(piece, end) for piece in pieces]) for end in ("start", "stop"))
        limit = np.iinfo(np.int64).max if self.method.max_steps is None else int(self.method.max_steps)
        layout, module, (held, values) = self.compiled.layout, self.compiled.module, self.bounds
        variant = np.array(variants, np.int64)
        before = self.done[:, 0].copy()

        def call(members: slice) -> None:
            group = Members(self.memory[members], layout.first, layout.last, (held, values[members]))
            of_frames = (variant, shown if self.one else shown[members], self.places, start)
            samples = Samples(times, due, taken[members])
            ends = Ends(self.done[members], self.status[members], self.bad[members], limit)
            if self.method.dt is not None:
                frames = FixedFrames(*of_frames, *steps_of(pieces, self.method.dt), self.method.dt)
                module.run_fixed(group, frames, self.coefficients, samples, ends)
            else:
                tableau = self.method.tableau
                order, tolerances = float(tableau.order), (np.array(self.method.rtol), np.array(self.method.atol))
                control = Control(*tolerances, self.groups, order, tableau.error_constant, TRUSTED)
                own = AdaptiveFrames(*of_frames, stop)
                module.run_adaptive(group, own, self.coefficients, control, samples, ends)

        threads = min(torch.get_num_threads(), len(self.states))
        if threads > 1:
            parts = np.linspace(0, len(self.states), threads + 1).astype(int)
            with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
                list(pool.map(call, [slice(p, q) for p, q in pairwise(parts)]))
        else:
            call(slice(None))
        self.done[self.status == 0, 0] = pieces[-1].stop  # which the kernel's clock meets up to rounding
        frames = [piece.frame for piece in pieces for _ in piece.due]
        return [
            (member, taken[member, k], float(times[k]), frames[k])
            for k in range(len(times))
            for member in range(len(self.states))
            if before[member] < times[k] and (self.status[member] == 0 or times[k] <= self.done[member, 0])
        ]

    def tensors(self, flat: np.ndarray) -> dict[str, Tensor]:
        """The state's tensors in a flat copy of it, as views."""
        first = self.compiled.layout.first
        return {
            name: torch.from_numpy(flat[at - first : at - first + int(np.prod(shape))]).view(shape)
            for name, (at, shape) in self.compiled.layout.state.items()
        }

    def outcome(self, member: int, error: BaseException | None = None) -> Outcome:
        """How a member ended, or stands."""
        layout, code = self.compiled.layout, int(self.status[member])
        t, steps, evaluations, rejected = self.done[member]
        tensors = self.tensors(self.memory[member, layout.first : layout.last])
        with torch.inference_mode(False):
            state = State({name: tensors[name].clone() for name in self.states[member]}, float(t))
        counts = Counts(int(steps), int(evaluations), int(rejected))
        status = (Status.COMPLETED, Status.DIVERGED, Status.STEP_UNDERFLOW, Status.MAX_STEPS)[code]
        detail = ""
        if code in (1, 2):
            detail = self.what_failed(member, float(t))
        elif code == 3:
            detail = f" max_steps={self.method.max_steps} was reached at t={t:g}."
        elif error is not None:
            status, detail = broken_off(error), f" It stood at t={t:g}."
        return Outcome(status, f"{status}{detail}", state, counts, error)

    def what_failed(self, member: int, t: float) -> str:
        """The quantity that ended a member's run."""
        tensors = self.tensors(self.bad[member])
        if self.method.dt is not None:
            name = next(
                (name for name, value in tensors.items() if not bool(torch.isfinite(value).all())), "a quantity"
            )
            return f" {name} became non-finite after t={t:g}."
        sizes = {name: float(value.abs().max()) for name, value in tensors.items() if value.numel()}
        worst = max(sizes, key=lambda name: sizes[name])
        return f" the fastest quantity at t={t:g} is {worst}, |d/dt| = {sizes[worst]:.3g}."


def steps_of(pieces: Sequence[Piece], dt: float) -> tuple[np.ndarray, np.ndarray]:
    """(lengths of a first and a last step that are not whole, or 0; number of whole steps) of each piece."""
    short, whole = np.zeros((len(pieces), 2)), np.zeros(len(pieces), np.int64)
    for k, piece in enumerate(pieces):
        origin, near = piece.frame.origin, slack(dt, piece.start, piece.stop)
        first, last = (piece.start - origin) / dt, (piece.stop - origin) / dt
        low, high = steps_covering(piece.start, origin, dt), steps_until(piece.stop, origin, dt)
        if high < low:
            short[k, 0] = piece.stop - piece.start
            continue
        short[k] = [left if left > near else 0.0 for left in ((low - first) * dt, (last - high) * dt)]
        whole[k] = high - low
    return short, whole
