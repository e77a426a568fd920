"""Sweep parameters: many runs, each done once, even after an interruption."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from ctsigprop.batch.designs import design_points
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
from ctsigprop.execution.request import Execution
from ctsigprop.rules.checks import called
from ctsigprop.solvers.base import Solver

Build = Callable[..., object]


def sweep(
    build: Build,
    settings: Mapping[str, object],
    stimulus: StimulusOrMaker | None = None,
    *,
    design: str | None = None,
    n: int | None = None,
    design_seed: int = 0,
    seeds: Iterable[int] | int = 1,
    test: object = None,
    metrics: Sequence[str] | Mapping[str, Metric] | None = None,
    budget: object = "presentations",
    solver: Solver | str = "auto",
    execution: Execution = "auto",
    every: float | None = None,
    stop: Callable[[Curve, float], str | None] | None = None,
    store: str | Path | None = None,
    engine: object = "local",
    n_jobs: int = 1,
    retry: bool = False,
    keep: bool = False,
    progress: bool | None = None,
) -> Runs:
    """Run the network that `build` makes for each point of a design, with every seed.

    In a store each run is one folder, written whole or not at all. Its name is the fingerprint of the run's full
    configuration: settings, seed, network, data, solver, metrics. Start the same sweep again to do the missing runs.
    Runs that raise, diverge or are stopped appear in the table with status and message; the others continue.

    Parameters
    ----------
    build : function of one point's settings, by keyword (and of `seed`, if it has that argument), that returns a
        Network, a pair (network, stimulus) or a `Trial`
    settings : mapping of names to lists of values, or to SciPy distributions
    stimulus, test, metrics, budget, solver, execution, every, stop : as in `compare`
    design : "grid", "random" or "sobol"; default a grid if all settings are lists, else random
    n : int, number of points of a random or Sobol design
    design_seed : int, sets the points drawn; default 0
    seeds : different integers >= 0, or how many; default 1
    store : folder of the runs, or an address that fsspec supports, such as "s3://bucket/runs"; default none, runs are
        kept in memory
    engine : "local" (default), processes on this machine; the address of a Dask scheduler; or a `distributed.Client`.
        Workers of a cluster must see the store under the same path
    n_jobs : int, processes on this machine, each with one thread; -1 for one per core. Default 1, only this process, so
        that wall times are not disturbed
    retry : bool, whether to repeat runs in the store that did not complete; default False
    keep : bool, whether to store the last solution of every run too; default False
    progress : bool, show a progress bar, and report what slow runs spend their time on; default: on a terminal.
        In a log file the bar prints one line a minute

    Returns
    -------
    Runs : `.table` (one row per run), `.dataset` (learning curves), `.plot()`, `.compare_by(name)`

    Raises
    ------
    ValueError, TypeError : settings or options that make no sense; raised before anything runs
    StoreError : a store that is full or read-only, is no store, or is in a newer format
    WorkerLost : worker processes died repeatedly
    """
    points = design_points(settings, design, n, design_seed)
    common = Common(stimulus, solver, test, as_measures(metrics), every, as_budget(budget), stop, execution)
    batch = plan_sweep(build, points, common, as_seeds(seeds))
    return batch.carry_out(Options(open_store(store), engine, n_jobs, retry, keep, progress))


def check_settings(build: Build, names: Sequence[str]) -> None:
    """Raise where `build` cannot be called with these arguments by keyword: then no run could be built.

    Raises
    ------
    TypeError : a setting that it does not take, with the nearest argument; an argument that no setting gives
    """
    named = called(build)
    parameters = inspect.signature(build).parameters.values()
    taken = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in names:
            if name not in taken:
                near = get_close_matches(name, taken, 1)
                meant = f", did you mean {near[0]!r}?" if near else ""
                raise TypeError(
                    f"build must take every setting by keyword: {named} takes {', '.join(taken) or 'none'}, "
                    f"and settings have {name!r}{meant}"
                )
    missing = [name for name, p in taken.items() if p.default is p.empty and name not in names]
    missing += [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if missing:
        raise TypeError(f"settings must name every argument of build: {named} also needs {', '.join(missing)}")


def plan_sweep(build: Build, points: Sequence[Mapping[str, object]], common: Common, seeds: Sequence[int]) -> Batch:
    """A job for every point and seed; what `build` raises becomes a job that failed."""
    if not callable(build):
        raise TypeError(f"build must be a function of {', '.join(points[0])}, got {build!r}")
    takes_seed = "seed" in inspect.signature(build).parameters and "seed" not in points[0]
    check_settings(build, [*points[0], *(["seed"] if takes_seed else [])])
    built: list[tuple[Mapping[str, object], int, Trial | Exception]] = []
    for point in points:
        trial: Trial | Exception | None = None
        for seed in seeds:
            if trial is None or takes_seed:
                try:
                    trial = as_trial("what build returns", build(**point, **({"seed": seed} if takes_seed else {})))
                except Exception as error:
                    trial = error
            built.append((point, seed, trial))
    asked = common.measures
    common = measured(common, [trial for _, _, trial in built if isinstance(trial, Trial)])
    planner = Planner(common)
    jobs = []
    for point, seed, trial in built:
        if isinstance(trial, Exception):
            jobs.append(planner.failed(point, seed, build, trial))
            continue
        try:
            jobs.append(planner.job(point, seed, trial))
        except Exception as error:
            jobs.append(planner.failed(point, seed, build, error))
    warn_of_training(asked, common.measures)
    return Batch("sweep", jobs, Runs((), (), common.measures.names, tuple(points[0]), budget=common.budget))
