"""One run of a batch: what it needs, what comes out of it, and how it is cut into points of a learning curve."""

from __future__ import annotations

import copy
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ctsigprop.batch.measures import Measures, Test
from ctsigprop.batch.memory import PeakMemory
from ctsigprop.network import Network
from ctsigprop.rules.checks import number
from ctsigprop.simulate import simulate
from ctsigprop.solution import Solution
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.status import Status
from ctsigprop.state import State
from ctsigprop.stimuli import Presentations, Stimulus

COSTS = ("steps", "rhs_evaluations", "rejected_steps")
Curve = dict[str, list[float]]


@dataclass(frozen=True)
class Trial:
    """A network with what is its own in a comparison or a sweep.

    Parameters
    ----------
    network : Network
    stimulus : what this network is shown, a Stimulus or a function seed -> Stimulus; default the common one
    solver : how its time is advanced; default the common one
    test : what it is tested on; default the common one
    """

    network: Network
    stimulus: Stimulus | Callable[[int], Stimulus] | None = None
    solver: Solver | str | None = None
    test: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.network, Network):
            raise TypeError(f"Trial(network=) must be a ct.Network, got {self.network!r}")


@dataclass(frozen=True)
class Budget:
    """What every run may spend: "presentations" (the whole stimulus), "rhs" evaluations, or "seconds" of wall time.

    `amount` None for "rhs" and "seconds" means as much as the cheapest run with the same seed needs for the whole
    stimulus.
    """

    kind: Literal["presentations", "rhs", "seconds"] = "presentations"
    amount: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("presentations", "rhs", "seconds"):
            raise ValueError(f"budget must be 'presentations', 'rhs' or 'seconds', got {self.kind!r}")
        if self.amount is not None:
            number(f"budget amount of {self.kind}", self.amount, above=0)
            if self.kind == "presentations":
                raise ValueError("a budget of presentations is the stimulus itself: choose its epochs, not an amount")

    @property
    def column(self) -> str:
        """The quantity of the curve that is spent."""
        return {"presentations": "shown", "rhs": "rhs_evaluations", "seconds": "seconds"}[self.kind]


@dataclass(frozen=True)
class Hopeless:
    """Stop a run whose `metric` is below `least` once the share `after` of its stimulus has been shown.

    Parameters
    ----------
    metric : str, a metric of the run
    least : float, what it must have reached
    after : float, share of the stimulus, 0 ... 1; default 0.25
    """

    metric: str
    least: float
    after: float = 0.25

    def __post_init__(self) -> None:
        number("Hopeless(least=)", self.least)
        number("Hopeless(after=)", self.after, least=0)
        if self.after > 1:
            raise ValueError(f"Hopeless(after=) must be a share, 0 ... 1, got {self.after!r}")

    def __call__(self, curve: Curve, share: float) -> str | None:
        """The reason to stop, or None."""
        now = curve[self.metric][-1]
        if share < self.after - 1e-9 or now >= self.least:
            return None
        return f"Hopeless: {self.metric} is {now:.4g} after {share:.0%} of the stimulus, below {self.least:.4g}."


@dataclass(frozen=True)
class Job:
    """Everything that decides one run; `error` instead of a network where it could not even be built."""

    settings: Mapping[str, Any]
    seed: int
    network: Network | None
    stimulus: Stimulus | None
    solver: Solver | str
    test: Test | None
    measures: Measures
    every: float
    budget: Budget = field(default_factory=Budget)
    stop: Callable[[Curve, float], str | None] | None = None
    error: tuple[str, str] | None = None
    key: str = ""


@dataclass(frozen=True)
class Record:
    """What came out of one run.

    Parameters
    ----------
    settings, seed : of the job
    status : "completed"; "stopped" early; "diverged" and the other reasons of a solver; or "failed", it raised
    message : str, the sentence a person reads
    curve : lists over the points of the learning curve: "shown" (presentations, or time of a continuous stimulus),
        every metric, "rhs_evaluations" and "seconds" spent up to there
    counts : steps, right-hand side evaluations and rejected steps of the whole run
    axis : "presentation" or "time"
    megabytes : float, peak resident memory of the process during the run; NaN where unknown
    traceback : str, where it raised
    """

    settings: Mapping[str, Any]
    seed: int
    status: str
    message: str
    curve: Curve = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    axis: str = "presentation"
    megabytes: float = math.nan
    traceback: str = ""

    @property
    def ok(self) -> bool:
        """Whether the run reached the end of its stimulus or of its budget."""
        return self.status == "completed"


def run_job(job: Job) -> tuple[Record, Solution | None]:
    """One run. What the user's own code raises becomes a record of status "failed"."""
    with PeakMemory() as memory:
        record, sol = attempt(job)
    return replace(record, megabytes=memory.megabytes), sol


def run_group(jobs: Sequence[Job]) -> Iterator[tuple[Record, Solution | None]]:
    """Runs whose `shape` is the same, in order, each handed over as soon as it is done."""
    for job in jobs:
        yield run_job(job)


