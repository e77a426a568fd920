"""Runs all members with one compiled program, and gives the samples to their runs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ctsigprop.dynamics.vector_field import Field
from ctsigprop.execution.base import Outcome, Running
from ctsigprop.execution.numba.runner import Engine, Method
from ctsigprop.model.state import State
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.settings import FixedStep, StepControlled
from ctsigprop.stimuli.frame import Frame
from ctsigprop.stimuli.members import EnsembleStimulus
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.trace.graph import NotTraceable


class Compiled:
    """The runs of all members, compiled.

    Raises
    ------
    NotTraceable : something without a compiled form; nothing has run then
    """

    def __init__(
        self, runs: Sequence[Running], solver: Solver, stimuli: Sequence[Stimulus], states: Sequence[State]
    ) -> None:
        self.runs, self.stimuli, self.states = runs, stimuli, states
        self.engine = Engine([run.network for run in runs], stimuli, method_of(solver), states, runs[0].start)

    def run(self) -> list[Outcome]:
        """Take all members to the end, or as far as each goes."""
        first = self.runs[0]
        listeners = Listeners(self.runs, EnsembleStimulus(self.stimuli, first.start, first.stop))
        frame = next(self.stimuli[0].frames(first.start, first.stop))
        for member, (run, state) in enumerate(zip(self.runs, self.states, strict=True)):
            if run.times and run.times[0] <= run.start + run.near:
                listeners.sample(member, run.start, dict(state.items()), frame)
        return self.engine.run(first.stop, first.times, listeners, first.near)


class Listeners:
    """Hands the samples of the engine to the runs of its members."""

    def __init__(self, runs: Sequence[Running], shows: EnsembleStimulus) -> None:
        self.runs, self.shows = runs, shows

    def sample(self, member: int, t: float, state: dict[str, Tensor], frame: Frame) -> None:
        """One member's state at time t."""
        run, shown = self.runs[member], self.shows.of(member, frame.start)
        if run.field is None or run.field.frame is not shown:
            run.field = Field(run.network, shown)
        run.sample(t, state)

    def progress(self, t: float) -> None:
        """How far all are."""
        self.runs[0].progress(t)


def method_of(solver: Solver) -> Method:
    """How a solver takes its steps, as the engine wants to know it.

    Raises
    ------
    NotTraceable : a solver without a tableau
    """
    if isinstance(solver, FixedStep) and solver.tableau is not None:
        return Method(solver.tableau, solver.dt, (0.0, 0.0), (0.0, 0.0), solver.max_steps)
    if isinstance(solver, StepControlled) and solver.tableau is not None:
        tol = solver.tolerances
        return Method(
            solver.tableau, None, (tol.rtol, tol.rtol_weights), (tol.atol, tol.atol_weights), solver.max_steps
        )
    raise NotTraceable(f"{type(solver).__name__} has no compiled form")
