"""Chooses the execution path of a run, and says why. The only place that does.

The choice depends on what a path can run (`ctsigprop.execution.capability`) and on what `execution` asks for. If a
faster path is not possible, the reason says why; it comes from the same checks that choose.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ctsigprop.dynamics.vector_field import Field
from ctsigprop.execution.base import Executor, Outcome, not_begun, split, stacked
from ctsigprop.execution.batched import Batched
from ctsigprop.execution.capability import (
    to_batch,
    to_compile,
    to_compile_grid,
    to_go_side_by_side,
    to_recording,
    to_steps_in_place,
)
from ctsigprop.execution.inplace.ensemble import SideBySide
from ctsigprop.execution.inplace.jump_step import JumpInPlaceStepper
from ctsigprop.execution.inplace.rollback import RollbackStepper
from ctsigprop.execution.numba.grid_step import MachineCode
from ctsigprop.execution.numba.launch import Compiled
from ctsigprop.execution.request import Execution, Refused, Request
from ctsigprop.execution.sequential import Sequential
from ctsigprop.model.network import Network
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.spiking.hybrid import Hybrid
from ctsigprop.stimuli.frame import Frame
from ctsigprop.trace.graph import NotTraceable

NOT_ASKED = "it was not asked for with execution='compiled'"


@dataclass(frozen=True)
class Choice:
    """Who carries out all runs, the name of the path, and the reason; both are "" where each run has its own."""

    executor: Executor
    path: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Candidate:
    """A path for all members at once: what keeps it from them, and what makes its executor."""

    path: str
    because: str
    obstacle: Callable[[], str | None]
    executor: Callable[[], Executor]


def execute(request: Request, choice: Choice) -> list[Outcome]:
    """Carry out all runs; each outcome says by which path and why."""
    while True:
        try:
            outcomes = choice.executor.run()
        except NotTraceable as why:  # found out on the way: a gate that opens later, say
            request.obstacles[choice.path] = str(why)
            choice = choose(request)
        else:
            return [
                outcome if outcome.path else replace(outcome, path=choice.path, reason=choice.reason)
                for outcome in outcomes
            ]


def choose(request: Request) -> Choice:
    """The first path that can carry out all runs, and why.

    Raises
    ------
    ValueError : an execution that was asked for and cannot be had
    """
    obstacles = request.obstacles
    if request.execution == "auto" and not request.compile:
        obstacles["compiled"] = to_compile(request.networks[0], request.solver) or NOT_ASKED
    for candidate in candidates(request):
        if candidate.path in obstacles:
            continue
        obstacle = candidate.obstacle()
        if obstacle is None:
            try:
                return Choice(candidate.executor(), candidate.path, sentence(candidate.because, obstacles))
            except NotTraceable as why:
                obstacle = str(why)
        obstacles[candidate.path] = obstacle
        if candidate.path == "compiled":
            without_effect(request.execution, obstacle)
    members = zip(request.networks, request.stimuli, request.states, request.runs, strict=True)
    steppers = [OwnSteppers(network, request, dict(obstacles)) for network, _, _, _ in members]
    if request.execution in ("inplace", "compiled"):
        steppers[0].begin(request)
    return Choice(Sequential(request.runs, request.solver, request.stimuli, request.states, steppers))


def candidates(request: Request) -> Iterator[Candidate]:
    """The paths for all members at once, the fastest first."""
    networks, solver, stimuli, runs = request.networks, request.solver, request.stimuli, request.runs
    if request.compile and not isinstance(solver, Hybrid):
        yield Candidate(
            "compiled",
            "machine code was asked for",
            lambda: to_compile(networks[0], solver),
            lambda: Compiled(runs, solver, stimuli, request.states),
        )
    if request.many and request.execution in ("auto", "inplace"):
        yield Candidate(
            "side by side",
            "each operation of a step is one call for all members",
            lambda: to_go_side_by_side(networks, solver, stimuli, runs[0].start),
            lambda: SideBySide(
                runs,
                solver,
                stimuli,
                stacked([split(network, state) for network, state in zip(networks, request.states, strict=True)]),
            ),
        )
    if request.many and request.execution == "auto":
        yield Candidate(
            "batched",
            "all members have one network and one stimulus",
            lambda: to_batch(networks, solver, stimuli),
            lambda: Batched(runs, solver, stimuli[0], request.states),
        )


def without_effect(execution: Execution, obstacle: str) -> None:
    """Warn that a solver's `compile=True` cannot be met, or refuse where machine code was asked for by name."""
    if execution == "compiled":
        raise Refused(execution, obstacle)
    warnings.warn(f"compile=True is without effect: {obstacle}", stacklevel=levels_to_the_caller())


