"""A sweep of 256 small networks (20-30-10, batch 32, 200 Euler steps): 8 rates x 4 time constants x 8 seeds.

    python benchmarks/sweep.py

prints seconds of `ct.sweep`, in this process and in two, and of what one writes without it: a loop of single runs,
and the same loop shared out to a pool of two processes. All end with the test accuracy of every run.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from functools import partial
from itertools import product

import joblib
import torch
from report import Table, medians  # type: ignore[import-not-found]  # it stands beside this script

import ctsigprop as ct

RATES = [0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]
TAUS = [1.0, 1.25, 1.5, 2.0]
SEEDS = range(8)
SOLVER = ct.solvers.Euler(dt=1.0)


def build(rate: float, tau: float) -> ct.Network:
    rule = ct.rules.ContrastiveHebbian(rate=rate)
    return ct.Network([20, 30, 10], 10, neuron=ct.Rate(tau=tau), signal=ct.TargetStream(), rule=rule)


def data() -> ct.datasets.Dataset:
    return ct.datasets.gaussian_clusters(n=800, n_features=20, n_classes=10, seed=0)


def shown(found: ct.datasets.Dataset, seed: int) -> ct.Presentations:
    epochs = -(-200 * 32 // len(found.x_train))
    x, y = found.x_train[: 32 * (200 // epochs)], found.y_train[: 32 * (200 // epochs)]
    return ct.Presentations(x, y, 32, duration=1.0, epochs=epochs, seed=seed)


def single(found: ct.datasets.Dataset, rate: float, tau: float, seed: int, solver: ct.solvers.Solver) -> float:
    network = build(rate, tau)
    sol = ct.simulate(network, shown(found, seed), solver, seed=seed)
    return network.score(sol.final, found.x_test, found.y_test)


def loop(found: ct.datasets.Dataset, solver: ct.solvers.Solver) -> list[float]:
    return [single(found, rate, tau, seed, solver) for rate, tau, seed in product(RATES, TAUS, SEEDS)]


def pool(found: ct.datasets.Dataset, solver: ct.solvers.Solver) -> list[float]:
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        every = (joblib.delayed(single)(found, *point, solver) for point in product(RATES, TAUS, SEEDS))
        return list(joblib.Parallel()(every))


def sweep(found: ct.datasets.Dataset, n_jobs: int) -> list[float]:
    stimulus = shown(found, 0)
    settings = {"rate": RATES, "tau": TAUS}
    test = (found.x_test, found.y_test)
    every = stimulus.count
    runs = ct.sweep(build, settings, stimulus, seeds=SEEDS, solver=SOLVER, test=test, every=every, n_jobs=n_jobs)
    return [float(value) for value in runs.table["accuracy"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    found = data()
    ways: dict[str, Callable[[], list[float]]] = {
        "loop of single runs": partial(loop, found, SOLVER),
        "loop of single runs, FactoredEuler": partial(loop, found, ct.solvers.FactoredEuler(dt=1.0)),
        "two processes of single runs": partial(pool, found, SOLVER),
        "ct.sweep, n_jobs=1": partial(sweep, found, 1),
        "ct.sweep, n_jobs=2": partial(sweep, found, 2),
    }
    mean: dict[str, float] = {}

    def noted(name: str, way: Callable[[], list[float]]) -> None:
        mean[name] = statistics.mean(way())

    times = medians(args.repeats, {name: partial(noted, name, way) for name, way in ways.items()})
    reference = times["loop of single runs"]
    with Table("256 runs", "way", "seconds", "times as fast as the loop", "mean accuracy", drawn="seconds") as row:
        for name, ms in times.items():
            row(name, ms / 1e3, reference / ms, mean[name])


if __name__ == "__main__":
    main()
