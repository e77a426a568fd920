"""Hebb on linear units under constant input is a linear system of activities and weights: its closed form is expm."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh, expm

import ctsigprop as ct

pytestmark = pytest.mark.slow  # thousands of evaluations: at full speed, without shape checks
Array: TypeAlias = NDArray[np.float64]
TIGHT = ct.solvers.Dopri5(rtol=1e-9, atol=1e-11)


def closed_form(W: Array, r: Array, x: Array, rule: ct.rules.Hebb, tau: float, duration: float) -> tuple[Array, Array]:
    """Weights and activities after `duration` of x, unit by unit, with (r_1, ..., r_B, w) as one vector.

    tau dr/dt = -r + x w,  dw/dt = rate (x^T r / B - decay w)
    """
    samples, inputs = x.shape
    A = np.block(
        [
            [-np.eye(samples) / tau, x / tau],
            [rule.rate * x.T / samples, -rule.rate * rule.decay * np.eye(inputs)],
        ]
    )
    end = expm(duration * A) @ np.vstack([r, W.T])
    return end[samples:].T, end[:samples]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5, 4.0])
def test_linear_hebb_follows_its_closed_form(decay: float, bias: bool) -> None:
    rule, tau, duration = ct.rules.Hebb(rate=0.4, decay=decay), 0.8, 1.5
    network = ct.Network([3, 2], neuron=ct.Rate(tau, "linear"), rule=rule, bias=bias)
    x = np.random.default_rng(1).standard_normal((4, 3))
    state = network.initial_state(5, 2, torch.float64)
    W, r = state["W.1"].numpy(), state["r.1"].numpy()
    with_one = np.hstack([x, np.ones((4, 1))])  # a bias is the weight of an input that is always 1
    both = np.hstack([W, np.zeros((2, 1))])
    for shown in (with_one[:2], with_one[2:]):
        if bias:
            both, r = closed_form(both, r, shown, rule, tau, duration)
        else:
            W, r = closed_form(W, r, shown[:, :3], rule, tau, duration)
            both = np.hstack([W, both[:, 3:]])
    sol = ct.simulate(network, ct.Presentations(x, None, 2, duration, shuffle=False), TIGHT, state=state)
    found = torch.cat([sol.final["W.1"], sol.final["b.1"].unsqueeze(-1)], -1) if bias else sol.final["W.1"]
    expected = both if bias else both[:, :3]
    assert np.linalg.norm(found.numpy() - expected) <= 1e-6 * np.linalg.norm(expected)
    assert np.linalg.norm(sol.final["r.1"].numpy() - r) <= 1e-6 * np.linalg.norm(r)


def test_decay_at_the_largest_eigenvalue_of_the_input_keeps_its_component_and_loses_the_rest() -> None:
    """Where activity is settled, dW/dt = rate W (C - decay): at decay = the largest eigenvalue one direction stays."""
    x = np.random.default_rng(3).standard_normal((6, 4))
    values, vectors = eigh(x.T @ x / 6)
    network = ct.Network([4, 2], neuron=ct.Rate(0.01, "linear"), rule=ct.rules.Hebb(1.0, float(values[-1])), bias=False)
    stimulus = ct.Presentations(x, None, 6, duration=20.0 / (values[-1] - values[-2]), shuffle=False)
    state = network.initial_state(0, 6, torch.float64)
    state = state.replace({"r.1": torch.from_numpy(x) @ state["W.1"].mT})
    sol = ct.simulate(network, stimulus, ct.solvers.SciPy(rtol=1e-6, atol=1e-9, solver="LSODA"), state=state)
    W = sol.final["W.1"].numpy()
    along = W @ vectors
    assert np.abs(along[:, :-1]).max() <= 1e-5 * np.abs(along[:, -1]).max()
    kept = state["W.1"].numpy() @ vectors[:, -1]
    np.testing.assert_allclose(along[:, -1], kept, rtol=1e-4)  # tau r + w is conserved there, and so is w
