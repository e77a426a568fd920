"""How the target reaches a layer: through the network's own weights, or back through error units to compare with."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.neurons.activations import ACTIVATIONS
from ctsigprop.signals.base import Signal
from ctsigprop.signals.table import SIGNALS

SIZES, CLASSES, ROWS = (4, 6, 5, 3), 3, 4
TANH = ct.Rate(activation="tanh")
LABELS = torch.tensor([0, 2, 1, 2])
COUNTS = st.integers(1, 7)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(signal: Signal, rule: Any = None, sizes: tuple[int, ...] = SIZES) -> ct.Network:
    return ct.Network(sizes, CLASSES, neuron=TANH, signal=signal, rule=rule)


def start(net: ct.Network) -> ct.State:
    """Initial weights and biases that are not zero."""
    state = net.initial_state(2, ROWS, torch.float64)
    biases = {name: normal(*value.shape, seed=9) for name, value in state.items() if name.startswith("b.")}
    return state.replace(biases)


def settled(net: ct.Network, state: ct.State, duration: float = 60.0) -> ct.State:
    """After one long presentation."""
    stimulus = ct.Presentations(normal(ROWS, 4), LABELS, ROWS, duration=duration, shuffle=False)
    return ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.5), state=state).final


def forward(state: ct.State, x: Tensor, first: Tensor | None = None) -> list[Tensor]:
    """tanh layers above x; above the contexts x where the weights of the first layer are given."""
    found = []
    for index in range(1, len(SIZES)):
        drive = x @ state[f"W.{index}"].mT + state[f"b.{index}"] if index > 1 or first is None else x @ first.mT
        x = torch.tanh(drive)
        found.append(x)
    return found


# target stream


@pytest.mark.parametrize("per", ["class", "sample"])
def test_the_target_enters_through_the_generator_and_travels_through_the_weights_of_the_input(per: Any) -> None:
    net = network(ct.TargetStream(per=per))
    final = settled(net, start(net))
    contexts = torch.eye(CLASSES, dtype=torch.float64)
    if per == "sample":
        contexts = contexts[LABELS]
    h, z = forward(final, normal(ROWS, 4)), forward(final, contexts, first=final["S"])
    for index in (1, 2, 3):
        torch.testing.assert_close(final[f"r.{index}"], torch.cat([h[index - 1], z[index - 1]]), rtol=0, atol=1e-9)


def test_one_target_row_per_class_or_per_sample() -> None:
    by_class, by_sample = ct.TargetStream(per="class"), ct.TargetStream(per="sample")
    target, present = torch.eye(CLASSES)[LABELS], torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    assert (by_class.rows(ROWS, CLASSES), by_sample.rows(ROWS, CLASSES)) == (CLASSES, ROWS)
    assert torch.equal(by_class.context(target), torch.eye(CLASSES))
    assert torch.equal(by_sample.context(target), target)
    assert torch.equal(by_class.label(target, present), target * present)
    assert torch.equal(by_sample.label(target, present), torch.diag(present.squeeze()))
    for signal in (by_class, by_sample):
        assert signal.label(target, present).shape[-1] == signal.label_width(ROWS, CLASSES)
        assert signal.weights(SIZES, CLASSES) == {"S": (SIZES[1], CLASSES)}


@pytest.mark.parametrize("contrast", ["cosine", "dot", "difference"])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_delta_is_read_out_of_the_layers_own_two_streams(contrast: str, batch: tuple[int, ...]) -> None:
    signal = ct.TargetStream(contrast=contrast)
    h, z = normal(*batch, ROWS, 5), normal(*batch, CLASSES, 5, seed=2)
    label = torch.eye(CLASSES, dtype=torch.float64)[LABELS].expand(*batch, -1, -1).contiguous()
    found = signal.delta(2, torch.cat([h, z], -2), label, {})
    assert torch.equal(found, torch.cat(signal.contrast.drives(h, z, label), -2))


def brute_force(target: np.ndarray, match: str | int) -> np.ndarray:
    """Shares of right targets, sample by sample, contexts of unit length."""
    fit = target @ target.T
    right: np.ndarray = np.zeros_like(fit)
    for i, row in enumerate(fit):
        chosen = np.flatnonzero(row > row.max() - 1e-6)
        if isinstance(match, int):
            rank = sorted(range(len(row)), key=lambda j, row=row, i=i: (-row[j], j != i))  # type: ignore[misc]
            chosen = np.array(rank[:match])
        right[i, chosen] = 1 / len(chosen)
    return right


@given(n=COUNTS, k=st.integers(1, 4), seed=st.integers(0, 99), match=st.sampled_from(["one", "all", "k"]))
def test_right_targets_are_those_whose_context_fits_best(n: int, k: int, seed: int, match: str) -> None:
    contexts = normal(n, 3, seed=seed)
    contexts /= contexts.norm(dim=1, keepdim=True)
    signal = ct.TargetStream(per="sample", match=k if match == "k" else match)  # type: ignore[arg-type]
    expected = np.eye(n) if match == "one" else brute_force(contexts.numpy(), signal.match)
    np.testing.assert_allclose(signal.label(contexts, torch.ones(n, 1).double()).numpy(), expected, atol=1e-12)


@given(n=COUNTS, seed=st.integers(0, 99), empty=st.integers(0, 3))
def test_samples_of_one_class_share_their_targets_and_empty_rows_have_none(n: int, seed: int, empty: int) -> None:
    y = np.random.default_rng(seed).integers(0, CLASSES, n)
    target = torch.zeros(n + empty, CLASSES)
    target[:n] = torch.eye(CLASSES)[torch.from_numpy(y)]
    present = (torch.arange(n + empty) < n).float().unsqueeze(-1)
    same = torch.zeros(n + empty, n + empty)
    same[:n, :n] = torch.from_numpy((y[:, None] == y) / (y[:, None] == y).sum(1, keepdims=True))
    torch.testing.assert_close(ct.TargetStream(per="sample", match="all").label(target, present), same)


@given(n=COUNTS, seed=st.integers(0, 99), scale=st.floats(0.1, 10.0))
def test_the_best_single_target_is_the_samples_own_whatever_the_contexts(n: int, seed: int, scale: float) -> None:
    """Contexts of any length are allowed; a longer one of another sample is not a better fit than one's own."""
    contexts = scale * normal(n, 3, seed=seed)
    present = torch.ones(n, 1, dtype=torch.float64)
    own = ct.TargetStream(per="sample", match=1).label(contexts, present)
    assert torch.equal(own, torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize("match", ["one", "all", 2])
def test_batch_wise_deltas_are_minus_the_gradient_of_the_cross_entropy(match: Any) -> None:
    signal = ct.TargetStream(per="sample", match=match, contrast=ct.rules.DotProduct(beta=0.7))
    h, z = normal(ROWS, 5).requires_grad_(), normal(ROWS, 5, seed=2).requires_grad_()
    label = signal.label(torch.eye(CLASSES, dtype=torch.float64)[LABELS], torch.ones(ROWS, 1, dtype=torch.float64))
    loss = torch.nn.functional.cross_entropy(0.7 * h @ z.mT, label)
    expected = torch.autograd.grad(loss, [h, z])
    found = signal.delta(1, torch.cat([h, z]).detach(), label, {})
    torch.testing.assert_close(found, -torch.cat(expected))


@pytest.mark.parametrize(
    ("generator", "rule", "moves"),
    [
        ("learned", ct.rules.ContrastiveHebbian(), True),
        ("fixed", ct.rules.ContrastiveHebbian(), False),
        ("learned", ct.rules.Oja(), False),
        ("learned", [None, ct.rules.ContrastiveHebbian(), ct.rules.ContrastiveHebbian()], False),
    ],
)
@pytest.mark.parametrize("per", ["class", "sample"])
def test_the_generator_follows_the_rule_of_the_first_layer(per: Any, generator: Any, rule: Any, moves: bool) -> None:
    net = network(ct.TargetStream(per=per, generator=generator), rule)
    before = start(net)
    assert torch.equal(settled(net, before, duration=3.0)["S"], before["S"]) != moves


def test_a_label_is_carried_up_with_the_delays_of_the_layers() -> None:
    """y_1 = 1 - exp(-t), y_2 = 1 - (1 + t) exp(-t): each layer's label is as old as the activity that it meets."""
    net = network(ct.TargetStream(), ct.rules.ContrastiveHebbian())
    stimulus = ct.Presentations(normal(ROWS, 4), LABELS, ROWS, duration=1.5, shuffle=False)
    final = ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.05), state=start(net)).final
    one_hot, t = torch.eye(CLASSES, dtype=torch.float64)[LABELS], 1.5
    late = [1 - np.exp(-t), 1 - (1 + t) * np.exp(-t), 1 - (1 + t + t * t / 2) * np.exp(-t)]
    for index, arrived in enumerate(late, start=1):
        torch.testing.assert_close(final[f"y.{index}"], arrived * one_hot, rtol=1e-6, atol=1e-9)