def shape(job: Job) -> tuple[Any, ...]:
    """What runs must have in common to be integrated together: everything but numbers and seeds."""
    network, stimulus = job.network, job.stimulus
    if network is None or stimulus is None:
        return ("failed",)
    parts = [(type(layer.neuron), type(layer.rule), tuple(layer.rule_shapes)) for layer in network.layers]
    shown = (type(stimulus), stimulus.rows, stimulus.duration_total, stimulus.dtype, getattr(stimulus, "duration", 0.0))
    common = (repr(job.solver), job.every, job.budget, job.measures.names, job.test is None)
    return (network.sizes, network.n_classes, network.bias, repr(network.signal), *parts, *shown, *common)


def attempt(job: Job) -> tuple[Record, Solution | None]:
    """`course`, or a record of what was raised."""
    if job.error is not None or job.network is None or job.stimulus is None:
        message, trace = job.error or ("there is no network", "")
        return Record(job.settings, job.seed, "failed", message, traceback=trace), None
    try:
        return course(job, job.network, job.stimulus)
    except Exception as error:
        return Record(job.settings, job.seed, "failed", sentence(error), traceback=traceback.format_exc()), None


def sentence(error: BaseException) -> str:
    """An exception as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def course(job: Job, network: Network, stimulus: Stimulus) -> tuple[Record, Solution | None]:
    """Integrate from point to point of the learning curve, and measure at each.

    Raises
    ------
    KeyboardInterrupt : the run was interrupted; nothing of it is kept
    """
    unit = stimulus.duration if isinstance(stimulus, Presentations) else 1.0
    total = stimulus.duration_total / unit
    curve: Curve = {"shown": [], **{name: [] for name in job.measures.names}, "rhs_evaluations": [], "seconds": []}
    counts: dict[str, int] = dict.fromkeys(COSTS, 0)
    seconds = 0.0
    sol: Solution | None = None
    state = network.initial_state(job.seed, stimulus.rows, stimulus.dtype, stimulus.device)
    status, message = "completed", str(Status.COMPLETED)
    note(curve, 0.0, job.measures(network, state, job.test), 0, 0.0)
    for a, b in spans(total, job.every):
        before = sol
        sol = simulate(network, stimulus, job.solver, state=state, t_span=(a * unit, b * unit))
        spent, now = sol.stats, sol.final
        if sol.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        cost = (counts["rhs_evaluations"] + spent["rhs_evaluations"], seconds + spent["wall_seconds"])
        if job.budget.amount is not None and cost[job.budget.kind == "seconds"] > job.budget.amount:
            sol = before
            message = f"The budget of {job.budget.amount:g} {job.budget.kind} is spent."
            break
        counts = {name: counts[name] + spent[name] for name in COSTS}
        seconds, state = cost[1], now
        note(curve, now.t / unit, job.measures(network, state, job.test), *cost)
        if not sol.status.ok:
            status, message = sol.status.name.lower(), sol.message
            break
        reason = job.stop(curve, b / total) if job.stop is not None and b < total else None
        if reason is not None:
            status, message = "stopped", reason
            break
    axis = "presentation" if isinstance(stimulus, Presentations) else "time"
    record = Record(job.settings, job.seed, status, message, curve, counts, axis)
    return record, whole(sol, network, state, counts, seconds)


def note(curve: Curve, shown: float, measured: Mapping[str, float], evaluations: int, seconds: float) -> None:
    """Add one point to the curve."""
    for name, value in {"shown": shown, **measured, "rhs_evaluations": evaluations, "seconds": seconds}.items():
        curve[name].append(value)


def spans(total: float, every: float) -> list[tuple[float, float]]:
    """0 ... total in pieces of `every`, the last one shortened."""
    edges = [k * every for k in range(math.ceil(total / every - 1e-9))]
    return list(zip(edges, [*edges[1:], total], strict=True))


def whole(
    sol: Solution | None, network: Network, state: State, counts: Mapping[str, int], seconds: float
) -> Solution | None:
    """The solution of all pieces together: the last state, and what all of them cost."""
    if sol is None:
        return None
    stats = {**sol.stats, **counts, "wall_seconds": seconds}
    return Solution(sol.dataset, state, stats, sol.status, sol.message, network)


def reseeded(stimulus: Stimulus | Callable[[int], Stimulus], seed: int) -> Stimulus:
    """The stimulus of one seed: a function's own, presentations in the seed's order, anything else as it is."""
    if not isinstance(stimulus, Stimulus):
        made = stimulus(seed)
        if not isinstance(made, Stimulus):
            raise TypeError(f"stimulus must return a Stimulus for seed {seed}, got {made!r}")
        return made
    if isinstance(stimulus, Presentations):
        stimulus = copy.copy(stimulus)
        stimulus.seed = seed
    return stimulus
