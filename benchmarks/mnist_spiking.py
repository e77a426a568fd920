"""MNIST with spikes: dense 784-500-500 LIF, constant current, 20 steps for each batch, plastic after step 8.

    CTSIGPROP_DATA=/path/to/data python benchmarks/mnist_spiking.py --rules voltage fast_sigmoid boxcar --epochs 3

prints test accuracy of both layers and the cost for each rule and epoch: `hebbian`, `voltage`, and the surrogate rule
with each of its derivatives. Prediction is label-free: rates (or potentials) averaged over 8 tau of constant current.
"""

from __future__ import annotations

import argparse
import os
import sys

import torch

import ctsigprop as ct
from ctsigprop.rules.surrogates import SURROGATES


def rule_called(name: str, rate: float) -> ct.rules.Rule:
    if name == "voltage":
        return ct.rules.Voltage(rate=rate)
    if name == "hebbian":
        return ct.rules.ContrastiveHebbian(rate=rate / 4)
    return ct.rules.Surrogate(rate=rate, psi=name)


def main() -> None:
    every = ["hebbian", "voltage", *SURROGATES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=every, choices=every)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--hidden", type=int, nargs="+", default=[500, 500])
    parser.add_argument("--rate", type=float, default=4.0)
    parser.add_argument("--beta", type=float, default=20.0)
    parser.add_argument("--kappa", type=float, default=1.0)
    parser.add_argument("--dt", type=float, default=0.25, help="length of a step in units of tau")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=None, help="training samples to use; default all")
    args = parser.parse_args()
    root = os.environ.get("CTSIGPROP_DATA")
    if root is None:
        sys.exit("set CTSIGPROP_DATA to the folder that holds mnist/ with the four IDX files")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    data = ct.datasets.mnist(root)
    x, y = data.x_train[: args.samples], data.y_train[: args.samples]
    print("| rule | epoch | accuracy per layer | steps | seconds |\n|---|---|---|---|---|")
    for name in args.rules:
        network = ct.Network(
            [784, *args.hidden],
            n_classes=10,
            neuron=ct.LIF(),
            signal=ct.TargetStream(contrast=ct.rules.SoftmaxCosine(beta=args.beta, kappa=args.kappa)),
            rule=rule_called(name, args.rate),
        )
        state = None
        for epoch in range(args.epochs):
            seed = args.seed * 1000 + epoch
            stimulus = ct.Presentations(x, y, 100, duration=20 * args.dt, gate=(8 * args.dt, 20 * args.dt), seed=seed)
            sol = ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=args.dt), state=state, seed=args.seed)
            if not sol.status.ok:
                sys.exit(sol.message)
            state = sol.final
            layers = range(1, len(network.layers) + 1)
            scores = "  ".join(f"{network.score(state, data.x_test, data.y_test, layer=i):.4f}" for i in layers)
            cost = f"{sol.stats['steps']} | {sol.stats['wall_seconds']:.1f}"
            print(f"| {name} | {epoch + 1} | {scores} | {cost} |", flush=True)


if __name__ == "__main__":
    main()
