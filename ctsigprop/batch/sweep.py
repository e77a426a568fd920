"""Sweep parameters: many runs, each once, whatever happens on the way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctsigprop.batch.designs import design_points
from ctsigprop.batch.job import Curve, Trial
from ctsigprop.batch.measures import Metric, as_measures
from ctsigprop.batch.plan import Common, Planner, Shown, as_budget, as_seeds, as_trial
from ctsigprop.batch.remote import open_store
from ctsigprop.batch.runs import Runs
from ctsigprop.batch.schedule import Batch, Options
from ctsigprop.solvers.base import Solver

Build = Callable[..., Any]


def sweep(
    build: Build,
    settings: Mapping[str, Any],
    stimulus: Shown | None = None,
    *,
    design: str | None = None,
    n: int | None = None,
    design_seed: int = 0,
    seeds: Iterable[int] | int = 1,
    test: Any = None,
    metrics: Sequence[str] | Mapping[str, Metric] | None = None,
    budget: Any = "presentations",
    solver: Solver | str = "auto",
    every: float | None = None,
    stop: Callable[[Curve, float], str | None] | None = None,
    store: str | Path | None = None,
    engine: Any = "local",
    n_jobs: int = -1,
    retry: bool = False,
    keep: bool = False,
    progress: bool = False,
) -> Runs:
    """Run what `build` makes of every point of a design, with every seed.

    With a store each run is one folder of it, written whole or not at all and named by the fingerprint of its full
    configuration: settings, seed, network, data, solver, metrics. Starting the same again does what is missing. Runs
    that raise, diverge or are stopped stand in the table with their status and message; the others go on.

    Parameters
    ----------
    build : function of one point's settings, by keyword (and of `seed`, if it has such an argument), that returns a
        Network, a pair (network, stimulus) or a `Trial`
    settings : mapping of names to lists of values, or to SciPy distributions
    stimulus, test, metrics, budget, solver, every, stop : as in `compare`
    design : "grid", "random" or "sobol"; default a grid where all settings are lists, else random
    n : int, points of a random or Sobol design
    design_seed : int, decides their draws; default 0
    seeds : different integers >= 0, or how many; default 1
    store : folder of the runs, or an address that fsspec knows, such as "s3://bucket/runs"; default none, runs are kept
        in memory
    engine : "local" (default), processes of this machine; the address of a Dask scheduler; or a `distributed.Client`.
        Workers of a cluster must see the store under the same path
    n_jobs : int, processes of this machine, each with one thread; default -1, one per core; 1 for none but this one
    retry : bool, whether runs in the store that did not complete are done again; default False
    keep : bool, whether the last solution of every run is stored too; default False
    progress : bool, show a progress bar; default False

    Returns
    -------
    Runs : `.table` (one row per run), `.dataset` (learning curves), `.plot()`, `.compare_by(name)`

    Raises
    ------
    ValueError, TypeError : settings or options that make no sense, before anything runs
    StoreError : a store that is full, read-only, no store, or of a newer format
    WorkerLost : worker processes died again and again
    """
    points = design_points(settings, design, n, design_seed)
    common = Common(stimulus, solver, test, as_measures(metrics), every, as_budget(budget), stop)
    batch = plan_sweep(build, points, common, as_seeds(seeds))
    return batch.carry_out(Options(open_store(store), engine, n_jobs, retry, keep, progress))


def plan_sweep(build: Build, points: Sequence[Mapping[str, Any]], common: Common, seeds: Sequence[int]) -> Batch:
    """A job for every point and seed; what `build` raises becomes a job that failed."""
    if not callable(build):
        raise TypeError(f"build must be a function of {', '.join(points[0])}, got {build!r}")
    takes_seed = "seed" in inspect.signature(build).parameters and "seed" not in points[0]
    planner = Planner(common)
    jobs = []
    for point in points:
        trial: Trial | None = None
        for seed in seeds:
            try:
                if trial is None or takes_seed:
                    trial = as_trial("what build returns", build(**point, **({"seed": seed} if takes_seed else {})))
                jobs.append(planner.job(point, seed, trial))
            except Exception as error:
                jobs.append(planner.failed(point, seed, build, error))
    return Batch("sweep", jobs, Runs((), (), common.measures.names, tuple(points[0]), budget=common.budget))
