"""Backpropagation in continuous time against torch.autograd, where activity and errors are faster than weights."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import ctsigprop as ct

Case: TypeAlias = tuple[str, str]
SIZES, CLASSES, SAMPLES = (6, 9, 7, 4), 4, 8
CASES: list[Case] = [(phi, loss) for phi in ("relu", "tanh") for loss in ("cross_entropy", "squared")]
PHI = {"relu": torch.relu, "tanh": torch.tanh, "softplus": functional.softplus}
X = torch.from_numpy(np.random.default_rng(0).standard_normal((SAMPLES, SIZES[0])))
Y = torch.arange(SAMPLES) % CLASSES


def network(activation: str, loss: Any, tau: float = 1.0, rate: float = 0.0, traces: bool = False) -> ct.Network:
    """Two hidden layers and linear outputs."""
    neurons = [ct.Rate(tau, activation), ct.Rate(tau, activation), ct.Rate(tau, "linear")]
    rule = ct.rules.ContrastiveHebbian(rate=rate, traces=traces)
    return ct.Network(SIZES, CLASSES, neuron=neurons, signal=ct.Backprop(tau_e=tau, loss=loss), rule=rule)


def start(net: ct.Network, seed: int = 0) -> ct.State:
    """Random weights and biases."""
    state = net.initial_state(seed, SAMPLES, torch.float64)
    random = torch.Generator().manual_seed(seed)
    biases = {
        name: torch.randn(len(v), generator=random, dtype=v.dtype) / 4 for name, v in state.items() if "b." in name
    }
    return state.replace(biases)


def by_autograd(state: ct.State, activation: str, loss: str, present: Tensor | None = None) -> dict[str, Tensor]:
    """The gradient of the mean loss in weights, biases and drives, from a plain feed-forward network."""
    leaves = {name: value.clone().requires_grad_() for name, value in state.items() if name[0] in "Wb"}
    r = X
    for i in (1, 2, 3):
        u = r @ leaves[f"W.{i}"].T + leaves[f"b.{i}"]
        u.retain_grad()
        leaves[f"u.{i}"] = u
        r = u if i == 3 else PHI[activation](u)
    each = (
        functional.cross_entropy(r, Y, reduction="none")
        if loss == "cross_entropy"
        else 0.5 * (r - functional.one_hot(Y, CLASSES)).square().sum(-1)
    )
    torch.autograd.backward((each if present is None else each * present).sum() / SAMPLES)
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / a.norm() / b.norm())


@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_settled_errors_are_minus_the_gradient_in_the_drives(activation: str, loss: str) -> None:
    """With plasticity off, by a rate of 0, errors settle on the gradient itself, not only on its direction."""
    net = network(activation, loss)
    state = start(net)
    stimulus = ct.Presentations(X, Y, SAMPLES, duration=40.0, shuffle=False)
    final = ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.5), state=state).final
    expected = by_autograd(state, activation, loss)
    for i in (1, 2, 3):
        torch.testing.assert_close(final[f"e.{i}"], -expected[f"u.{i}"], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("traces", [False, True])
@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_slow_weights_follow_the_gradient(activation: str, loss: str, traces: bool) -> None:
    """From where activity and errors have settled all moves at once, the weights ten thousand times more slowly."""
    stimulus = ct.Presentations(X, Y, SAMPLES, duration=2.0, shuffle=False)
    still, net = (network(activation, loss, tau=0.02, rate=rate, traces=traces) for rate in (0.0, 0.005))
    state = ct.simulate(still, stimulus, ct.solvers.Euler(dt=0.02), state=start(net), t_span=(0.0, 0.4)).final
    final = ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.02), state=state).final
    expected = by_autograd(state, activation, loss)
    for i in (1, 2, 3):
        for name in (f"W.{i}", f"b.{i}"):
            assert cosine(final[name] - state[name], -expected[name]) >= 0.999, name


@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_a_gated_step_is_a_step_of_gradient_descent(activation: str, loss: str) -> None:
    """Weights open for one step of Euler after all has settled: W changes by -rate dt gradient, to rounding."""
    net = network(activation, loss, rate=0.3)
    state = start(net)
    stimulus = ct.Presentations(X, Y, SAMPLES, duration=9.0, gate=(8.0, 9.0), shuffle=False)
    final = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), state=state).final
    expected = by_autograd(state, activation, loss)
    for i in (1, 2, 3):
        for name in (f"W.{i}", f"b.{i}"):
            torch.testing.assert_close(final[name] - state[name], -0.3 * expected[name], rtol=1e-9, atol=1e-12)


def test_descending_in_time_lowers_the_loss_as_fast_as_the_flow_of_the_gradient_does() -> None:
    """In the limit of fast activity the weights follow dW/dt = -rate gradient: the same W at the end, to the lag."""
    net = network("tanh", "cross_entropy", tau=0.005, rate=0.5)
    state = start(net)
    stimulus = ct.Presentations(X, Y, SAMPLES, duration=4.0, shuffle=False)
    final = ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.01), state=state).final
    flow = state
    for _ in range(400):  # Heun steps of the gradient flow
        g = by_autograd(flow, "tanh", "cross_entropy")
        ahead = flow.replace({name: flow[name] - 0.5 * 0.01 * g[name] for name in flow if name[0] in "Wb"})
        h = by_autograd(ahead, "tanh", "cross_entropy")
        flow = flow.replace({name: flow[name] - 0.25 * 0.01 * (g[name] + h[name]) for name in ahead if name[0] in "Wb"})
    for i in (1, 2, 3):
        moved = (flow[f"W.{i}"] - state[f"W.{i}"]).norm()
        assert moved > 0.05
        assert (final[f"W.{i}"] - flow[f"W.{i}"]).norm() < 0.02 * moved


def test_an_empty_row_has_no_error() -> None:
    net = network("tanh", "cross_entropy")
    state = start(net)
    x = torch.cat([X, X[:5]])
    stimulus = ct.Presentations(x, torch.cat([Y, Y[:5]]), SAMPLES, duration=12.0, shuffle=False)
    final = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), state=state, t_span=(12.0, 24.0)).final
    present = (torch.arange(SAMPLES) < 5).double()
    expected = by_autograd(state, "tanh", "cross_entropy", present)
    for i in (1, 2, 3):
        assert not final[f"e.{i}"][5:].any()
        torch.testing.assert_close(final[f"e.{i}"], -expected[f"u.{i}"], rtol=1e-9, atol=1e-12)


def test_backprop_without_biases_learns_digits() -> None:
    data = ct.datasets.digits()
    neurons = [ct.Rate(), ct.Rate(activation="linear")]
    rule = ct.rules.ContrastiveHebbian(rate=0.5, traces=False)
    net = ct.Network([64, 64, 10], 10, neuron=neurons, signal=ct.Backprop(), rule=rule, bias=False)
    stimulus = ct.Presentations(data.x_train, data.y_train, 64, duration=5.0, gate=(4.0, 5.0), epochs=4)
    sol = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0))
    assert net.score(sol.final, data.x_test, data.y_test) > 0.9
