"""Every part of a state has a name of its own, whatever neuron, rule and signal a network is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules import ContrastiveHebbian, Hebb, Reward, ThreeFactor
from ctsigprop.rules.base import Rule, Shapes
from ctsigprop.rules.table import RULES
from ctsigprop.signals.table import SIGNALS

SIZES, CLASSES, ROWS = [6, 5, 4], 4, 7
MODULATED: dict[str, Rule] = {
    "eligibility": ThreeFactor(ContrastiveHebbian(), tau_e=0.5),
    "reward": ThreeFactor(ContrastiveHebbian(), Reward(lambda activities, labels: 0.0), tau_e=0.5),
    "sum": ThreeFactor(ContrastiveHebbian(traces=False), tau_e=0.5) + ct.rules.BCM() + ct.rules.Scaling(),
}
ALL: dict[str, Rule] = {**{name: cls() for name, cls in RULES.items()}, **MODULATED}
NEURONS: list[Any] = [ct.Rate(), ct.Theta(), ct.LIF(tau_syn=0.5, refractory=0.5), ct.AdaptiveLIF(), ct.Izhikevich()]


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda neuron: type(neuron).__name__)
@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize("signal", [None, *SIGNALS])
def test_no_part_of_a_state_takes_the_place_of_another(neuron: Any, rule: str, signal: str | None) -> None:
    made = None if signal is None else SIGNALS[signal]()
    told = ""
    try:
        net = ct.Network(SIZES, CLASSES, neuron=neuron, rule=ALL[rule], signal=made)
    except ValueError as error:
        told = str(error)
    assert "a part of the state" not in told
    if told:
        return  # they do not go together, for another reason
    state = net.initial_state(rows=ROWS)
    count = 0
    for layer in net.layers:
        for variable in neuron.variables():
            assert state[layer.name(variable)].shape[1] == layer.n_post
        kept = ALL[rule].variables(*layer.shape)
        for variable, (shape, _) in kept.items():
            assert tuple(state[layer.name(variable)].shape) == shape
        traces = ALL[rule].spike_traces()
        count += len({*neuron.variables()}) + len(kept) + len(traces) + 2  # W and b
    shapes = {} if made is None else {**made.activities(net.sizes, ROWS), **made.weights(net.sizes, CLASSES)}
    for name, shape in shapes.items():
        assert tuple(state[name].shape) == shape
    of_network = [name for name in state if name[:2] in ("x.", "y.", "g.", "k.", "c.")]
    of_generator = [name for name in state if name.endswith(".S")]
    assert len(state) == count + len(shapes) + len(of_network) + len(of_generator)


def test_eligibility_and_error_units_are_two_things() -> None:
    """The coupled system of backpropagation and eligibility traces against SciPy, where one name was taken twice."""
    x = torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rate, tau_e = 0.1, 0.05
    rule = ThreeFactor(ContrastiveHebbian(rate=rate, traces=False), tau_e=tau_e)
    neuron = ct.Rate(activation="tanh")
    net = ct.Network([4, 4, 4], 4, neuron=neuron, signal=ct.Backprop(), bias=False, rule=rule)
    start = net.initial_state(0, rows=4, dtype=torch.float64)
    stim = ct.Presentations(x, [0, 1, 2, 3], 4, duration=2.0, shuffle=False)
    solver = ct.solvers.RK4(dt=0.005)
    final = ct.simulate(net, stim, solver, state=start).final

    def slope(_t: float, flat: np.ndarray) -> np.ndarray:
        r1, r2, e1, e2, w1, w2, s1, s2 = flat.reshape(8, 4, 4)
        d1, d2 = x.numpy() @ w1.T, r1 @ w2.T
        p = np.exp(r2 - r2.max(1, keepdims=True))
        error = (np.eye(4) - p / p.sum(1, keepdims=True)) / 4
        change = [rate * e1.T @ x.numpy(), rate * e2.T @ r1]
        rates = [np.tanh(d1) - r1, np.tanh(d2) - r2]
        errors = [e2 @ w2 * (1 - np.tanh(d1) ** 2) - e1, error * (1 - np.tanh(d2) ** 2) - e2]
        kept = [(change[0] - s1) / tau_e, (change[1] - s2) / tau_e]
        return np.concatenate([part.ravel() for part in (*rates, *errors, s1, s2, *kept)])

    zeros = [np.zeros(16)] * 4
    begin = np.concatenate([*zeros, start["W.1"].numpy().ravel(), start["W.2"].numpy().ravel(), *zeros[:2]])
    truth = solve_ivp(slope, (0.0, 2.0), begin, method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1].reshape(8, 4, 4)
    names = ["r.1", "r.2", "e.1", "e.2", "W.1", "W.2", "eligibility.1", "eligibility.2"]
    for name, wanted in zip(names, truth, strict=True):
        np.testing.assert_allclose(final[name].numpy(), wanted, rtol=1e-5, atol=1e-8)
    assert float((final["W.1"] - start["W.1"]).norm()) > 1e-4


def test_a_state_of_the_last_version_goes_on() -> None:
    net = ct.Network([3, 2], rule=ThreeFactor(Hebb(), tau_e=0.5))
    stim = ct.Presentations(torch.rand(4, 3, generator=torch.Generator().manual_seed(1)), None, 4, duration=4.0)
    solver = ct.solvers.Euler(dt=0.1)
    half = ct.simulate(net, stim, solver, t_span=(0.0, 2.0)).final
    former = {"eligibility.1": "e.1", "eligibility_bias.1": "e_bias.1"}
    old = ct.State({former.get(name, name): value for name, value in half.items()}, half.t)
    assert "e.1" in old
    ways = [ct.simulate(net, stim, solver, state=state, t_span=(2.0, 4.0)).final for state in (half, old)]
    assert ways[0].equal(ways[1])
    assert float(ways[0]["eligibility.1"].abs().max()) > 0


class Mine(ct.Rate):
    """A rate neuron that calls a variable as error units are called."""

    def variables(self) -> dict[str, float]:
        return {**super().variables(), "e": 0.0}

    def flow(self, variables: Any, drive: Tensor) -> dict[str, Tensor]:
        return {**super().flow(variables, drive), "e": -variables["e"]}


class Keeping(Hebb):
    """A rule that calls a variable as error units are called."""

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return {"e": ((n_post,), 0.0)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"neuron": Mine()}, "neuron Mine of layer 1 and the signal both call a part of the state 'e.1'"),
        ({"rule": Keeping()}, "rule Keeping of layer 1 and the signal both call a part of the state 'e.1'"),
    ],
)
def test_two_parts_of_one_name_are_refused_when_the_network_is_built(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ct.Network([3, 2], 2, signal=ct.Backprop(), **settings)
    ct.Network([3, 2], 2, signal=ct.TargetStream(), **settings)


def test_a_rule_around_one_that_keeps_the_same_is_refused() -> None:
    words = r"ThreeFactor\(rule=\) must not keep '{}', as the rule around it does"
    with pytest.raises(ValueError, match=words.format("eligibility")):
        ThreeFactor(ThreeFactor(tau_e=1.0), tau_e=2.0)
    reward = Reward(lambda activities, labels: 0.0)
    with pytest.raises(ValueError, match=words.format("reward_mean")):
        ThreeFactor(ct.rules.Bounded(ThreeFactor(modulator=reward)), modulator=reward)
    ThreeFactor(ThreeFactor(tau_e=1.0), modulator=reward)
