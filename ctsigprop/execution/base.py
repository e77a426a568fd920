"""What all execution paths share: the run itself, its stretches of time, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ctsigprop.dynamics.vector_field import Field
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.solvers.base import Counts, broken_off
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.stimuli.frame import Frame
from ctsigprop.stimuli.stimulus import Stimulus


@runtime_checkable
class Running(Protocol):
    """One member's run: when it starts and stops, the times of its samples, and who takes them.

    `near` is how far two times may be apart and still be one. `field` is what the probes are shown of the network; who
    carries out the run sets it to that of the frame at hand.
    """

    start: float
    stop: float
    times: list[float]
    near: float
    field: Field | None
    network: Network

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None: ...

    def progress(self, t: float) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Parameters
    ----------
    status, message : why, and the same in words
    state, counts : where it stands, and what it cost
    cause : what was raised, where that ended it
    path, reason : how its steps were carried out, and why, as `stats["path"]` and `stats["path_reason"]` say
    """

    status: Status
    message: str
    state: State
    counts: Counts
    cause: BaseException | None = None
    path: str = ""
    reason: str = ""


@runtime_checkable
class Executor(Protocol):
    """Carries out one or more runs."""

    def run(self) -> list[Outcome]:
        """Take all runs to their end, or as far as each goes.

        Raises
        ------
        NotTraceable : this executor cannot carry them out; another one may, from the start
        """
        ...


def stretches(run: Running, stimulus: Stimulus) -> Iterator[tuple[Frame, Stretch, bool]]:
    """Each frame of a run, the stretch of time that a solver is asked for, and whether a sample is due at its start."""
    position = 0
    for frame in stimulus.frames(run.start, run.stop):
        at_start = position == 0 and bool(run.times) and run.times[0] <= frame.start + run.near
        position, due = take_due(run, frame, position + at_start)
        yield frame, Stretch((frame.start, frame.stop), frame.origin, due), at_start


def take_due(run: Running, frame: Frame, position: int) -> tuple[int, list[float]]:
    """The times of a run that are due within a frame, from `position` on, and the position after them."""
    due = []
    while position < len(run.times) and run.times[position] <= frame.stop + run.near:
        t = run.times[position]
        due.append(frame.stop if t > frame.stop - run.near else t)
        position += 1
    return position, due


def split(network: Network, state: State) -> HybridState:
    """A state as the solvers take it."""
    names = network.weight_shapes
    return HybridState(
        {name: value for name, value in state.items() if name not in names},
        {name: state[name] for name in network.weight_shapes},
    )


def stacked(states: Sequence[HybridState]) -> HybridState:
    """Members side by side along a new first dimension."""
    return HybridState(
        {name: torch.stack([state.activities[name] for state in states]) for name in states[0].activities},
        {name: torch.stack([state.weights[name] for state in states]) for name in states[0].weights},
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


def not_begun(run: Running, state: State, cause: BaseException) -> Outcome:
    """The end of a run that stands where it started, because `cause` was raised before."""
    status = broken_off(cause)
    message, reason = f"{status} It stood at t={run.start:g}.", "Nothing was carried out, as an error came before."
    return Outcome(status, message, State(dict(state.items()), run.start), Counts(), cause, "none", reason)
