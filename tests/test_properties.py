"""Facts that hold for any numbers: symmetries of the field and of whole simulations, by hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.dynamics.vector_field import Field
from ctsigprop.solvers import DenseWeight

SIZES, CLASSES = (5, 6, 4), 3
RULES: dict[str, tuple[type[ct.rules.Rule], dict[str, Any]]] = {
    "hebb": (ct.rules.Hebb, {"decay": 0.5}),
    "hebb_traced": (ct.rules.Hebb, {"decay": 0.5, "traces": True}),
    "oja": (ct.rules.Oja, {}),
    "contrastive": (ct.rules.ContrastiveHebbian, {"decay": 0.2}),
    "contrastive_untraced": (ct.rules.ContrastiveHebbian, {"traces": False}),
}
CONTRASTS: list[ct.rules.Contrast] = [
    ct.rules.SoftmaxCosine(beta=3.0, kappa=0.5),
    ct.rules.DotProduct(beta=0.5),
    ct.rules.Difference(),
]


def network_of(rule: str, rate: float = 0.5, tau: float = 1.0, **signal: Any) -> ct.Network:
    kind, constants = RULES[rule]
    return ct.Network(
        SIZES,
        n_classes=CLASSES,
        neuron=ct.Rate(tau=tau, activation="tanh"),
        signal=ct.TargetStream(**signal),
        rule=kind(rate=rate, **constants),  # type: ignore[call-arg]
    )


def samples(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, SIZES[0], generator=random, dtype=torch.float64)
    return x, torch.randint(CLASSES, (rows,), generator=random)


def somewhere(network: ct.Network, rows: int, seed: int) -> ct.State:
    """A state in which nothing is at rest."""
    random = torch.Generator().manual_seed(seed)
    state = network.initial_state(seed, rows, torch.float64)
    return state.replace({k: torch.rand(v.shape, generator=random, dtype=v.dtype) for k, v in state.items()})


def slopes(
    network: ct.Network, stimulus: ct.Presentations, state: Mapping[str, Tensor], presentation: int = 0
) -> dict[str, Tensor]:
    """The derivative of every tensor of the state in one presentation."""
    names = network.weight_shapes
    activities = {k: v for k, v in state.items() if k not in names}
    frame = next(stimulus.frames(presentation * stimulus.duration, stimulus.duration_total))
    rates, updates = Field(network, frame)(frame.start, activities, {k: DenseWeight(state[k]) for k in names})
    return {**rates, **{k: update.derivative(state[k]) for k, update in updates.items()}}


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], rtol: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=1e-12)


def permuted(state: Mapping[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    """The same with the units of layer 1 in another order, wherever they appear."""
    last, first = ("r.1", "b.1", "g.1", "W.2", "x.2"), ("W.1", "S")
    return {
        name: value[..., order] if name in last else value[order] if name in first else value
        for name, value in state.items()
    }


@given(rule=st.sampled_from(list(RULES)), order=st.permutations(range(SIZES[1])), seed=st.integers(0, 1000))
def test_permuting_hidden_units_permutes_the_derivative(rule: str, order: list[int], seed: int) -> None:
    network, stimulus = network_of(rule), ct.Presentations(*samples(4, seed), batch_size=4, shuffle=False)
    state, places = somewhere(network, 4, seed), torch.tensor(order)
    moved = slopes(network, stimulus, state.replace(permuted(state, places)))
    close(moved, permuted(slopes(network, stimulus, state), places))


@pytest.mark.usefixtures("tiny_unchecked")
@settings(max_examples=5)
@given(rule=st.sampled_from(list(RULES)), order=st.permutations(range(SIZES[1])), seed=st.integers(0, 1000))
def test_permuting_hidden_units_permutes_what_is_learned(rule: str, order: list[int], seed: int) -> None:
    network, stimulus = network_of(rule), ct.Presentations(*samples(8, seed), batch_size=4)
    state, places = somewhere(network, 4, seed), torch.tensor(order)
    plain = ct.simulate(network, stimulus, ct.solvers.RK4(dt=0.2), state=state)
    moved = ct.simulate(network, stimulus, ct.solvers.RK4(dt=0.2), state=state.replace(permuted(state, places)))
    close(moved.final, permuted(plain.final, places))


@given(
    rule=st.sampled_from(list(RULES)),
    order=st.permutations(range(5)),
    per=st.sampled_from(["class", "sample"]),
    seed=st.integers(0, 1000),
)
def test_the_order_of_samples_in_a_batch_does_not_matter(rule: str, order: list[int], per: str, seed: int) -> None:
    network, (x, y) = network_of(rule, per=per), samples(5, seed)
    state = somewhere(network, 5, seed)
    rows = torch.tensor(order)
    both = torch.cat([rows, 5 + rows]) if per == "sample" else torch.cat([rows, 5 + torch.arange(CLASSES)])
    shuffled = {
        name: value[rows if len(value) == 5 else both] if name[0] in "rxgyc" else value for name, value in state.items()
    }
    if per == "sample":  # a label says which target row is right, and these rows move too
        shuffled.update({name: shuffled[name][:, rows] for name in ("y.1", "y.2") if name in state})
    plain = slopes(network, ct.Presentations(x, y, 5, shuffle=False), state)
    moved = slopes(network, ct.Presentations(x[rows], y[rows], 5, shuffle=False), state.replace(shuffled))
    for name in ("W.1", "W.2", "b.1", "b.2"):
        torch.testing.assert_close(moved[name], plain[name], rtol=1e-9, atol=1e-12)


@given(
    rule=st.sampled_from(list(RULES)),
    contrast=st.sampled_from(CONTRASTS),
    cut=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_a_batch_learns_the_mean_of_its_parts(rule: str, contrast: ct.rules.Contrast, cut: int, seed: int) -> None:
    network, (x, y), rows = network_of(rule, contrast=contrast), samples(7, seed), 7
    whole = somewhere(network, rows, seed)
    change = slopes(network, ct.Presentations(x, y, rows, shuffle=False), whole)
    total: dict[str, Tensor] = {}
    for part in (slice(0, cut), slice(cut, rows)):
        count = len(x[part])
        inputs = torch.arange(rows)[part]
        with_targets = torch.cat([inputs, rows + torch.arange(CLASSES)])
        state = {
            name: value[inputs if len(value) == rows else with_targets] if name[0] in "rxgy" else value
            for name, value in whole.items()
        }
        found = slopes(network, ct.Presentations(x[part], y[part], count, shuffle=False), state)
        for name in ("W.1", "W.2", "b.1", "b.2", "S"):
            if name in found:
                total[name] = total.get(name, torch.zeros_like(found[name])) + found[name] * (count / rows)
    assert "W.1" in total
    for name, value in total.items():
        torch.testing.assert_close(value, change[name], rtol=1e-9, atol=1e-12)


@given(rule=st.sampled_from(list(RULES)), count=st.integers(1, 3), seed=st.integers(0, 1000))
def test_empty_rows_of_a_partial_batch_teach_nothing(rule: str, count: int, seed: int) -> None:
    network, (x, y) = network_of(rule, rate=0.5), samples(4 + count, seed)
    partial = ct.Presentations(x, y, batch_size=4, shuffle=False)
    alone = ct.Presentations(x[4:], y[4:], batch_size=count, shuffle=False)
    state = somewhere(network, 4, seed)
    for name in {"y.1", "y.2"} & set(state):
        state[name][count:] = 0.0  # no label has arrived in the rows that are empty
    rows, both = torch.arange(count), torch.cat([torch.arange(count), 4 + torch.arange(CLASSES)])
    small = {k: v[rows if len(v) == 4 else both] if k[0] in "rxgy" else v for k, v in state.items()}
    filled, exact = slopes(network, partial, state, presentation=1), slopes(network, alone, small)
    decay = 0.5 * float(RULES[rule][1].get("decay", 0.0))
    for name in {"W.1", "W.2", "b.1", "b.2", "S"} & set(filled):
        learned, expected = (found[name] + decay * state[name] for found in (filled, exact))
        torch.testing.assert_close(learned, count / 4 * expected, rtol=1e-9, atol=1e-12)  # a mean over all 4 rows


@pytest.mark.usefixtures("tiny_unchecked")
@pytest.mark.parametrize("solver", ["euler", "rk4"])
@settings(max_examples=5)
@given(rule=st.sampled_from(list(RULES)), factor=st.floats(0.05, 20.0), gated=st.booleans())
def test_rescaling_time_learns_the_same(solver: str, rule: str, factor: float, gated: bool) -> None:
    x, y = samples(8, 1)
    found = []
    for a in (1.0, factor):
        network = network_of(rule, rate=0.5 / a, tau=a)
        gate = (0.25 * a, 0.75 * a) if gated else None
        stimulus = ct.Presentations(x, y, batch_size=4, duration=a, gate=gate, epochs=2, seed=3)
        kind: Any = ct.solvers.get(solver)
        found.append(ct.simulate(network, stimulus, kind(dt=0.125 * a), seed=2).final)
    close(found[1], found[0], rtol=1e-7)


@pytest.mark.usefixtures("tiny_unchecked")
def test_rescaling_time_learns_the_same_with_adaptive_steps() -> None:
    x, y = samples(8, 1)
    found = []
    for a in (1.0, 3.7):
        stimulus = ct.Presentations(x, y, batch_size=4, duration=a)
        solver = ct.solvers.Dopri5(rtol=1e-7, atol=1e-9)
        found.append(ct.simulate(network_of("contrastive", 0.5 / a, a), stimulus, solver, seed=2).final)
    close(found[1], found[0], rtol=1e-5)


ZERO: list[ct.solvers.Solver] = [
    ct.solvers.Euler(dt=0.3),
    ct.solvers.RK4(dt=0.3),
    ct.solvers.ImplicitAdams(dt=0.1),
    ct.solvers.Dopri5(),
    ct.solvers.Dopri8(),
    ct.solvers.Bosh3(),
    ct.solvers.FactoredEuler(dt=0.3),
    ct.solvers.FactoredRK4(dt=0.3),
    ct.solvers.FactoredDopri5(),
    ct.solvers.FactoredTsit5(),
    ct.solvers.SciPy(solver="RK45"),
]


@pytest.mark.usefixtures("tiny_unchecked")
@pytest.mark.parametrize("rule", ["hebb", "contrastive"])
@pytest.mark.parametrize("solver", ZERO, ids=lambda solver: type(solver).__name__)
def test_a_rate_of_zero_leaves_every_weight_as_it_is(solver: ct.solvers.Solver, rule: str) -> None:
    network, (x, y) = network_of(rule, rate=0.0), samples(8, 1)
    stimulus = ct.Presentations(x, y, batch_size=4)
    state = somewhere(network, 4, 5)
    sol = ct.simulate(network, stimulus, solver, state=state)
    for name in ("W.1", "W.2", "S", "b.1", "b.2"):
        assert torch.equal(sol.final[name], state[name]), name
    assert not torch.equal(sol.final["r.1"], state["r.1"])


def test_a_layer_without_a_rule_keeps_its_weights() -> None:
    rule = ct.rules.Hebb(rate=0.1, decay=1.0)
    network = ct.Network([5, 6, 4], rule=[None, rule])
    stimulus = ct.Presentations(samples(8, 1)[0], batch_size=4)
    state = somewhere(network, 4, 5)
    sol = ct.simulate(network, stimulus, ct.solvers.Dopri5(), state=state)
    assert torch.equal(sol.final["W.1"], state["W.1"])
    assert torch.equal(sol.final["b.1"], state["b.1"])
    assert not torch.equal(sol.final["W.2"], state["W.2"])


@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 10.0))
def test_the_rate_multiplies_the_whole_right_hand_side(seed: int, factor: float) -> None:
    for rule in RULES:
        stimulus = ct.Presentations(*samples(4, seed), batch_size=4, shuffle=False)
        state = somewhere(network_of(rule), 4, seed)
        one, other = (slopes(network_of(rule, rate=0.5 * a), stimulus, state) for a in (1.0, factor))
        for name in ("W.1", "W.2", "b.1", "b.2"):
            torch.testing.assert_close(other[name], factor * one[name], rtol=1e-9, atol=1e-12)


def test_initial_weights_have_the_deviation_that_keeps_activity_in_range() -> None:
    network = ct.Network([400, 300, 200], neuron=ct.Rate(activation="relu"))
    state = network.initial_state(0)
    for i, inputs in ((1, 400), (2, 300)):
        assert float(state[f"W.{i}"].std()) == pytest.approx(np.sqrt(2 / inputs), rel=0.02)
