"""What the folder `former` holds: a store of runs and some fingerprints, all made by the code of commit a8aa12d.

`former/parts.json` has the settings and the fingerprint of every part of a network; `former/wholes.json` the
fingerprints of `wholes()`; `former/store` is the store of `sweep_of()`. Made anew they would prove nothing.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

import ctsigprop as ct
from ctsigprop.batch.job import Budget
from ctsigprop.batch.measures import METRICS, Test

FOLDER = Path(__file__).with_name("former")
X = torch.arange(96, dtype=torch.float64).reshape(12, 8) % 7 / 8
"""Numbers that are the same on every machine."""
Y = torch.arange(12) % 3


def network(rule: ct.rules.Rule, **changes: Any) -> ct.Network:
    given: dict[str, Any] = {"neuron": ct.Rate(tau=1.0, activation="relu"), "signal": target_stream(), **changes}
    return ct.Network([8, 5], n_classes=3, rule=rule, **given)


def target_stream() -> ct.TargetStream:
    contrast = ct.rules.SoftmaxCosine(beta=10.0, kappa=1.0)
    return ct.TargetStream(per="class", generator="learned", contrast=contrast, match="one")


def contrastive(rate: float) -> ct.rules.Rule:
    return ct.rules.ContrastiveHebbian(rate=rate, decay=0.0, traces=True)


def euler() -> ct.solvers.Solver:
    return ct.solvers.Euler(dt=1.0, max_steps=None, compile=False)


def wholes() -> dict[str, Any]:
    """Networks, stimuli and the parts of a batch, every setting written out."""
    oja = ct.rules.Oja(rate=0.01, traces=False)
    scaling = ct.rules.Scaling(rate=0.01, target=0.5, tau_mean=10.0, traces=False)
    lif: dict[str, Any] = {"tau": 1.0, "threshold": 1.0, "tau_syn": None, "refractory": 0.0}
    total: Any = torch.sum
    conv = ct.Conv2d(channels=2, kernel=3, stride=1, padding=0, pool=2, pooling="max")
    return {
        "dense": network(contrastive(2.0)),
        "convolutional": ct.Network([(1, 8, 8), conv, 4], n_classes=3, signal=target_stream(), rule=contrastive(1.0)),
        "no bias, no signal": ct.Network([8, 3], signal=None, rule=oja, bias=False),
        "sum": network(oja + 0.5 * scaling, signal=None),
        "one for each layer": ct.Network([8, 5, 4], neuron=[ct.Rate(), ct.LIF(**lif)], rule=[oja, None]),
        "own activation": network(oja, neuron=ct.Rate(activation=ct.Activation(torch.sin, torch.cos)), signal=None),
        "presentations": ct.Presentations(X, Y, 4, 1.0, 2, 3, (0.25, 0.75), True),
        "no labels": ct.Presentations(X, None, 4, 1.0, 2, 3, None, False),
        "spikes": ct.Presentations(X, Y, 4, encoder=ct.Poisson(rate=5.0, dt=0.01, seed=1)),
        "function": ct.Stimulus.from_function(functools.partial(torch.full, (2, 8)), duration=3.0, switches=[1.0]),
        "trains": ct.SpikeTrains([[0.5, 1.0], [0.25]], 2.0, None, torch.float64),
        "test": Test(X, Y),
        "metrics": METRICS,
        "budgets": [Budget(), Budget("rhs", 100)],
        "stop": ct.StopBelow("accuracy", least=0.5, after=0.25),
        "reward": ct.rules.ThreeFactor(oja, ct.rules.Reward(total, 50.0), tau_e=2.0, rate=1.0),
        "status": ct.Status.COMPLETED,
    }


def build(rate: float, rule: str) -> ct.Network:
    if rule == "contrastive":
        return network(contrastive(rate))
    return network(ct.rules.Hebb(rate=rate / 100, decay=0.5, traces=False))


def sweep_of(store: Path | None, seeds: int = 2, **settings: Any) -> ct.Runs:
    """Eight runs under metrics and a stop of the library's own."""
    shown = ct.Presentations(X, Y, 4, 1.0, 2, 0, None, True)
    grid = {"rate": [1.0, 2.0], "rule": ["contrastive", "hebb"], **settings}
    return ct.sweep(
        build,
        grid,
        shown,
        seeds=seeds,
        test=(X + 0.125, Y),
        metrics=["accuracy", "margin"],
        stop=ct.StopBelow("accuracy", least=0.0, after=0.25),
        solver=euler(),
        store=store,
        n_jobs=1,
    )
