"""The batch-wise input-target loss of the discrete-time form: every sample against the target rows of its batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct

BETA = 0.4


def brute_force(contexts: np.ndarray, present: np.ndarray, match: Any) -> np.ndarray:
    """Row i: the share of each target row in what is right for sample i, by the words of the documentation."""
    n = len(contexts)
    share = np.zeros((n, n))
    for i in range(n):
        rivals = [j for j in range(n) if present[j]]
        if not present[i]:
            continue
        fit = {j: float(contexts[i] @ contexts[j]) for j in rivals}
        if match == "one":
            right = [i]
        elif match == "all":
            right = [j for j in rivals if fit[j] >= max(fit.values()) - 1e-6]
        else:
            right = sorted(rivals, key=lambda j: (j != i, -fit[j]))[:match]
        share[i, right] = 1.0 / len(right)
    return share


def one_hot(labels: list[int], present: list[bool]) -> Tensor:
    """Contexts of labels 0 ... 3, zero where there is no sample."""
    return torch.eye(4, dtype=torch.float64)[labels] * torch.tensor(present).unsqueeze(-1)


def label(match: Any, contexts: Tensor, present: Tensor) -> Tensor:
    signal = ct.TargetStream(per="sample", contrast="dot", match=match)
    return signal.label(contexts, present)


ROWS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=9)


@pytest.mark.parametrize("match", ["one", "all"])
@given(ROWS)
def test_matches_of_labels_are_those_of_brute_force(match: str, rows: list[tuple[int, bool]]) -> None:
    labels, there = [row[0] for row in rows], [row[1] for row in rows]
    contexts, present = one_hot(labels, there), torch.tensor(there).double().unsqueeze(-1)
    expected = brute_force(contexts.numpy(), np.array(there), match)
    np.testing.assert_allclose(label(match, contexts, present).numpy(), expected, atol=1e-12)


@given(ROWS, st.integers(1, 10))
def test_the_best_k_hold_a_sample_s_own_target_and_no_worse_one_than_needed(
    rows: list[tuple[int, bool]], k: int
) -> None:
    """Among labels alike the choice is free: what counts is how many of each fit, and that a sample's own is there."""
    labels, there = [row[0] for row in rows], [row[1] for row in rows]
    contexts, present = one_hot(labels, there), torch.tensor(there).double().unsqueeze(-1)
    found = label(k, contexts, present).numpy()
    expected = brute_force(contexts.numpy(), np.array(there), k)
    fit = (contexts @ contexts.mT).numpy()
    for i, is_there in enumerate(there):
        chosen, right = np.flatnonzero(found[i]), np.flatnonzero(expected[i])
        np.testing.assert_allclose(found[i].sum(), float(is_there))
        assert sorted(fit[i, chosen]) == sorted(fit[i, right])
        assert all(there[j] for j in chosen)
        assert len(set(found[i, chosen])) <= 1
        if is_there:
            assert i in chosen


@pytest.mark.parametrize("match", ["one", "all", 1, 2, 3])
@given(seed=st.integers(0, 200), absent=st.sets(st.integers(0, 5), max_size=5))
def test_matches_of_context_vectors_are_those_of_brute_force(match: Any, seed: int, absent: set[int]) -> None:
    """Vectors of any direction and length have no ties: one answer, and of the best k a sample's own is the first."""
    there = np.array([k not in absent for k in range(6)])
    contexts = np.random.default_rng(seed).standard_normal((6, 3)) * there[:, None]
    found = label(match, torch.from_numpy(contexts), torch.from_numpy(there[:, None] * 1.0))
    np.testing.assert_allclose(found.numpy(), brute_force(contexts, there, match), atol=1e-12)


def loss(h: Tensor, z: Tensor, y: Tensor, there: Tensor) -> Tensor:
    """- sum_ij y_ij log p_ij / rows, p_i the softmax of beta h_i . z_j over the samples that are there."""
    kept = there[:, 0] > 0
    logits = BETA * h[kept] @ z[kept].mT
    return -(y[kept][:, kept] * torch.log_softmax(logits, -1)).sum() / len(h)


