"""BCM against its analytic fixed points, for two linearly independent patterns shown in equal shares.

With h_k the response to pattern k, dW/dt is zero where each h_k is 0 or theta, and theta = (h_1^2 + h_2^2) / 2. The
selective states have one response h = theta = 2 and the other 0; only these two are stable.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ctsigprop as ct

pytestmark = pytest.mark.slow  # thousands of evaluations: at full speed, without shape checks
PATTERNS = np.array([[1.0, 0.9, 0.1, 0.0], [0.1, 0.0, 0.8, 1.0]])
STARTS = 20


def responses(activation: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Responses (pattern, unit) and thresholds (unit,) of 20 units, each with random weights to start with.

    Weights start positive: units that respond to nothing learn nothing, and linear ones whose responses are all
    negative reach 0 from below and stay.
    """
    network = ct.Network(
        [4, STARTS],
        neuron=ct.Rate(tau=0.2, activation=activation),
        rule=ct.rules.BCM(rate=0.1, tau_theta=1.0),
        bias=False,
    )
    W = np.random.default_rng(seed).uniform(0.1, 1.0, (STARTS, 4))
    state = network.initial_state(0, 2, torch.float64).replace({"W.1": torch.from_numpy(W)})
    stimulus = ct.Presentations(PATTERNS, None, 2, duration=120.0, shuffle=False)
    sol = ct.simulate(network, stimulus, ct.solvers.RK4(dt=0.5), state=state)
    assert sol.status is ct.Status.COMPLETED
    return sol.final["r.1"].numpy(), sol.final["theta.1"].numpy()


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_bcm_becomes_selective_from_every_start(activation: str) -> None:
    h, theta = responses(activation, seed=1)
    np.testing.assert_allclose(theta, 2.0, atol=1e-3)
    np.testing.assert_allclose(h.max(0), 2.0, atol=1e-3)
    np.testing.assert_allclose(h.min(0), 0.0, atol=1e-3)
    assert set(h.argmax(0)) == {0, 1}  # which pattern a unit chooses is for its start to decide


@pytest.mark.parametrize(
    ("h", "stays"), [((2.0, 0.0), True), ((0.0, 2.0), True), ((1.0, 1.0), False), ((0.0, 0.0), False)]
)
def test_every_fixed_point_stands_still_and_only_the_selective_ones_are_stable(
    h: tuple[float, float], stays: bool
) -> None:
    """Started at a fixed point, and started above it in the first response, below it in the second."""
    network = ct.Network(
        [4, 1],
        neuron=ct.Rate(tau=0.2, activation="linear"),
        rule=ct.rules.BCM(rate=0.1, tau_theta=1.0),
        bias=False,
    )
    stimulus = ct.Presentations(PATTERNS, None, 2, duration=120.0, shuffle=False)

    def after(responses: np.ndarray) -> np.ndarray:
        w = torch.from_numpy(np.linalg.pinv(PATTERNS) @ responses)
        state = network.initial_state(0, 2, torch.float64)
        r = torch.from_numpy(responses.reshape(2, 1).copy())
        theta = torch.tensor([float(np.mean(responses**2))], dtype=torch.float64)
        state = state.replace({"W.1": w.reshape(1, 4), "r.1": r, "theta.1": theta})
        return ct.simulate(network, stimulus, ct.solvers.RK4(dt=0.5), state=state).final["r.1"].numpy().ravel()

    point = np.array(h)
    np.testing.assert_allclose(after(point), point, atol=1e-9)
    away = after(point + np.array([0.3, -0.15]))
    assert bool(np.abs(away - point).max() < 1e-3) is stays
