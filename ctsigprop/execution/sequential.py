"""One run after another, each frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from ctsigprop.dynamics.event_field import JumpField
from ctsigprop.dynamics.vector_field import Field
from ctsigprop.execution.base import Outcome, Running, not_begun, own_state, split, stretches
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.solvers.base import Counts, Solver, SolverStopped, StepsInPlace, broken_off
from ctsigprop.solvers.field import HybridState, InPlace, Stepper
from ctsigprop.solvers.status import Status
from ctsigprop.stimuli.frame import Frame
from ctsigprop.stimuli.stimulus import Stimulus


@runtime_checkable
class Steppers(Protocol):
    """Says frame by frame who takes the steps of one run, and at its end how they were taken."""

    @property
    def stepper(self) -> Stepper | None:
        """The steps in memory of their own, where there are any."""
        ...

    @property
    def path(self) -> str:
        """How the steps so far were taken."""
        ...

    @property
    def reason(self) -> str:
        """Why, in words."""
        ...

    def take(self, field: Field, state: HybridState, left: float) -> Stepper | None:
        """Who takes the steps of this frame in place, its input taken in; None where the solver takes them itself.

        `left` is what is left of the run, in units of time.
        """
        ...


class Sequential:
    """The runs of all members, one after another; what is raised in one ends all that are left."""

    def __init__(
        self,
        runs: Sequence[Running],
        solver: Solver,
        stimuli: Sequence[Stimulus],
        states: Sequence[State],
        steppers: Sequence[Steppers],
    ) -> None:
        self.solver = solver
        self.members = list(zip(runs, stimuli, states, steppers, strict=True))

    def run(self) -> list[Outcome]:
        """Take each run to its end, or as far as it goes."""
        outcomes: list[Outcome] = []
        for run, stimulus, state, steppers in self.members:
            cause = outcomes[-1].cause if outcomes else None
            if cause is None:
                ended = integrate(run, self.solver, stimulus, state, steppers)
                outcomes.append(replace(ended, path=steppers.path, reason=steppers.reason))
            else:
                outcomes.append(not_begun(run, state, cause))
        return outcomes


def integrate(run: Running, solver: Solver, stimulus: Stimulus, start: State, steppers: Steppers) -> Outcome:
    """Advance frame by frame, to the end or as far as it goes."""
    state, t, counts = split(run.network, start), run.start, Counts()
    in_place = solver if isinstance(solver, StepsInPlace) else None  # once: it takes as long as a small product
    try:
        for frame, stretch, at_start in stretches(run, stimulus):
            field = run.field = field_of(run.network, frame)
            stepper = steppers.take(field, state, run.stop - frame.start)
            if at_start:
                run.sample(frame.start, dict(state.items()))
            if stepper is not None and in_place is not None:
                stepper.load(state)
                state = in_place.advance_in_place(stepper, field, stretch, run, counts)
            else:
                state = solver.advance(field, state, stretch, run, counts)
            t = frame.stop
        if isinstance(steppers.stepper, InPlace) and not steppers.stepper.verify():
            return wrong_end(steppers.stepper, counts)
        return Outcome(Status.COMPLETED, str(Status.COMPLETED), own_state(state, t), counts)
    except SolverStopped as stopped:
        final = own_state(stopped.state, stopped.t)
        return Outcome(stopped.status, str(stopped), final, counts, stopped.__cause__)
    except (KeyboardInterrupt, Exception) as error:
        status = broken_off(error)
        return Outcome(status, f"{status} It stood at t={t:g}.", own_state(state, t), counts, error)
    finally:
        run.close()


def field_of(network: Network, frame: Frame) -> Field:
    """The field of a network during a frame, with its jumps where it has any."""
    return (JumpField if network.jumps else Field)(network, frame)


def wrong_end(stepper: InPlace, counts: Counts) -> Outcome:
    """The end of a run in place whose last steps were not finite."""
    given_up, t, name = stepper.rewind()
    counts.steps -= given_up - 1
    counts.rhs_evaluations -= given_up - 1
    message = f"{Status.DIVERGED} {name} became non-finite after t={t:g}."
    return Outcome(Status.DIVERGED, message, own_state(stepper.current, t), counts)
