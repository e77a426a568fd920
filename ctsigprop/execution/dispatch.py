"""Several simulations at once: members of an ensemble, compiled, in one batch, or one after another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from ctsigprop.dynamics.vector_field import Field
from ctsigprop.execution.inplace.jump_step import JumpInPlaceStepper
from ctsigprop.execution.inplace.step import InPlaceStepper
from ctsigprop.execution.numba import Engine, Method, NotTraceable, Outcome
from ctsigprop.execution.numba.grid_step import NumbaGridStepper
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.neurons.integrate_and_fire import IF, LIF, AdaptiveLIF
from ctsigprop.neurons.rate import Rate
from ctsigprop.rules.base import Rule, Scaled, Sum
from ctsigprop.rules.table import RULES
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.base import Counts, Solver, SolverStopped, broken_off
from ctsigprop.solvers.factored.methods import FactoredEuler
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.spiking.hybrid import Hybrid
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.stimuli.frame import Frame
from ctsigprop.stimuli.members import EnsembleStimulus, repeated
from ctsigprop.stimuli.stimulus import Stimulus


@runtime_checkable
class Running(Protocol):
    """One member's run, as its samples are taken."""

    start: float
    stop: float
    times: list[float]
    near: float
    field: Field | None
    network: Network

    def sample(self, t: float, state: HybridState) -> None: ...

    def progress(self, t: float) -> None: ...


class Listeners:
    """Hands the samples of the engine to the runs of its members."""

    def __init__(self, runs: Sequence[Running], shows: EnsembleStimulus) -> None:
        self.runs, self.shows = runs, shows

    def sample(self, member: int, t: float, state: dict[str, Tensor], frame: Frame) -> None:
        """One member's state at time t."""
        run, own = self.runs[member], self.shows.of(member, frame.start)
        if run.field is None or run.field.frame is not own:
            run.field = Field(run.network, own)
        run.sample(t, HybridState(state, {}))

    def progress(self, t: float) -> None:
        """How far all are."""
        self.runs[0].progress(t)


def compiled(
    runs: Sequence[Running], solver: Solver, stimuli: Sequence[Stimulus], states: Sequence[State]
) -> list[Outcome] | None:
    """All members by a compiled program, or None, after a warning, where there is none."""
    own: Any = solver
    fixed = hasattr(own, "dt")
    tolerance = (0.0, 0.0) if fixed else (own.rtol, own.rtol if own.rtol_weights is None else own.rtol_weights)
    absolute = (0.0, 0.0) if fixed else (own.atol, own.atol if own.atol_weights is None else own.atol_weights)
    method = Method(own.tableau, own.dt if fixed else None, tolerance, absolute, own.max_steps)
    start, stop = runs[0].start, runs[0].stop
    try:
        engine = Engine([run.network for run in runs], stimuli, method, states, start)
    except NotTraceable as why:
        warnings.warn(f"compile=True is without effect: {why}", stacklevel=6)
        return None
    listeners = Listeners(runs, EnsembleStimulus(stimuli, start, stop))
    frame = next(stimuli[0].frames(start, stop))
    for member, (run, state) in enumerate(zip(runs, states, strict=True)):
        if run.times and run.times[0] <= start + run.near:
            listeners.sample(member, start, dict(state.items()), frame)
    return engine.run(stop, runs[0].times, listeners, runs[0].near)


def batchable(networks: Sequence[Network], solver: Solver) -> bool:
    """Whether members can be one leading dimension: one network, whose parts are known to take it, in fixed steps."""
    first = networks[0]
    same = all(network is first for network in networks)
    return same and not first.jumps and known_parts(first) and hasattr(solver, "dt")


def known_parts(network: Network) -> bool:
    """Whether neurons, rules and signal are the library's own: pure functions, of any leading dimensions."""
    rules = (known_rule(layer.rule) for layer in network.layers)
    own = all(known_neuron(layer.neuron) for layer in network.layers) and all(rules)
    return own and (network.signal is None or type(network.signal) in SIGNALS.values())