@pytest.mark.parametrize("match", ["one", "all", 2])
@given(seed=st.integers(0, 100), absent=st.integers(0, 3))
def test_the_learning_signal_is_minus_the_gradient_of_the_loss(match: Any, seed: int, absent: int) -> None:
    random = np.random.default_rng(seed)
    h, z = (torch.from_numpy(random.standard_normal((6, 5))).requires_grad_() for _ in range(2))
    there = torch.ones(6, 1, dtype=torch.float64)
    there[6 - absent :] = 0.0
    contexts = torch.eye(3, dtype=torch.float64)[random.integers(0, 3, 6)] * there
    y = torch.from_numpy(brute_force(contexts.numpy(), there.numpy()[:, 0] > 0, match))
    if match == 2:
        y = label(match, contexts, there)  # which of several is free
    torch.autograd.backward(loss(h, z, y, there))
    assert h.grad is not None
    assert z.grad is not None
    signal = ct.TargetStream(per="sample", contrast=ct.rules.DotProduct(BETA), match=match)
    found = signal.delta(1, torch.cat([h, z]).detach(), y, {})
    torch.testing.assert_close(found, -torch.cat([h.grad, z.grad]), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("match", ["one", "all", 2])
def test_a_gated_step_descends_every_layers_own_loss(match: Any) -> None:
    """W, b and S after one open step of Euler, against autograd layer by layer; the batch has two empty rows."""
    rate, sizes, rows = 0.5, (5, 6, 4), 6
    random = np.random.default_rng(0)
    x, y = random.standard_normal((10, 5)), np.array([0, 1, 2, 0, 1, 2, 2, 1, 2, 1])
    signal = ct.TargetStream(per="sample", contrast=ct.rules.DotProduct(BETA), match=match)
    rule = ct.rules.ContrastiveHebbian(rate=rate, traces=False)
    net = ct.Network(sizes, 3, neuron=ct.Rate(activation="softplus"), signal=signal, rule=rule)
    stimulus = ct.Presentations(x, y, rows, duration=9.0, gate=(8.0, 9.0), shuffle=False)
    state = net.initial_state(0, rows, torch.float64)
    biases = {f"b.{i}": torch.from_numpy(random.standard_normal(sizes[i])) for i in (1, 2)}
    state = state.replace(biases)
    final = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), state=state, t_span=(9.0, 18.0)).final
    shown = torch.zeros(rows, 5, dtype=torch.float64)
    shown[:4] = torch.from_numpy(x[6:])
    there = torch.tensor([[1.0]] * 4 + [[0.0]] * 2, dtype=torch.float64)
    contexts = torch.zeros(rows, 3, dtype=torch.float64)
    contexts[:4] = torch.eye(3, dtype=torch.float64)[y[6:]]
    share = torch.from_numpy(brute_force(contexts.numpy(), there.numpy()[:, 0] > 0, match))
    if match == 2:
        share = label(match, contexts, there)  # which of several is free
    leaves = {name: state[name].clone().requires_grad_() for name in ("W.1", "b.1", "S", "W.2", "b.2")}
    h = torch.nn.functional.softplus(shown @ leaves["W.1"].T + leaves["b.1"])
    z = torch.nn.functional.softplus(contexts @ leaves["S"].T)
    torch.autograd.backward(loss(h, z, share, there))
    above = torch.cat([h, z]).detach() @ leaves["W.2"].T + leaves["b.2"]
    top = torch.nn.functional.softplus(above)
    torch.autograd.backward(loss(top[:rows], top[rows:], share, there))
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        torch.testing.assert_close(final[name] - state[name], -rate * leaf.grad, rtol=1e-8, atol=1e-12)


def test_one_and_all_are_the_same_where_no_two_samples_share_a_class() -> None:
    x, y = np.random.default_rng(1).standard_normal((6, 5)), np.arange(6) % 3

    def final(match: Any) -> ct.State:
        signal = ct.TargetStream(per="sample", contrast="dot", match=match)
        net = ct.Network([5, 6, 4], 3, signal=signal, rule=ct.rules.ContrastiveHebbian(rate=0.5))
        stimulus = ct.Presentations(x, y, 3, duration=2.0, shuffle=False)
        return ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.2)).final

    first = final("one")
    for match in ("all", 1):
        other = final(match)
        for name in first:
            torch.testing.assert_close(other[name], first[name], rtol=1e-9, atol=1e-12)


def test_matching_needs_a_target_row_for_each_sample() -> None:
    for match in ("all", 3):
        with pytest.raises(ValueError, match=r"TargetStream\(match=.*\) needs per='sample'"):
            ct.TargetStream(per="class", match=match)
    for wrong in ("some", 0, -1, True, 1.5):
        with pytest.raises(ValueError, match=r"TargetStream\(match=\) must be 'one', 'all' or an integer >= 1"):
            ct.TargetStream(per="sample", match=wrong)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("match", ["one", "all"])
def test_the_batchwise_loss_learns_digits(match: Any) -> None:
    data = ct.datasets.digits(seed=0)
    signal = ct.TargetStream(per="sample", contrast="dot", match=match)
    rule = ct.rules.ContrastiveHebbian(rate=0.1)
    net = ct.Network([64, 128, 128], 10, signal=signal, rule=rule)
    stimulus = ct.Presentations(data.x_train, data.y_train, 64, duration=1.0, epochs=10, seed=0)
    sol = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), seed=0)
    assert sol.status is ct.Status.COMPLETED
    assert net.score(sol.final, data.x_test, data.y_test) > 0.85
