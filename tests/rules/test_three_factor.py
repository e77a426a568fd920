"""Three-factor rules against their equations integrated by DOP853, and against the rule inside under a gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules import ContrastiveHebbian, Hebb, Oja, Reward, ThreeFactor, WeightDecay

pytestmark = pytest.mark.slow  # thousands of evaluations: at full speed, without shape checks
Array: TypeAlias = NDArray[np.float64]
Arrays: TypeAlias = dict[str, Array]
Derivatives: TypeAlias = tuple[Array, Array, Arrays]
Equation: TypeAlias = Callable[[Any], Derivatives]
BAR = 1e-6
TIGHT = ct.solvers.Dopri5(rtol=1e-9, atol=1e-11)
RATE, TAU_E, TAU_MEAN = 1.5, 0.6, 1.2


def success(activities: Mapping[str, Tensor], labels: Tensor | None) -> Tensor:
    """A reward: how much of the second layer's activity is where the label is."""
    assert labels is not None
    return (labels * activities["r.2"]).sum()


def wave(t: float) -> float:
    return float(np.cos(3.0 * t))


def hebb(s: Any) -> Derivatives:
    dW, db = s.outer(s.h, s.x)
    return 0.4 * dW, 0.4 * db, {}


def oja_and_decay(s: Any) -> Derivatives:
    dW, db = s.outer(s.h, s.x)
    square = s.mean(s.h**2)
    return 0.4 * (dW - square[:, None] * s.W) - 0.2 * s.W, 0.4 * (db - square * s.b) - 0.2 * s.b, {}


def bcm(s: Any) -> Derivatives:
    theta = s.v["theta"]
    dW, db = s.outer(s.h * (s.h - theta), s.x)
    return 0.4 * dW, 0.4 * db, {"theta": (s.mean(s.h**2) - theta) / 2.0}


def modulated(inside: Equation, modulator: str, traces: bool) -> Equation:
    """dW/dt = rate M D, or rate M e with tau_e de/dt = -e + D; biases likewise."""

    def equation(s: Any) -> Derivatives:
        dW, db, variables = inside(s)
        M = {"number": -0.7, "function": wave(s.t), "reward": 0.0}[modulator]
        if modulator == "reward":
            R = float((s.labels * s.rates["r.2"]).sum())
            M = R - s.v["reward_mean"][0]
            variables["reward_mean"] = np.array([M / TAU_MEAN])
        if not traces:
            return RATE * M * dW, RATE * M * db, variables
        variables |= {
            "eligibility": (dW - s.v["eligibility"]) / TAU_E,
            "eligibility_bias": (db - s.v["eligibility_bias"]) / TAU_E,
        }
        return RATE * M * s.v["eligibility"], RATE * M * s.v["eligibility_bias"], variables

    return equation


INSIDE: dict[str, tuple[ct.rules.Rule, Equation]] = {
    "hebb": (Hebb(rate=0.4), hebb),
    "hebb with pre traces": (Hebb(rate=0.4, traces=True), hebb),
    "a sum": (Oja(rate=0.4) + WeightDecay(rate=0.2), oja_and_decay),
    "bcm, with a variable of its own": (ct.rules.BCM(rate=0.4, tau_theta=2.0), bcm),
}
MODULATORS: dict[str, Any] = {"number": -0.7, "function": wave, "reward": Reward(success, tau_mean=TAU_MEAN)}


@pytest.mark.parametrize("tau_e", [None, TAU_E], ids=["direct", "eligibility"])
@pytest.mark.parametrize("modulator", MODULATORS)
@pytest.mark.parametrize("inside", INSIDE)
def test_a_modulated_rule_follows_its_equation(
    inside: str, modulator: str, tau_e: float | None, errors_of_rule: Callable[..., dict[str, float]]
) -> None:
    rule, equation = INSIDE[inside]
    three = ThreeFactor(rule, MODULATORS[modulator], tau_e, RATE)
    errors = errors_of_rule(three, modulated(equation, modulator, tau_e is not None), activation="tanh")
    assert max(errors.values()) <= BAR, errors


BETA, CLASSES = 0.5, 3


def contrastive_slope(traces: bool, now: Arrays, shown: tuple[Array, Array]) -> Arrays:
    """One layer of tanh units with a target row per class and the dot contrast; S, W and b under a reward.

    With e = beta (y - p) / samples: delta_h = e z, delta_z = e^T h; the reward is the mean activity.
    """
    x, y = shown
    samples, r = len(x), now["r.1"]
    phi = np.tanh(np.vstack([x @ now["W.1"].T + now["b.1"], now["S"].T]))
    h, z = r[:samples], r[samples:]
    odds = np.exp(BETA * h @ z.T)
    e = BETA * (y - odds / odds.sum(1, keepdims=True)) / samples
    post = np.vstack([e @ z, e.T @ h]) * (1 - phi**2)
    D = {
        "W.1": 0.8 * (post[:samples].T @ x - 0.1 * now["W.1"]),
        "S": 0.8 * (post[samples:].T - 0.1 * now["S"]),
        "b.1": 0.8 * (post[:samples].sum(0) - 0.1 * now["b.1"]),
    }
    R = r.mean()
    d = {"r.1": phi - r}
    for population in ("1", "S"):  # both populations of synapses keep a running mean and traces of their own
        d[f"reward_mean.{population}"] = (R - now[f"reward_mean.{population}"]) / TAU_MEAN
    traced = {"W.1": "eligibility.1", "S": "eligibility.S", "b.1": "eligibility_bias.1"}
    for name, trace in traced.items():
        M = R - now["reward_mean.S" if name == "S" else "reward_mean.1"]
        d[name] = RATE * M * (now[trace] if traces else D[name])
        if traces:
            d[trace] = (D[name] - now[trace]) / TAU_E
    if traces:
        d["eligibility_bias.S"] = np.zeros(5)  # S has no bias
    return d