def known_neuron(neuron: Any) -> bool:
    """Whether a neuron is one of the library's that have an exact step."""
    return type(neuron) in (LIF, IF, AdaptiveLIF) or (type(neuron) is Rate and isinstance(neuron.activation, str))


def known_rule(rule: Rule | None) -> bool:
    """Whether a rule is one of the table's, all through, and needs nothing of the whole network."""
    if rule is None:
        return True
    if rule.modulated:
        return False
    if isinstance(rule, Sum):
        return all(known_rule(part) for part in rule.parts)
    inside = getattr(rule, "rule", None)
    if isinstance(inside, Rule) and not known_rule(inside):
        return False
    return isinstance(rule, Scaled) or (type(rule) in RULES.values() and type(rule) is not RULES["custom"])


class Together:
    """Takes the samples of a batch apart into those of its members."""

    def __init__(self, runs: Sequence[Running]) -> None:
        self.runs = runs

    def sample(self, t: float, state: HybridState) -> None:
        """The states of all members at time t."""
        for k, run in enumerate(self.runs):
            run.sample(t, HybridState({name: value[k] for name, value in state.items()}, {}))

    def progress(self, t: float) -> None:
        """How far all are."""
        self.runs[0].progress(t)


def batched(
    runs: Sequence[Running],
    solver: Solver,
    stimulus: Stimulus,
    states: Sequence[State],
    split: Callable[[Network, State], HybridState],
    dues: Callable[[Running, Frame, int], tuple[int, list[float]]],
) -> list[Outcome]:
    """All members as one batch with a leading dimension; one that diverges ends and the others go on."""
    network, counts = runs[0].network, Counts()
    ended: dict[int, Outcome] = {}
    alive = list(range(len(runs)))
    parts = [split(network, state) for state in states]
    now = stacked(parts)
    t, position = runs[0].start, 0

    def end(
        k: int, status: Status, message: str, state: HybridState, when: float, cause: BaseException | None = None
    ) -> None:
        ended[k] = Outcome(status, message, own_state(state, when), replace(counts), cause)

    try:
        for frame in stimulus.frames(runs[0].start, runs[0].stop):
            for k in alive:
                runs[k].field = Field(network, frame)
            group = Together([runs[k] for k in alive])
            if position == 0 and runs[0].times and runs[0].times[0] <= frame.start + runs[0].near:
                group.sample(frame.start, now)
                position = 1
            position, due = dues(runs[0], frame, position)
            stretch = Stretch((frame.start, frame.stop), frame.origin, due)
            shown = repeated(frame, len(alive))
            before, cost = now, replace(counts)
            try:
                now = solver.advance(Field(network, shown), now, stretch, group, counts)
            except SolverStopped as stopped:
                if stopped.status is not Status.DIVERGED:
                    raise
                vars(counts).update(vars(cost))
                kept: list[HybridState] = []
                for row, k in enumerate(list(alive)):  # one after another, to see who it is
                    own = Counts(counts.steps, counts.rhs_evaluations, counts.rejected_steps)
                    field, start = Field(network, frame), member_of(before, row)
                    try:
                        kept.append(solver.advance(field, start, stretch, Only(runs[k]), own))
                    except SolverStopped as alone:
                        final = own_state(alone.state, alone.t)
                        ended[k] = Outcome(alone.status, str(alone), final, own, alone.__cause__)
                        alive.remove(k)
                    else:
                        cost = own
                vars(counts).update(vars(cost))
                if not alive:
                    break
                now = stacked(kept)
            t = frame.stop
    except SolverStopped as stopped:
        for row, k in enumerate(alive):
            end(k, stopped.status, str(stopped), member_of(stopped.state, row), stopped.t, stopped.__cause__)
    except (KeyboardInterrupt, Exception) as error:
        status = broken_off(error)
        for row, k in enumerate(alive):
            end(k, status, f"{status} It stood at t={t:g}.", member_of(now, row), t, error)
    for row, k in enumerate(alive):
        if k not in ended:
            end(k, Status.COMPLETED, str(Status.COMPLETED), member_of(now, row), t)
    return [ended[k] for k in range(len(runs))]


