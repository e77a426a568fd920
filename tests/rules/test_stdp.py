"""Spike-timing dependent plasticity against sums over pairs and triplets of spikes, written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ctsigprop as ct
from ctsigprop.rules import STDP, Rule, ThreeFactor, TripletSTDP

Array = NDArray[np.float64]
Train = list[float]
SOLVERS: list[Any] = [ct.solvers.Hybrid(dt=0.1), ct.solvers.Hybrid(dt=0.1, flow="rk4"), ct.solvers.EventDriven()]


def changes(rule: Rule, pre: list[Train], post: Train, duration: float, solver: Any, start: float = 0.0) -> Array:
    """dW of a synapse for each presynaptic train, simulated; one more input makes the unit spike at times `post`."""
    neuron = ct.LIF(tau=5.0, reset=0.0)
    network = ct.Network([len(pre) + 1, 1], neuron=neuron, rule=rule, bias=False)
    state = network.initial_state(dtype=torch.float64)
    weights = torch.full((1, len(pre) + 1), start, dtype=torch.float64)
    weights[0, -1] = 50.0
    stimulus = ct.SpikeTrains([*pre, post], duration, dtype=torch.float64)
    sol = ct.simulate(network, stimulus, solver, state=state.replace({"W.1": weights}))
    assert sol.status.ok
    assert float(sol.final["n.1"]) == len(post)
    return np.asarray((sol.final["W.1"] - weights)[0, :-1].numpy())


def by_pairs(rule: STDP, pre: Train, post: Train) -> float:
    """The sum over all pairs, or over the nearest of each spike."""
    total = 0.0
    for t in post:
        earlier = [t - s for s in pre if s < t]
        total += rule.a_plus * sum(np.exp(-np.array(near(earlier, rule.pairing)) / rule.tau_plus))
    for s in pre:
        earlier = [s - t for t in post if t < s]
        total -= rule.a_minus * sum(np.exp(-np.array(near(earlier, rule.pairing)) / rule.tau_minus))
    return rule.rate * total


def near(distances: list[float], pairing: str) -> list[float]:
    return distances if pairing == "all" or not distances else [min(distances)]


def by_triplets(rule: TripletSTDP, pre: Train, post: Train) -> float:
    """Pfister and Gerstner's equations 3 and 4, traces as sums of exponentials."""

    def trace(train: Train, t: float, tau: float) -> float:
        return float(sum(np.exp(-np.array(near([t - s for s in train if s < t], rule.pairing)) / tau)))

    total = 0.0
    for t in post:
        total += trace(pre, t, rule.tau_plus) * (rule.a2_plus + rule.a3_plus * trace(post, t, rule.tau_y))
    for s in pre:
        total -= trace(post, s, rule.tau_minus) * (rule.a2_minus + rule.a3_minus * trace(pre, s, rule.tau_x))
    return rule.rate * total


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@pytest.mark.parametrize("pairing", ["all", "nearest"])
def test_the_window_of_a_pair_is_the_analytic_one(pairing: Any, solver: Any) -> None:
    """One postsynaptic spike, and presynaptic ones at all intervals from it, the same instant included."""
    rule = STDP(rate=0.1, a_plus=1.0, a_minus=0.6, tau_plus=1.7, tau_minus=3.4, pairing=pairing)
    intervals = np.round(np.linspace(-6.0, 6.0, 25), 1)  # post minus pre
    found = changes(rule, [[float(10.0 - s)] for s in intervals], [10.0], 20.0, solver)
    up, down = 0.1 * np.exp(-intervals / 1.7), -0.06 * np.exp(intervals / 3.4)
    expected = np.where(intervals > 0, up, np.where(intervals < 0, down, 0.0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def random_train(seed: int, count: int, stop: float) -> Train:
    """Increasing times on a grid of 0.1."""
    places = np.random.default_rng(seed).choice(np.arange(1, int(stop * 10)), count, replace=False)
    return [round(float(k) / 10, 1) for k in np.sort(places)]


RULES: dict[str, Any] = {
    "pairs": STDP(rate=0.01, tau_plus=2.0, tau_minus=3.0),
    "nearest pairs": STDP(rate=0.01, tau_plus=2.0, tau_minus=3.0, pairing="nearest"),
    "triplets": TripletSTDP(tau_plus=1.7, tau_x=10.1, tau_minus=3.4, tau_y=12.5, a2_plus=2e-3),
    "nearest triplets": TripletSTDP(tau_plus=1.7, tau_x=10.1, tau_minus=3.4, tau_y=12.5, pairing="nearest"),
}


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@pytest.mark.parametrize("name", RULES)
def test_trains_of_spikes_add_up_over_pairs_and_triplets(name: str, solver: Any) -> None:
    rule = RULES[name]
    pre, post = [random_train(k, 8, 19.0) for k in range(4)], random_train(9, 10, 19.0)
    found = changes(rule, pre, post, 20.0, solver)
    count = by_pairs if isinstance(rule, STDP) else by_triplets
    np.testing.assert_allclose(found, [count(rule, train, post) for train in pre], rtol=0, atol=1e-6)
    assert np.abs(found).max() > 1e-3


def test_potentiation_by_triplets_grows_with_the_pairing_frequency_and_wins_over_depression() -> None:
    """60 pairings of 10 ms, as in Pfister and Gerstner 2006, figure 5: what pairs of spikes cannot show."""
    rule, solver = TripletSTDP(), ct.solvers.Hybrid(dt=1.0)
    curves: dict[float, list[float]] = {10.0: [], -10.0: []}
    for frequency in (5, 20, 40, 50):
        period = 1000.0 / frequency
        pre = [round(20.0 + k * period) * 1.0 for k in range(60)]
        for interval, curve in curves.items():
            post = [t + interval for t in pre]
            found = changes(rule, [pre], post, pre[-1] + 50.0, solver)
            assert found[0] == pytest.approx(by_triplets(rule, pre, post), abs=1e-6)
            curve.append(float(found[0]))
    up, down = np.array(curves[10.0]), np.array(curves[-10.0])
    assert np.all(np.diff(up) > 0)
    assert down[0] < -0.1  # post before pre depresses at low frequency
    assert down[-1] > 0.1  # and potentiates at high frequency
    assert up[0] < 0.35 * up[-1]
    pairs = STDP(rate=5e-3, tau_plus=16.8, tau_minus=33.7)
    slow, fast = (
        changes(pairs, [[20.0 + k * p for k in range(60)]], [30.0 + k * p for k in range(60)], 60 * p + 50, solver)[0]
        for p in (200.0, 20.0)
    )
    assert fast < slow  # pairs go the other way


def test_rows_shown_at_once_are_averaged() -> None:
    rule, solver = STDP(rate=0.1), ct.solvers.Hybrid(dt=0.1)
    trains = [[[1.0], [2.0]], [[1.5], [2.0]]]
    network = ct.Network([2, 1], neuron=ct.LIF(reset=0.0), rule=rule, bias=False)
    start = network.initial_state(rows=2, dtype=torch.float64)
    start = start.replace({"W.1": torch.tensor([[0.0, 9.0]], dtype=torch.float64)})
    stimulus = ct.SpikeTrains(trains, 4.0, dtype=torch.float64)
    found = float(ct.simulate(network, stimulus, solver, state=start).final["W.1"][0, 0])
    assert found == pytest.approx(0.05 * (np.exp(-1.0) + np.exp(-0.5)), rel=1e-9)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_weights_stay_within_bounds_at_jumps(kind: Any) -> None:
    for rule, edge in ((STDP(rate=0.2, a_minus=2.0), 0.0), (STDP(rate=0.2, a_minus=0.0), 1.0)):
        network = ct.Network([5, 3], neuron=ct.LIF(), rule=ct.rules.Bounded(rule, 0.0, 1.0, kind), bias=False)
        start = network.initial_state(0, 1, torch.float64)
        start = start.replace({"W.1": torch.full((3, 5), 0.5, dtype=torch.float64)})
        shown = ct.Presentations(np.ones((1, 5)), None, 1, 30.0, encoder=ct.Poisson(rate=2.0, dt=0.1))
        end = ct.simulate(network, shown, state=start).final
        assert float(end["n.1"].min()) > 10
        assert float(end["W.1"].min()) >= 0.0
        assert float(end["W.1"].max()) <= 1.0
        assert float((end["W.1"] - edge).abs().mean()) < 0.2


def test_soft_bounds_scale_a_jump_and_hard_ones_end_it() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    seen = {"x_plus": 0.5 * one, "y_minus": 0.0 * one}
    local = ct.rules.Local(one, one, one, variables=seen, weight=0.9 * one, post_spikes=one, pre_spikes=0 * one)
    for kind, expected in (("soft", 0.5 * 0.4 * 0.1), ("hard", 0.1)):
        update, _ = ct.rules.Bounded(STDP(rate=0.4), 0.0, 1.0, kind).jump(local)  # type: ignore[arg-type]
        assert update is not None
        assert float(update.change) == pytest.approx(expected)


def test_a_sum_and_a_multiple_of_rules_jump_together() -> None:
    pre, post = [random_train(1, 8, 19.0)], random_train(2, 8, 19.0)
    alone = changes(STDP(rate=0.01), pre, post, 20.0, SOLVERS[0])
    double = changes(2.0 * STDP(rate=0.01), pre, post, 20.0, SOLVERS[0])
    np.testing.assert_allclose(double, 2 * alone, rtol=1e-12)
    decayed = changes(STDP(rate=0.01) + ct.rules.WeightDecay(rate=0.0), pre, post, 20.0, SOLVERS[0])
    np.testing.assert_allclose(decayed, alone, rtol=1e-12)


def test_reward_that_comes_late_reaches_the_pairing_through_its_eligibility_trace() -> None:
    """tau_e de/dt = -e + D, dW/dt = M e: D at spikes, M a pulse from 5 to 6; in closed form."""
    rule = ThreeFactor(STDP(rate=0.1), modulator=lambda t: 1.0 if 5.0 <= t < 6.0 else 0.0, tau_e=4.0)
    found = changes(rule, [[1.0], [3.0], [7.0]], [2.0], 10.0, ct.solvers.Hybrid(dt=0.001))
    up, down = 0.1 * np.exp(-1.0), -0.105 * np.exp(-1.0)

    def reached(t: float) -> float:
        return float(np.exp(-(5.0 - t) / 4.0) - np.exp(-(6.0 - t) / 4.0))

    np.testing.assert_allclose(found, [up * reached(2.0), down * reached(3.0), 0.0], rtol=2e-3, atol=1e-12)


def test_a_reward_measured_on_spikes_modulates_stdp_at_once() -> None:
    reward = ct.rules.Reward(lambda activities, labels: 3.0, tau_mean=1e9)
    pre, post = [random_train(1, 8, 19.0)], random_train(2, 8, 19.0)
    alone = changes(STDP(rate=0.01), pre, post, 20.0, SOLVERS[0])
    modulated = changes(ThreeFactor(STDP(rate=0.01), reward), pre, post, 20.0, SOLVERS[0])
    np.testing.assert_allclose(modulated, 3 * alone, rtol=1e-6)


def test_outside_the_gate_spikes_move_traces_and_no_weights() -> None:
    network = ct.Network([3, 2], neuron=ct.LIF(), rule=STDP(rate=0.1), bias=False)
    encoder = ct.Poisson(rate=3.0, dt=0.1)
    shown = ct.Presentations(np.full((2, 3), 1.0), None, 2, 5.0, gate=(3.0, 5.0), encoder=encoder)
    start = network.initial_state(0, 2, torch.float64)
    start = start.replace({"W.1": torch.full((2, 3), 0.7, dtype=torch.float64)})
    early = ct.simulate(network, shown, state=start, t_span=(0.0, 3.0)).final
    assert torch.equal(early["W.1"], start["W.1"])
    assert float(early["x_plus.1"].min()) > 0
    late = ct.simulate(network, shown, state=early, t_span=(3.0, 5.0)).final
    assert not torch.equal(late["W.1"], start["W.1"])


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        (r"STDP\(tau_plus=\) must be a finite number > 0", {"tau_plus": 0.0}),
        (r"STDP\(pairing=\) must be 'all' or 'nearest', got 'first'", {"pairing": "first"}),
        (r"STDP\(rate=\) must be a finite number >= 0", {"rate": -1.0}),
    ],
)
def test_constants_out_of_range_are_refused(message: str, settings: dict[str, Any]) -> None:
    for kind in (STDP, TripletSTDP):
        with pytest.raises(ValueError, match=message):
            kind(**settings)
