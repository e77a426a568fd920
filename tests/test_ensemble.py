"""Member k of an ensemble is the single run of its seed, however the ensemble is carried out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from tests.cases import of_its_own
from tests.networks import X, rates, shown

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
STEPS = {
    "euler": ct.solvers.Euler(dt=0.25),
    "rk4": ct.solvers.RK4(dt=0.25),
    "factored_euler": ct.solvers.FactoredEuler(dt=0.25),
}


def same(member: ct.Solution, alone: ct.Solution, tolerance: float = 1e-11) -> None:
    assert member.status is alone.status
    assert member.final.t == alone.final.t
    assert list(member.final) == list(alone.final)
    for name, value in alone.final.items():
        torch.testing.assert_close(member.final[name], value, rtol=tolerance, atol=tolerance)


def test_members_control_their_own_steps() -> None:
    net = rates(ct.rules.ContrastiveHebbian())
    members = ct.simulate(net, shown(), ensemble=2, seed=7)
    for k, member in enumerate(members):
        alone = ct.simulate(net, shown(), seed=7 + k)
        same(member, alone, 0.0)
        assert member.stats["steps"] == alone.stats["steps"]


@pytest.mark.parametrize("solver", ["euler", "factored_euler"])
def test_what_members_record_is_what_they_record_alone(solver: str) -> None:
    probes = [ct.Probe("weights", every=0.2), ct.Probe("signal", times=[0.3, 0.6, 1.2]), ct.Probe("rates", every=0.35)]
    net = rates(ct.rules.ContrastiveHebbian())
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
    net = rates(ct.rules.Oja())
    members = ct.simulate(net, shown(), STEPS["euler"], ensemble=3, seed=[8, 2, 8])
    same(members[0], members[2], 0.0)
    same(members[1], ct.simulate(net, shown(), STEPS["euler"], seed=2))
    assert members.seeds == (8, 2, 8)


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
        ct.simulate(rates(ct.rules.Oja()), shown(), STEPS["euler"], **given)


def test_networks_of_other_structure_or_number_are_refused() -> None:
    one, other = rates(ct.rules.Oja()), ct.Network([4, 6, 3], 3, signal=ct.TargetStream(), rule=ct.rules.Oja())
    with pytest.raises(ValueError, match="must have the same sizes and signal"):
        ct.simulate([one, other], shown(), STEPS["euler"], ensemble=2)
    with pytest.raises(ValueError, match="network must be one for all members or a list of 3, got a list of 2"):
        ct.simulate([one, one], shown(), STEPS["euler"], ensemble=3)
    with pytest.raises(TypeError, match=r"network must be a ct\.Network"):
        ct.simulate([one, one], shown(), STEPS["euler"])  # type: ignore[call-overload]


# ---------------------------------------------------------------------------------- side by side


def test_side_by_side_a_member_has_the_same_bits_however_many_there_are() -> None:
    """Of these sizes: the last bits of a product may depend on where its matrices lie in memory."""
    euler = ct.solvers.Euler(dt=0.2)
    nets, stimuli = [of_its_own(k % 3) for k in range(9)], [shown(seed=k, epochs=8) for k in range(9)]
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
    nets = [rates(ct.rules.ContrastiveHebbian()), rates(ct.rules.Hebb())]
    members = ct.simulate(nets, shown(), STEPS["euler"], ensemble=2)
    for k, member in enumerate(members):
        assert member.stats["path"] == "torchdiffeq"
        same(member, ct.simulate(nets[k], shown(), STEPS["euler"], seed=k))


def test_stimuli_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="the stimuli of an ensemble must have as many rows"):
        ct.simulate(of_its_own(0), [shown(), shown(epochs=2)], STEPS["euler"], ensemble=2)
    with pytest.raises(ValueError, match="stimulus must be one for all members or a list of 2, got a list of 1"):
        ct.simulate(of_its_own(0), [shown()], STEPS["euler"], ensemble=2)
