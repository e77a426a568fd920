"""How a unit moves: rate neurons against their closed form, neurons of one's own, and what is refused as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import ctsigprop as ct
from ctsigprop.model.steady import settle
from ctsigprop.neurons.activations import ACTIVATIONS
from ctsigprop.neurons.base import check_neuron

TAUS = st.floats(0.05, 20.0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Oscillator(nn.Module):
    """Two variables per unit, a damped rotation around (drive, 0): its output at rest is its drive."""

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        self.tau = tau
        self.turn = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def variables(self) -> dict[str, float]:
        return {"u": 0.0, "v": 0.5}

    def flow(self, variables: Mapping[str, Tensor], drive: Tensor) -> dict[str, Tensor]:
        u, v = variables["u"] - drive, variables["v"]
        return {"u": (-u - self.turn * v) / self.tau, "v": (self.turn * u - v) / self.tau}

    def output(self, variables: Mapping[str, Tensor]) -> Tensor:
        return variables["u"]

    def gain(self, variables: Mapping[str, Tensor], drive: Tensor) -> Tensor:
        return torch.ones_like(drive)


@given(tau=TAUS, activation=st.sampled_from(sorted(ACTIVATIONS)), t=st.floats(0.1, 3.0))
def test_a_rate_neuron_relaxes_to_the_activation_of_its_drive(tau: float, activation: str, t: float) -> None:
    """r(t) = phi(drive) (1 - exp(-t / tau)) from rest under a constant drive."""
    neuron = ct.Rate(tau=tau, activation=activation)
    net = ct.Network([3, 2], neuron=neuron, bias=False)
    x = normal(1, 3)
    state = net.initial_state(0, 1, torch.float64)
    sol = ct.simulate(net, ct.Presentations(x, None, 1, duration=t * tau), ct.solvers.RK4(dt=tau / 20), state=state)
    expected = ACTIVATIONS[activation].function(x @ state["W.1"].mT) * (1 - np.exp(-t))
    torch.testing.assert_close(sol.final["r.1"], expected, rtol=1e-6, atol=1e-9)


def test_each_layer_has_the_tau_of_its_own_neurons() -> None:
    net = ct.Network([1, 1, 1], neuron=[ct.Rate(1.0, "linear"), ct.Rate(3.0, "linear")], bias=False)
    state = net.initial_state(0, 1, torch.float64)
    state = state.replace({name: torch.ones_like(state[name]) for name in ("W.1", "W.2")})
    sol = ct.simulate(net, ct.Presentations(np.ones((1, 1)), None, 1, 2.0), ct.solvers.RK4(dt=0.05), state=state)
    t = 2.0
    assert float(sol.final["r.1"]) == pytest.approx(1 - np.exp(-t), rel=1e-6)
    assert float(sol.final["r.2"]) == pytest.approx(1 + 0.5 * np.exp(-t) - 1.5 * np.exp(-t / 3), rel=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_flow_gain_output_and_rest_are_those_of_the_equation(activation: str) -> None:
    neuron, phi = ct.Rate(tau=2.5, activation=activation), ACTIVATIONS[activation]
    r, drive = normal(2, 3, 4), 2 * normal(2, 3, 4) + 0.1
    torch.testing.assert_close(neuron.flow({"r": r}, drive)["r"], (phi.function(drive) - r) / 2.5)
    assert torch.equal(neuron.gain({"r": r}, drive), phi.derivative(drive))
    assert neuron.output({"r": r}) is r
    rest = neuron.steady(drive)
    assert bool((neuron.flow({"r": rest}, drive)["r"] == 0).all())
    assert torch.equal(settle(neuron, drive), rest)


def test_a_rate_neuron_changes_none_of_its_arguments() -> None:
    neuron = ct.Rate(activation="softplus")
    r, drive = normal(3, 4), normal(3, 4)
    before = r.clone(), drive.clone()
    neuron.flow({"r": r}, drive)
    neuron.gain({"r": r}, drive)
    neuron.steady(drive)
    assert torch.equal(r, before[0])
    assert torch.equal(drive, before[1])


def test_the_slope_of_the_output_is_what_differential_rules_ask_for() -> None:
    neuron: Any = ct.Rate(tau=2.0, activation="tanh")
    variables, drive = {"r": normal(3, 4)}, normal(3, 4)
    slopes = neuron.flow(variables, drive)
    assert torch.equal(neuron.output_slope(variables, slopes), slopes["r"])


def test_rate_neurons_compare_by_what_they_are() -> None:
    assert ct.Rate(2.0, "tanh") == ct.Rate(tau=2.0, activation="tanh")
    assert ct.Rate(2.0, "tanh") != ct.Rate(1.0, "tanh")
    assert len({ct.Rate(), ct.Rate(1.0, "relu"), ct.Rate(activation="tanh")}) == 2
    assert repr(ct.Rate(2.0, "tanh")) == "Rate(tau=2.0, activation='tanh')"
    assert ct.Rate(tau=2).tau == 2


def square(u: Tensor) -> Tensor:
    return u * u


def twice(u: Tensor) -> Tensor:
    return 2 * u


@pytest.mark.parametrize("given", [(square, twice), ct.Activation(square, twice)])
def test_an_activation_of_ones_own_is_a_pair_of_functions(given: Any) -> None:
    neuron = ct.Rate(activation=given)
    drive = normal(2, 3)
    assert torch.equal(neuron.steady(drive), drive * drive)
    assert torch.equal(neuron.gain({}, drive), 2 * drive)
    net = ct.Network([3, 2], 2, neuron=neuron, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    assert ct.simulate(net, ct.Presentations(normal(4, 3), [0, 1, 1, 0], 2), ct.solvers.Euler(dt=0.5)).status.ok


def test_initial_weights_are_as_wide_as_the_activation_asks_for() -> None:
    for gain in (1.0, 3.0):
        net = ct.Network([400, 300], neuron=ct.Rate(activation=ct.Activation(square, twice, gain)))
        assert net.initial_state()["W.1"].std() == pytest.approx(gain / 20, rel=0.02)


def test_a_neuron_without_a_closed_rest_is_integrated_to_it() -> None:
    drive = normal(2, 3)
    torch.testing.assert_close(settle(Oscillator(0.3), drive), drive, rtol=1e-6, atol=1e-6)


def test_any_module_with_the_members_is_a_neuron() -> None:
    neuron = Oscillator()
    assert isinstance(neuron, ct.Neuron)
    net = ct.Network([3, 4, 2], 2, neuron=neuron, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    state = net.initial_state(rows=2, dtype=torch.float64)
    assert float(state["v.1"].unique()) == 0.5
    assert state["u.1"].shape == state["v.1"].shape == (4, 4)
    sol = ct.simulate(net, ct.Presentations(normal(4, 3), [0, 1, 1, 0], 2), ct.solvers.RK4(dt=0.1), state=state)
    assert sol.status.ok
    assert not any(value.requires_grad for value in sol.final.values())
    assert neuron.turn.grad is None


def test_a_two_variable_neuron_follows_its_closed_form() -> None:
    net = ct.Network([1, 1], neuron=Oscillator(), bias=False)
    state = net.initial_state(rows=1, dtype=torch.float64).replace({"W.1": torch.ones(1, 1, dtype=torch.float64)})
    sol = ct.simulate(net, ct.Presentations(np.ones((1, 1)), None, 1, 1.5), ct.solvers.RK4(dt=0.02), state=state)
    spiral = (-1 + 0.5j) * np.exp((-1 + 2j) * 1.5)  # (u - drive) + i v turns and shrinks
    assert float(sol.final["u.1"]) == pytest.approx(1 + spiral.real, rel=1e-5)
    assert float(sol.final["v.1"]) == pytest.approx(spiral.imag, rel=1e-5)


def test_kinds_of_neurons_may_differ_from_layer_to_layer() -> None:
    net = ct.Network([3, 4, 2], neuron=[Oscillator(), ct.Rate(activation="tanh")], rule=ct.rules.Oja())
    assert {"u.1", "v.1", "r.2"} <= set(net.initial_state())
    assert ct.simulate(net, ct.Presentations(normal(4, 3), None, 2), ct.solvers.Euler(dt=0.25)).status.ok


class NoTau(Oscillator):
    def __init__(self, tau: Any) -> None:
        super().__init__()
        self.tau = tau


class Leaping(Oscillator):
    def jump(self, variables: object, kick: object, slack: float = 0.0) -> None:
        """All that it has of a reset."""


@pytest.mark.parametrize(
    ("neuron", "error", "words"),
    [
        (Leaping(), TypeError, "neuron of layer 1 has a jump and needs .*without margin, voltage, distance, tau_syn"),
        (object(), TypeError, "layer 1 must be a neuron .*without tau, variables, flow, output, gain"),
        (Oscillator, TypeError, "layer 1 must be a neuron such as ct.Rate"),
        (nn.Linear(2, 2), TypeError, "without tau, variables, flow"),
        (torch.tanh, TypeError, "layer 1 must be a neuron"),
        (NoTau(0.0), ValueError, r"layer 1.tau must be a finite number > 0, got 0"),
        (NoTau("fast"), TypeError, r"layer 1.tau must be a number, got 'fast'"),
    ],
)
def test_what_is_no_neuron_is_refused(neuron: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_neuron("neuron of layer 1", neuron)
    with pytest.raises(error, match=words if error is not TypeError else "neuron"):
        ct.Network([3, 2], neuron=neuron)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "kink"), [("relu", True), ("softplus", False), ("tanh", False), ("linear", False)])
def test_kinks_of_activations_are_known(name: str, kink: bool) -> None:
    assert ct.Rate(activation=name).phi.has_kink() is kink


def test_a_kink_anywhere_is_found() -> None:
    leaky = (lambda u: torch.where(u > 1.3, u, 0.2 * u + 1.04), lambda u: torch.where(u > 1.3, 1.0, 0.2).to(u))
    assert ct.Rate(activation=leaky).phi.has_kink()
