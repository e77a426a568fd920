"""Member k of an ensemble is the single run of its seed, however the ensemble is carried out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.rules.table import RULES

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
SIZES, CLASSES = (4, 5, 3), 3
X = np.random.default_rng(0).standard_normal((5, SIZES[0]))
Y = np.arange(5) % CLASSES
STEPS = {
    "euler": ct.solvers.Euler(dt=0.25),
    "rk4": ct.solvers.RK4(dt=0.25),
    "factored_euler": ct.solvers.FactoredEuler(dt=0.25),
    "factored_rk4": ct.solvers.FactoredRK4(dt=0.25),
}


def network(rule: Any, signal: Any = None, **settings: Any) -> ct.Network:
    neuron = settings.pop("neuron", ct.Rate(activation="tanh"))
    return ct.Network(SIZES, CLASSES, neuron=neuron, signal=signal or ct.TargetStream(), rule=rule, **settings)


def shown(**settings: Any) -> ct.Presentations:
    return ct.Presentations(X, Y, 3, **{"duration": 0.6, **settings})


def same(member: ct.Solution, alone: ct.Solution, tolerance: float = 1e-11) -> None:
    assert member.status is alone.status
    assert member.final.t == alone.final.t
    assert list(member.final) == list(alone.final)
    for name, value in alone.final.items():
        torch.testing.assert_close(member.final[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("solver", STEPS)
@pytest.mark.parametrize("name", [name for name in RULES if name != "custom"])
def test_a_batch_is_so_many_runs_whatever_the_rule(name: str, solver: str) -> None:
    rule = RULES[name]()
    if rule.dense and solver.startswith("factored"):
        return
    members = ct.simulate(network(rule), shown(), STEPS[solver], ensemble=3, seed=4)
    assert [member.stats["path"] for member in members] == ["batched"] * 3
    for k, member in enumerate(members):
        same(member, ct.simulate(network(rule), shown(), STEPS[solver], seed=4 + k))


@pytest.mark.parametrize(
    "signal",
    [
        ct.TargetStream(per="sample", match="all", contrast="dot"),
        ct.TargetStream(generator="fixed", contrast="difference"),
        ct.Backprop(),
        ct.FeedbackAlignment(),
        ct.DirectFeedbackAlignment(),
        ct.KolenPollack(),
    ],
    ids=repr,
)
def test_a_batch_is_so_many_runs_whatever_the_signal(signal: ct.signals.Signal) -> None:
    net = network(ct.rules.ContrastiveHebbian(), signal)
    for k, member in enumerate(ct.simulate(net, shown(gate=(0.1, 0.5)), STEPS["factored_euler"], ensemble=2)):
        same(member, ct.simulate(net, shown(gate=(0.1, 0.5)), STEPS["factored_euler"], seed=k))


@pytest.mark.parametrize("solver", [ct.solvers.FactoredDopri5(), ct.solvers.Dopri5(), "auto"], ids=repr)
def test_members_control_their_own_steps(solver: Any) -> None:
    net = network(ct.rules.ContrastiveHebbian())
    members = ct.simulate(net, shown(), solver, ensemble=2, seed=7)
    for k, member in enumerate(members):
        alone = ct.simulate(net, shown(), solver, seed=7 + k)
        same(member, alone, 0.0)
        assert member.stats["steps"] == alone.stats["steps"]


@pytest.mark.parametrize("solver", ["euler", "factored_euler"])
def test_what_members_record_is_what_they_record_alone(solver: str) -> None:
    probes = [ct.Probe("weights", every=0.2), ct.Probe("signal", times=[0.3, 0.6, 1.2]), ct.Probe("rates", every=0.35)]
    net = network(ct.rules.ContrastiveHebbian())
    members = ct.simulate(net, shown(), STEPS[solver], ensemble=2, probes=probes)
    for k, member in enumerate(members):
        alone = ct.simulate(net, shown(), STEPS[solver], seed=k, probes=probes).dataset
        assert member.dataset.sizes == alone.sizes
        for name in alone:
            np.testing.assert_allclose(member.dataset[name], alone[name], rtol=1e-10, atol=1e-12)
    together = members.dataset
    assert together.sizes["member"] == 2
    assert together["seed"].values.tolist() == [0, 1]
    np.testing.assert_array_equal(together["weights"].isel(member=1), members[1].dataset["weights"])


def test_seeds_may_be_named() -> None:
    net = network(ct.rules.Oja())
    members = ct.simulate(net, shown(), STEPS["euler"], ensemble=3, seed=[8, 2, 8])
    same(members[0], members[2], 0.0)
    same(members[1], ct.simulate(net, shown(), STEPS["euler"], seed=2))
    assert members.seeds == (8, 2, 8)


def test_members_may_differ_in_their_numbers() -> None:
    nets = [network(ct.rules.Oja(rate=rate), neuron=ct.Rate(tau=tau)) for rate, tau in ((0.1, 1.0), (0.5, 0.8))]
    members = ct.simulate(nets, shown(), STEPS["euler"], ensemble=2, seed=[1, 1])
    for net, member in zip(nets, members, strict=True):
        same(member, ct.simulate(net, shown(), STEPS["euler"], seed=1))


def test_members_of_one_compiled_program_may_differ_in_their_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    numba = pytest.importorskip("numba", reason="numba, which compiles, is not installed")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    monkeypatch.setenv("CTSIGPROP_CACHE", str(tmp_path))
    settings = ((0.1, 1.0, 0.2), (0.5, 0.8, 0.0), (0.0, 1.0, 0.3))
    nets = [
        network(ct.rules.ContrastiveHebbian(rate=rate, decay=decay), neuron=ct.Rate(tau=tau, activation="softplus"))
        for rate, tau, decay in settings
    ]
    for kind in (ct.solvers.Euler, ct.solvers.RK4):
        members = ct.simulate(nets, shown(), kind(dt=0.25, compile=True), ensemble=3, seed=5)
        assert members[0].stats["path"] == "compiled"
        for k, (net, member) in enumerate(zip(nets, members, strict=True)):
            same(member, ct.simulate(net, shown(), kind(dt=0.25), seed=5 + k))


@pytest.mark.parametrize("solver", ["euler", "factored_euler", "rk4"])
def test_a_member_that_diverges_ends_and_the_others_go_on(solver: str) -> None:
    """Hebb from small weights stays finite for the run, from large ones it does not."""
    net = ct.Network([2, 2], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=2.0), bias=False)
    x = np.ones((1, 2), np.float32)
    stimulus = ct.Presentations(x, None, 1, duration=200.0)
    probe = ct.Probe("weights", every=1.0)
    alone = [ct.simulate(net, stimulus, STEPS[solver], seed=seed, probes=[probe]) for seed in range(12)]
    ends = {sol.status for sol in alone}
    if len(ends) == 1:
        times = sorted(sol.final.t for sol in alone)
        stimulus = ct.Presentations(x, None, 1, duration=(times[3] + times[4]) / 2)
        alone = [ct.simulate(net, stimulus, STEPS[solver], seed=seed, probes=[probe]) for seed in range(12)]
    assert {sol.status for sol in alone} == {ct.Status.COMPLETED, ct.Status.DIVERGED}
    members = ct.simulate(net, stimulus, STEPS[solver], ensemble=12, probes=[probe])
    for member, single in zip(members, alone, strict=True):
        assert member.status is single.status
        assert member.message == single.message
        assert member.final.t == single.final.t
        assert member.dataset.sizes == single.dataset.sizes
        torch.testing.assert_close(member.final["W.1"], single.final["W.1"], rtol=1e-4, atol=1e-6)
    assert "completed" in repr(members)
    assert "diverged" in repr(members)


@pytest.mark.parametrize(
    ("error", "words", "given"),
    [
        (ValueError, "ensemble must be an integer >= 1, got 0", {"ensemble": 0}),
        (ValueError, "ensemble must be an integer >= 1, got 2.5", {"ensemble": 2.5}),
        (ValueError, "seed must be one number or a list of 3, got 2", {"ensemble": 3, "seed": [1, 2]}),
        (ValueError, r"seed\[1\] must be an integer >= 0, got -2", {"ensemble": 2, "seed": [1, -2]}),
        (ValueError, "seed must be an integer >= 0, got -1", {"seed": -1}),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused(error: type[Exception], words: str, given: dict[str, Any]) -> None:
    with pytest.raises(error, match=words):
        ct.simulate(network(ct.rules.Oja()), shown(), STEPS["euler"], **given)


def test_networks_of_other_structure_or_number_are_refused() -> None:
    one, other = network(ct.rules.Oja()), ct.Network([4, 6, 3], 3, signal=ct.TargetStream(), rule=ct.rules.Oja())
    with pytest.raises(ValueError, match="must have the same sizes and signal"):
        ct.simulate([one, other], shown(), STEPS["euler"], ensemble=2)
    with pytest.raises(ValueError, match="network must be one for all members or a list of 3, got a list of 2"):
        ct.simulate([one, one], shown(), STEPS["euler"], ensemble=3)
    with pytest.raises(TypeError, match=r"network must be a ct\.Network"):
        ct.simulate([one, one], shown(), STEPS["euler"])  # type: ignore[call-overload]
