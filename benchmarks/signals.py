"""Digits: signal propagation beside its feedback alternatives, same presentations, five seeds each.

    python benchmarks/signals.py [--seeds 5] [--epochs 20]

Every batch is shown for 8 tau and weights may change during the last one, when activity and errors have settled.
Each signal runs in a process of its own, so that its peak memory is its own. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from statistics import mean, median

import torch

import ctsigprop as ct

SIGNALS: dict[str, tuple[ct.signals.Signal, float]] = {
    "sigprop, contrastive": (ct.TargetStream(per="class"), 4.0),
    "sigprop, pair difference": (ct.TargetStream(per="class", contrast="difference"), 4.0),
    "sigprop, batch-wise": (ct.TargetStream(per="sample", match="all", contrast="dot"), 0.1),
    "Backprop": (ct.Backprop(), 0.1),
    "FeedbackAlignment": (ct.FeedbackAlignment(), 0.3),
    "DirectFeedbackAlignment": (ct.DirectFeedbackAlignment(), 0.3),
    "KolenPollack": (ct.KolenPollack(decay=0.001), 0.3),
}


def network(signal: ct.signals.Signal, rate: float) -> ct.Network:
    rule = ct.rules.ContrastiveHebbian(rate=rate, traces=False)
    if isinstance(signal, ct.TargetStream):
        return ct.Network([64, 128, 128], n_classes=10, signal=signal, rule=rule)
    neurons = [ct.Rate(), ct.Rate(), ct.Rate(activation="linear")]
    return ct.Network([64, 128, 128, 10], n_classes=10, neuron=neurons, signal=signal, rule=rule)


def run(name: str, seeds: int, epochs: int) -> dict[str, list[float]]:
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {"accuracy": [], "evaluations": [], "seconds": []}
    for seed in range(seeds):
        data = ct.datasets.digits(seed=seed)
        stimulus = ct.Presentations(
            data.x_train, data.y_train, 64, duration=8.0, gate=(7.0, 8.0), epochs=epochs, seed=seed
        )
        net = network(*SIGNALS[name])
        sol = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), seed=seed)
        found["accuracy"].append(net.score(sol.final, data.x_test, data.y_test))
        found["evaluations"].append(sol.stats["rhs_evaluations"])
        found["seconds"].append(sol.stats["wall_seconds"])
    found["megabytes"] = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", choices=SIGNALS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(run(args.only, args.seeds, args.epochs)))
        return
    print("| signal | accuracy (mean, min ... max) | right-hand sides | seconds | peak memory |\n|---|---|---|---|---|")
    for name in SIGNALS:
        command = [sys.executable, __file__, "--only", name, "--seeds", str(args.seeds), "--epochs", str(args.epochs)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        score = found["accuracy"]
        print(
            f"| {name} | {mean(score):.4f}, {min(score):.4f} ... {max(score):.4f} | {found['evaluations'][0]:.0f} "
            f"| {median(found['seconds']):.1f} | {found['megabytes'][0]:.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
