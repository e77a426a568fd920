"""Surrogate derivatives, and the rules that use them or do without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ctsigprop.rules import Local, Surrogate, Voltage
from ctsigprop.rules.surrogates import SURROGATES, fast_sigmoid, shift_add

U = torch.linspace(-3.0, 3.0, 241, dtype=torch.float64)
FORMULA: dict[str, Any] = {
    "fast_sigmoid": lambda u: 1 / (1 + np.abs(u)) ** 2,
    "arctan": lambda u: 1 / (1 + u**2),
    "boxcar": lambda u: (np.abs(u) < 1).astype(float),
    "triangle": lambda u: np.maximum(0, 1 - np.abs(u)),
    "gaussian": lambda u: np.exp(-(u**2) / 2),
    "shift_add": lambda u: np.interp(np.abs(u), np.arange(30), 2.0 ** -np.arange(30)),
}


@pytest.mark.parametrize("slope", [0.5, 2.0])
@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_is_its_formula_and_changes_nothing(name: str, slope: float) -> None:
    u = U + 1e-4  # off the boxcar's edges
    before = u.clone()
    found = SURROGATES[name](u, slope)
    np.testing.assert_allclose(found.numpy(), FORMULA[name](slope * u.numpy()), rtol=1e-12, atol=1e-14)
    assert torch.equal(u, before)
    assert found.dtype == u.dtype
    assert SURROGATES[name](u.float(), slope).dtype == torch.float32


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_is_1_at_threshold_even_and_falls_off(name: str) -> None:
    psi = SURROGATES[name]
    assert float(psi(torch.zeros(1), 2.0)) == 1.0
    torch.testing.assert_close(psi(U, 2.0), psi(-U, 2.0))
    falling = psi(U[U >= 0], 2.0)
    assert bool((falling.diff() <= 1e-15).all())
    assert float(psi(torch.tensor([1e6]), 2.0)) < 1e-9


def test_super_spike_is_the_derivative_of_the_fast_sigmoid() -> None:
    u = U.clone().requires_grad_()
    (slope,) = torch.autograd.grad((u / (1 + 2.0 * u.abs())).sum(), u)
    torch.testing.assert_close(fast_sigmoid(U, 2.0), slope)


def test_shift_add_takes_powers_of_two_at_whole_numbers_exactly() -> None:
    u = torch.arange(0, 20, dtype=torch.float32)
    assert torch.equal(shift_add(u, 1.0), 2.0**-u)


def population(rows: int = 4) -> Local:
    random = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    share = torch.full((rows, 1), 1 / rows, dtype=torch.float64)
    return Local(some(rows, 3), some(rows, 5), share, delta=some(rows, 3), distance=some(rows, 3))


@pytest.mark.parametrize("psi", SURROGATES)
def test_the_surrogate_rule_is_signal_times_psi_times_trace(psi: str) -> None:
    local = population()
    weight = torch.ones(3, 5, dtype=torch.float64)
    found = Surrogate(rate=0.5, psi=psi, slope=1.5, decay=0.2).update(local).derivative(weight).numpy()
    assert local.delta is not None
    assert local.distance is not None
    post = local.delta.numpy() * FORMULA[psi](1.5 * local.distance.numpy())
    np.testing.assert_allclose(found, 0.5 * (post.T @ local.pre.numpy() - 0.2), rtol=1e-12)


def test_the_voltage_rule_is_signal_times_trace() -> None:
    local = population()
    found = Voltage(rate=0.5).update(local).derivative(torch.zeros(3, 5, dtype=torch.float64))
    assert local.delta is not None
    torch.testing.assert_close(found, 0.5 * local.delta.mT @ local.pre)
    assert not Voltage().potential  # no surrogate
    assert Voltage().of_voltage


@pytest.mark.parametrize("rule", [Surrogate(), Voltage()], ids=repr)
def test_without_a_learning_signal_they_say_so(rule: Any) -> None:
    with pytest.raises(ValueError, match=f"{type(rule).__name__} needs a learning signal"):
        rule.update(Local(torch.zeros(2, 3), torch.zeros(2, 5), torch.full((2, 1), 0.5)))