def levels_to_the_caller() -> int:
    """The `stacklevel` by which a warning names the line of the user's code that called this package."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] == "ctsigprop":
        level, frame = level + 1, frame.f_back
    return level


def sentence(because: str, obstacles: dict[str, str]) -> str:
    """A reason as one sentence: why this path, and why not each of those that could be faster."""
    told = "; ".join([because, *(f"not {path}, because {obstacle}" for path, obstacle in obstacles.items())])
    return f"{told[0].upper()}{told[1:].rstrip('.')}."


@dataclass
class OwnSteppers:
    """Chooses for one run, frame by frame, whether its steps are taken in place, as machine code or plainly.

    With execution="auto" steps are recorded where what is left of the run is long enough for that to be worth it.
    """

    network: Network
    request: Request
    obstacles: dict[str, str]
    stepper: RollbackStepper | JumpInPlaceStepper | None = None
    frames: int = 0
    frames_plain: int = 0
    first: bool = True
    as_machine_code: bool = False
    kept_out: str = field(default="", init=False)

    @property
    def path(self) -> str:
        """How the steps so far were taken."""
        if self.stepper is None or self.frames_plain == self.frames:
            return self.request.solver.path
        if self.as_machine_code:
            return "compiled"
        return f"{self.request.solver.path}, in place"

    @property
    def reason(self) -> str:
        """Why, in words."""
        if self.path == "compiled":
            because = "machine code was asked for"
        elif self.path != self.request.solver.path:
            because = "the step was recorded once and is carried out in memory of its own"
        elif self.request.execution == "plain":
            because = "plain steps were asked for"
        else:
            because = "every step calls the network's equations"
        told = dict(self.obstacles)
        if self.kept_out and self.frames_plain < self.frames:
            plain = f"in place in {self.frames_plain} of {self.frames} stretches between switches"
            told[plain] = self.kept_out
        return sentence(because, told)

    def begin(self, request: Request) -> None:
        """Make the steps that execution="inplace" or "compiled" asks for, before anything runs.

        Raises
        ------
        ValueError : they cannot be had
        """
        run, stimulus = request.runs[0], request.stimuli[0]
        frame = next(stimulus.frames(run.start, run.stop), None)
        if frame is not None:
            self.make(frame, split(self.network, request.states[0]), run.stop - frame.start)
        if self.stepper is None:
            obstacles = [f"not {path}, because {obstacle}" for path, obstacle in self.obstacles.items()]
            raise Refused(request.execution, "; ".join(obstacles) or "there is nothing left of the stimulus")

    def take(self, field: Field, state: HybridState, left: float) -> RollbackStepper | JumpInPlaceStepper | None:
        """Who takes the steps of a frame in place, its input taken in; None where the solver takes them itself."""
        self.frames += 1
        if self.stepper is None and self.request.execution != "plain":
            self.make(field.frame, state, left)
        if self.stepper is not None and self.shows(self.stepper, field):
            return self.stepper
        self.frames_plain += 1
        return None

    def shows(self, stepper: RollbackStepper | JumpInPlaceStepper, field: Field) -> bool:
        """Whether steps in place can be taken during a frame, whose input they take in."""
        if field.fixed is None:
            self.kept_out = "the input is a function of time there"
            return False
        taken_in = stepper.show(field.fixed, field.frame.events)
        if not taken_in:
            self.kept_out = "steps under the gate there cannot be recorded"
        return taken_in

    def make(self, frame: Frame, state: HybridState, left: float) -> None:
        """Make steps in place from a state on, as machine code where that is asked for, or say what keeps them out."""
        solver, execution = self.request.solver, self.request.execution
        if self.first and self.request.compile and isinstance(solver, Hybrid):
            obstacle = to_compile_grid(self.network, frame)
            try:
                if obstacle is None:
                    lower = MachineCode(frame.at(frame.start).x, self.network.bounds)
                    self.stepper = JumpInPlaceStepper(self.network, frame, state, solver.dt, lower)
                    self.as_machine_code = True
            except NotTraceable as why:
                obstacle = str(why)
            if obstacle is not None:
                self.obstacles["compiled"] = obstacle
                without_effect(execution, obstacle)
        self.first = False
        if self.stepper is not None or execution == "compiled":
            return
        too_short = to_recording(left, solver) if execution == "auto" else None
        if too_short is not None and "in place" in self.obstacles:
            return
        device = next(iter(state.weights.values())).device.type
        obstacle = to_steps_in_place(self.network, solver, frame, device) or too_short
        try:
            if obstacle is None:
                self.stepper = self.recorded(frame, state)
                self.kept_out = self.obstacles.pop("in place", "")
        except NotTraceable as why:
            obstacle = str(why)
        if obstacle is not None:
            self.obstacles.setdefault("in place", obstacle)

    def recorded(self, frame: Frame, state: HybridState) -> RollbackStepper | JumpInPlaceStepper:
        """Steps in place, recorded under this frame."""
        solver = self.request.solver
        if isinstance(solver, Hybrid):
            return JumpInPlaceStepper(self.network, frame, state, solver.dt)
        return RollbackStepper(self.network, frame.at(frame.start), state)


@dataclass
class NotBegun:
    """Runs of which none has begun, because something was raised before."""

    request: Request
    error: BaseException

    def run(self) -> list[Outcome]:
        """Each ends where it starts."""
        members = zip(self.request.runs, self.request.states, strict=True)
        return [not_begun(run, state, self.error) for run, state in members]
