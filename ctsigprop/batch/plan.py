"""From a user's request to a list of jobs: one per setting and seed, checked and named before anything runs."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from numbers import Integral

from ctsigprop.batch.fingerprint import FORMER, Fingerprint
from ctsigprop.batch.former import NotFormer
from ctsigprop.batch.job import Budget, Curve, Job, Settings, Trial, reseeded
from ctsigprop.batch.measures import Measures, Test, as_test
from ctsigprop.batch.records import as_plain
from ctsigprop.batch.store import RunStore
from ctsigprop.errors import sentence
from ctsigprop.execution.request import Execution, check_execution, check_in_place, for_execution
from ctsigprop.model.network import Network
from ctsigprop.rules.checks import number, whole
from ctsigprop.simulation.checks import check_stimulus
from ctsigprop.simulation.simulate import resolve_solver
from ctsigprop.solvers.base import Solver
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.spike_trains import SpikeTrains
from ctsigprop.stimuli.stimulus import Continuous, Stimulus

POINTS = 10
"""Points of a learning curve after the first, unless `every` says otherwise."""
StimulusOrMaker = Stimulus | Callable[[int], Stimulus]


@dataclass(frozen=True)
class Common:
    """What all runs of a batch share, unless their trial has its own."""

    stimulus: StimulusOrMaker | None
    solver: Solver | str
    test: object
    measures: Measures
    every: float | None
    budget: Budget
    stop: Callable[[Curve, float], str | None] | None
    execution: Execution = "auto"

    def __post_init__(self) -> None:
        check_execution(self.execution)


def measured(common: Common, trials: Sequence[Trial]) -> Common:
    """What all runs share, with metrics named after the samples that they are measured on: without test data, those
    shown in training.

    Raises
    ------
    ValueError : some trials have test data and others have none
    """
    if not common.measures.of_outputs or common.test is not None or not trials:
        return common
    tested = [trial.test is not None for trial in trials]
    if all(tested):
        return common
    names = ", ".join(common.measures.of_outputs)
    if any(tested):
        raise ValueError(
            f"{names} would be measured on test samples for some networks and on training samples for others: "
            "give test= for all of them"
        )
    return replace(common, measures=common.measures.of_training())


def warn_of_training(asked: Measures, taken: Measures) -> None:
    """Warn once where metrics are measured on the samples shown in training, since no others were given."""
    if asked.names != taken.names:
        warnings.warn(
            f"there is no test=: {', '.join(asked.of_outputs)} is measured on the samples shown in training, and "
            f"called {taken.names[0]!r}. Give test=(x, y), samples that the network has not seen, to measure how it "
            "generalises",
            stacklevel=4,
        )


@dataclass
class Planner:
    """Makes jobs; data that many of them share are looked at once."""

    common: Common
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    tests: dict[tuple[int, int, tuple[int, ...]], tuple[object, Test | None]] = field(default_factory=dict)

    def job(self, settings: Settings, seed: int, trial: Trial) -> Job:
        """The job of one trial and seed.

        Raises
        ------
        ValueError, TypeError : parts that do not fit together
        """
        shown = self.common.stimulus if trial.stimulus is None else trial.stimulus
        if shown is None:
            raise ValueError("there is no stimulus: give stimulus=, or build a (network, stimulus)")
        stimulus = reseeded(shown, seed)
        check_stimulus(trial.network, stimulus)
        solver = resolve_solver(self.common.solver if trial.solver is None else trial.solver, trial.network)
        solver = for_execution(solver, self.common.execution, trial.network)
        check_in_place(trial.network, solver, stimulus, self.common.execution)
        test = self.test(trial, stimulus, seed)
        self.common.measures.check(trial.network, test)
        job = Job(
            settings={name: plain(value) for name, value in settings.items()},
            seed=seed,
            network=trial.network,
            stimulus=stimulus,
            solver=solver,
            test=test,
            measures=self.common.measures,
            every=step(self.common.every, stimulus),
            budget=self.common.budget,
            stop=self.common.stop,
            execution=self.common.execution,
        )
        return replace(job, key=self.fingerprint.of(*deciding(job)))

    def test(self, trial: Trial, stimulus: Stimulus, seed: int) -> Test | None:
        """The test data of one run, checked once for each pair of test and training data."""
        test = self.common.test if trial.test is None else trial.test
        if callable(test):
            test = test(seed)
        data = stimulus.x if isinstance(stimulus, Presentations | Continuous | SpikeTrains) else stimulus
        known = (id(test), id(data), trial.network.sizes)
        if known not in self.tests:
            self.tests[known] = ((test, data), as_test(test, trial.network, stimulus))  # held, so that ids stay theirs
        return self.tests[known][1]

    def failed(self, settings: Settings, seed: int, build: object, error: BaseException) -> Job:
        """The job of a trial that could not be built."""
        told = (sentence(error), "".join(traceback.format_exception(error)))
        named = {name: plain(value) for name, value in settings.items()}
        common = self.common
        key = self.fingerprint.of(named, seed, build, told[0])
        return Job(named, seed, None, None, common.solver, None, common.measures, 1.0, error=told, key=key)


def deciding(job: Job) -> tuple[object, ...]:
    """Everything that decides a run, for its fingerprint."""
    budget = None if job.budget.amount is None else job.budget
    data = (job.network, job.stimulus, job.solver, job.test)
    return (job.settings, job.seed, *data, job.measures, job.every, budget, job.stop)


def under_former_keys(jobs: Sequence[Job], store: RunStore) -> list[Job]:
    """The jobs, those that version 0.1 has stored under the keys that it gave them."""
    there = set(store.keys())
    fingerprint = Fingerprint(FORMER)

    def renamed(job: Job) -> Job:
        if not there or job.key in there or job.network is None:
            return job
        with suppress(NotFormer):
            key = fingerprint.of(*deciding(job))
            return replace(job, key=key) if key in there else job
        return job

    return [renamed(job) for job in jobs]


def as_trial(what: str, value: object) -> Trial:
    """A trial from a Network, a pair (network, stimulus) or a Trial.

    Raises
    ------
    TypeError : anything else
    """
    if isinstance(value, Trial):
        return value
    if isinstance(value, Network):
        return Trial(value)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Network):
        return Trial(*value)
    raise TypeError(f"{what} must be a ct.Network, a pair (network, stimulus) or a ct.Trial, got {value!r}")


def as_seeds(seeds: Iterable[int] | int) -> list[int]:
    """Different seeds, each an integer >= 0; an integer stands for 0 ... seeds - 1."""
    if isinstance(seeds, int | Integral):
        return list(range(whole("seeds", seeds, 1)))
    try:
        given = list(seeds)
    except TypeError:
        raise TypeError(f"seeds must be integers such as range(10), got {seeds!r}") from None
    given = [whole("seeds", seed, 0) for seed in given]
    if not given or len(set(given)) < len(given):
        raise ValueError(f"seeds must be at least one, each once, got {given}")
    return given


def step(every: float | None, stimulus: Stimulus) -> float:
    """Distance of two points of the learning curve: in presentations, or in time for a continuous stimulus."""
    shown = isinstance(stimulus, Presentations)
    total = (
        stimulus.duration_total / stimulus.duration if isinstance(stimulus, Presentations) else stimulus.duration_total
    )
    if every is None:
        return float(math.ceil(total / POINTS)) if shown else total / POINTS
    if shown:
        whole("every", every, 1)
    else:
        number("every", every, above=0)
    return float(every)


def plain(value: object) -> object:
    """A setting as it stands in tables and on disk."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else as_plain(value)
