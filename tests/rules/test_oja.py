"""Oja's rules against the eigenvectors of the input's second moments, which the samples have exactly."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group

import ctsigprop as ct

pytestmark = pytest.mark.slow  # thousands of evaluations: at full speed, without shape checks
Array: TypeAlias = NDArray[np.float64]
INPUTS, SAMPLES, GAP = 20, 40, 1.3


def inputs(seed: int, leading: int) -> tuple[Array, Array]:
    """Samples (40, 20) and the `leading` eigenvectors (20, leading) of <x x^T>.

    Eigenvalues are drawn between 0.1 and 1, the leading ones raised until the last of them is 1.3 times the next.
    """
    random = np.random.default_rng(seed)
    values = np.sort(random.uniform(0.1, 1.0, INPUTS))[::-1].copy()
    values[:leading] *= GAP * values[leading] / values[leading - 1] * random.uniform(1.0, 1.5)
    vectors = ortho_group.rvs(INPUTS, random_state=seed)
    white = np.linalg.qr(random.standard_normal((SAMPLES, INPUTS)))[0] * np.sqrt(SAMPLES)
    x = white * np.sqrt(values) @ vectors.T
    found = np.linalg.eigvalsh(x.T @ x / SAMPLES)[::-1]
    assert found[leading - 1] >= (1 - 1e-9) * GAP * found[leading]
    return x, vectors[:, :leading]


def learn(rule: ct.rules.Rule, outputs: int, x: Array, seed: int) -> Array:
    """The weights after a long look at all samples at once."""
    network = ct.Network([INPUTS, outputs], neuron=ct.Rate(activation="linear"), rule=rule, bias=False)
    stimulus = ct.Presentations(x, None, SAMPLES, duration=200.0)
    sol = ct.simulate(network, stimulus, ct.solvers.RK4(dt=1.0), seed=seed)
    assert sol.status is ct.Status.COMPLETED
    return sol.final["W.1"].numpy()


@pytest.mark.parametrize("seed", range(5))
def test_oja_turns_to_the_leading_eigenvector_and_to_norm_one(seed: int) -> None:
    x, vectors = inputs(seed, 1)
    w = learn(ct.rules.Oja(rate=0.3), 1, x, seed)[0]
    norm = np.linalg.norm(w)
    angle = np.degrees(np.arccos(min(1.0, abs(w @ vectors[:, 0]) / norm)))
    assert angle < 2.0
    assert abs(norm - 1.0) <= 0.02


def test_every_output_of_oja_learns_the_same_component() -> None:
    x, vectors = inputs(0, 1)
    W = learn(ct.rules.Oja(rate=0.3), 3, x, seed=1)
    np.testing.assert_allclose(np.abs(W @ vectors[:, 0]), 1.0, atol=1e-2)


@pytest.mark.parametrize("seed", range(5))
def test_the_subspace_rule_spans_the_leading_components(seed: int) -> None:
    x, vectors = inputs(seed, 3)
    W = learn(ct.rules.OjaSubspace(rate=0.3), 3, x, seed)
    assert np.degrees(subspace_angles(W.T, vectors)[0]) < 5.0
    np.testing.assert_allclose(W @ W.T, np.eye(3), atol=0.02)


def test_the_subspace_rule_with_one_output_is_ojas() -> None:
    x, _ = inputs(1, 1)
    one, other = (learn(rule, 1, x, seed=2) for rule in (ct.rules.Oja(rate=0.3), ct.rules.OjaSubspace(rate=0.3)))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_the_leading_eigenvector_is_where_oja_stands_still() -> None:
    x, vectors = inputs(3, 1)
    network = ct.Network([INPUTS, 1], neuron=ct.Rate(activation="linear"), rule=ct.rules.Oja(rate=1.0), bias=False)
    w = torch.from_numpy(vectors.T.copy())
    start = network.initial_state(0, SAMPLES, torch.float64).replace({"W.1": w, "r.1": torch.from_numpy(x) @ w.mT})
    stimulus = ct.Presentations(x, None, SAMPLES, 10.0, shuffle=False)
    sol = ct.simulate(network, stimulus, ct.solvers.RK4(dt=0.1), state=start)
    np.testing.assert_allclose(sol.final["W.1"].numpy(), w.numpy(), atol=1e-12)
