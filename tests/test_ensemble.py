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


OF_RATES = [
    name
    for name, rule in RULES.items()
    if name != "custom" and not (rule().jumps or rule().potential or rule().of_voltage)
]


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
@pytest.mark.parametrize("name", OF_RATES)
def test_a_batch_is_so_many_runs_whatever_the_rule(name: str, solver: str) -> None:
    rule = RULES[name]()
    if rule.dense and solver.startswith("factored"):
        return
    members = ct.simulate(network(rule), shown(), STEPS[solver], ensemble=3, seed=4)
    path = "side by side" if solver.endswith("euler") else "batched"
    assert [member.stats["path"] for member in members] == [path] * 3
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


def test_members_may_spike() -> None:
    net = network(ct.rules.Surrogate(), neuron=ct.LIF(threshold=0.3))
    members = ct.simulate(net, shown(), ensemble=2, seed=3)
    for k, member in enumerate(members):
        same(member, ct.simulate(net, shown(), seed=3 + k), 0.0)


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


@pytest.mark.usefixtures("own_cache", "interpreted")
def test_members_of_one_compiled_program_may_differ_in_their_numbers() -> None:
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
    net = ct.Network([2, 2], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=50.0), bias=False)
    x, probe = np.ones((1, 2), np.float32), ct.Probe("weights", every=1.0)
    start = [net.initial_state(seed, 1) for seed in range(4)]
    states = [one.replace({"W.1": one["W.1"] * scale}) for one, scale in zip(start, (1e-2, 1e4, 1.0, 1e3), strict=True)]

    def alone(duration: float) -> list[ct.Solution]:
        stimulus = ct.Presentations(x, None, 1, duration=duration)
        return [ct.simulate(net, stimulus, STEPS[solver], state=state, probes=[probe]) for state in states]

    times = sorted(sol.final.t for sol in alone(100.0))
    duration = (times[1] + times[2]) / 2
    singles = alone(duration)
    assert [sol.status.ok for sol in singles] == [True, False, True, False]
    stimulus = ct.Presentations(x, None, 1, duration=duration)
    members = ct.simulate(net, stimulus, STEPS[solver], state=states, ensemble=4, probes=[probe])
    for member, single in zip(members, singles, strict=True):
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
        (
            ValueError,
            "seed must be one for all members or a list of 3",
            {"ensemble": 3, "seed": [1, 2]},
        ),
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


# ---------------------------------------------------------------------------------- side by side


def own_network(k: int) -> ct.Network:
    """Networks that differ in every number that one sweeps."""
    rule = ct.rules.ContrastiveHebbian(rate=0.3 + 0.2 * k) + ct.rules.WeightDecay(rate=0.01 * (k + 1))
    neuron = ct.Rate(tau=1.0 + 0.25 * k, activation="tanh")
    contrast = ct.rules.SoftmaxCosine(beta=5.0 + k, kappa=0.5 + 0.1 * k)
    return network(rule, ct.TargetStream(contrast=contrast), neuron=neuron)


