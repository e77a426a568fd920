"""Fingerprints: equal for the same in another process, different where a number, a datum or a line of code differs."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import ctsigprop as ct
from ctsigprop.batch import identities, schedule
from ctsigprop.batch.fingerprint import FORMER, Fingerprint
from ctsigprop.batch.former import NotFormer
from ctsigprop.batch.measures import METRICS
from tests.batch import former

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


# ---------------------------------------------------------------------------------- moved modules, changed equations


@pytest.fixture
def unrevised(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no equation had changed since version 0.1."""
    monkeypatch.setattr(identities, "REVISIONS", {})
    monkeypatch.setattr("ctsigprop.batch.former.REVISIONS", {})


def stored(name: str) -> Any:
    return json.loads((former.FOLDER / f"{name}.json").read_text())


@pytest.mark.usefixtures("unrevised")
@pytest.mark.parametrize("name", stored("parts"))
def test_the_fingerprint_of_version_0_1_of_every_part_is_known(name: str) -> None:
    part = stored("parts")[name]
    assert Fingerprint(FORMER).of(identities.IDENTITIES[name](**part["settings"])) == part["fingerprint"]


@pytest.mark.usefixtures("unrevised")
@pytest.mark.parametrize("name", stored("wholes"))
def test_so_is_that_of_networks_stimuli_and_parts_of_a_batch(name: str) -> None:
    assert Fingerprint(FORMER).of(former.wholes()[name]) == stored("wholes")[name]


def moved(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cls, "__module__", "ctsigprop.some.room.of.its.own")


def test_a_moved_module_changes_no_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    def values() -> list[Any]:
        parts = [network(), shown(), ct.rules.Oja() + ct.rules.Scaling(), ct.LIF(), ct.solvers.Euler(dt=1.0), METRICS]
        return [*parts, own_rate(), ct.alignment, network]

    before = [of(value) for value in values()]
    known = Fingerprint(FORMER).of(values()[:6])
    for thing in identities.NAMES:
        moved(thing, monkeypatch)
    moved(ct.alignment, monkeypatch)
    assert [of(value) for value in values()] == before
    assert Fingerprint(FORMER).of(values()[:6]) == known


def own_rate() -> ct.Rate:
    class Own(ct.Rate):
        """A user's own."""

    return Own()


@pytest.mark.parametrize("name", ["rules/contrastive_hebbian", "neurons/rate", "signals/target_stream"])
def test_a_changed_equation_does_where_it_is_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lif = ct.Network([4, 5], neuron=ct.LIF())
    before, other = of(network(), shown()), of(lif)
    monkeypatch.setitem(identities.REVISIONS, name, 2)
    assert of(network(), shown()) != before
    assert of(lif) == other
    with pytest.raises(NotFormer, match=f"{name} is not what it was"):
        Fingerprint(FORMER).of(network(), shown())


def test_that_of_a_base_changes_what_a_user_derives_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(own_rate())
    monkeypatch.setitem(identities.REVISIONS, "neurons/rate", 2)
    assert of(own_rate()) != before


def test_a_setting_that_came_later_has_a_former_fingerprint_at_its_default_only() -> None:
    @dataclasses.dataclass(frozen=True)
    class Oja(ct.rules.Oja):
        """With a new setting."""

        noise: float = 0.0

    name = identities.NAMES[ct.rules.Oja]
    known = Fingerprint(FORMER).of(ct.rules.Oja())
    Oja.__module__ = ct.rules.Oja.__module__
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(identities.NAMES, Oja, name)
        assert Fingerprint(FORMER).of(Oja()) == known
        assert of(Oja()) != of(Oja(noise=1.0))
        with pytest.raises(NotFormer, match="rules/oja had no noise"):
            Fingerprint(FORMER).of(Oja(noise=1.0))


def test_everything_that_can_be_configured_has_a_name() -> None:
    """Every class of ours whose instances decide a run, that is all that the root exports and is no result or tool."""
    tools = {"Ensemble", "Neuron", "Probe", "Runs", "Sample", "Solution", "State", "Status", "Stimulus", "Trial"}
    estimators = {"SigPropClassifier", "SigPropRegressor"}
    errors = {"SimulationError", "Unreadable"}
    classes = {name for name in ct.__all__ if isinstance(getattr(ct, name), type)} - tools - estimators - errors
    assert {name for name in classes if getattr(ct, name) not in identities.NAMES} == set()
    assert len(identities.NAMES) == len(identities.IDENTITIES)


def test_a_sweep_of_version_0_1_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "runs"
    shutil.copytree(former.FOLDER / "store", store)
    (store / "locks").mkdir(exist_ok=True)
    for thing in identities.NAMES:
        moved(thing, monkeypatch)
    done: list[int] = []
    true = schedule.run_group  # type: ignore[attr-defined]

    def noting(jobs: Any) -> Any:
        done.extend(job.seed for job in jobs)
        return true(jobs)

    monkeypatch.setattr(schedule, "run_group", noting)
    wanted = ct.Runs.load(store)
    again = former.sweep_of(store)
    pd.testing.assert_frame_equal(again.table, wanted.table, check_exact=True)
    assert done == []
    more = former.sweep_of(store, seeds=3)
    assert done == [2, 2, 2, 2]
    assert set(wanted.keys) < set(more.keys)
    np.testing.assert_allclose(former.sweep_of(None).table["margin"], wanted.table["margin"], rtol=1e-9, atol=1e-12)


def test_a_sweep_of_version_0_1_starts_anew_where_an_equation_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "runs"
    shutil.copytree(former.FOLDER / "store", store)
    monkeypatch.setitem(identities.REVISIONS, "rules/hebb", 2)
    before = set(ct.Runs.load(store).keys)
    runs = former.sweep_of(store)
    known = runs.table["run"].isin(before)
    assert (known == (runs.table["rule"] == "contrastive")).all()
