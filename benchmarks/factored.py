"""Factored against dense Runge-Kutta: the same problem, side by side in one process.

    python benchmarks/factored.py [--threads 1] [--repeats 5]

For each pair of solvers: wall time per evaluation of the right-hand side and of the whole run, medians after
a warm-up, and both errors against a run at a far smaller tolerance. The same problem as one writes it by hand for
torchdiffeq and diffrax (`peers.py`; diffrax where it is installed), with the memory that a run takes beyond what the
process held before it, each measured in a process of its own. For streaming (a new batch every tau,
Euler with dt = tau): wall time per batch against the two matrix products per layer that no method avoids,
`pre W^T` and `W += post^T pre`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import peers  # type: ignore[import-not-found]  # it stands beside this script
import psutil
import torch
from report import Table, medians  # type: ignore[import-not-found]  # it stands beside this script

import ctsigprop as ct
from ctsigprop.batch.memory import PeakMemory
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


def adaptive(
    sizes: Sequence[int], batch: int, pair: tuple[Solver, Solver], count: int, repeats: int
) -> tuple[object, ...]:
    """One table row: reference against factored, whole runs."""
    network, stimulus = problem(sizes, batch, count, "softplus")
    state = network.initial_state(0, batch)
    exact = ct.simulate(network, stimulus, ct.solvers.FactoredDopri5(rtol=1e-6, atol=1e-6), state=state).final
    runs = [ct.simulate(network, stimulus, solver, state=state) for solver in pair]
    evaluations = [run.stats["rhs_evaluations"] for run in runs]
    names = [name for name in exact if name.startswith("W")]
    errors = [max(float((run.final[n] - exact[n]).norm() / exact[n].norm()) for n in names) for run in runs]
    calls = {str(s): partial(ct.simulate, network, stimulus, s, state=state) for s in pair}
    wall = list(medians(repeats, calls).values())
    each = [time / count for time, count in zip(wall, evaluations, strict=True)]
    return (
        f"{'-'.join(map(str, sizes))}, batch {batch}",
        type(pair[1]).__name__,
        type(pair[0]).__name__,
        f"{each[1]:.2f} / {each[0]:.2f}",
        each[0] / each[1],
        f"{evaluations[1]} / {evaluations[0]}",
        wall[0] / wall[1],
        f"{errors[1]:.1e} / {errors[0]:.1e}",
    )


RTOL, ATOL = 1e-4, 1e-5
LARGE, SMALL = ([784, 1000, 1000], 100, 1), ([64, 128, 128], 64, 4)


def ways(sizes: Sequence[int], batch: int, count: int) -> dict[str, Callable[[], object]]:
    """The same run by this toolkit, plain and compiled, and as written by hand."""
    network, stimulus = problem(sizes, batch, count, "softplus")
    state = network.initial_state(0, batch)
    shown = peers.batches(stimulus)
    plain, fast = (ct.solvers.FactoredDopri5(rtol=RTOL, atol=ATOL, compile=fast) for fast in (False, True))
    found: dict[str, Callable[[], object]] = {
        "FactoredDopri5": lambda: ct.simulate(network, stimulus, plain, state=state),
        "FactoredDopri5(compile=True)": lambda: ct.simulate(network, stimulus, fast, state=state),
        "torchdiffeq by hand": peers.by_torchdiffeq(state, shown, RTOL, ATOL),
    }
    if all(importlib.util.find_spec(name) is not None for name in ("jax", "diffrax")):
        found["diffrax, jit"] = peers.by_diffrax(state, shown, RTOL, ATOL)
    return found


def peak(way: str) -> float:
    """MB that a run of the large problem takes beyond what this process held before."""
    for one in (SMALL, LARGE):
        call = ways(*one)[way]
        before = psutil.Process().memory_info().rss / 2**20
        with PeakMemory() as memory:
            call()
    return float(memory.megabytes - before)


def against_peers(problem_of: tuple[Sequence[int], int, int], repeats: int, compiled: bool) -> list[tuple[object, ...]]:
    """Table rows: time of each way, and how many times as long it takes as the toolkit's best."""
    sizes, batch, count = problem_of
    every = {name: call for name, call in ways(sizes, batch, count).items() if compiled or "compile" not in name}
    times = medians(repeats, every)
    ours = min(time for name, time in times.items() if name.startswith("Factored"))
    rows: list[tuple[object, ...]] = []
    for name, time_taken in times.items():
        memory = "-"
        if problem_of == LARGE and "compile" not in name:
            command = [sys.executable, __file__, "--peak", name]
            memory = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout.strip()
        rows.append((f"{'-'.join(map(str, sizes))}, batch {batch}", name, time_taken, time_taken / ours, memory))
    return rows


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


def streaming(sizes: Sequence[int], batch: int, count: int, repeats: int) -> tuple[object, ...]:
    """One table row: a batch per tau by Euler, factored, dense, and the bare products."""
    network, stimulus = problem(sizes, batch, count, "relu")
    state = network.initial_state(0, batch)
    solvers = (ct.solvers.FactoredEuler(dt=1.0), ct.solvers.Euler(dt=1.0))
    calls = {str(s): partial(ct.simulate, network, stimulus, s, state=state) for s in solvers}
    ours, dense, bare = medians(repeats, {**calls, "bare": bare_products(sizes, batch, count)}).values()
    where = f"{'-'.join(map(str, sizes))}, batch {batch}"
    return where, ours / count, dense / count, bare / count, dense / ours, ours / bare


def precision(rtol: float, solvers: Sequence[type[Solver]]) -> tuple[object, ...]:
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
    return f"{rtol:g}", *cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak", help="print the memory of one way alone")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        print(f"{peak(args.peak):.0f}")
        return
    s = ct.solvers
    print(f"torch {torch.__version__}, {args.threads} thread(s), float32, rtol 1e-4, atol 1e-5")
    columns = ("problem", "factored", "dense", "ms per evaluation", "ratio", "evaluations", "ratio of runs", "errors")
    dense = s.Dopri5(rtol=RTOL, atol=ATOL)
    dopri5, tsit5 = s.FactoredDopri5(rtol=RTOL, atol=ATOL), s.FactoredTsit5(rtol=RTOL, atol=ATOL)
    pairs = [(*LARGE, dopri5), (*LARGE, tsit5), ([784, 1000, 1000], 10, 1, dopri5), (*SMALL, dopri5)]
    with Table("Factored against dense", *columns, drawn="ratio of runs") as row:
        for sizes, batch, count, factored in pairs:
            row(*adaptive(sizes, batch, (dense, factored), count, args.repeats))
    with Table("Beside peers", "problem", "way", "ms", "ratio to ours", "MB beyond the start", drawn="ms") as row:
        for one, small in ((LARGE, False), (SMALL, True)):
            for cells in against_peers(one, args.repeats, small):
                row(*cells)
    heads = ("problem", "factored ms", "dense ms", "bare products ms", "dense / factored", "factored / bare")
    with Table("Streaming", *heads, drawn="factored / bare") as row:
        for sizes, batch, count in (([784, 1000, 1000], 100, 300), ([64, 128, 128], 64, 1000)):
            row(*streaming(sizes, batch, count, args.repeats))
    solvers = (s.Dopri5, s.FactoredDopri5, s.FactoredTsit5)
    names = [solver.__name__ for solver in solvers]
    with Table("Evaluations / error in float64", "rtol", *names, drawn="rtol") as row:
        for rtol in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9):
            row(*precision(rtol, solvers))


if __name__ == "__main__":
    main()
