"""100 Poisson inputs -> 400 LIF -> 10 LIF, pair STDP on the first projection, 1,000 steps of 1 ms, batch 1 and 64.

    python benchmarks/stdp.py

prints milliseconds per run (medians, the runs taken in turns) and the ratio to a plain torch loop with the same
equations, written by hand; beside them snnTorch, Norse, BindsNET and Brian2 where they can be imported (Norse and
BindsNET ask for torchvision, whose usual build brings CUDA, so the extra `bench` does not have them). All draw their
own input spikes; the spikes of both layers tell that they do the same work. Brian2 (`spiking_peers.py`) has no batches
that share weights, so batch 64 is 64 copies that each learn weights of their own; its time is that of the steps alone,
without code generation and without setting the network up, which the times of the others include.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import spiking_peers  # type: ignore[import-not-found]  # it stands beside this script
import torch
from report import Spent, Table, medians  # type: ignore[import-not-found]  # it stands beside this script

import ctsigprop as ct

INPUTS, HIDDEN, OUTPUTS, STEPS = 100, 400, 10, 1000
TAU, TAU_STDP, RATE = 20.0, 20.0, 1e-4
P = 0.02  # spikes per ms of every input
Counts = tuple[float, float]


def start(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights at the start."""
    random = torch.Generator().manual_seed(seed)
    first = torch.rand(HIDDEN, INPUTS, generator=random) * 0.1
    return first, torch.rand(OUTPUTS, HIDDEN, generator=random) * 0.02


def plain(batch: int) -> Counts:
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


def toolkit(batch: int, fast: bool = False) -> Counts:
    """The same network as a user of the toolkit writes it."""
    neuron = ct.LIF(tau=TAU, reset=0.0)
    rule = ct.rules.STDP(rate=RATE, tau_plus=TAU_STDP, tau_minus=TAU_STDP)
    network = ct.Network([INPUTS, HIDDEN, OUTPUTS], neuron=neuron, rule=[rule, None], bias=False)
    first, second = start(0)
    state = network.initial_state(rows=batch).replace({"W.1": first, "W.2": second})
    x = torch.ones(batch, INPUTS)
    encoder = ct.Poisson(rate=P, dt=1.0, seed=1)
    stimulus = ct.Presentations(x, None, batch, duration=float(STEPS), encoder=encoder)
    sol = ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=1.0, compile=fast), state=state)
    return float(sol.final["n.1"].mean()), float(sol.final["n.2"].mean())


def snntorch(batch: int) -> Counts:
    """`Leaky` neurons and the library's `STDPLearner`."""
    import snntorch
    from snntorch.functional.stdp_learner import STDPLearner

    first, second = (torch.nn.Linear(*sizes, bias=False) for sizes in ((INPUTS, HIDDEN), (HIDDEN, OUTPUTS)))
    settings: dict[str, Any] = {"beta": math.exp(-1 / TAU), "reset_mechanism": "zero", "init_hidden": True}
    hidden, output = snntorch.Leaky(**settings), snntorch.Leaky(**settings)
    up, down = RATE / batch, 1.05 * RATE / batch
    learner = STDPLearner(first, hidden, TAU, TAU, f_pre=lambda w: down, f_post=lambda w: up)
    random = torch.Generator().manual_seed(1)
    n1, n2 = torch.zeros(batch, HIDDEN), torch.zeros(batch, OUTPUTS)
    with torch.no_grad():
        for layer, weight in zip((first, second), start(0), strict=True):
            layer.weight.copy_(weight)
        for _ in range(STEPS):
            s1 = hidden(first((torch.rand(batch, INPUTS, generator=random) < P).float()))
            first.weight += learner.step(on_grad=False)
            s2 = output(second(s1))
            n1 += s1
            n2 += s2
    return float(n1.mean()), float(n2.mean())


