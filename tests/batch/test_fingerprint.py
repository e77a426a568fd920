"""Fingerprints: equal for the same in another process, different where a number, a datum or a line of code differs."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.batch.fingerprint import Fingerprint

ROOT = Path(__file__).parents[2]
SHIFT = 1.0


def of(*values: Any) -> str:
    return Fingerprint().of(*values)


def network(**changes: Any) -> ct.Network:
    given: dict[str, Any] = {"n_classes": 3, "signal": ct.TargetStream(), "rule": ct.rules.ContrastiveHebbian(rate=2.0)}
    return ct.Network([4, 5], **{**given, **changes})


def shown(**changes: Any) -> ct.Presentations:
    x = torch.arange(24, dtype=torch.float32).reshape(6, 4)
    return ct.Presentations(**{"x": x, "y": torch.tensor([0, 1, 2, 0, 1, 2]), "batch_size": 3, **changes})


def test_what_is_the_same_has_one_fingerprint() -> None:
    assert of(network(), shown()) == of(network(), shown())
    assert of({"a": 1, "b": 2.0}) == of({"b": 2.0, "a": 1})
    net = network()
    before = of(net)
    assert net.weight_shapes  # a cached property
    assert of(net) == before


def test_it_is_the_same_in_another_process() -> None:
    code = "from tests.batch.test_fingerprint import *; print(of(network(), shown(), everything()))"
    env = {**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=ROOT
    ).stdout
    assert out.strip() == of(network(), shown(), everything())


def everything() -> list[Any]:
    """One of each kind that has a fingerprint."""
    own = lambda x: {"a", "b", "c"} and x + SHIFT  # noqa: E731
    some = [
        None,
        True,
        1,
        1.5,
        "x",
        b"x",
        range(3),
        {"s", "t"},
        (1, [2]),
        np.float32(2),
        np.arange(3),
        ct.Status.COMPLETED,
    ]
    rules = [cls() for name, cls in sorted(ct.rules.table.RULES.items()) if name in ("oja", "bcm", "hebb")]
    return [*some, *rules, own, functools.partial(own, x=2), torch.nn.Linear(1, 1).weight.shape, torch.float64, len]


VARIANTS: dict[str, Any] = {
    "same": (network(), shown()),
    "rate": (network(rule=ct.rules.ContrastiveHebbian(rate=2.0000001)), shown()),
    "rule": (network(rule=ct.rules.Hebb(rate=2.0)), shown()),
    "tau": (network(neuron=ct.Rate(tau=1.5)), shown()),
    "bias": (network(bias=False), shown()),
    "signal": (network(signal=ct.TargetStream(generator="fixed")), shown()),
    "contrast": (network(signal=ct.TargetStream(contrast=ct.rules.SoftmaxCosine(kappa=2.0))), shown()),
    "data": (network(), shown(x=torch.arange(24, dtype=torch.float32).reshape(6, 4) + 1e-3)),
    "dtype": (network(), shown(x=torch.arange(24, dtype=torch.float64).reshape(6, 4))),
    "labels": (network(), shown(y=torch.tensor([0, 1, 2, 0, 2, 1]))),
    "batch": (network(), shown(batch_size=2)),
    "gate": (network(), shown(gate=(0.5, 1.0))),
    "function": (network(), shown(gate=lambda t: 1.0)),
    "other function": (network(), shown(gate=lambda t: 2.0)),
}


def test_whatever_differs_has_another_fingerprint() -> None:
    found = {name: of(*value) for name, value in VARIANTS.items()}
    assert len(set(found.values())) == len(found)


def test_functions_count_by_code_by_what_they_enclose_and_by_what_they_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def adding(amount: Any) -> Any:
        return lambda x: x + amount + SHIFT

    assert of(adding(1)) == of(adding(1))
    assert of(adding(1)) != of(adding(2))
    assert of(adding(torch.zeros(3))) != of(adding(torch.ones(3)))
    before = of(adding(1))
    monkeypatch.setitem(globals(), "SHIFT", 2.0)
    assert of(adding(1)) != before


def test_own_classes_count_by_their_code_and_parameters() -> None:
    def module(slope: float, body: str) -> Any:
        space: dict[str, Any] = {"nn": torch.nn, "torch": torch, "__name__": "notebook"}
        exec(f"class Own(nn.Module):\n    tau = 1.0\n    def flow(self, x):\n        return {body}", space)
        own = space["Own"]()
        own.slope = torch.nn.Parameter(torch.tensor(slope))
        return own

    assert of(module(1.0, "x")) == of(module(1.0, "x"))
    assert of(module(1.0, "x")) != of(module(1.5, "x"))
    assert of(module(1.0, "x")) != of(module(1.0, "x + 1"))


def test_numbers_that_print_alike_differ_and_circles_end() -> None:
    assert of(1) != of(1.0) != of(True)
    assert of(0.1 + 0.2) != of(0.3)
    assert of(0.0) != of(-0.0)
    loop: list[Any] = [1]
    loop.append(loop)
    assert of(loop) != of([1])
    with pytest.raises(TypeError, match="a configuration must be made of numbers"):
        of(object())