RECORD = 256
"""Steps from which on it is worth to record the right-hand side and carry it out in place."""


def worth_recording(network: Network, solver: Solver, left: float, frame: Frame) -> bool:
    """Whether what is left of a run is long enough, and takes steps of Euler or exact ones with jumps, under a constant
    input on the CPU.

    What others wrote is carried out anew at every step: it may not be a pure function of what it sees.
    """
    if network.jumps:
        fitting = isinstance(solver, Hybrid) and solver.flow == "exponential"
    else:
        fitting = isinstance(solver, FactoredEuler)
    if not fitting or not frame.constant or left / solver.dt < RECORD:  # type: ignore[attr-defined]
        return False
    return known_parts(network) and frame.at(frame.start).x.device.type == "cpu"


def recorded(
    network: Network, solver: Any, frame: Frame, state: HybridState, left: float
) -> InPlaceStepper | JumpInPlaceStepper | None:
    """Steps in place from `state` on, as machine code where that is asked for; None where they cannot be recorded, or
    are too few to be worth it.
    """
    if isinstance(solver, Hybrid) and solver.compile:
        try:
            if not network.jumps or not frame.constant:
                raise NotTraceable("Hybrid compiles neurons with a reset, under an input that is constant or spikes")
            return NumbaGridStepper(network, frame, state, solver.dt)
        except NotTraceable as why:
            warnings.warn(f"compile=True is without effect: {why}", stacklevel=9)
    if not worth_recording(network, solver, left, frame):
        return None
    try:
        if network.jumps:
            return JumpInPlaceStepper(network, frame, state, solver.dt)
        return InPlaceStepper(network, frame.at(frame.start), state)
    except NotTraceable:
        return None


def wrong_end(place: InPlaceStepper, counts: Counts) -> Outcome:
    """The end of a run in place whose last steps were not finite."""
    given_up, t, name = place.rewind()
    counts.steps -= given_up - 1
    counts.rhs_evaluations -= given_up - 1
    message = f"{Status.DIVERGED} {name} became non-finite after t={t:g}."
    return Outcome(Status.DIVERGED, message, own_state(place.current, t), counts)


class Only:
    """A run whose samples of this frame may have been taken already, before it was found that another one diverges."""

    def __init__(self, run: Running) -> None:
        self.run = run

    def sample(self, t: float, state: HybridState) -> None:
        """Taken once: a run knows what is due."""
        self.run.sample(t, state)

    def progress(self, t: float) -> None:
        """Told by the batch."""


def stacked(parts: Sequence[HybridState]) -> HybridState:
    """Members side by side along a new first dimension."""
    return HybridState(
        {name: torch.stack([part.activities[name] for part in parts]) for name in parts[0].activities},
        {name: torch.stack([part.weights[name] for part in parts]) for name in parts[0].weights},
    )


def member_of(state: HybridState, row: int) -> HybridState:
    """One member of a batch."""
    return HybridState(
        {name: value[row] for name, value in state.activities.items()},
        {name: value[row] for name, value in state.weights.items()},
    )


def own_state(state: HybridState, t: float) -> State:
    """A state as the user takes it."""
    with torch.inference_mode(False):
        return State({name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}, t)


R = TypeVar("R", bound=Running)


def each(ways: Iterable[tuple[R, State, Stimulus]], one: Callable[[R, State, Stimulus], Outcome]) -> list[Outcome]:
    """One member after another; what is raised in one ends all that are left."""
    found: list[Outcome] = []
    for run, state, stimulus in ways:
        cause = found[-1].cause if found else None
        if cause is None:
            found.append(one(run, state, stimulus))
        else:
            found.append(not_begun(run, state, cause))
    return found


def not_begun(run: Running, state: State, cause: BaseException) -> Outcome:
    """The end of a run that stands where it started, because `cause` was raised before."""
    status = broken_off(cause)
    message = f"{status} It stood at t={run.start:g}."
    return Outcome(status, message, State(dict(state.items()), run.start), Counts(), cause)
