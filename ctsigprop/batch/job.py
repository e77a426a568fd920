"""One run of a batch: its inputs and its outcome."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ctsigprop.batch.measures import Measures, Test
from ctsigprop.execution.request import Execution
from ctsigprop.model.network import Network
from ctsigprop.rules.checks import Checked, number
from ctsigprop.solvers.base import Solver
from ctsigprop.stimuli.encoders import Poisson
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.stimulus import Stimulus

COSTS = ("steps", "rhs_evaluations", "rejected_steps")
Curve = dict[str, list[float]]
Settings = Mapping[str, object]
"""The settings of one run, by name."""


@dataclass(frozen=True)
class Trial(metaclass=Checked):
    """A network with its own stimulus, solver or test set, for a comparison or a sweep.

    Parameters
    ----------
    network : the network to train
    stimulus : what this network sees, a Stimulus or a function seed -> Stimulus; default the common one
    solver : the solver of its runs; default the common one
    test : its test samples and labels; default the common ones
    """

    network: Network
    stimulus: Stimulus | Callable[[int], Stimulus] | None = None
    solver: Solver | str | None = None
    test: object = None

    def __post_init__(self) -> None:
        if not isinstance(self.network, Network):
            raise TypeError(f"Trial(network=) must be a ct.Network, got {self.network!r}")


@dataclass(frozen=True)
class Budget(metaclass=Checked):
    """The budget of every run: "presentations" (the whole stimulus), "rhs" evaluations, or "seconds" of wall time.

    With "rhs" and "seconds", `amount` None means what the cheapest run with the same seed needs for the whole
    stimulus.
    """

    kind: str = "presentations"
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
        """The column of the learning curve that counts what was spent."""
        return {"presentations": "shown", "rhs": "rhs_evaluations", "seconds": "seconds"}[self.kind]


def as_budget(budget: object) -> Budget:
    """A budget from "presentations", "rhs" or "seconds", a pair such as ("rhs", 5000), or a Budget."""
    if isinstance(budget, Budget):
        return budget
    if isinstance(budget, str):
        return Budget(budget)
    if isinstance(budget, tuple | list) and len(budget) == 2:
        return Budget(*budget)
    raise TypeError(f"budget must be 'presentations', 'rhs', 'seconds' or a pair such as ('rhs', 5000), got {budget!r}")


@dataclass(frozen=True)
class StopBelow(metaclass=Checked):
    """Stop a run if its `metric` is below `least` once it has seen the share `after` of its stimulus.

    Parameters
    ----------
    metric : str, a metric of the run
    least : float, the value it must have reached
    after : float, share of the stimulus, 0 ... 1; default 0.25
    """

    metric: str
    least: float
    after: float = 0.25

    def __post_init__(self) -> None:
        number("StopBelow(least=)", self.least)
        number("StopBelow(after=)", self.after, least=0)
        if self.after > 1:
            raise ValueError(f"StopBelow(after=) must be a share, 0 ... 1, got {self.after!r}")

    def __call__(self, curve: Curve, share: float) -> str | None:
        """The reason to stop, or None."""
        reached = curve[self.metric][-1]
        if share < self.after - 1e-9 or reached >= self.least:
            return None
        return f"StopBelow: {self.metric} is {reached:.4g} after {share:.0%} of the stimulus, below {self.least:.4g}."


@dataclass(frozen=True)
class Job:
    """Everything that decides one run; `error` instead of a network where it could not even be built."""

    settings: Settings
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
    execution: Execution = "auto"


@dataclass(frozen=True)
class Record:
    """The outcome of one run.

    Parameters
    ----------
    settings, seed : of the job
    status : "completed"; "stopped" early; "diverged" or another reason from the solver; or "failed", it raised an error
    message : str, a sentence that explains the status
    curve : lists over the points of the learning curve: "shown" (presentations, or time of a continuous stimulus),
        every metric, and the "rhs_evaluations" and "seconds" spent so far
    counts : steps, right-hand side evaluations and rejected steps of the whole run
    axis : "presentation" or "time"
    megabytes : float, peak resident memory of the process during the run; NaN if unknown
    traceback : str, of the error, if it raised one
    time_unit : str, name of its network's unit of time
    """

    settings: Settings
    seed: int
    status: str
    message: str
    curve: Curve = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    axis: str = "presentation"
    megabytes: float = math.nan
    traceback: str = ""
    time_unit: str = "tau"

    @property
    def ok(self) -> bool:
        """Whether the run reached the end of its stimulus or of its budget."""
        return self.status == "completed"


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
        if isinstance(stimulus.encoder, Poisson):  # each seed has spikes of its own
            stimulus.encoder = replace(stimulus.encoder, seed=stimulus.encoder.seed + seed)
    return stimulus