# prediction


@pytest.mark.parametrize("per", ["class", "sample"])
@pytest.mark.parametrize("layer", [1, 2, 3, None])
def test_a_prediction_is_the_target_nearest_in_the_layer(per: Any, layer: int | None) -> None:
    net = network(ct.TargetStream(per=per))
    state, x = start(net), normal(20, 4, seed=5)
    h = forward(state, x)[(layer or 3) - 1]
    z = forward(state, torch.eye(CLASSES, dtype=torch.float64), first=state["S"])[(layer or 3) - 1]
    torch.testing.assert_close(net.transform(state, x, layer), h)
    u, v = (a / (a.norm(dim=1, keepdim=True) + 1) for a in (h, z))
    torch.testing.assert_close(net.similarity(state, x, layer), u @ v.mT)
    guess = net.predict(state, x, layer)
    assert torch.equal(guess, (u @ v.mT).argmax(1))
    assert net.score(state, x, guess, layer) == 1.0
    assert net.score(state, x, (guess + 1) % CLASSES, layer) == 0.0


def test_candidates_are_contexts_to_choose_from() -> None:
    net = network(ct.TargetStream(per="sample"))
    state, x = start(net), normal(20, 4, seed=5)
    one_hot = np.eye(CLASSES)
    assert torch.equal(net.predict(state, x, candidates=one_hot), net.predict(state, x))
    reverse = net.predict(state, x, candidates=one_hot[::-1].copy())
    assert torch.equal(CLASSES - 1 - reverse, net.predict(state, x))
    assert int(net.predict(state, x, candidates=one_hot[:1]).max()) == 0


