"""100 Poisson inputs -> 400 LIF -> 10 LIF, pair STDP on the first projection, 1,000 steps of 1 ms, batch 1 and 64.

    python benchmarks/stdp.py

prints milliseconds per run (the best of some) and the ratio to a plain torch loop with the same equations, written by
hand. Both draw their own input spikes; the spikes of both layers are compared to see that they do the same work.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable

import torch

import ctsigprop as ct

INPUTS, HIDDEN, OUTPUTS, STEPS = 100, 400, 10, 1000
TAU, TAU_STDP, RATE = 20.0, 20.0, 1e-4
P = 0.02  # spikes per ms of every input


def start(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    first = torch.rand(HIDDEN, INPUTS, generator=random) * 0.1
    return first, torch.rand(OUTPUTS, HIDDEN, generator=random) * 0.02


def plain(batch: int) -> tuple[float, float]:
    """The loop that one writes by hand: mean spikes of both layers."""
    w1, w2 = start(0)
    random = torch.Generator().manual_seed(1)
    keep, keep_stdp = math.exp(-1 / TAU), math.exp(-1 / TAU_STDP)
    v1, v2 = torch.zeros(batch, HIDDEN), torch.zeros(batch, OUTPUTS)
    x, y = torch.zeros(batch, INPUTS), torch.zeros(batch, HIDDEN)
    n1, n2 = torch.zeros(batch, HIDDEN), torch.zeros(batch, OUTPUTS)
    with torch.inference_mode():
        for _ in range(STEPS):
            s0 = (torch.rand(batch, INPUTS, generator=random) < P).float()
            v1 = v1 * keep + s0 @ w1.T
            s1 = (v1 >= 1).float()
            v1 = v1 * (1 - s1)
            x, y = x * keep_stdp, y * keep_stdp
            w1.addmm_(s1.T, x, alpha=RATE / batch).addmm_(y.T, s0, alpha=-1.05 * RATE / batch)
            x, y = x + s0, y + s1
            v2 = v2 * keep + s1 @ w2.T
            s2 = (v2 >= 1).float()
            v2 = v2 * (1 - s2)
            n1 += s1
            n2 += s2
    return float(n1.mean()), float(n2.mean())


def toolkit(batch: int) -> tuple[float, float]:
    """The same network as a user of the toolkit writes it."""
    neuron = ct.LIF(tau=TAU, reset=0.0)
    rule = ct.rules.STDP(rate=RATE, tau_plus=TAU_STDP, tau_minus=TAU_STDP)
    network = ct.Network([INPUTS, HIDDEN, OUTPUTS], neuron=neuron, rule=[rule, None], bias=False)
    first, second = start(0)
    state = network.initial_state(rows=batch).replace({"W.1": first, "W.2": second})
    x = torch.ones(batch, INPUTS)
    encoder = ct.Poisson(rate=P, dt=1.0, seed=1)
    stimulus = ct.Presentations(x, None, batch, duration=float(STEPS), encoder=encoder)
    sol = ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=1.0), state=state)
    return float(sol.final["n.1"].mean()), float(sol.final["n.2"].mean())


def best(run: Callable[[int], tuple[float, float]], batch: int, repeats: int) -> tuple[float, tuple[float, float]]:
    """(milliseconds of the fastest run, what it counted)."""
    found, fastest = run(batch), math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        run(batch)
        fastest = min(fastest, time.perf_counter() - began)
    return 1e3 * fastest, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    print("| batch | run | ms | ratio to the plain loop | spikes per unit |\n|---|---|---|---|---|")
    for batch in args.batches:
        reference = math.nan
        for name, run in (("plain torch loop", plain), ("ctsigprop, Hybrid(dt=1.0)", toolkit)):
            ms, spikes = best(run, batch, args.repeats)
            reference = ms if run is plain else reference
            counted = ", ".join(f"{n:.2f}" for n in spikes)
            print(f"| {batch} | {name} | {ms:.0f} | {ms / reference:.2f} | {counted} |", flush=True)


if __name__ == "__main__":
    main()
