"""MNIST, the two-block convolutional spiking network: 20 and 40 channels 3x3, pooling 2, dense 128; 4 steps a batch.

    CTSIGPROP_DATA=/path/to/data python benchmarks/mnist_convolution.py --rules surrogate voltage --epochs 5

prints test error of every layer and the cost for each rule and epoch, next to the errors that a third party quotes from
the paper for its own network. Test samples are shown as training ones are, 4 steps each, with plasticity off, where
labels reach nothing; the prediction is the class whose target stream is nearest to the input stream in rates (in
potentials, for the voltage rule) at the end of the fourth step. Weights change once a batch, in the first step of the
next one, whose beginning finds activities and traces as four steps left them: the label, which a layer hands on with
a delay, has then arrived.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import numpy as np
import torch

import ctsigprop as ct

STEPS = 4
RATES = {"surrogate": (2e4, 4e3, 15.0), "voltage": (2e3, 300.0, 4.0)}
"""Learning rate of each layer. A layer's signal falls with the square of its activity's norm, some 30 in the first."""
PAPER = {"surrogate": 1.01, "voltage": 2.63, "backprop through a surrogate": 0.84, "only the top layer trained": 7.24}


def network_of(args: argparse.Namespace, name: str | None, share: float = 1.0) -> ct.Network:
    """The network, its layers taught by the rule of this name at a share of their rates, or (None) at rest."""
    layers = [ct.Conv2d(c, padding=1, pool=2, pooling=args.pooling) for c in args.channels]
    kind = {"surrogate": ct.rules.Surrogate, "voltage": ct.rules.Voltage}
    rules: Any = None if name is None else [kind[name](rate=share * rate) for rate in args.rates or RATES[name]]
    return ct.Network(
        [(1, 28, 28), *layers, *args.dense],
        n_classes=10,
        neuron=ct.LIF(tau=args.tau, tau_rate=args.tau_rate),
        signal=ct.TargetStream(contrast=ct.rules.SoftmaxCosine(beta=args.beta, kappa=args.kappa)),
        rule=rules,
    )


def errors(args: argparse.Namespace, state: ct.State, data: Any, what: str) -> list[float]:
    """Share of test samples that each layer gets wrong, in percent."""
    network = network_of(args, None)
    x, y = data.x_test[: args.tests], np.asarray(data.y_test[: args.tests])
    own = network.initial_state(0, args.batch)
    start = own.replace({name: state[name] for name in own if name[0] in "WSb"})
    wrong = [0] * len(network.layers)
    right: list[list[np.ndarray]] = [[] for _ in network.layers]
    signal: Any = network.signal

    def answers(now: ct.State) -> float:
        for i, found in enumerate(right, start=1):
            streams = now[f"{what}.{i}"]
            found.append(signal.similarity(streams[: args.batch], streams[args.batch :]).argmax(-1).cpu().numpy())
        return 0.0

    ends = [(k + 1) * STEPS for k in range(-(-len(x) // args.batch))]
    stimulus = ct.Presentations(x, y, args.batch, duration=float(STEPS), shuffle=False)
    probe = ct.Probe(answers, times=[float(t) for t in ends], name="answers")
    sol = ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=1.0), state=start, probes=[probe])
    if not sol.status.ok:
        sys.exit(sol.message)
    for i, found in enumerate(right):
        guess = np.concatenate(found[-len(ends) :])[: len(y)]
        wrong[i] = int((guess != y).sum())
    return [100 * count / len(y) for count in wrong]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=["surrogate", "voltage"], choices=["surrogate", "voltage"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--channels", type=int, nargs="+", default=[20, 40])
    parser.add_argument("--dense", type=int, nargs="+", default=[128])
    parser.add_argument("--pooling", default="average", choices=["average", "max"])
    parser.add_argument("--rates", type=float, nargs="+", default=None, help="learning rate of each layer")
    parser.add_argument("--cooling", type=float, default=0.8, help="factor on all rates from epoch to epoch")
    parser.add_argument("--gains", type=float, nargs="+", default=[2.0, 2.0, 6.0], help="factor on W of each layer")
    parser.add_argument("--beta", type=float, default=20.0)
    parser.add_argument("--kappa", type=float, default=1.0)
    parser.add_argument("--tau", type=float, default=0.5, help="membrane time constant in steps")
    parser.add_argument("--tau-rate", type=float, default=None, help="time constant of the rates in steps; default tau")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=None, help="training samples to use; default all")
    parser.add_argument("--tests", type=int, default=None, help="test samples to use; default all")
    args = parser.parse_args()
    root = os.environ.get("CTSIGPROP_DATA")
    if root is None:
        sys.exit("set CTSIGPROP_DATA to the folder that holds mnist/ with the four IDX files")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    data = ct.datasets.mnist(root)
    x, y = data.x_train[: args.samples], data.y_train[: args.samples]
    print("| rule | epoch | test error per layer, % | steps | seconds |\n|---|---|---|---|---|", flush=True)
    for name in args.rules:
        state = network_of(args, name).initial_state(args.seed)
        state = state.replace({f"W.{i}": gain * state[f"W.{i}"] for i, gain in enumerate(args.gains, start=1)})
        for epoch in range(args.epochs):
            network = network_of(args, name, args.cooling**epoch)
            stimulus = ct.Presentations(x, y, args.batch, float(STEPS), gate=(0.0, 1.0), seed=args.seed * 1000 + epoch)
            sol = ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=1.0), state=state)
            if not sol.status.ok:
                sys.exit(sol.message)
            state = sol.final
            found = "  ".join(f"{e:.2f}" for e in errors(args, state, data, "v" if name == "voltage" else "r"))
            cost = f"{sol.stats['steps']} | {sol.stats['wall_seconds']:.1f}"
            print(f"| {name} | {epoch + 1} | {found} | {cost} |", flush=True)
    print("\nErrors of the paper's network, as quoted by a third party, in %: ", end="")
    print(", ".join(f"{name} {value:.2f}" for name, value in PAPER.items()))


if __name__ == "__main__":
    main()
