"""Feedback alignment, direct feedback alignment and Kolen-Pollack: their equations, and what they do to the angle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import ctsigprop as ct

SIZES, CLASSES, SAMPLES = (6, 9, 7, 4), 4, 8
X = torch.from_numpy(np.random.default_rng(0).standard_normal((SAMPLES, SIZES[0])))
Y = torch.arange(SAMPLES) % CLASSES
SIGNALS: dict[str, ct.signals.Feedback] = {
    "fa": ct.FeedbackAlignment(),
    "dfa": ct.DirectFeedbackAlignment(),
    "kp": ct.KolenPollack(decay=0.2),
}


def network(signal: ct.signals.Signal, rate: float = 0.0, traces: bool = False, decay: float = 0.0) -> ct.Network:
    """Two hidden layers of tanh units and linear outputs."""
    neurons = [ct.Rate(activation="tanh"), ct.Rate(activation="tanh"), ct.Rate(activation="linear")]
    rule = ct.rules.ContrastiveHebbian(rate=rate, traces=traces, decay=decay)
    return ct.Network(SIZES, CLASSES, neuron=neurons, signal=signal, rule=rule)


def shown(duration: float = 30.0, **settings: Any) -> ct.Presentations:
    return ct.Presentations(X, Y, SAMPLES, duration, shuffle=False, **settings)


def settled(signal: ct.signals.Signal, traces: bool = False) -> tuple[ct.State, list[Tensor], Tensor]:
    """The state at rest, phi' of each hidden layer, and minus the gradient of the loss in the outputs."""
    frozen = ct.KolenPollack(decay=1e-30) if isinstance(signal, ct.KolenPollack) else signal
    state = ct.simulate(network(frozen, traces=traces), shown(), ct.solvers.Euler(dt=0.5), seed=1).final
    r, gains = X, []
    for i in (1, 2):
        r = torch.tanh(r @ state[f"W.{i}"].mT)
        gains.append(1 - r.square())
    outputs = (r @ state["W.3"].mT).requires_grad_()
    torch.autograd.backward(torch.nn.functional.cross_entropy(outputs, Y))
    assert outputs.grad is not None
    return state, gains, -outputs.grad