# feedback signals


def outputs_and_drives(state: ct.State, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The top layer's output and every layer's drive, for autograd."""
    drives = []
    for index in range(1, len(SIZES)):
        drive = x @ state[f"W.{index}"].mT + state[f"b.{index}"]
        drives.append(drive.requires_grad_())
        x = torch.tanh(drive)
    return x, drives


def loss_of(kind: str, output: Tensor) -> Tensor:
    if kind == "cross_entropy":
        return torch.nn.functional.cross_entropy(output, LABELS)
    one_hot = torch.eye(CLASSES, dtype=torch.float64)[LABELS]
    return 0.5 * (output - one_hot).square().sum(1).mean()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_settled_errors_of_backprop_are_minus_the_gradient_in_the_drives(loss: Any) -> None:
    net = network(ct.Backprop(loss=loss))
    final = settled(net, start(net))
    output, drives = outputs_and_drives(final, normal(ROWS, 4))
    gradient = torch.autograd.grad(loss_of(loss, output), drives)
    for index, g in enumerate(gradient, start=1):
        torch.testing.assert_close(final[f"e.{index}"], -g, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["feedback_alignment", "direct_feedback_alignment", "kolen_pollack"])
def test_settled_errors_of_alternatives_come_back_through_their_own_weights(name: str) -> None:
    net = network(SIGNALS[name]())
    final = settled(net, start(net))
    output, drives = outputs_and_drives(final, normal(ROWS, 4))
    (top,) = torch.autograd.grad(loss_of("cross_entropy", output), drives[-1:])
    slope = ACTIVATIONS["tanh"].derivative
    errors = [-top]
    for index in (2, 1):
        source = errors[-1] @ final[f"B.{index + 1}"] if name[0] != "d" else errors[0] @ final[f"B.{index}"]
        errors.append(source * slope(drives[index - 1].detach()))
    for index, error in zip((3, 2, 1), errors, strict=True):
        torch.testing.assert_close(final[f"e.{index}"], error, rtol=1e-6, atol=1e-9)


def test_alternatives_keep_their_feedback_weights() -> None:
    for signal in (ct.FeedbackAlignment(), ct.DirectFeedbackAlignment()):
        net = network(signal, ct.rules.ContrastiveHebbian())
        before = start(net)
        after = settled(net, before, duration=6.0)
        for name in signal.weights(SIZES, CLASSES):
            assert torch.equal(after[name], before[name])
        assert not torch.equal(after["W.1"], before["W.1"])


@pytest.mark.parametrize("decay", [0.05, 0.5])
def test_kolen_pollack_weights_approach_each_other_exponentially(decay: float) -> None:
    """d(W - B)/dt = -decay (W - B), whatever the rule does."""
    net = network(ct.KolenPollack(decay=decay), ct.rules.ContrastiveHebbian(rate=2.0))
    before = start(net)
    x, t = normal(ROWS, 4), 3.0
    stimulus = ct.Presentations(x, LABELS, ROWS, duration=t)
    after = ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.1), state=before).final
    for index in (2, 3):
        apart = [state[f"W.{index}"] - state[f"B.{index}"] for state in (before, after)]
        torch.testing.assert_close(apart[1], apart[0] * float(np.exp(-decay * t)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in SIGNALS if name != "target_stream"])
def test_a_feedback_signal_predicts_with_its_outputs_and_nowhere_else(name: str) -> None:
    net = network(SIGNALS[name]())
    state, x = start(net), normal(20, 4, seed=5)
    assert torch.equal(net.predict(state, x), forward(state, x)[-1].argmax(1))
    with pytest.raises(ValueError, match="predicts at its output layer, 3, and without candidates; got layer=1"):
        net.predict(state, x, layer=1)


@pytest.mark.parametrize("name", [name for name in SIGNALS if name != "target_stream"])
def test_a_feedback_signal_without_an_output_layer_is_refused(name: str) -> None:
    words = rf"{SIGNALS[name].__name__} needs an output layer: the top layer must have n_classes=3 units, got 5"
    with pytest.raises(ValueError, match=words):
        network(SIGNALS[name](), sizes=(4, 6, 5))


# all signals


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("traces", [True, False])
def test_every_signal_teaches(name: str, traces: bool) -> None:
    """Three clusters of samples, guessed right one time in three before anything is learned."""
    random = np.random.default_rng(0)
    y = np.arange(60) % CLASSES
    x = 2 * random.standard_normal((CLASSES, 4))[y] + 0.3 * random.standard_normal((60, 4))
    net = network(SIGNALS[name](), ct.rules.ContrastiveHebbian(rate=2.0, traces=traces))
    gate = None if traces else (4.0, 8.0)
    stimulus = ct.Presentations(x, y, 20, duration=8.0, epochs=12, gate=gate)
    sol = ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.5), seed=1)
    assert sol.status.ok
    assert net.score(sol.final, x, y) > 0.95
    assert net.score(sol.final, x, y) > net.score(net.initial_state(1, dtype=torch.float64), x, y)


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_keeps_to_the_names_and_shapes_it_announces(name: str) -> None:
    signal = SIGNALS[name]()
    net = network(signal, ct.rules.ContrastiveHebbian())
    final = settled(net, start(net), duration=1.0)
    announced = {**signal.weights(SIZES, CLASSES), **signal.activities(SIZES, ROWS)}
    for tensor, shape in announced.items():
        assert tuple(final[tensor].shape) == shape
    rows = ROWS + signal.rows(ROWS, CLASSES)
    assert [tuple(final[f"r.{i}"].shape) for i in (1, 2, 3)] == [(rows, n) for n in SIZES[1:]]


@pytest.mark.parametrize("name", SIGNALS)
def test_no_signal_is_felt_by_the_units_of_the_input_stream_while_weights_rest(name: str) -> None:
    """Labels change what is learned, never what is perceived."""
    net = network(SIGNALS[name]())
    x = normal(ROWS, 4)
    ends = [
        ct.simulate(net, ct.Presentations(x, y, ROWS, shuffle=False), ct.solvers.Euler(dt=0.25), state=start(net)).final
        for y in (LABELS, (LABELS + 1) % CLASSES)
    ]
    for index in (1, 2, 3):
        assert torch.equal(*(end[f"r.{index}"][:ROWS] for end in ends))


def test_layers_are_numbered_as_in_the_state() -> None:
    sizes = list(pairwise(SIZES))
    net = network(ct.DirectFeedbackAlignment())
    assert [tuple(net.weight_shapes[f"W.{i}"]) for i in (1, 2, 3)] == [(post, pre) for pre, post in sizes]
    assert {name for name in net.weight_shapes if name[0] == "B"} == {"B.1", "B.2"}
