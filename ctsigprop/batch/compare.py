"""Compare rules: same data, same seeds, same budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ctsigprop.batch.job import Curve, Trial, as_budget
from ctsigprop.batch.measures import Metric, as_measures
from ctsigprop.batch.plan import (
    Common,
    Planner,
    StimulusOrMaker,
    as_seeds,
    as_trial,
    measured,
    warn_of_training,
)
from ctsigprop.batch.remote import open_store
from ctsigprop.batch.runs import Runs
from ctsigprop.batch.schedule import Batch, Options
from ctsigprop.batch.statistics import Test
from ctsigprop.execution.request import Execution
from ctsigprop.model.network import Network
from ctsigprop.rules.checks import lookup
from ctsigprop.solvers.base import Solver
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.stimulus import Stimulus


def compare(
    networks: Mapping[str, Network | Trial | tuple[Network, Stimulus]],
    stimulus: StimulusOrMaker | None = None,
    *,
    seeds: Iterable[int] | int = 10,
    test: object = None,
    metrics: Sequence[str] | Mapping[str, Metric] | None = None,
    budget: object = "presentations",
    solver: Solver | str = "auto",
    execution: Execution = "auto",
    every: float | None = None,
    stop: Callable[[Curve, float], str | None] | None = None,
    paired_test: Test = "t",
    reference: str | None = None,
    store: str | Path | None = None,
    engine: object = "local",
    n_jobs: int = 1,
    retry: bool = False,
    progress: bool | None = None,
) -> Runs:
    """Run every network with every seed, and report which ones differ by more than chance.

    A seed sets the initial weights and the order of the presentations, the same for all networks. No label
    reaches a network during testing: it sees only the test samples, from a state without any trace of a training
    label. The metrics get its answers and the labels, never the network itself.

    Parameters
    ----------
    networks : mapping of names to a Network, a pair (network, stimulus), or a `Trial` with its own stimulus or solver
    stimulus : what the networks see: Presentations, in an order set by the seed; any other Stimulus; or a function
        seed -> Stimulus, which may also draw a new split of the data
    seeds : different integers >= 0, or how many; default 10
    test : test samples and labels: a pair (x, y), a `ct.datasets.Dataset`, or a function seed -> one of these.
        Default: the training samples; the metrics are then called "training accuracy" and so on, and a warning says
        so
    metrics : list of "accuracy", "error", "margin", or mapping of names to functions of (scores, labels) or of (state);
        default accuracy
    budget : "presentations" (default), all see the whole stimulus; "rhs" or "seconds", all are judged at the cost at
        which the cheapest network with the same seed finishes its stimulus; or a pair such as ("rhs", 5000)
    solver, execution : as in `simulate`; execution="plain" runs them one at a time. A store names a run by its
        solver, with `compile=True` if the execution is "compiled"; the other executions do not change the name
    every : presentations between two points of the learning curve (time, for a continuous stimulus); default a tenth
    stop : function of (curve, share of the stimulus shown) -> reason to stop or None, such as `ct.StopBelow(...)`
    paired_test : "t" (default), "permutation" or "wilcoxon", over pairs that share a seed, with Holm's correction
    reference : name of the network to compare all others with; default every pair
    store, engine, n_jobs, retry, progress : as in `sweep`

    Returns
    -------
    Runs : `.table`, `.differences()`, `.runs` (one row each), `.dataset` (learning curves), `.plot()`

    Raises
    ------
    ValueError, TypeError : parts that do not fit together, test inputs that contain the labels, budgets that differ
    """
    common = Common(stimulus, solver, test, as_measures(metrics), every, as_budget(budget), stop, execution)
    batch = plan_comparison(networks, common, as_seeds(seeds), paired_test, reference)
    return batch.carry_out(Options(open_store(store), engine, n_jobs, retry, False, progress))


def plan_comparison(
    networks: Mapping[str, object], common: Common, seeds: Sequence[int], paired_test: Test, reference: str | None
) -> Batch:
    """The jobs of a comparison, as `compare` describes it."""
    if not isinstance(networks, Mapping) or not networks:
        raise TypeError(f"networks must be a mapping of names to networks, got {networks!r}")
    trials = {str(name): as_trial(f"networks[{name!r}]", value) for name, value in networks.items()}
    if reference is not None:
        lookup("reference", reference, trials)
    asked = common.measures
    common = measured(common, list(trials.values()))
    planner = Planner(common)
    jobs = [planner.job({"rule": name}, seed, trial) for name, trial in trials.items() for seed in seeds]
    if common.budget.kind == "presentations":
        check_same_number_shown({str(job.settings["rule"]): job.stimulus for job in jobs})
    warn_of_training(asked, common.measures)
    runs = Runs((), (), common.measures.names, ("rule",), "rule", common.budget, paired_test, reference)
    return Batch("compare", jobs, runs)


def check_same_number_shown(stimuli: Mapping[str, Stimulus | None]) -> None:
    """Raise where networks are shown different numbers of presentations, or of samples at once."""
    shown = {name: (s.count, s.rows) for name, s in stimuli.items() if isinstance(s, Presentations)}
    if len(set(shown.values())) > 1:
        told = ", ".join(f"{name} {count} of {rows} samples" for name, (count, rows) in shown.items())
        raise ValueError(f"under budget='presentations' all must be shown as many, got {told}")