@pytest.mark.parametrize("traces", [False, True])
@pytest.mark.parametrize("name", ["fa", "kp"])
def test_layerwise_feedback_comes_through_weights_of_its_own(name: str, traces: bool) -> None:
    """e_3 = -dL/du, e_2 = (e_3 B_3) phi'_2, e_1 = (e_2 B_2) phi'_1."""
    state, gains, error = settled(SIGNALS[name], traces)
    torch.testing.assert_close(state["e.3"], error, rtol=1e-6, atol=1e-9)
    second = (error @ state["B.3"]) * gains[1]
    torch.testing.assert_close(state["e.2"], second, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(state["e.1"], (second @ state["B.2"]) * gains[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("traces", [False, True])
def test_direct_feedback_comes_straight_from_the_output(traces: bool) -> None:
    """e_l = (e_3 B_l) phi'_l."""
    state, gains, error = settled(SIGNALS["dfa"], traces)
    for i in (1, 2):
        torch.testing.assert_close(state[f"e.{i}"], (error @ state[f"B.{i}"]) * gains[i - 1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["fa", "dfa"])
def test_fixed_feedback_keeps_every_bit_while_weights_learn(name: str) -> None:
    net = network(SIGNALS[name], rate=1.0)
    start = net.initial_state(0, SAMPLES, torch.float64)
    final = ct.simulate(net, shown(5.0), ct.solvers.RK4(dt=0.25), state=start).final
    fed = [key for key in start if key.startswith("B.")]
    assert len(fed) == 2
    assert all(torch.equal(final[key], start[key]) for key in fed)
    assert all(not torch.equal(final[f"W.{i}"], start[f"W.{i}"]) for i in (1, 2, 3))


def test_feedback_through_the_forward_weights_is_backprop() -> None:
    """With B = W and weights that stand still the errors take the course of backpropagation's."""
    aligned, back = network(ct.FeedbackAlignment()), network(ct.Backprop())
    state = aligned.initial_state(0, SAMPLES, torch.float64)
    state = state.replace({f"B.{i}": state[f"W.{i}"] for i in (2, 3)})
    solver = ct.solvers.RK4(dt=0.25)
    found = ct.simulate(aligned, shown(3.0), solver, state=state).final
    expected = ct.simulate(back, shown(3.0), solver, seed=0).final
    for i in (1, 2, 3):
        assert found[f"e.{i}"].any()
        torch.testing.assert_close(found[f"e.{i}"], expected[f"e.{i}"], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gate", [None, (1.0, 2.5)])
@pytest.mark.parametrize("own", [0.0, 0.1])
def test_kolen_pollack_forgets_the_difference_of_weights_and_feedback(own: float, gate: Any) -> None:
    """D (W - B)/dt = -(decay + the rule's own decay) (W - B) while weights are plastic, whatever else they learn."""
    net = network(ct.KolenPollack(decay=0.2), rate=0.5, decay=own)
    start = net.initial_state(3, SAMPLES, torch.float64)
    solver = ct.solvers.Dopri5(rtol=1e-9, atol=1e-11)
    final = ct.simulate(net, shown(4.0, gate=gate), solver, state=start).final
    left = np.exp(-(0.2 + 0.5 * own) * (4.0 if gate is None else 1.5))
    for i in (2, 3):
        difference = final[f"W.{i}"] - final[f"B.{i}"]
        torch.testing.assert_close(difference, left * (start[f"W.{i}"] - start[f"B.{i}"]), rtol=1e-6, atol=1e-9)
        assert not torch.allclose(final[f"W.{i}"], left * start[f"W.{i}"], rtol=1e-3)


def test_kolen_pollack_leaves_the_first_layer_to_the_rule() -> None:
    """Nothing is fed back to the inputs: at rate 0 W.1 stands still, and what lies above it decays with its B."""
    net = network(ct.KolenPollack(decay=0.2))
    start = net.initial_state(3, SAMPLES, torch.float64)
    final = ct.simulate(net, shown(4.0), ct.solvers.RK4(dt=0.1), state=start).final
    assert torch.equal(final["W.1"], start["W.1"])
    for name in ("W.2", "W.3", "B.2", "B.3"):
        torch.testing.assert_close(final[name], np.exp(-0.8) * start[name], rtol=1e-6, atol=0.0)


def test_kolen_pollack_refuses_a_rule_without_factors() -> None:
    rule = ct.rules.Bounded(ct.rules.ContrastiveHebbian(), w_min=-1.0)
    with pytest.raises(ValueError, match="rule of layer 2 is Bounded, whose update has no factors, and KolenPollack"):
        ct.Network(SIZES, CLASSES, signal=ct.KolenPollack(), rule=rule)
    rules = [rule, *[ct.rules.ContrastiveHebbian()] * (len(SIZES) - 2)]  # layer 1 has no B
    net = ct.Network(SIZES, CLASSES, signal=ct.KolenPollack(), rule=rules)
    assert ct.simulate(net, shown(1.0), ct.solvers.Euler(dt=0.5)).status is ct.Status.COMPLETED


def test_kolen_pollack_refuses_a_dense_update_of_a_rule_that_did_not_say_so() -> None:
    rule = ct.rules.Custom(lambda local: ct.rules.DenseUpdate(local.post.mT @ local.pre))
    net = ct.Network(SIZES, CLASSES, signal=ct.KolenPollack(), rule=rule)
    with pytest.raises(TypeError, match="KolenPollack gives B the update of W, so the rule must return an Update"):
        ct.simulate(net, shown(1.0), ct.solvers.Euler(dt=0.5))


@pytest.mark.parametrize("signal", [*SIGNALS.values(), ct.Backprop()], ids=lambda signal: type(signal).__name__)
def test_the_output_layer_has_a_unit_for_each_class(signal: ct.signals.Signal) -> None:
    with pytest.raises(ValueError, match=rf"{type(signal).__name__} needs an output layer: .*n_classes=3 units, got 4"):
        ct.Network(SIZES, 3, signal=signal, rule=ct.rules.ContrastiveHebbian())


@pytest.mark.parametrize("signal", [*SIGNALS.values(), ct.Backprop()], ids=lambda signal: type(signal).__name__)
def test_a_network_of_one_layer_needs_no_feedback(signal: ct.signals.Signal) -> None:
    """All four are the delta rule then, and take the same steps."""
    rule = ct.rules.ContrastiveHebbian(rate=0.5)
    finals = [
        ct.simulate(ct.Network([6, 4], 4, signal=kind, rule=rule), shown(2.0), ct.solvers.RK4(dt=0.1)).final
        for kind in (signal, ct.Backprop())
    ]
    assert finals[0].equal(finals[1])


def digits_run(signal: ct.signals.Signal) -> tuple[ct.Solution, np.ndarray]:
    """Twenty epochs of digits, and the angle (time, layer) in degrees between the drives of rule and backprop."""
    data = ct.datasets.digits(seed=0)
    neurons = [ct.Rate(), ct.Rate(), ct.Rate(activation="linear")]
    rule = ct.rules.ContrastiveHebbian(rate=0.3, decay=0.01, traces=False)
    net = ct.Network([64, 128, 128, 10], 10, neuron=neurons, signal=signal, rule=rule)
    stimulus = ct.Presentations(data.x_train, data.y_train, 64, duration=8.0, gate=(7.0, 8.0), epochs=20, seed=0)

    def cosine(state: ct.State) -> xr.DataArray:
        return ct.alignment(state, data.x_train[:256], data.y_train[:256], network=net, of="drive")

    probe = ct.Probe(cosine, times=[0.0, stimulus.duration_total])
    sol = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), probes=[probe], seed=0)
    assert sol.status is ct.Status.COMPLETED
    assert net.score(sol.final, data.x_test, data.y_test) > 0.9
    return sol, np.degrees(np.arccos(sol.dataset["cosine"].sel(layer=[1, 2]).values))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fa", "dfa"])
def test_forward_weights_align_with_fixed_feedback(name: str) -> None:
    _, angle = digits_run(SIGNALS[name])
    assert (angle[0] >= 80.0).all(), angle
    assert (angle[1] < 60.0).all(), angle


@pytest.mark.slow
def test_kolen_pollack_makes_feedback_the_transpose_of_the_weights() -> None:
    sol, angle = digits_run(ct.KolenPollack(decay=0.01))
    for i in (2, 3):
        both = torch.stack([sol.final[f"W.{i}"].flatten(), sol.final[f"B.{i}"].flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.95
    assert (angle[1] < 10.0).all(), angle
