"""Small networks: the plain path, steps in place, the compiled path and ensembles, beside loops written by hand.

    python benchmarks/compiled.py [--repeats 5] [--threads 1]

Oja: one layer 100 -> 10, one sample, inputs redrawn every 10 tau, 10,000 steps of 0.1 tau, alone and as 64 seeds;
peers: the same as a hand-tuned in-place torch loop, one seed or all in one batch; diffrax's Euler and a bare
`lax.scan`, both under jit, where jax is installed; for one seed Brian2 and Nengo (`spiking_peers.py`) where they are,
by the time of their steps alone. Digits-like: 20-30-10, batch 32, contrastive rule, 2,000 steps.
Medians after a warm-up (compile time left out), all in one process, taken in turns.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import peers  # type: ignore[import-not-found]  # it stands beside this script
import spiking_peers  # type: ignore[import-not-found]  # and this
import torch
from report import Table, medians  # type: ignore[import-not-found]  # it stands beside this script

import ctsigprop as ct

DT, RATE, HOLD, CHANGES = 0.1, 0.01, 100, 100
STEPS = HOLD * CHANGES


def oja() -> tuple[ct.Network, ct.Presentations, torch.Tensor]:
    x = torch.randn(CHANGES, 100, generator=torch.Generator().manual_seed(0))
    net = ct.Network([100, 10], neuron=ct.Rate(activation="linear"), rule=ct.rules.Oja(rate=RATE), bias=False)
    return net, ct.Presentations(x, None, 1, duration=HOLD * DT, shuffle=False), x


def torch_loop(weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(post, pre), or (seeds, post, pre) for all seeds in one batch."""
    w = weights.clone()
    r = w.new_zeros(*w.shape[:-2], 1, w.shape[-2])
    with torch.inference_mode():
        for k in range(CHANGES):
            shown = x[k : k + 1].expand(*w.shape[:-2], 1, -1)
            for _ in range(HOLD):
                change = shown @ w.mT - r
                kept = 1.0 - (DT * RATE) * (r * r).mT
                if w.dim() == 2:
                    w.mul_(kept).addmm_(r.mT, shown, alpha=DT * RATE)
                else:
                    w.mul_(kept).baddbmm_(r.mT, shown, alpha=DT * RATE)
                r.add_(change, alpha=DT)
    return w


