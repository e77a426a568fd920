"""Run a network under a stimulus: one call, one solution, nothing changed on the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, overload

import torch
import xarray as xr

from ctsigprop.compiled import Outcome
from ctsigprop.ensemble import (
    Ensemble,
    batchable,
    batched,
    compiled,
    each,
    own_state,
    recorded,
    worth_recording,
    wrong_end,
)
from ctsigprop.field import Field
from ctsigprop.jumps import JumpField, automatic, fitting
from ctsigprop.network import Network
from ctsigprop.probes import Probe
from ctsigprop.progress import Progress
from ctsigprop.provenance import attributes, outcome, shared
from ctsigprop.recorder import Recorder
from ctsigprop.recording import check_probes, lay_out, sinks_of
from ctsigprop.replay import Replay
from ctsigprop.rules.checks import number, whole
from ctsigprop.sinks import Sink
from ctsigprop.solution import Solution
from ctsigprop.solvers.base import Counts, Solver, SolverStopped
from ctsigprop.solvers.factored_methods import FactoredDopri5
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.methods import Dopri5
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.table import get
from ctsigprop.state import State
from ctsigprop.stimuli import Frame, Stimulus

SLACK = 1e-9
"""Times that differ by less than this, or by this share of the last one, are one time."""


@overload
def simulate(
    network: Network,
    stimulus: Stimulus,
    solver: Solver | str = ...,
    *,
    state: State | None = ...,
    t_span: tuple[float, float] | None = ...,
    probes: Sequence[Probe] = ...,
    seed: int = ...,
    progress: bool = ...,
    store: str | Path | None = ...,
    ensemble: None = ...,
) -> Solution: ...


@overload
def simulate(
    network: Network | Sequence[Network],
    stimulus: Stimulus,
    solver: Solver | str = ...,
    *,
    state: State | None = ...,
    t_span: tuple[float, float] | None = ...,
    probes: Sequence[Probe] = ...,
    seed: int | Sequence[int] = ...,
    progress: bool = ...,
    store: str | Path | None = ...,
    ensemble: int,
) -> Ensemble: ...


def simulate(
    network: Network | Sequence[Network],
    stimulus: Stimulus,
    solver: Solver | str = "auto",
    *,
    state: State | None = None,
    t_span: tuple[float, float] | None = None,
    probes: Sequence[Probe] = (),
    seed: int | Sequence[int] = 0,
    progress: bool = False,
    store: str | Path | None = None,
    ensemble: int | None = None,
) -> Solution | Ensemble:
    """Integrate activities, learning signal and weights together, forward in time.

    Parameters
    ----------
    network : the vector field; not changed. With `ensemble`, also a list of that many networks of one structure,
        whose numbers (rates, time constants, ...) may differ
    stimulus : what it is shown
    solver : a solver such as `ct.solvers.Euler(dt=1.0)`, the name of an adaptive one, or "auto" (default, in `stats`):
        `FactoredDopri5()`, `Dopri5()` where a rule has no factors, `Hybrid(dt=tau / 10)` where neurons have a reset
    state : where to start; default `network.initial_state(seed)`. Not changed. With another number of rows than
        the stimulus has, its activities and traces start at rest
    t_span : (start, stop) within the stimulus, in units of time; default all of it. A run that stopped goes on
        with `state=sol.final, t_span=(sol.final.t, stop)`
    probes : what to record. What it will take is known before the run, and told with `progress=True` or where it is
        large; a function is asked once for its value at the start
    seed : int, decides the initial weights where no state is given; default 0
    progress : bool, show a bar in simulated time, with the value of a probe named "accuracy"; default False
    store : path of a new folder, or None (default): write what is recorded there while the run goes on; `ct.load`
        reads it at any moment, even if this process is killed. With `ensemble`, a folder with one store per member
    ensemble : int or None, number of members under the same stimulus, >= 1; default None, a single run. Member k is
        the run of seed + k, or seed[k]; one that diverges ends, the others go on. With fixed steps or `compile=True`
        they run together, else one after another

    Returns
    -------
    Solution : what was recorded, the final state, statistics and status; with `ensemble`, an `Ensemble` of them. A run
        that diverges, meets a limit or is interrupted keeps what it has, and says so in `status` and `message`

    Raises
    ------
    ValueError, TypeError : inputs that do not fit together, before anything runs
    MemoryError, OSError : a recording larger than the memory or disk that is free, or a store that exists
    """
    networks, seeds = check_members(network, seed, ensemble)
    check_types(networks, stimulus, state)
    method = fitting(resolve_solver(solver, networks[0]), networks)
    start, stop = check_span(t_span, stimulus)
    check_stimulus(networks[0], stimulus)
    states = [fitted(one, state, own, stimulus) for one, own in zip(networks, seeds, strict=True)]
    recorders = [check_probes(probes, one, stimulus) for one in networks]
    base = shared(stimulus, method, probes, (start, stop), state)
    runs: list[Run] = []
    for one, own, begin, records in zip(networks, seeds, states, recorders, strict=True):
        attrs = attributes(base, one, own)
        runs.append(Run(one, records, begin, attrs, (start, stop), progress and not runs))
    opened = sinks_of([(run.layouts, run.attrs) for run in runs], store, ensemble is not None, repr(method), progress)
    began = time.perf_counter()
    with torch.inference_mode(), ExitStack() as stack:
        for run, sink in zip(runs, opened, strict=True):
            run.sink = stack.enter_context(sink)
        way, outcomes = carry_out(runs, method, stimulus, states)
    cost = {"wall_seconds": time.perf_counter() - began, "solver": repr(method), "path": way}
    solutions = [run.solution(ended, cost) for run, ended in zip(runs, outcomes, strict=True)]
    return solutions[0] if ensemble is None else Ensemble(solutions, seeds)


def fitted(network: Network, state: State | None, seed: int, stimulus: Stimulus) -> State:
    """Where a run starts, with the rows of its stimulus."""
    if state is None:
        state = network.initial_state(seed, stimulus.rows, stimulus.dtype, stimulus.device)
    check_state(state, stimulus)
    return network.fit_rows(state, stimulus.rows)


def carry_out(
    runs: Sequence[Run], solver: Solver, stimulus: Stimulus, states: Sequence[State]
) -> tuple[str, list[Outcome]]:
    """(the way it was done, how each run ended)."""
    if getattr(solver, "compile", False):
        outcomes = compiled(runs, solver, stimulus, states)
        if outcomes is not None:
            return "compiled", outcomes
    if len(runs) > 1 and batchable([run.network for run in runs], solver, stimulus):
        return "batched", batched(runs, solver, stimulus, states, split, take_due)
    return "eager", list(each(runs, states, lambda run, state: run.integrate(solver, stimulus, state)))


class Run:
    """One simulation in progress: listens to the solver, records, and keeps the last good state."""

    sink: Sink

    def __init__(
        self,
        network: Network,
        recorders: Sequence[Recorder],
        state: State,
        attrs: dict[str, Any],
        span: tuple[float, float],
        progress: bool,
    ) -> None:
        self.network, self.recorders, self.attrs = network, recorders, attrs
        self.start, self.stop = span
        self.layouts = lay_out(recorders, State(dict(state.items()), self.start), self.start, self.stop)
        self.counts = Counts()
        self.schedules = [layout.clock.tolist() for layout in self.layouts]
        self.slack = SLACK * max(1.0, abs(self.stop))
        self.times = apart(sorted({t for schedule in self.schedules for t in schedule}), self.slack)
        self.taken = [0] * len(recorders)
        self.field: Field | None = None
        self.bar = Progress(self.start, self.stop, progress)

    def integrate(self, solver: Solver, stimulus: Stimulus, state: State) -> Outcome:
        """Advance frame by frame, to the end or as far as it goes."""
        now, place = split(self.network, state), None
        t = self.start
        position = 0
        try:
            for frame in stimulus.frames(self.start, self.stop):
                if place is None and worth_recording(self.network, solver, self.stop - frame.start, frame):
                    place = recorded(self.network, solver, frame, now)
                self.field = (JumpField if self.network.jumps else Field)(self.network, frame, place)
                if position == 0 and self.times and self.times[0] <= frame.start + self.slack:
                    self.sample(frame.start, now)
                    position = 1
                position, due = take_due(self, frame, position)
                now = solver.advance(
                    self.field,
                    now,
                    (frame.start, frame.stop),
                    frame.origin,
                    due,
                    self,
                    self.counts,
                )
                t = frame.stop
            if isinstance(place, Replay) and not place.verify():
                return wrong_end(place, self.counts)
            return Outcome(Status.COMPLETED, str(Status.COMPLETED), own_state(now, t), self.counts)
        except SolverStopped as stopped:
            return Outcome(stopped.status, str(stopped), own_state(stopped.state, stopped.t), self.counts)
        except KeyboardInterrupt:
            message = f"{Status.INTERRUPTED} It stood at t={t:g}."
            return Outcome(Status.INTERRUPTED, message, own_state(now, t), self.counts)
        finally:
            self.bar.close()

    def sample(self, t: float, state: HybridState) -> None:
        """Let every probe that is due take its value."""
        view = State(dict(state.items()), t)
        if self.field is None:
            return
        for k, recorder in enumerate(self.recorders):
            schedule = self.schedules[k]
            while self.taken[k] < len(schedule) and schedule[self.taken[k]] <= t + self.slack:
                room = self.sink.room(k)
                recorder.take(schedule[self.taken[k]], view, self.field, room)
                self.bar.recorded(recorder.probe.label, room)
                self.sink.taken(k)
                self.taken[k] += 1

    def progress(self, t: float) -> None:
        """Move the progress bar to time t."""
        self.bar.reached(t)

    def solution(self, ended: Outcome, cost: dict[str, Any]) -> Solution:
        """What the run gives back."""
        self.bar.close()
        stats = {**asdict(ended.counts), **cost}
        sol = Solution(xr.Dataset(), ended.state, stats, ended.status, ended.message, self.network)
        self.attrs.update(outcome(ended.status, ended.message, ended.counts))
        return replace(sol, dataset=self.sink.finish(self.attrs, ended.state, sol.about))


def take_due(run: Any, frame: Frame, position: int) -> tuple[int, list[float]]:
    """The times of a run that are due within a frame, from `position` on, and the position after them."""
    due = []
    while position < len(run.times) and run.times[position] <= frame.stop + run.slack:
        t = run.times[position]
        due.append(frame.stop if t > frame.stop - run.slack else t)
        position += 1
    return position, due


def apart(times: Sequence[float], slack: float) -> list[float]:
    """Increasing times without those that differ from the one before by rounding only."""
    kept: list[float] = []
    for t in times:
        if not kept or t > kept[-1] + slack:
            kept.append(t)
    return kept


def split(network: Network, state: State) -> HybridState:
    """A state as the solvers take it."""
    names = network.weight_shapes
    return HybridState(
        {name: value for name, value in state.items() if name not in names},
        {name: state[name] for name in network.weight_shapes},
    )


def resolve_solver(solver: Solver | str, network: Network) -> Solver:
    """The solver meant by an instance, a name, or "auto": the factored one wherever all rules are of factor form."""
    if isinstance(solver, Solver):
        return solver
    if not isinstance(solver, str):
        raise TypeError(f"solver must be a solver such as ct.solvers.Dopri5() or a name, got {solver!r}")
    if solver == "auto" and network.jumps:
        return automatic(network)
    if solver == "auto":
        dense = any(layer.rule is not None and layer.rule.dense for layer in network.layers)
        return Dopri5() if dense else FactoredDopri5()
    chosen = get(solver)
    try:
        return chosen()
    except TypeError:
        raise ValueError(f"solver {solver!r} needs a step: use ct.solvers.{chosen.__name__}(dt=...)") from None


def check_members(network: Any, seed: Any, ensemble: Any) -> tuple[list[Network], list[int]]:
    """Network and seed of each member."""
    if ensemble is None:
        whole("seed", seed, 0)
        return [network], [int(seed)]
    whole("ensemble", ensemble, 1)
    networks = list(network) if isinstance(network, list | tuple) else [network] * ensemble
    if len(networks) != ensemble:
        raise ValueError(f"network must be one for all members or a list of {ensemble}, got a list of {len(networks)}")
    if isinstance(seed, list | tuple | range):
        if len(seed) != ensemble:
            raise ValueError(f"seed must be one number or a list of {ensemble}, got {len(seed)}")
        for k, value in enumerate(seed):
            whole(f"seed[{k}]", value, 0)
        return networks, [int(value) for value in seed]
    whole("seed", seed, 0)
    return networks, [int(seed) + k for k in range(ensemble)]


def check_types(networks: Sequence[Any], stimulus: Any, state: Any) -> None:
    """Raise TypeError for an argument of another kind."""
    for network in networks:
        if not isinstance(network, Network):
            raise TypeError(f"network must be a ct.Network, got {network!r}")
    if any(network.weight_shapes != networks[0].weight_shapes for network in networks[1:]):
        raise ValueError("the networks of an ensemble must have the same sizes and signal, got several")
    if not isinstance(stimulus, Stimulus):
        raise TypeError(f"stimulus must be ct.Presentations or made by ct.Stimulus.from_function, got {stimulus!r}")
    if state is not None and not isinstance(state, State):
        raise TypeError(f"state must be a ct.State such as sol.final, got {type(state).__name__}")


def check_span(t_span: tuple[float, float] | None, stimulus: Stimulus) -> tuple[float, float]:
    """The time span of the run, inside the stimulus."""
    total = stimulus.duration_total
    if t_span is None:
        return 0.0, total
    if not isinstance(t_span, tuple | list) or len(t_span) != 2:
        raise TypeError(f"t_span must be a pair (start, stop), got {t_span!r}")
    number("t_span start", t_span[0], least=0)
    number("t_span stop", t_span[1], above=t_span[0])
    if t_span[1] > total * (1 + 1e-9):
        raise ValueError(f"t_span must lie within the stimulus, 0 ... {total:g}, got {tuple(t_span)}")
    return float(t_span[0]), min(float(t_span[1]), total)


def check_stimulus(network: Network, stimulus: Stimulus) -> None:
    """Raise where the stimulus does not fit the network."""
    if stimulus.n_inputs != network.sizes[0]:
        raise ValueError(
            f"the stimulus must have {network.sizes[0]} features, as sizes[0] says, got {stimulus.n_inputs}"
        )
    if stimulus.spikes and not network.layers[0].jumps:
        raise ValueError(
            f"the stimulus shows spikes, and neuron {type(network.layers[0].neuron).__name__} of layer 1 takes none: "
            "give it a neuron with a reset, such as ct.LIF(), or an input without an encoder"
        )
    rule = network.layers[0].rule
    if rule is not None and rule.jumps and not stimulus.spikes:
        raise ValueError(
            f"rule of layer 1 is {type(rule).__name__}, which needs presynaptic spikes, and the stimulus shows none: "
            "give it an encoder, or show ct.SpikeTrains"
        )
    if network.signal is None:
        return
    if stimulus.target_width is None:
        raise ValueError("the network has a learning signal, so the stimulus must have labels or contexts, got none")
    if stimulus.target_width == 0 and stimulus.largest_label >= (network.n_classes or 0):
        raise ValueError(f"labels must be in 0 ... {(network.n_classes or 0) - 1}, got {stimulus.largest_label}")
    if stimulus.target_width and stimulus.target_width != network.n_classes:
        raise ValueError(
            f"contexts must have {network.n_classes} values, as n_classes says, got {stimulus.target_width}"
        )


def check_state(state: State, stimulus: Stimulus) -> None:
    """Raise where state and stimulus differ in dtype or device."""
    for value in state.values():
        if value.dtype != stimulus.dtype:
            raise TypeError(
                f"the state is {value.dtype} and the stimulus {stimulus.dtype}: give the stimulus x as {value.dtype}, "
                f"or make the state with network.initial_state(dtype={stimulus.dtype})"
            )
        if value.device != stimulus.device:
            raise ValueError(f"the state is on {value.device} and the stimulus on {stimulus.device}: move one of them")
