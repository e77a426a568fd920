"""The cosine between what rules do and the global gradient, against autograd and against itself by another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct

SIZES, CLASSES, SAMPLES = (5, 8, 6, 3), 3, 7
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.standard_normal((SAMPLES, SIZES[0])), np.arange(SAMPLES) % CLASSES
RULE = ct.rules.ContrastiveHebbian(rate=0.5)
SOFTPLUS: Callable[[Tensor], Tensor] = torch.nn.functional.softplus


def network(signal: ct.signals.Signal | None, rule: Any = RULE, top: str = "linear", **settings: Any) -> ct.Network:
    neurons = [ct.Rate(activation="tanh"), ct.Rate(activation="softplus"), ct.Rate(activation=top)]
    return ct.Network(SIZES, CLASSES, neuron=settings.pop("neuron", neurons), signal=signal, rule=rule, **settings)


def somewhere(net: ct.Network, seed: int = 0, rows: int = 1, dtype: torch.dtype = torch.float64) -> ct.State:
    """A state with random weights, biases, activities and all else."""
    state = net.initial_state(seed, rows, dtype)
    random = torch.Generator().manual_seed(seed)
    return state.replace(
        {
            name: torch.randn(value.shape, generator=random, dtype=torch.float64).to(dtype) / 2
            for name, value in state.items()
            if name not in net.weight_shapes
        }
    )


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / a.norm() / b.norm())


@pytest.mark.parametrize("of", ["weights", "drive"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.parametrize("traces", [False, True])
@given(seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_backprop_is_aligned_with_itself_at_every_layer_and_state(traces: bool, loss: Any, of: Any, seed: int) -> None:
    net = network(ct.Backprop(loss=loss), ct.rules.ContrastiveHebbian(traces=traces))
    found = ct.alignment(somewhere(net, seed), X, Y, network=net, of=of)
    assert found.dims == ("layer",)
    assert found["layer"].values.tolist() == [1, 2, 3]
    np.testing.assert_allclose(found, 1.0, atol=1e-9)


@pytest.mark.parametrize(("tau", "tau_e"), [((1.0, 1.0, 1.0), 3.0), ((1.0, 0.4, 1.7), 0.25), ((0.1, 2.0, 0.5), 1.0)])
def test_activity_and_errors_settle_whatever_their_time_constants(tau: Sequence[float], tau_e: float) -> None:
    neurons = [ct.Rate(t, phi) for t, phi in zip(tau, ("tanh", "softplus", "linear"), strict=True)]
    net = network(ct.Backprop(tau_e=tau_e), neuron=neurons)
    np.testing.assert_allclose(ct.alignment(somewhere(net), X, Y, network=net), 1.0, atol=1e-9)


@pytest.mark.parametrize("signal", [ct.FeedbackAlignment(), ct.KolenPollack(decay=1e-12)], ids=repr)
def test_feedback_through_the_forward_weights_is_aligned_with_backprop(signal: ct.signals.Signal) -> None:
    net = network(signal)
    state = somewhere(net)
    crossed = ct.alignment(state, X, Y, network=net).values
    assert (np.abs(crossed[:2]) < 0.9).all()
    assert crossed[2] == pytest.approx(1.0, abs=1e-9)
    state = state.replace({f"B.{i}": state[f"W.{i}"] for i in (2, 3)})
    np.testing.assert_allclose(ct.alignment(state, X, Y, network=net), 1.0, atol=1e-9)
    against = state.replace({"B.2": -state["W.2"]})
    np.testing.assert_allclose(ct.alignment(against, X, Y, network=net), [-1.0, 1.0, 1.0], atol=1e-9)


def settled_streams(state: ct.State, contexts: Tensor, leaves: dict[str, Tensor], cut: bool) -> list[Tensor]:
    """Both streams in every layer of tanh, softplus and tanh units; with `cut`, no gradient passes between layers."""
    r = torch.from_numpy(X)
    rows = []
    phis = [torch.tanh, SOFTPLUS, torch.tanh]
    for i, phi in enumerate(phis, start=1):
        drive = r @ leaves[f"W.{i}"].mT + state[f"b.{i}"]
        if i == 1:
            drive = torch.cat([drive, contexts @ state["S"].mT])
        r = phi(drive)
        rows.append(r)
        r = r.detach() if cut else r
    return rows


def own_loss(r: Tensor, contrast: Any, y: Tensor) -> Tensor:
    """The cross-entropy of a layer between its streams."""
    h, z = r[:SAMPLES], r[SAMPLES:]
    if isinstance(contrast, ct.rules.SoftmaxCosine):
        h, z = (a / (a.norm(dim=-1, keepdim=True) + contrast.kappa) for a in (h, z))
    return -(y * torch.log_softmax(contrast.beta * h @ z.mT, -1)).sum() / SAMPLES


@pytest.mark.parametrize("per", ["class", "sample"])
@pytest.mark.parametrize("contrast", [ct.rules.SoftmaxCosine(beta=4.0), ct.rules.DotProduct(0.5)], ids=repr)
def test_sigprop_is_compared_with_the_gradient_of_the_top_layers_loss(contrast: ct.rules.Contrast, per: Any) -> None:
    """Rule: the gradient of each layer's own loss; global: that of the top one's through all layers, both streams."""
    net = network(ct.TargetStream(per, contrast=contrast), ct.rules.ContrastiveHebbian(traces=False), top="tanh")
    state = somewhere(net, 3)
    classes = torch.eye(CLASSES, dtype=torch.float64)
    contexts = classes if per == "class" else classes[Y]
    y = classes[Y] if per == "class" else torch.eye(SAMPLES, dtype=torch.float64)
    expected = []
    for cut in (True, False):
        leaves = {f"W.{i}": state[f"W.{i}"].clone().requires_grad_() for i in (1, 2, 3)}
        rows = settled_streams(state, contexts, leaves, cut)
        losses = [own_loss(r, contrast, y) for r in (rows if cut else rows[-1:])]
        expected.append(torch.autograd.grad(sum(losses, start=torch.zeros(())), list(leaves.values())))
    found = ct.alignment(state, X, Y, network=net).values
    np.testing.assert_allclose(found, [cosine(a, b) for a, b in zip(*expected, strict=True)], rtol=1e-8)
    assert found[-1] == pytest.approx(1.0, abs=1e-12)
    assert (np.abs(found[:-1]) < 0.999).all()


def test_a_rule_without_a_signal_of_its_own_is_compared_too() -> None:
    """Hebb in a network that has a signal: its cosine with the gradient, by autograd."""
    net = network(ct.Backprop(), ct.rules.Hebb(), bias=False)
    state = net.initial_state(0, 1, torch.float64)
    leaves = [state[f"W.{i}"].clone().requires_grad_() for i in (1, 2, 3)]
    r, hebb = torch.from_numpy(X), []
    phis: list[Callable[[Tensor], Tensor]] = [torch.tanh, SOFTPLUS, lambda u: u]
    for leaf, phi in zip(leaves, phis, strict=True):
        above = phi(r @ leaf.mT)
        hebb.append((above.mT @ r).detach())
        r = above
    torch.autograd.backward(torch.nn.functional.cross_entropy(r, torch.from_numpy(Y)))
    expected = [cosine(h, -leaf.grad) for h, leaf in zip(hebb, leaves, strict=True) if leaf.grad is not None]
    np.testing.assert_allclose(ct.alignment(state, X, Y, network=net), expected, rtol=1e-8)


def test_contexts_are_targets_too() -> None:
    net = network(ct.TargetStream("sample"), top="tanh")
    state = somewhere(net)
    by_context = ct.alignment(state, X, np.eye(CLASSES)[Y], network=net)
    np.testing.assert_allclose(by_context, ct.alignment(state, X, Y, network=net), rtol=1e-12)


def test_where_either_side_is_nothing_there_is_no_angle() -> None:
    silent = ct.rules.ContrastiveHebbian(rate=0.0)
    net = network(ct.TargetStream(), [None, silent, RULE], top="tanh")
    found = ct.alignment(somewhere(net), X, Y, network=net).values
    assert np.isnan(found[0])  # no rule
    assert np.isnan(found[1])  # a rule that does nothing
    assert found[2] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cosine_lies_between_minus_one_and_one(dtype: torch.dtype) -> None:
    """Rounding must not lead out: the angle is its arccos."""
    net = network(ct.Backprop())
    for seed in range(20):
        found = ct.alignment(somewhere(net, seed, dtype=dtype), X, Y, network=net).values
        assert (np.abs(found) <= 1.0).all(), found - 1.0
        np.testing.assert_allclose(found, 1.0, atol=1e-5)


def test_a_state_is_left_as_it_was_and_its_activities_do_not_matter() -> None:
    net = network(ct.TargetStream(), top="tanh")
    state, same = somewhere(net, rows=4), somewhere(net, rows=4)
    found = ct.alignment(state, X, Y, network=net)
    assert state.equal(same)
    rest = net.initial_state(0, 2, torch.float64).replace({f"b.{i}": state[f"b.{i}"] for i in (1, 2, 3)})
    np.testing.assert_allclose(found, ct.alignment(rest, X, Y, network=net), rtol=1e-9)


ALONG = {
    "sigprop": (ct.TargetStream(), ("weights", "biases", "target_generator")),
    "sigprop, fixed S": (ct.TargetStream(generator="fixed"), ("weights", "biases")),
    "backprop": (ct.Backprop(), ("weights", "biases")),
    "fa": (ct.FeedbackAlignment(), ("weights", "biases")),
    "kp": (ct.KolenPollack(decay=0.1), ("weights", "biases", "feedback")),
}
TIMES = [0.0, 1.3, 4.0]


def run(net: ct.Network, *probes: ct.Probe) -> ct.Solution:
    stimulus = ct.Presentations(X, Y, 3, duration=2.0, seed=1)
    return ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.1), seed=2, probes=probes)


@pytest.mark.parametrize("of", ["weights", "drive"])
@pytest.mark.parametrize("name", ALONG)
def test_along_a_run_it_is_what_a_probe_sees_while_the_run_goes_on(name: str, of: Any) -> None:
    signal, needed = ALONG[name]
    net = network(signal, top="linear" if name in ("backprop", "fa", "kp") else "tanh")

    x, y = torch.from_numpy(X), torch.from_numpy(Y)

    def seen(state: ct.State) -> xr.DataArray:
        return ct.alignment(state, x, y, network=net, of=of)

    sol = run(net, ct.Probe(seen, times=TIMES), *(ct.Probe(what, times=TIMES) for what in needed))
    along = ct.alignment(sol, X, Y, of=of)
    assert along.dims == ("time", "layer")
    assert along["time"].values.tolist() == TIMES
    np.testing.assert_allclose(along, sol.dataset["seen"], rtol=1e-9, atol=1e-12)
    end = ct.alignment(sol.final, X, Y, network=net, of=of)
    last = run(net, ct.Probe(seen, times=[6.0])).dataset["seen"].isel(time=0)
    np.testing.assert_allclose(end, last, rtol=1e-9, atol=1e-12)
    assert not np.allclose(along.values[0], end.values, atol=1e-3) or name == "backprop"


@pytest.mark.parametrize("of", ["weights", "drive"])
def test_a_probe_may_measure_on_arrays_and_lists(of: Any) -> None:
    net = network(ct.TargetStream(), top="tanh")
    for x, y in ((X, Y), (X.tolist(), Y.tolist())):

        def seen(state: ct.State, x: Any = x, y: Any = y) -> xr.DataArray:
            return ct.alignment(state, x, y, network=net, of=of)

        sol = run(net, ct.Probe(seen, times=[6.0]))
        expected = ct.alignment(sol.final, X, Y, network=net, of=of)
        np.testing.assert_allclose(sol.dataset["seen"].isel(time=0), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ALONG)
def test_records_that_are_missing_are_named(name: str) -> None:
    signal, needed = ALONG[name]
    net = network(signal, top="linear" if name in ("backprop", "fa", "kp") else "tanh")
    for missing in needed:
        sol = run(net, *(ct.Probe(what, times=TIMES) for what in needed if what != missing))
        with pytest.raises(ValueError, match=rf"ct.Probe\('{missing}', ...\).*; {missing} is missing"):
            ct.alignment(sol, X, Y)


def test_records_of_other_times_are_missing_ones() -> None:
    sol = run(network(ct.Backprop()), ct.Probe("weights", times=TIMES), ct.Probe("biases", times=[0.5]))
    with pytest.raises(ValueError, match="at the same times; biases is missing"):
        ct.alignment(sol, X, Y)


def test_records_of_a_part_are_refused() -> None:
    part = ct.Probe("weights", times=TIMES, select={"post": [0, 1]})
    sol = run(network(ct.Backprop()), part, ct.Probe("biases", times=TIMES))
    with pytest.raises(ValueError, match=r"alignment needs all of weights of layer 1, recorded without select="):
        ct.alignment(sol, X, Y)


def test_records_of_some_layers_are_refused() -> None:
    some = ct.Probe("weights", times=TIMES, layers=[2, 3])
    sol = run(network(ct.Backprop()), some, ct.Probe("biases", times=TIMES))
    with pytest.raises(ValueError, match=r"alignment needs all of weights of layer 1"):
        ct.alignment(sol, X, Y)


def test_a_state_needs_its_network() -> None:
    net = network(ct.Backprop())
    with pytest.raises(ValueError, match=r"network must be given with a State"):
        ct.alignment(somewhere(net), X, Y)


def test_a_solution_from_disk_needs_its_network(tmp_path: Path) -> None:
    net = network(ct.Backprop())
    sol = run(net, ct.Probe("weights", times=TIMES), ct.Probe("biases", times=TIMES))
    loaded = ct.load(sol.save(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"a loaded Solution: alignment\(..., network=net\)"):
        ct.alignment(loaded, X, Y)
    np.testing.assert_array_equal(ct.alignment(loaded, X, Y, network=net), ct.alignment(sol, X, Y))


def test_a_network_without_a_signal_has_nothing_to_compare() -> None:
    net = network(None, ct.rules.Oja())
    with pytest.raises(ValueError, match="this network has signal=None"):
        ct.alignment(somewhere(net), X, Y, network=net)


def test_other_arguments_are_refused_by_name() -> None:
    net = network(ct.Backprop())
    state = somewhere(net)
    with pytest.raises(ValueError, match="of must be 'weights' or 'drive', got 'bias'"):
        ct.alignment(state, X, Y, network=net, of="bias")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x must have 5 features"):
        ct.alignment(state, X[:, :4], Y, network=net)
    with pytest.raises(ValueError, match="y must have one entry for each of the 7 samples, got 6"):
        ct.alignment(state, X, Y[:6], network=net)


@pytest.mark.parametrize("y", [np.full(SAMPLES, CLASSES), np.eye(CLASSES + 1)[Y]], ids=["a label", "a width"])
def test_targets_that_the_network_does_not_have_are_refused(y: np.ndarray) -> None:
    for signal in (ct.TargetStream(), ct.TargetStream("sample"), ct.Backprop()):
        net = network(signal, top="linear")
        with pytest.raises(ValueError, match=r"must be in 0 \.\.\. 2, as n_classes=3 says, got 3|must have 3 values"):
            ct.alignment(somewhere(net), X, y, network=net)


def test_on_digits_sigprop_points_down_the_global_gradient() -> None:
    """The top layer descends that very loss; layer 1 knows nothing of it and still goes downhill, soon and later."""
    data = ct.datasets.digits(seed=0)
    net = ct.Network([64, 64, 64], 10, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=4.0))
    stimulus = ct.Presentations(data.x_train, data.y_train, 64, duration=1.0, epochs=2)

    def seen(state: ct.State) -> xr.DataArray:
        return ct.alignment(state, data.x_train[:256], data.y_train[:256], network=net)

    probe = ct.Probe(seen, every=stimulus.duration_total / 4)
    found = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), probes=[probe]).dataset["seen"]
    np.testing.assert_allclose(found.sel(layer=2), 1.0, atol=1e-5)
    assert (found.sel(layer=1) > 0.1).all(), found.values
