"""Run a network under a stimulus: one call, one solution, nothing changed on the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from tqdm.auto import tqdm

from ctsigprop.field import Field
from ctsigprop.jumps import JumpField, automatic, check_jumps
from ctsigprop.network import Network
from ctsigprop.probes import Probe
from ctsigprop.recorder import Recorder, dataset
from ctsigprop.rules.checks import number
from ctsigprop.solution import Solution
from ctsigprop.solvers.base import Counts, Solver, SolverStopped
from ctsigprop.solvers.factored_methods import FactoredDopri5
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.methods import Dopri5
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.table import get
from ctsigprop.state import State
from ctsigprop.stimuli import Stimulus

DIMENSIONS = ("time", "layer", "post", "pre", "row", "context")
SLACK = 1e-9
"""Times that differ by less than this, or by this share of the last one, are one time."""
BAR = "{percentage:3.0f}% |{bar}| {n:.1f}/{total:.1f} {unit} simulated [{elapsed}<{remaining}, {rate_fmt}]"


def simulate(
    network: Network,
    stimulus: Stimulus,
    solver: Solver | str = "auto",
    *,
    state: State | None = None,
    t_span: tuple[float, float] | None = None,
    probes: Sequence[Probe] = (),
    seed: int = 0,
    progress: bool = False,
) -> Solution:
    """Integrate activities, learning signal and weights together, forward in time.

    Parameters
    ----------
    network : the vector field; not changed
    stimulus : what it is shown
    solver : a solver such as `ct.solvers.Euler(dt=1.0)`, the name of an adaptive one, or "auto" (default):
        `FactoredDopri5()`, or `Dopri5()` where a rule is not of factor form, or `Hybrid(dt=tau / 10)` where neurons
        have a reset; `sol.stats["solver"]` says which
    state : where to start; default `network.initial_state(seed)`. Not changed. With another number of rows than
        the stimulus has, its activities and traces start at rest
    t_span : (start, stop) within the stimulus, in units of time; default all of it. A run that stopped goes on
        with `state=sol.final, t_span=(sol.final.t, stop)`
    probes : what to record
    seed : int, decides the initial weights where no state is given; default 0
    progress : bool, show a progress bar in simulated time; default False

    Returns
    -------
    Solution : what was recorded, the final state, statistics and status. A run that diverges, meets a limit of its
        solver or is interrupted ends early, keeps what it has, and says so in `status` and `message`

    Raises
    ------
    ValueError, TypeError : inputs that do not fit together, before anything runs
    """
    check_types(network, stimulus, state)
    method = resolve_solver(solver, network)
    check_jumps(network, method)
    start, stop = check_span(t_span, stimulus)
    check_stimulus(network, stimulus)
    if state is None:
        state = network.initial_state(seed, stimulus.rows, stimulus.dtype, stimulus.device)
    check_state(state, stimulus)
    state = network.fit_rows(state, stimulus.rows)
    recorders = check_probes(probes, network, stimulus)
    run = Run(network, recorders, start, stop, progress)
    began = time.perf_counter()
    with torch.inference_mode():
        status, message, final = run.integrate(method, stimulus, state)
    stats = {**asdict(run.counts), "wall_seconds": time.perf_counter() - began, "solver": repr(method)}
    return Solution(dataset(recorders), final, stats, status, message, network)


class Run:
    """One simulation in progress: listens to the solver, records, and keeps the last good state."""

    def __init__(
        self, network: Network, recorders: Sequence[Recorder], start: float, stop: float, progress: bool
    ) -> None:
        self.network, self.recorders = network, recorders
        self.start, self.stop = start, stop
        self.counts = Counts()
        self.schedules = [recorder.probe.schedule(start, stop) for recorder in recorders]
        self.slack = SLACK * max(1.0, abs(stop))
        self.times = apart(sorted({t for schedule in self.schedules for t in schedule}), self.slack)
        self.taken = [0] * len(recorders)
        self.field: Field | None = None
        self.bar = tqdm(total=stop - start, disable=not progress, unit="tau", mininterval=0.2, bar_format=BAR)

    def integrate(self, solver: Solver, stimulus: Stimulus, state: State) -> tuple[Status, str, State]:
        """Advance frame by frame: (status, message, final state)."""
        now = split(self.network, state)
        t = self.start
        position = 0
        try:
            for frame in stimulus.frames(self.start, self.stop):
                self.field = JumpField(self.network, frame) if self.network.jumps else Field(self.network, frame)
                if position == 0 and self.times and self.times[0] <= frame.start + self.slack:
                    self.sample(frame.start, now)
                    position = 1
                due = []
                while position < len(self.times) and self.times[position] <= frame.stop + self.slack:
                    t_due = self.times[position]
                    due.append(frame.stop if t_due > frame.stop - self.slack else t_due)
                    position += 1
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
            return Status.COMPLETED, str(Status.COMPLETED), joined(now, t)
        except SolverStopped as stopped:
            return stopped.status, str(stopped), joined(stopped.state, stopped.t)
        except KeyboardInterrupt:
            return Status.INTERRUPTED, f"{Status.INTERRUPTED} It stood at t={t:g}.", joined(now, t)
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
                recorder.take(schedule[self.taken[k]], view, self.field)
                self.taken[k] += 1

    def progress(self, t: float) -> None:
        """Move the progress bar to time t."""
        self.bar.update(t - self.start - self.bar.n)


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


def joined(state: HybridState, t: float) -> State:
    """A state as the user takes it: ordinary tensors of its own, usable outside of inference mode."""
    with torch.inference_mode(False):
        return State({name: value.clone() for name, value in state.items()}, t)


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


def check_types(network: Any, stimulus: Any, state: Any) -> None:
    """Raise TypeError for an argument of another kind."""
    if not isinstance(network, Network):
        raise TypeError(f"network must be a ct.Network, got {network!r}")
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


def check_probes(probes: Sequence[Probe], network: Network, stimulus: Stimulus) -> list[Recorder]:
    """A recorder for each probe, checked against the network."""
    if isinstance(probes, Probe) or not isinstance(probes, Sequence):
        raise TypeError(f"probes must be a list of ct.Probe, got {probes!r}")
    recorders: list[Recorder] = []
    targets = 0 if network.signal is None else network.signal.rows(stimulus.rows, network.n_classes or 1)
    for probe in probes:
        if not isinstance(probe, Probe):
            raise TypeError(f"probes must be a list of ct.Probe, got {probe!r} in it")
        if probe.label in DIMENSIONS:
            raise ValueError(f"Probe(name=) must not be the name of a dimension, got {probe.label!r}")
        recorder = Recorder(probe, network, stimulus.rows, stimulus.rows + targets)
        if probe.label in [other.probe.label for other in recorders]:
            raise ValueError(f"two probes are called {probe.label!r}: give one of them another name=")
        recorders.append(recorder)
    return recorders
