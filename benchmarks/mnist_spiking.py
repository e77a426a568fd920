"""MNIST with spikes: dense 784-500-500 LIF, constant current, 20 steps a batch, plastic after step 8 (voltage: 14).

    CTSIGPROP_DATA=/path/to/data python benchmarks/mnist_spiking.py --rules voltage fast_sigmoid boxcar --epochs 3

prints test accuracy of both layers and the cost for each rule and epoch: `hebbian`, `voltage`, and the surrogate rule
with each of its derivatives. Prediction is label-free: rates (or potentials) averaged over 8 tau of constant current,
on the grid that the network learned on.

A layer that learns by its potentials alone is close to linear, and tends to as many directions as there are classes:
its spikes are then worth little to the next one. Under the voltage rule the first layer therefore learns slowly, from
receptive fields of 6 to 14 pixels at random places, each of which sums to zero, and from weights large enough to spike;
the target generator is large enough for the target stream to spike too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

import ctsigprop as ct
from ctsigprop.rules.surrogates import SURROGATES


@dataclass(frozen=True)
class Settings:
    """Learning rate of each layer, factor on them in each epoch (the last one stays), factors on the weights of layer 2
    and on the target generator at the start, inverse temperature of the contrast, the step from which weights are
    plastic; sides of the receptive fields that layer 1 starts from, None for weights everywhere.
    """

    rates: Sequence[float] = (4.0, 4.0)
    cooling: Sequence[float] = (1.0,)
    gain: float = 1.0
    generator: float = 1.0
    beta: float = 20.0
    plastic: int = 8
    fields: tuple[int, int] | None = None


VOLTAGE = Settings((0.2, 32.0), cooling=(1.0, 0.5, 0.0625), gain=2.0, generator=8.0, plastic=14, fields=(6, 14))
SETTINGS = {"voltage": VOLTAGE}
"""Where a rule has its own."""


def receptive_fields(units: int, sides: tuple[int, int], images: torch.Tensor, spread: float = 1.5) -> torch.Tensor:
    """Weights (units, 784) within rectangles at random places, summing to 0, scaled to this deviation of the drive."""
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(units, 28, 28, generator=random)
    for field in weights:
        height, width = (int(torch.randint(sides[0], sides[1] + 1, (1,), generator=random)) for _ in range(2))
        top, left = (int(torch.randint(0, 29 - side, (1,), generator=random)) for side in (height, width))
        inside = torch.zeros_like(field)
        inside[top : top + height, left : left + width] = 1.0
        field -= field[inside > 0].mean()
        field *= inside
    flat = weights.view(units, 784)
    return flat * (spread / (images @ flat.mT).std())


def rule_called(name: str, rate: float) -> ct.rules.Rule:
    if name == "voltage":
        return ct.rules.Voltage(rate=rate)
    if name == "hebbian":
        return ct.rules.ContrastiveHebbian(rate=rate / 4)
    return ct.rules.Surrogate(rate=rate, psi=name)


def network_of(hidden: Sequence[int], name: str, own: Settings, share: float = 1.0) -> ct.Network:
    """The network taught by the rule of this name, at a share of its rates."""
    return ct.Network(
        [784, *hidden],
        n_classes=10,
        neuron=ct.LIF(),
        signal=ct.TargetStream(contrast=ct.rules.SoftmaxCosine(beta=own.beta)),
        rule=[rule_called(name, share * rate) for rate in own.rates],
    )


def main() -> None:
    every = ["hebbian", "voltage", *SURROGATES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=every, choices=every)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--hidden", type=int, nargs=2, default=[500, 500])
    parser.add_argument("--rates", type=float, nargs=2, default=None)
    parser.add_argument("--beta", type=float, default=None)
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
    given = {name: value for name in ("rates", "beta") if (value := getattr(args, name)) is not None}
    for name in args.rules:
        own = replace(SETTINGS.get(name, Settings()), **given)
        state = network_of(args.hidden, name, own).initial_state(args.seed, 100)
        state = state.replace({"W.2": own.gain * state["W.2"], "S": own.generator * state["S"]})
        if own.fields is not None:
            state = state.replace({"W.1": receptive_fields(args.hidden[0], own.fields, torch.as_tensor(x[:2000]))})
        for epoch in range(args.epochs):
            seed, dt = args.seed * 1000 + epoch, args.dt
            network = network_of(args.hidden, name, own, own.cooling[min(epoch, len(own.cooling) - 1)])
            stimulus = ct.Presentations(x, y, 100, duration=20 * dt, gate=(own.plastic * dt, 20 * dt), seed=seed)
            sol = ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=dt), state=state)
            if not sol.status.ok:
                sys.exit(sol.message)
            state = sol.final
            layers = range(1, len(network.layers) + 1)
            scores = "  ".join(f"{network.score(state, data.x_test, data.y_test, layer=i, dt=dt):.4f}" for i in layers)
            cost = f"{sol.stats['steps']} | {sol.stats['wall_seconds']:.1f}"
            print(f"| {name} | {epoch + 1} | {scores} | {cost} |", flush=True)


if __name__ == "__main__":
    main()
