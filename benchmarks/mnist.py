"""MNIST as a stream: a new batch every tau, Euler with dt = tau, one right-hand side per batch.

    CTSIGPROP_DATA=/path/to/data python benchmarks/mnist.py --epochs 3

reads $CTSIGPROP_DATA/mnist/*-ubyte.gz, trains 784-500-500 and prints test accuracy and cost per epoch.
"""

from __future__ import annotations

import argparse
import os
import sys

import ctsigprop as ct


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--hidden", type=int, nargs="+", default=[500, 500])
    parser.add_argument("--rate", type=float, default=4.0)
    parser.add_argument("--beta", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    root = os.environ.get("CTSIGPROP_DATA")
    if root is None:
        sys.exit("set CTSIGPROP_DATA to the folder that holds mnist/ with the four IDX files")
    data = ct.datasets.mnist(root)
    network = ct.Network(
        [784, *args.hidden],
        n_classes=10,
        signal=ct.TargetStream(contrast=ct.rules.SoftmaxCosine(beta=args.beta)),
        rule=ct.rules.ContrastiveHebbian(rate=args.rate),
    )
    state = None
    print("| epoch | accuracy per layer | right-hand sides | seconds |\n|---|---|---|---|")
    for epoch in range(args.epochs):
        stimulus = ct.Presentations(data.x_train, data.y_train, 100, seed=args.seed * 1000 + epoch)
        sol = ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0), state=state, seed=args.seed)
        state = sol.final
        layers = range(1, len(network.layers) + 1)
        scores = "  ".join(f"{network.score(state, data.x_test, data.y_test, layer=i):.4f}" for i in layers)
        print(
            f"| {epoch + 1} | {scores} | {sol.stats['rhs_evaluations']} | {sol.stats['wall_seconds']:.1f} |", flush=True
        )
        if not sol.status.ok:
            sys.exit(sol.message)


if __name__ == "__main__":
    main()
