"""The algebra of rules: a + b adds derivatives, c * a multiplies them, and both keep the factor form where they can."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules import (
    BCM,
    AntiHebb,
    Bounded,
    ContrastiveHebbian,
    Covariance,
    DenseUpdate,
    DifferentialHebb,
    Hebb,
    Local,
    Oja,
    OjaSubspace,
    PostsynapticGatedHebb,
    PresynapticGatedHebb,
    Rule,
    Scaling,
    ThreeFactor,
    Update,
    WeightDecay,
)

ROWS, PRE, POST = 4, 3, 2
PARTS: dict[str, Rule] = {
    "anti": AntiHebb(rate=0.2, decay=0.3),
    "bcm": BCM(rate=0.3),
    "bounded": Bounded(Hebb(rate=0.3), w_min=-5, w_max=5),
    "contrastive": ContrastiveHebbian(rate=0.7, decay=0.1, traces=False),
    "covariance": Covariance(rate=0.2),
    "hebb": Hebb(rate=0.1, decay=0.5),
    "oja": Oja(rate=0.4),
    "post": PostsynapticGatedHebb(rate=0.3),
    "pre": PresynapticGatedHebb(rate=0.3),
    "scaling": Scaling(rate=0.2),
    "subspace": OjaSubspace(rate=0.3),
    "three": ThreeFactor(Oja(rate=0.2), modulator=-0.5),
    "three traced": ThreeFactor(Hebb(rate=0.2), tau_e=2.0),
    "decay": WeightDecay(rate=0.2),
}


def local(rule: Rule, seed: int = 0) -> Local:
    """A population of synapses with everything that a rule may ask for, all of it random."""
    random = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return Local(
        post=some(ROWS, POST),
        pre=some(ROWS, PRE),
        share=some(ROWS, 1).abs(),
        gain=some(ROWS, POST),
        delta=some(ROWS, POST),
        variables={name: some(*shape) for name, (shape, _) in sorted(rule.variables(POST, PRE).items())},
        weight=some(POST, PRE),
        bias=some(POST),
    )


def derivatives(rule: Rule, at: Local) -> tuple[Tensor, Tensor]:
    """DW/dt and db/dt."""
    found = rule.update(at)
    assert at.weight is not None
    assert at.bias is not None
    return found.derivative(at.weight), found.bias_derivative(at.bias)


PAIRS = [
    (a, b)
    for a, b in combinations_with_replacement(PARTS, 2)
    if not set(PARTS[a].variables(1, 1)) & set(PARTS[b].variables(1, 1))
]


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_sum_adds_the_derivatives_of_its_parts(a: str, b: str) -> None:
    one, other = PARTS[a], PARTS[b]
    both = one + other
    at = local(both)
    for found, x, y in zip(derivatives(both, at), derivatives(one, at), derivatives(other, at), strict=True):
        torch.testing.assert_close(found, x + y, rtol=1e-12, atol=1e-14)
    flows = both.flow(at)
    assert flows.keys() == both.variables(POST, PRE).keys()
    for part in (one, other):
        for name, value in part.flow(at).items():
            assert torch.equal(flows[name], value)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_sum_of_factored_rules_keeps_the_factor_form(a: str, b: str) -> None:
    both = PARTS[a] + PARTS[b]
    found = both.update(local(both))
    dense = any(isinstance(PARTS[name].update(local(both)), DenseUpdate) for name in (a, b))
    assert isinstance(found, DenseUpdate if dense else Update)
    assert both.dense is (PARTS[a].dense or PARTS[b].dense)
    assert both.supervised is (PARTS[a].supervised or PARTS[b].supervised)
    assert both.bounded is (
        (PARTS[a].bounded and PARTS[b].bounded) or "bounded" in (a, b)
    )  # the bounds hold for the sum


@pytest.mark.parametrize("name", PARTS)
@given(factor=st.floats(-3, 3))
def test_a_multiple_multiplies_the_derivative(name: str, factor: float) -> None:
    rule = PARTS[name]
    at = local(rule)
    for found, once in zip(derivatives(factor * rule, at), derivatives(rule, at), strict=True):
        torch.testing.assert_close(found, factor * once, rtol=1e-12, atol=1e-14)
    assert type((factor * rule).update(at)) is type(rule.update(at))
    flows = (rule * factor).flow(at)
    assert all(torch.equal(flows[name], value) for name, value in rule.flow(at).items())  # variables keep their speed


@given(st.lists(st.sampled_from(["anti", "bcm", "contrastive", "hebb", "oja", "decay"]), min_size=3, max_size=5))
def test_sums_are_associative_and_commutative(names: list[str]) -> None:
    names = [name for k, name in enumerate(names) if name != "bcm" or "bcm" not in names[:k]]
    rules = [PARTS[name] for name in names]
    forward = sum(rules[1:], start=rules[0])
    backward = rules[0] if len(rules) == 1 else rules[0] + sum(rules[2:], start=rules[1])
    turned = sum(rules[-2::-1], start=rules[-1])
    at = local(forward)
    for other in (backward, turned):
        for found, expected in zip(derivatives(other, at), derivatives(forward, at), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_sums_do_not_nest() -> None:
    three = Hebb() + (Oja() + WeightDecay())
    assert isinstance(three, ct.rules.Rule)
    assert [type(part).__name__ for part in getattr(three, "parts")] == ["Hebb", "Oja", "WeightDecay"]  # noqa: B009


def test_parts_that_disagree_on_traces_are_refused() -> None:
    said = r"must agree on traces, got Hebb\(traces=False\), ContrastiveHebbian\(traces=True\)"
    with pytest.raises(ValueError, match=said):
        Hebb() + ContrastiveHebbian()
    with pytest.raises(ValueError, match="must agree on traces"):
        DifferentialHebb() + (Hebb() + WeightDecay())


@pytest.mark.parametrize("term", [WeightDecay(), Scaling()])
@pytest.mark.parametrize("rule", [DifferentialHebb(), ContrastiveHebbian(), Oja(), Hebb(traces=True)])
def test_terms_that_ignore_presynaptic_activity_combine_with_any_choice_of_traces(rule: Rule, term: Rule) -> None:
    for both in (rule + term, term + rule, rule + 0.5 * term):
        assert both.traces is rule.traces
        assert both.differential is rule.differential


@pytest.mark.parametrize(
    ("a", "b", "name"),
    [
        (BCM(), BCM(rate=0.2), "theta"),
        (Scaling(), Hebb() + Scaling(target=0.1), "activity"),
        (Covariance(), 0.5 * Covariance(), "m_post"),
        (ThreeFactor(tau_e=1.0), ThreeFactor(Oja(), tau_e=2.0), "eligibility"),
    ],
)
def test_parts_that_share_a_variable_are_refused(a: Rule, b: Rule, name: str) -> None:
    with pytest.raises(ValueError, match=f"must not share an ODE variable, two of them have '{name}'"):
        a + b


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), "2", None, True])
def test_only_a_finite_number_multiplies_a_rule(factor: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="the factor of a rule must be a"):
        factor * Hebb()


def test_only_rules_add_up() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        Hebb() + 1.0  # type: ignore[operator]


def final(rule: Rule, activation: str = "tanh") -> ct.State:
    network = ct.Network([4, 5, 3], neuron=ct.Rate(activation=activation), rule=rule)
    x = np.random.default_rng(0).standard_normal((6, 4))
    return ct.simulate(network, ct.Presentations(x, None, 3, 1.0), ct.solvers.RK4(dt=0.1), seed=1).final


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (Hebb(rate=0.3) + WeightDecay(rate=0.15), Hebb(rate=0.3, decay=0.5)),
        (0.5 * Hebb(rate=0.4, decay=0.1), Hebb(rate=0.2, decay=0.1)),
        (-1.0 * Hebb(rate=0.4), AntiHebb(rate=0.4)),
        (Hebb(rate=0.1) + Hebb(rate=0.3), Hebb(rate=0.4)),
        (2 * (Oja(rate=0.1) + WeightDecay(rate=0.1)), Oja(rate=0.2) + WeightDecay(rate=0.2)),
        (ThreeFactor(Oja(rate=0.1), 2.0, rate=1.5), Oja(rate=0.3)),
        (Bounded(Hebb(rate=0.3), -1e6, 1e6, "hard", rate=0.5), Hebb(rate=0.15)),
        (PresynapticGatedHebb(rate=0.3, theta=0.0), Hebb(rate=0.3)),
        (PostsynapticGatedHebb(rate=0.3, theta=0.0), Hebb(rate=0.3)),
    ],
    ids=repr,
)
def test_two_ways_to_write_one_rule_take_the_same_course(one: Rule, same: Rule) -> None:
    a, b = final(one), final(same)
    start = ct.Network([4, 5, 3], neuron=ct.Rate(activation="tanh")).initial_state(1, 3, torch.float64)
    for name in ("W.1", "W.2", "b.1", "b.2"):
        assert not torch.equal(a[name], start[name])
        torch.testing.assert_close(a[name], b[name], rtol=1e-10, atol=1e-12)


def test_oja_with_scaling_keeps_the_direction_and_sets_the_activity() -> None:
    """One linear unit: Oja finds the leading eigenvector, and scaling brings its mean activity to the target."""
    x = np.array([[2.0, 0.4], [1.6, 0.5], [1.0, -0.3]])
    vector = np.linalg.eigh(x.T @ x)[1][:, -1]
    unit = ct.Network([2, 1], neuron=ct.Rate(activation="linear"), rule=0.01 * Oja(1.0) + Scaling(0.5, 0.5), bias=False)
    state = unit.initial_state(0, 3, torch.float64).replace({"W.1": torch.tensor([[0.3, 0.2]], dtype=torch.float64)})
    sol = ct.simulate(unit, ct.Presentations(x, None, 3, 800.0), ct.solvers.RK4(dt=0.5), state=state)
    w = sol.final["W.1"].numpy()[0]
    assert abs(w @ vector) / np.linalg.norm(w) > np.cos(np.radians(2.0))
    assert abs(float(sol.final["activity.1"]) - 0.5) < 0.05


@dataclass(frozen=True)
class Nameless(Rule):
    """A dense part that does not say so."""

    rate: float = 1.0

    def update(self, local: Local) -> DenseUpdate:
        return DenseUpdate(local.post.mT @ local.pre * self.rate)


def test_a_dense_part_must_say_that_it_is_dense() -> None:
    network = ct.Network([4, 3], rule=Nameless() + WeightDecay())
    with pytest.raises(ValueError, match="set dense = True in its class"):
        ct.simulate(network, ct.Presentations(torch.ones(1, 4), None, 1), ct.solvers.Euler(dt=1.0))