@pytest.mark.parametrize("gate", [None, (0.2, 0.6)])
def test_members_may_have_their_own_numbers_stimuli_states_and_seeds(gate: Any) -> None:
    nets, stimuli = [own_network(k) for k in range(4)], [shown(seed=k, epochs=3, gate=gate) for k in range(4)]
    states = [net.initial_state(k + 7, 3, torch.float64) for k, net in enumerate(nets)]
    probe = ct.Probe("weights", every=0.15)
    euler = ct.solvers.Euler(dt=0.1)
    members = ct.simulate(nets, stimuli, euler, state=states, ensemble=4, probes=[probe])
    for net, stimulus, state, member in zip(nets, stimuli, states, members, strict=True):
        assert member.stats["path"] == "side by side"
        alone = ct.simulate(net, stimulus, euler, state=state, probes=[probe])
        same(member, alone)
        assert member.stats["steps"] == alone.stats["steps"]
        for name in alone.dataset:
            np.testing.assert_allclose(member.dataset[name], alone.dataset[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", [name for name in OF_RATES if not RULES[name]().supervised])
def test_every_number_of_a_rule_is_its_members_own(rule: str) -> None:
    nets = [network(factor * RULES[rule](), neuron=ct.Rate(tau=factor)) for factor in (1.0, 1.7, 2.3)]
    members = ct.simulate(nets, shown(), ct.solvers.Euler(dt=0.2), ensemble=3)
    for k, (net, member) in enumerate(zip(nets, members, strict=True)):
        assert member.stats["path"] == "side by side"
        same(member, ct.simulate(net, shown(), ct.solvers.Euler(dt=0.2), seed=k))


def test_side_by_side_a_member_has_the_same_bits_however_many_there_are() -> None:
    """Of these sizes: the last bits of a product may depend on where its matrices lie in memory."""
    euler = ct.solvers.Euler(dt=0.2)
    nets, stimuli = [own_network(k % 3) for k in range(9)], [shown(seed=k, epochs=8) for k in range(9)]
    whole = ct.simulate(nets, stimuli, euler, ensemble=9)
    for chosen in ([4], [8, 0], [1, 2, 3, 5, 7]):
        some = ct.simulate(
            [nets[k] for k in chosen], [stimuli[k] for k in chosen], euler, seed=chosen, ensemble=len(chosen)
        )
        for k, member in zip(chosen, some, strict=True):
            assert member.final.equal(whole[k].final)
    assert all(value.is_contiguous() for member in whole for _, value in member.final.items())


def test_members_that_diverge_part_and_leave_the_bits_of_the_others() -> None:
    euler, decays = ct.solvers.FactoredEuler(dt=0.5), [0.1, 9.0, 0.2, 0.3, 6.0]  # dt * decay > 2 makes weights grow
    nets = [
        ct.Network([4, 5, 3], neuron=ct.Rate(tau=4.0, activation="tanh"), rule=ct.rules.Hebb(rate=1.0, decay=d))
        for d in decays
    ]
    stimulus = ct.Presentations(X, None, 5, duration=4000.0)
    members = ct.simulate(nets, stimulus, euler, ensemble=5, probes=[ct.Probe("weights", every=50.0)])
    healthy = [k for k, d in enumerate(decays) if d < 1]
    for k, member in enumerate(members):
        alone = ct.simulate(nets[k], stimulus, euler, seed=k, probes=[ct.Probe("weights", every=50.0)])
        assert member.status is alone.status
        assert member.status.ok == (k in healthy)
        assert member.stats["steps"] == alone.stats["steps"]
        assert member.message == alone.message
        same(member, alone, 1e-9)
        assert member.dataset.sizes == alone.dataset.sizes
    fine = ct.simulate([nets[k] for k in healthy], stimulus, euler, seed=healthy, ensemble=3)
    for k, member in zip(healthy, fine, strict=True):
        assert member.final.equal(members[k].final)
    two = ct.simulate([nets[1], nets[4]], stimulus, euler, seed=[1, 4], ensemble=2)
    assert [member.status for member in two] == [ct.Status.DIVERGED] * 2
    assert [member.final.t for member in two] == [members[1].final.t, members[4].final.t]


def test_networks_that_differ_in_more_than_numbers_go_one_after_another() -> None:
    nets = [network(ct.rules.ContrastiveHebbian()), network(ct.rules.Hebb())]
    members = ct.simulate(nets, shown(), STEPS["euler"], ensemble=2)
    for k, member in enumerate(members):
        assert member.stats["path"] == "eager"
        same(member, ct.simulate(nets[k], shown(), STEPS["euler"], seed=k))


def test_stimuli_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="the stimuli of an ensemble must have as many rows"):
        ct.simulate(own_network(0), [shown(), shown(epochs=2)], STEPS["euler"], ensemble=2)
    with pytest.raises(ValueError, match="stimulus must be one for all members or a list of 2, got a list of 1"):
        ct.simulate(own_network(0), [shown()], STEPS["euler"], ensemble=2)