def norse(batch: int) -> Counts:
    """`LIFBoxCell` neurons and the library's `stdp_step_linear`; it counts time in seconds."""
    from norse.torch import LIFBoxCell, LIFBoxParameters
    from norse.torch.functional.stdp import STDPParameters, STDPState, stdp_step_linear

    w1, w2 = start(0)
    inverse = torch.tensor(1000.0 / TAU)
    cells = [LIFBoxCell(LIFBoxParameters(tau_mem_inv=inverse), dt=1e-3) for _ in range(2)]
    settings: dict[str, Any] = {"a_pre": TAU, "a_post": TAU, "tau_pre_inv": inverse, "tau_post_inv": inverse}
    rule = STDPParameters(**settings, eta_plus=RATE / batch, eta_minus=1.05 * RATE / batch, hardbound=False)
    traces = STDPState(torch.zeros(batch, INPUTS), torch.zeros(batch, HIDDEN))
    random = torch.Generator().manual_seed(1)
    v1 = v2 = None
    n1, n2 = torch.zeros(batch, HIDDEN), torch.zeros(batch, OUTPUTS)
    with torch.no_grad():
        for _ in range(STEPS):
            s0 = (torch.rand(batch, INPUTS, generator=random) < P).float()
            s1, v1 = cells[0](TAU * (s0 @ w1.T), v1)
            w1, traces = stdp_step_linear(s0, s1, w1, traces, rule, dt=1e-3)
            s2, v2 = cells[1](TAU * (s1 @ w2.T), v2)
            n1 += s1
            n2 += s2
    return float(n1.mean()), float(n2.mean())


def bindsnet(batch: int) -> Counts:
    """`LIFNodes`, and `PostPre` on the first connection."""
    from bindsnet.learning import PostPre
    from bindsnet.network import Network
    from bindsnet.network.monitors import Monitor
    from bindsnet.network.nodes import Input, LIFNodes
    from bindsnet.network.topology import Connection

    w1, w2 = start(0)
    settings: dict[str, Any] = {"thresh": 1.0, "rest": 0.0, "reset": 0.0, "refrac": 0, "tc_decay": TAU}
    traced: dict[str, Any] = {"traces": True, "tc_trace": TAU, "traces_additive": True}
    network = Network(dt=1.0, batch_size=batch)
    inputs, hidden, output = Input(INPUTS, **traced), LIFNodes(HIDDEN, **settings, **traced), LIFNodes(10, **settings)
    for name, nodes in (("X", inputs), ("H", hidden), ("Y", output)):
        network.add_layer(nodes, name)
    rule: dict[str, Any] = {"update_rule": PostPre, "nu": (1.05 * RATE, RATE), "reduction": torch.mean}
    network.add_connection(Connection(inputs, hidden, w=w1.T.clone(), **rule), "X", "H")
    network.add_connection(Connection(hidden, output, w=w2.T.clone()), "H", "Y")
    counts = {name: Monitor(layer, ["s"], time=STEPS) for name, layer in (("H", hidden), ("Y", output))}
    for name, monitor in counts.items():
        network.add_monitor(monitor, name)
    random = torch.Generator().manual_seed(1)
    network.run({"X": torch.rand(STEPS, batch, INPUTS, generator=random) < P}, time=STEPS)
    n1, n2 = (monitor.get("s").float().sum(0).mean() for monitor in counts.values())
    return float(n1), float(n2)


def brian2(batch: int) -> Spent:
    """Copies of the network, as there are no batches; the time is that of the steps."""
    found: Spent = spiking_peers.stdp_by_brian2(start(0), batch, STEPS, P, TAU, TAU_STDP, RATE)
    return found


PEERS = {"snnTorch": snntorch, "Norse": norse, "BindsNET": bindsnet, "Brian2": brian2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--no-peers", action="store_true", help="leave the other libraries out")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    every: dict[str, Callable[[int], Counts | Spent]] = {
        "plain torch loop": plain,
        "ctsigprop, Hybrid(dt=1.0)": toolkit,
        "ctsigprop, Hybrid(dt=1.0, compile=True)": partial(toolkit, fast=True),
    }
    every |= {} if args.no_peers else PEERS
    columns = ("batch", "run", "ms", "ratio to the plain loop", "spikes per unit")
    for batch in args.batches:
        runs, spikes = dict(every), {}
        with Table(f"STDP, batch {batch}", *columns, drawn="ms") as row:
            for name, run in every.items():
                try:
                    found = run(batch)
                    spikes[name] = found.found if isinstance(found, Spent) else found
                except (ImportError, RuntimeError) as missing:
                    row(batch, name, f"left out: {str(missing).splitlines()[0]}", "", "")
                    del runs[name]
            times = medians(args.repeats, {name: partial(run, batch) for name, run in runs.items()})
            for name, ms in times.items():
                counted = ", ".join(f"{n:.2f}" for n in spikes[name])
                row(batch, name, ms, ms / times["plain torch loop"], counted)


if __name__ == "__main__":
    main()