@pytest.mark.parametrize("traces", [False, True])
def test_contrastive_learning_is_modulated_in_both_populations_of_the_first_layer(
    traces: bool,
    integrate: Callable[..., Arrays],
    errors_of_state: Callable[[ct.State, Arrays, Arrays], dict[str, float]],
) -> None:
    rule = ThreeFactor(
        ContrastiveHebbian(rate=0.8, decay=0.1, traces=False),
        Reward(lambda activities, labels: activities["r.1"].mean(), TAU_MEAN),
        TAU_E if traces else None,
        RATE,
    )
    signal = ct.TargetStream(contrast=ct.rules.DotProduct(BETA))
    network = ct.Network([4, 5], CLASSES, neuron=ct.Rate(activation="tanh"), signal=signal, rule=rule)
    random = np.random.default_rng(4)
    x, y = random.standard_normal((4, 4)), np.array([0, 2, 1, 2])
    state = network.initial_state(1, 2, torch.float64)
    away = {name: torch.from_numpy(random.uniform(0.1, 0.9, tuple(v.shape))) for name, v in state.items()}
    state = state.replace(away)
    start = {name: value.numpy().copy() for name, value in state.items()}
    stimulus = ct.Presentations(x, y, 2, 0.75, shuffle=False)
    shown = [(0.75, (x[k : k + 2], np.eye(CLASSES)[y[k : k + 2]])) for k in (0, 2)]
    expected = integrate(lambda t, now, what: contrastive_slope(traces, now, what), start, shown)
    sol = ct.simulate(network, stimulus, TIGHT, state=state)
    assert sol.final.keys() == expected.keys()
    errors = errors_of_state(sol.final, start, expected)
    errors.pop("eligibility_bias.S", None)
    assert max(errors.values()) <= BAR, errors


@pytest.mark.parametrize("per", ["class", "sample"])
def test_a_function_of_time_acts_on_contrastive_learning_as_a_gate_does(per: Any) -> None:
    """Without traces of its own, rate M(t) D is what the rule does where the stimulus gates plasticity by M(t)."""
    inside = ContrastiveHebbian(rate=2.0, decay=0.1)
    x = np.random.default_rng(0).standard_normal((5, 4))
    y = np.arange(5) % CLASSES

    def final(rule: ct.rules.Rule, gate: Callable[[float], float]) -> ct.State:
        network = ct.Network(
            [4, 6, 5], CLASSES, neuron=ct.Rate(activation="softplus"), signal=ct.TargetStream(per), rule=rule
        )
        stimulus = ct.Presentations(x, y, 3, 0.75, gate=gate)
        return ct.simulate(network, stimulus, ct.solvers.RK4(dt=0.05), seed=2).final

    modulated, gated = (final(ThreeFactor(inside, wave), lambda t: 1.0), final(inside, wave))
    for name in ("W.1", "W.2", "S", "b.1", "b.2"):
        torch.testing.assert_close(modulated[name], gated[name], rtol=1e-10, atol=1e-12)


def test_without_reward_there_is_no_learning_once_the_mean_has_caught_up() -> None:
    """A reward that never changes becomes its own running mean: M decays to 0 with tau_mean."""
    rule = ThreeFactor(Hebb(rate=1.0), Reward(lambda activities, labels: 0.5, tau_mean=1.0))
    network = ct.Network([2, 1], neuron=ct.Rate(activation="tanh"), rule=rule, bias=False)
    stimulus = ct.Presentations(torch.ones(1, 2, dtype=torch.float64), None, 1, 60.0)
    probe = ct.Probe("weights", times=[30.0, 60.0])
    sol = ct.simulate(network, stimulus, ct.solvers.Dopri5(rtol=1e-8, atol=1e-10), probes=[probe])
    early, late = sol.dataset["weights"].values
    np.testing.assert_allclose(early, late, rtol=1e-9)
    assert abs(float(sol.final["reward_mean.1"]) - 0.5) < 1e-7


@pytest.mark.parametrize("tau_e", [None, 1.0])
@pytest.mark.parametrize("modulator", [1.0, wave, Reward(success)])
def test_only_traces_and_dense_rules_cost_the_factor_form(modulator: Any, tau_e: float | None) -> None:
    three = ThreeFactor(Hebb(), modulator, tau_e)
    assert three.dense is (tau_e is not None)
    assert three.modulated is isinstance(modulator, Reward)
    assert ThreeFactor(ct.rules.OjaSubspace(), modulator).dense


def test_a_reward_of_several_values_is_refused() -> None:
    rule = ThreeFactor(Hebb(), Reward(lambda activities, labels: activities["r.1"]))
    network = ct.Network([2, 3], rule=rule)
    with pytest.raises(ValueError, match=r"Reward\(value=\) must return one number, got shape \(1, 3\)"):
        ct.simulate(network, ct.Presentations(torch.ones(1, 2), None, 1), ct.solvers.Euler(dt=1.0))