def jax_calls(weights: torch.Tensor, x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Diffrax's Euler and a bare scan, for one seed or a batch of them."""
    import diffrax
    import jax
    import jax.numpy as jnp

    inputs, start = jnp.asarray(x.numpy()), jnp.asarray(weights.numpy())

    def slope(t: Any, y: Any, _: Any) -> Any:
        w, r = y
        shown = inputs[jnp.minimum(jnp.floor(t / (HOLD * DT) + 1e-3).astype(int), CHANGES - 1)]
        return RATE * (r[:, None] * shown[None] - (r * r)[:, None] * w), w @ shown - r

    def by_diffrax(w: Any) -> Any:
        y0 = (w, jnp.zeros(w.shape[0]))
        sol = diffrax.diffeqsolve(diffrax.ODETerm(slope), diffrax.Euler(), 0.0, STEPS * DT, DT, y0, max_steps=STEPS + 8)
        return sol.ys[0][-1]

    def by_scan(w: Any) -> Any:
        def step(y: Any, k: Any) -> Any:
            d = slope(k * DT, y, None)
            return (y[0] + DT * d[0], y[1] + DT * d[1]), None

        return jax.lax.scan(step, (w, jnp.zeros(w.shape[0])), jnp.arange(STEPS))[0][0]

    found: dict[str, Callable[[], Any]] = {}
    for name, run in (("diffrax Euler, jit", by_diffrax), ("lax.scan, jit", by_scan)):
        one = jax.jit(jax.vmap(run) if weights.dim() == 3 else run)
        found[name] = lambda one=one: one(start).block_until_ready()  # type: ignore[misc]
    return found


def spiking_calls(weights: torch.Tensor, x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Brian2 and Nengo for one seed, those that can be imported; a message for the others."""
    problem = (weights, x, DT, HOLD, RATE)
    made: dict[str, Callable[[], Any]] = {
        "Brian2": lambda: (spiking_peers.brian2(), partial(spiking_peers.oja_by_brian2, *problem))[1],
        "Nengo": lambda: spiking_peers.OjaByNengo(*problem),
    }
    found: dict[str, Callable[[], Any]] = {}
    for name, make in made.items():
        try:
            found[name] = make()
        except ImportError as missing:
            print(f"{name} is left out: {missing}")
    return found


def small() -> tuple[ct.Network, ct.Presentations]:
    random = torch.Generator().manual_seed(0)
    x, y = torch.rand(32, 20, generator=random), torch.randint(0, 10, (32,), generator=random)
    net = ct.Network([20, 30, 10], 10, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    return net, ct.Presentations(x, y, 32, duration=200.0)


def table(title: str, found: dict[str, float], base: str) -> None:
    with Table(title, "run", "ms", f"ratio to {base}", drawn="ms") as row:
        for name, value in found.items():
            row(name, value, value / found[base])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    has_jax = importlib.util.find_spec("jax") is not None and importlib.util.find_spec("diffrax") is not None
    print(f"torch {torch.__version__}, {args.threads} thread(s), float32{'' if has_jax else '; jax is not installed'}")
    net, stim, x = oja()
    compiled, plain = ct.solvers.Euler(dt=DT, compile=True), ct.solvers.FactoredEuler(dt=DT)
    one = net.initial_state(0)["W.1"]
    calls: dict[str, Callable[[], Any]] = {
        "torch loop, in place": lambda: torch_loop(one, x),
        "FactoredEuler (in place)": lambda: ct.simulate(net, stim, plain),
        "compile=True": lambda: ct.simulate(net, stim, compiled),
    }
    table(
        "Oja, one seed",
        medians(args.repeats, {**calls, **(jax_calls(one, x) if has_jax else {}), **spiking_calls(one, x)}),
        "torch loop, in place",
    )
    many = torch.stack([net.initial_state(k)["W.1"] for k in range(64)])
    calls = {
        "torch loop, batched": lambda: torch_loop(many, x),
        "FactoredEuler, ensemble=64": lambda: ct.simulate(net, stim, plain, ensemble=64),
        "compile=True, ensemble=64": lambda: ct.simulate(net, stim, compiled, ensemble=64),
    }
    table(
        "Oja, 64 seeds",
        medians(args.repeats, {**calls, **(jax_calls(many, x) if has_jax else {})}),
        "torch loop, batched",
    )
    net2, stim2 = small()
    calls = {
        "FactoredEuler (in place)": lambda: ct.simulate(net2, stim2, plain),
        "Euler (torchdiffeq)": lambda: ct.simulate(net2, stim2, ct.solvers.Euler(dt=DT)),
        "compile=True": lambda: ct.simulate(net2, stim2, compiled),
    }
    if has_jax:
        calls["diffrax Euler, jit"] = peers.by_diffrax_euler([net2.initial_state(0, 32)], stim2, DT)
    found = medians(args.repeats, calls)
    table("20-30-10, batch 32, 2,000 steps", found, "FactoredEuler (in place)")
    calls = {
        "FactoredEuler, ensemble=64": lambda: ct.simulate(net2, stim2, plain, ensemble=64),
        "compile=True, ensemble=64": lambda: ct.simulate(net2, stim2, compiled, ensemble=64),
    }
    if has_jax:
        many_states = [net2.initial_state(k, 32) for k in range(64)]
        calls["diffrax Euler, jit of vmap"] = peers.by_diffrax_euler(many_states, stim2, DT)
    together = medians(args.repeats, calls)
    together = {"FactoredEuler, 64 runs in a loop (64 x one)": 64 * found["FactoredEuler (in place)"], **together}
    table("20-30-10, 64 seeds", together, "FactoredEuler, 64 runs in a loop (64 x one)")


if __name__ == "__main__":
    main()
