"""Runs in progress: from point to point of their learning curves, one by one or side by side."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

from ctsigprop.batch.job import COSTS, Curve, Job, Record
from ctsigprop.batch.measures import untrained
from ctsigprop.batch.memory import PeakMemory
from ctsigprop.errors import sentence
from ctsigprop.execution.capability import to_go_side_by_side, variables
from ctsigprop.model.network import Network
from ctsigprop.results.solution import Solution
from ctsigprop.simulation.simulate import simulate
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.times import steps_covering
from ctsigprop.stimuli.members import SAME, at_same_times
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.trace.graph import NotTraceable
from ctsigprop.trace.record import structure

KNOWN: WeakKeyDictionary[Network, dict[object, str]] = WeakKeyDictionary()
"""What networks that are in use compute."""
SECONDS_OF_A_GROUP = 10.0
"""Time until the first runs side by side have ended from which on fewer go at once, where that costs little."""
HALF = 0.55
"""Share of the time of a group up to which half of it costs little."""
Result = tuple[Job, Record, Solution | None]


class LearningCurveRun:
    """One run on its way: its state, its learning curve so far, and whether it goes on.

    `spans` are the pieces of time between two points; whoever integrates one from `state` hands the solution to `take`.
    """

    def __init__(self, job: Job, network: Network, stimulus: Stimulus) -> None:
        self.job, self.network, self.stimulus = job, network, stimulus
        self.shown = isinstance(stimulus, Presentations)
        self.unit = stimulus.duration if isinstance(stimulus, Presentations) else 1.0
        self.total = stimulus.duration_total / self.unit
        self.spans = [(a * self.unit, b * self.unit) for a, b in spans(self.total, job.every)]
        self.state = network.initial_state(job.seed, stimulus.rows, stimulus.dtype, stimulus.device)
        self.status, self.message, self.goes_on = "completed", str(Status.COMPLETED), True
        self.counts: dict[str, int] = dict.fromkeys(COSTS, 0)
        self.seconds = 0.0
        self.last: Solution | None = None
        names = ("shown", *job.measures.names, "rhs_evaluations", "seconds")
        self.curve: Curve = {name: [] for name in names}
        self.note(0.0)

    def note(self, shown: float) -> None:
        """Measure, and add a point to the curve."""
        measured = self.job.measures(self.network, self.state, self.job.test, self.job.solver)
        spent = {"rhs_evaluations": self.counts["rhs_evaluations"], "seconds": self.seconds}
        for name, value in {"shown": shown, **measured, **spent}.items():
            self.curve[name].append(value)

    def take(self, sol: Solution) -> bool:
        """The next point, unless it overdraws the budget: whether the run goes on.

        Raises
        ------
        KeyboardInterrupt : the run was interrupted; nothing of it is kept
        """
        if sol.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        budget, share = self.job.budget, sol.final.t / self.unit / self.total
        counts = {name: self.counts[name] + sol.stats[name] for name in COSTS}
        seconds = self.seconds + sol.stats["wall_seconds"]
        spent = seconds if budget.kind == "seconds" else counts["rhs_evaluations"]
        if budget.amount is not None and spent > budget.amount:
            return self.end("completed", f"The budget of {budget.amount:g} {budget.kind} is spent.")
        self.counts, self.seconds, self.state, self.last = counts, seconds, sol.final, sol
        self.note(sol.final.t / self.unit)
        if not sol.status.ok:
            return self.end(sol.status.name.lower(), sol.message)
        reason = self.job.stop(untrained(self.curve), share) if self.job.stop is not None and share < 1 - 1e-9 else None
        return self.goes_on if reason is None else self.end("stopped", reason)

    def end(self, status: str, message: str) -> bool:
        """Go on no longer."""
        self.status, self.message, self.goes_on = status, message, False
        return False

    def result(self) -> tuple[Record, Solution | None]:
        """The record, and the last solution with what all pieces cost together."""
        job, axis = self.job, "presentation" if self.shown else "time"
        unit = "tau" if job.network is None else job.network.time_unit
        record = Record(
            job.settings, job.seed, self.status, self.message, self.curve, self.counts, axis, time_unit=unit
        )
        if self.last is None:
            return record, None
        stats = {**self.last.stats, **self.counts, "wall_seconds": self.seconds}
        return record, replace(self.last, final=self.state, stats=stats)


def spans(total: float, every: float) -> list[tuple[float, float]]:
    """0 ... total in pieces of `every`, the last one shortened."""
    edges = [k * every for k in range(steps_covering(total, 0.0, every))]
    return list(zip(edges, [*edges[1:], total], strict=True))


def run_group(jobs: Sequence[Job]) -> Iterator[Result]:
    """Runs whose `shape` is the same, each handed over once it has ended: side by side where they can be, else in turn.

    Whether they can does not depend on how many they are. Side by side each ends as alone, to rounding: the last bits
    of a product of matrices depend on where they lie in memory.
    """
    if not fit_together(jobs):
        for job in jobs:
            with PeakMemory() as memory:
                record, sol = run_job(job)
            yield job, replace(record, megabytes=memory.megabytes), sol
        return
    courses: list[LearningCurveRun] = []
    left = {id(job): job for job in jobs}
    try:
        courses += courses_of(jobs)
        with PeakMemory() as memory:
            for course in to_the_end(courses, 0):
                record, sol = course.result()
                del left[id(course.job)]
                yield course.job, replace(record, megabytes=memory.so_far()), sol
    except Exception as error:
        if len(jobs) == 1:
            yield jobs[0], failure(jobs[0], error, courses), None
        else:  # somebody's metric, say: find out whose
            for job in left.values():
                yield from run_group([job])


def fit_together(jobs: Sequence[Job]) -> bool:
    """Whether these runs can be integrated together."""
    parts = [(job.network, job.stimulus) for job in jobs if job.network is not None and job.stimulus is not None]
    if (
        not parts
        or len(parts) < len(jobs)
        or jobs[0].budget.kind == "seconds"
        or jobs[0].execution == "plain"
        or not isinstance(jobs[0].solver, Solver)
    ):
        return False
    networks, stimuli = zip(*parts, strict=True)
    machine_code = getattr(jobs[0].solver, "compile", False) and at_same_times(stimuli)
    return machine_code or to_go_side_by_side(networks, jobs[0].solver, stimuli) is None


def courses_of(jobs: Sequence[Job]) -> list[LearningCurveRun]:
    """The learning curves of runs that have all that they need."""
    return [
        LearningCurveRun(job, job.network, job.stimulus)
        for job in jobs
        if job.network is not None and job.stimulus is not None
    ]


def to_the_end(going: Sequence[LearningCurveRun], k: int, seconds: float = 0.0) -> Iterator[LearningCurveRun]:
    """Courses side by side from piece k on, the last of which took some seconds, each as it ends.

    Where it takes long until any of them ends, and half of them need hardly more than half the time, one half goes
    first: if the process is killed, what has ended is in the store.
    """
    spans = going[0].spans
    halved = False
    while True:
        yield from (course for course in going if not course.goes_on)
        going = [course for course in going if course.goes_on]
        if not going or k == len(spans):
            break
        if halved or len(going) == 1 or seconds * (len(spans) - k) < SECONDS_OF_A_GROUP:
            seconds = advance(going, spans[k])
        else:
            half, rest = going[: len(going) // 2], going[len(going) // 2 :]
            spent = advance(half, spans[k])
            if spent < HALF * seconds:
                yield from to_the_end(half, k + 1, spent)
                yield from to_the_end(rest, k)
                return
            advance(rest, spans[k])
            halved = True
        k += 1
    yield from going


def advance(going: Sequence[LearningCurveRun], span: tuple[float, float]) -> float:
    """Take courses side by side through a piece of time; the seconds that it takes are shared out evenly."""
    solutions = simulate(
        [course.network for course in going],
        [course.stimulus for course in going],
        going[0].job.solver,
        state=[course.state for course in going],
        t_span=span,
        ensemble=len(going),
        execution=going[0].job.execution,
    )
    seconds = float(solutions[0].stats["wall_seconds"])
    for course, sol in zip(going, solutions, strict=True):
        course.take(replace(sol, stats={**sol.stats, "wall_seconds": seconds / len(going)}))
    return seconds


def shape(job: Job) -> tuple[object, ...]:
    """What runs must have in common to be integrated together: everything but numbers and seeds. Runs of one shape can
    all go side by side or none can, so that it does not depend on which of them are left how a run is done.
    """
    network, stimulus = job.network, job.stimulus
    if network is None or stimulus is None:
        return ("failed",)
    parts = [(type(layer.neuron), type(layer.rule), tuple(layer.rule_shapes)) for layer in network.layers]
    shown = [getattr(stimulus, name, None) for name in ("duration_total", *SAME)]
    common = (repr(job.solver), job.every, job.budget, job.measures.names, job.test is None)
    whole = (network.structure, network.n_classes, network.bias, repr(network.signal), repr(variables(network)))
    of_stimulus = (type(stimulus), getattr(stimulus, "encoder", None) is None, operations(job, network, stimulus))
    return (*whole, *parts, *map(repr, shown), *of_stimulus, *common)


def operations(job: Job, network: Network, stimulus: Stimulus) -> str:
    """A digest of what a run that can go side by side computes, its numbers left out; looked at once per network."""
    if not isinstance(job.solver, Solver) or to_go_side_by_side([network], job.solver, [stimulus]) is not None:
        return ""
    frame = next(stimulus.frames(0.0, stimulus.duration_total))
    shown = frame.at(frame.start)
    key = (tuple(shown.x.shape), shown.x.dtype, shown.target is None)
    known = KNOWN.setdefault(network, {})
    if key not in known:
        rest = network.rest(stimulus.rows, stimulus.dtype, stimulus.device)
        weights = {name: shown.x.new_zeros(shape) for name, shape in network.weight_shapes.items()}
        try:
            text = structure(network, shown, {**rest, **weights})
        except NotTraceable:
            text = ""
        known[key] = hashlib.sha256(text.encode()).hexdigest()
    return known[key]


def run_job(job: Job) -> tuple[Record, Solution | None]:
    """One run. What the user's own code raises becomes a record of status "failed"."""
    if job.error is not None or job.network is None or job.stimulus is None:
        message, trace = job.error or ("there is no network", "")
        return Record(job.settings, job.seed, "failed", message, traceback=trace), None
    begun: list[LearningCurveRun] = []
    try:
        course = LearningCurveRun(job, job.network, job.stimulus)
        begun.append(course)
        for span in course.spans:
            state, execution = course.state, job.execution
            if not course.take(
                simulate(job.network, job.stimulus, job.solver, state=state, t_span=span, execution=execution)
            ):
                break
        return course.result()
    except Exception as error:
        return failure(job, error, begun), None


def failure(job: Job, error: Exception, begun: Sequence[LearningCurveRun]) -> Record:
    """The record of a run in which the user's own code raised, with its curve up to there if it had begun."""
    record = begun[0].result()[0] if begun else Record(job.settings, job.seed, "failed", "")
    told = "".join(traceback.format_exception(error))
    return replace(record, status="failed", message=sentence(error), traceback=told)
