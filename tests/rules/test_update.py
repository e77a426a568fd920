"""Update: the factor form against the same matrices written out; rules on an ensemble against its members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules import DenseUpdate, Local, Rule, Update

RULES: list[Rule] = [
    ct.rules.Hebb(rate=0.3),
    ct.rules.Hebb(rate=0.3, decay=0.7),
    ct.rules.Oja(rate=0.2),
    ct.rules.ContrastiveHebbian(rate=2.0),
    ct.rules.ContrastiveHebbian(rate=2.0, decay=0.1),
]


def random_tensor(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def local(batch: tuple[int, ...] = ()) -> Local:
    """What a population of 4 x 3 synapses sees, in 6 rows, one of them empty."""
    share = torch.full((*batch, 6, 1), 1 / 6, dtype=torch.float64)
    share[..., 2, :] = 0.0
    return Local(
        post=random_tensor(*batch, 6, 4, seed=1),
        pre=random_tensor(*batch, 6, 3, seed=2),
        share=share,
        gain=random_tensor(*batch, 6, 4, seed=3),
        delta=random_tensor(*batch, 6, 4, seed=4),
    )


def expected(rule: Rule, seen: Local, weight: Tensor) -> Tensor:
    """dW/dt synapse by synapse, from the equation in each rule's docstring."""
    out = torch.zeros_like(weight)
    for j in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            h, x = seen.post[:, j], seen.pre[:, i]
            present = seen.share[:, 0]
            if isinstance(rule, ct.rules.Hebb):
                out[j, i] = rule.rate * ((present * h * x).sum() - rule.decay * weight[j, i])
            elif isinstance(rule, ct.rules.Oja):
                out[j, i] = rule.rate * ((present * h * x).sum() - (present * h * h).sum() * weight[j, i])
            elif isinstance(rule, ct.rules.ContrastiveHebbian):
                assert seen.delta is not None
                assert seen.gain is not None
                learned = (seen.delta[:, j] * seen.gain[:, j] * x).sum()
                out[j, i] = rule.rate * (learned - rule.decay * weight[j, i])
    return out


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_rule_is_its_equation_synapse_by_synapse(rule: Rule) -> None:
    weight = random_tensor(4, 3, seed=5)
    found = rule.update(local()).derivative(weight)
    torch.testing.assert_close(found, expected(rule, local(), weight), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_bias_is_the_synapse_from_a_unit_that_is_always_on(rule: Rule) -> None:
    seen = local()
    with_one = replace(seen, pre=torch.cat([seen.pre, torch.ones(6, 1, dtype=torch.float64)], -1))
    weight = random_tensor(4, 4, seed=6)
    column = rule.update(with_one).derivative(weight)[:, -1]
    torch.testing.assert_close(rule.update(seen).bias_derivative(weight[:, -1]), column, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("batch", [(2,), (2, 3)], ids=str)
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_rule_on_an_ensemble_equals_the_rule_on_each_member(rule: Rule, batch: tuple[int, ...]) -> None:
    together, weight, bias = local(batch), random_tensor(*batch, 4, 3, seed=5), random_tensor(*batch, 4, seed=7)
    update = rule.update(together)
    change, bias_change = update.derivative(weight), update.bias_derivative(bias)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in batch)).reshape(-1, len(batch)).tolist():
        at = tuple(index)
        assert together.gain is not None
        assert together.delta is not None
        alone = rule.update(
            Local(together.post[at], together.pre[at], together.share[at], together.gain[at], together.delta[at])
        )
        torch.testing.assert_close(change[at], alone.derivative(weight[at]), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(bias_change[at], alone.bias_derivative(bias[at]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_an_update_changes_nothing_that_the_rule_is_given(rule: Rule) -> None:
    seen, untouched = local(), local()
    rule.update(seen)
    for name in ("post", "pre", "share", "gain", "delta"):
        assert torch.equal(getattr(seen, name), getattr(untouched, name))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_an_empty_row_of_an_unsupervised_rule_teaches_nothing(rule: Rule) -> None:
    if rule.supervised:
        pytest.skip("the learning signal of an empty row is zero already, see test_contrasts")
    seen = local()
    loud = replace(seen, post=seen.post.clone())
    loud.post[2] = 1e3
    weight = random_tensor(4, 3, seed=5)
    assert torch.equal(rule.update(seen).derivative(weight), rule.update(loud).derivative(weight))


DECAYS: Mapping[str, float | Tensor] = {
    "none": 0.0,
    "number": 0.4,
    "per_unit": torch.tensor([0.1, 0.0, 2.0, 0.5], dtype=torch.float64),
}


def factor_form(decay: float | Tensor) -> Update:
    return Update(random_tensor(6, 4, seed=1), random_tensor(6, 3, seed=2), decay)


@pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS)
def test_the_derivative_is_post_times_pre_minus_decay(decay: float | Tensor) -> None:
    update, weight, bias = factor_form(decay), random_tensor(4, 3, seed=5), random_tensor(4, seed=6)
    rate = decay if isinstance(decay, Tensor) else torch.full((4,), decay, dtype=torch.float64)
    written_out = torch.einsum("rj,ri->ji", update.post, update.pre) - torch.diag(rate) @ weight
    torch.testing.assert_close(update.derivative(weight), written_out, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(update.bias_derivative(bias), update.post.sum(0) - rate * bias, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS)
def test_the_derivative_can_be_written_into_a_part_of_a_larger_vector(decay: float | Tensor) -> None:
    update, weight = factor_form(decay), random_tensor(4, 3, seed=5)
    flat = torch.full((20,), torch.nan, dtype=torch.float64)
    update.derivative(weight, out=flat[5:17].view(4, 3))
    assert torch.equal(flat[5:17].view(4, 3), update.derivative(weight))
    assert bool(flat[:5].isnan().all())
    assert bool(flat[17:].isnan().all())


@given(factor=st.floats(-10, 10), decay=st.sampled_from(sorted(DECAYS)))
def test_a_scaled_update_has_a_scaled_derivative(factor: float, decay: str) -> None:
    update, weight, bias = factor_form(DECAYS[decay]), random_tensor(4, 3, seed=5), random_tensor(4, seed=6)
    scaled = update.scaled(factor)
    torch.testing.assert_close(scaled.derivative(weight), factor * update.derivative(weight), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        scaled.bias_derivative(bias), factor * update.bias_derivative(bias), rtol=1e-9, atol=1e-12
    )


def test_a_dense_update_is_its_matrix() -> None:
    change, bias, weight = random_tensor(4, 3, seed=1), random_tensor(4, seed=2), random_tensor(4, 3, seed=5)
    place = torch.empty_like(change)
    update = DenseUpdate(change, bias)
    assert torch.equal(update.derivative(weight), change)
    assert torch.equal(update.derivative(weight, out=place), place)
    assert torch.equal(place, change)
    assert torch.equal(update.bias_derivative(random_tensor(4, seed=3)), bias)
    assert not DenseUpdate(change).bias_derivative(bias).any()
    assert torch.equal(update.scaled(0.5).derivative(weight), 0.5 * change)
    assert torch.equal(update.scaled(0.5).bias_derivative(bias), 0.5 * bias)
