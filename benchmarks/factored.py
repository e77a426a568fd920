"""Factored against dense Runge-Kutta: the same problem, side by side in one process.

    python benchmarks/factored.py [--threads 1] [--repeats 5]

For each pair of solvers: wall time per evaluation of the right-hand side and of the whole run, medians after
a warm-up, and both errors against a run at a far smaller tolerance. For streaming (a new batch every tau,
Euler with dt = tau): wall time per batch against the two matrix products per layer that no method avoids,
`pre W^T` and `W += post^T pre`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

import ctsigprop as ct
from ctsigprop.solvers.base import Solver

Row = tuple[str, float, float, float, float]


def problem(sizes: Sequence[int], batch: int, count: int, activation: str) -> tuple[ct.Network, ct.Presentations]:
    """A sigprop network and `count` random batches, each shown for one tau."""
    random = torch.Generator().manual_seed(0)
    x = torch.rand(batch * count, sizes[0], generator=random)
    x *= torch.rand(x.shape, generator=random) < 0.3
    y = torch.randint(0, 10, (batch * count,), generator=random)
    network = ct.Network(
        sizes,
        n_classes=10,
        neuron=ct.Rate(activation=activation),
        signal=ct.TargetStream(),
        rule=ct.rules.ContrastiveHebbian(rate=1.0),
    )
    return network, ct.Presentations(x, y, batch)


def medians(repeats: int, *calls: Callable[[], object]) -> list[float]:
    """Median wall time of each call in ms, taken in turns after one warm-up of each."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for kept, call in zip(times, calls, strict=True):
            began = time.perf_counter()
            call()
            kept.append(1e3 * (time.perf_counter() - began))
    return [statistics.median(kept[1:]) for kept in times]


def adaptive(sizes: Sequence[int], batch: int, pair: tuple[Solver, Solver], count: int, repeats: int) -> str:
    """One table row: reference against factored, whole runs."""
    network, stimulus = problem(sizes, batch, count, "softplus")
    state = network.initial_state(0, batch)
    exact = ct.simulate(network, stimulus, ct.solvers.FactoredDopri5(rtol=1e-6, atol=1e-6), state=state).final
    runs = [ct.simulate(network, stimulus, solver, state=state) for solver in pair]
    evaluations = [run.stats["rhs_evaluations"] for run in runs]
    names = [name for name in exact if name.startswith("W")]
    errors = [max(float((run.final[n] - exact[n]).norm() / exact[n].norm()) for n in names) for run in runs]
    wall = medians(repeats, *(lambda s=s: ct.simulate(network, stimulus, s, state=state) for s in pair))
    each = [time / count for time, count in zip(wall, evaluations, strict=True)]
    return (
        f"| {'-'.join(map(str, sizes))}, batch {batch} | {type(pair[1]).__name__} | {type(pair[0]).__name__} "
        f"| {each[1]:.2f} / {each[0]:.2f} | {each[0] / each[1]:.1f} | {evaluations[1]} / {evaluations[0]} "
        f"| {wall[0] / wall[1]:.1f} | {errors[1]:.1e} / {errors[0]:.1e} |"
    )


def bare_products(sizes: Sequence[int], batch: int, count: int) -> Callable[[], None]:
    """`pre W^T` and `W += post^T pre` of every layer, `count` times, in place and on the same rows."""
    rows = batch + 10
    weights = [torch.randn(post, pre) for pre, post in pairwise(sizes)]
    pres = [torch.randn(rows if i else batch, n) for i, n in enumerate(sizes[:-1])]
    posts = [1e-6 * torch.randn(len(pre), n) for pre, n in zip(pres, sizes[1:], strict=True)]

    def products() -> None:
        with torch.inference_mode():
            for _ in range(count):
                for weight, pre, post in zip(weights, pres, posts, strict=True):
                    torch.mm(pre, weight.mT)
                    weight.addmm_(post.mT, pre)

    return products


def streaming(sizes: Sequence[int], batch: int, count: int, repeats: int) -> str:
    """One table row: a batch per tau by Euler, factored, dense, and the bare products."""
    network, stimulus = problem(sizes, batch, count, "relu")
    state = network.initial_state(0, batch)
    solvers = (ct.solvers.FactoredEuler(dt=1.0), ct.solvers.Euler(dt=1.0))
    calls = [lambda s=s: ct.simulate(network, stimulus, s, state=state) for s in solvers]
    ours, dense, bare = medians(repeats, *calls, bare_products(sizes, batch, count))
    return (
        f"| {'-'.join(map(str, sizes))}, batch {batch} | {ours / count:.2f} | {dense / count:.2f} "
        f"| {bare / count:.2f} | {dense / ours:.1f} | {ours / bare:.2f} |"
    )


def precision(rtol: float, solvers: Sequence[type[Solver]]) -> str:
    """One table row: evaluations and error of each solver in float64 at one tolerance."""
    random = torch.Generator().manual_seed(0)
    x = torch.rand(16, 8, generator=random, dtype=torch.float64)
    rule = ct.rules.ContrastiveHebbian(rate=2.0)
    network = ct.Network([8, 16, 16], 4, neuron=ct.Rate(activation="softplus"), signal=ct.TargetStream(), rule=rule)
    stimulus = ct.Presentations(x, torch.arange(16) % 4, 8, duration=4.0)
    exact = ct.simulate(network, stimulus, ct.solvers.SciPy(solver="DOP853", rtol=1e-11, atol=1e-12)).final
    cells = []
    for solver in solvers:
        run = ct.simulate(network, stimulus, solver(rtol=rtol, atol=rtol / 10))  # type: ignore[call-arg]
        error = max(float((run.final[name] - exact[name]).norm() / exact[name].norm()) for name in exact)
        cells.append(f"{run.stats['rhs_evaluations']} / {error:.1e}")
    return f"| {rtol:g} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    s = ct.solvers
    print(f"torch {torch.__version__}, {args.threads} thread(s), float32, rtol 1e-4, atol 1e-5\n")
    columns = ("problem", "factored", "dense", "ms per evaluation", "ratio", "evaluations", "ratio of runs", "errors")
    print(f"| {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|---|")
    dense = s.Dopri5(rtol=1e-4, atol=1e-5)
    dopri5, tsit5 = s.FactoredDopri5(rtol=1e-4, atol=1e-5), s.FactoredTsit5(rtol=1e-4, atol=1e-5)
    for sizes, batch, count, factored in (
        ([784, 1000, 1000], 100, 1, dopri5),
        ([784, 1000, 1000], 100, 1, tsit5),
        ([784, 1000, 1000], 10, 1, dopri5),
        ([64, 128, 128], 64, 4, dopri5),
    ):
        print(adaptive(sizes, batch, (dense, factored), count, args.repeats), flush=True)
    print("\n| streaming | factored ms | dense ms | bare products ms | dense / factored | factored / bare |")
    print("|---|---|---|---|---|---|")
    for sizes, batch, count in (([784, 1000, 1000], 100, 300), ([64, 128, 128], 64, 1000)):
        print(streaming(sizes, batch, count, args.repeats), flush=True)
    solvers = (s.Dopri5, s.FactoredDopri5, s.FactoredTsit5)
    print(f"\n| rtol: evaluations / error | {' | '.join(solver.__name__ for solver in solvers)} |\n|---|---|---|---|")
    for rtol in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9):
        print(precision(rtol, solvers), flush=True)


if __name__ == "__main__":
    main()
