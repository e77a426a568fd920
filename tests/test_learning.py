"""What networks learn on real data, at which cost, and that no label enters a prediction."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.datasets import Dataset

pytestmark = pytest.mark.usefixtures("tiny_unchecked")


def digits_network(activation: str = "relu", **rule: Any) -> ct.Network:
    return ct.Network(
        [64, 128, 128],
        n_classes=10,
        neuron=ct.Rate(tau=1.0, activation=activation),
        signal=ct.TargetStream(per="class"),
        rule=ct.rules.ContrastiveHebbian(rate=4.0, **rule),
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    return ct.datasets.digits(seed=0)


@pytest.fixture(scope="module")
def trained(data: Dataset) -> tuple[ct.Network, ct.State]:
    """A digits network after five epochs."""
    network = digits_network()
    stimulus = ct.Presentations(data.x_train, data.y_train, batch_size=64, duration=1.0, epochs=5)
    return network, ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0)).final


@pytest.mark.slow
def test_digits_are_learned_to_97_percent_over_five_seeds() -> None:
    scores = []
    for seed in range(5):
        data = ct.datasets.digits(seed=seed)
        network = digits_network()
        stimulus = ct.Presentations(data.x_train, data.y_train, batch_size=64, duration=1.0, epochs=20, seed=seed)
        sol = ct.simulate(network, stimulus, solver=ct.solvers.Euler(dt=1.0), seed=seed)
        assert sol.stats["rhs_evaluations"] == stimulus.count
        scores.append(network.score(sol.final, data.x_test, data.y_test))
    assert np.mean(scores) >= 0.97, scores


@pytest.mark.slow
def test_every_layer_learns_and_more_than_its_start(data: Dataset) -> None:
    network = digits_network()
    stimulus = ct.Presentations(data.x_train, data.y_train, batch_size=64, epochs=10)
    sol = ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0))
    untrained = network.initial_state(0)
    for layer in (1, 2):
        before, after = (network.score(s, data.x_test, data.y_test, layer=layer) for s in (untrained, sol.final))
        assert before < 0.4
        assert after > 0.9


@pytest.mark.slow
def test_adaptive_and_small_fixed_steps_learn_digits_alike(data: Dataset) -> None:
    network = digits_network("softplus")
    stimulus = ct.Presentations(data.x_train, data.y_train, batch_size=64, duration=4.0, epochs=1)
    scores = []
    for solver in (ct.solvers.Dopri5(), ct.solvers.Euler(dt=1.0 / 20)):
        sol = ct.simulate(network, stimulus, solver)
        assert sol.status is ct.Status.COMPLETED
        scores.append(network.score(sol.final, data.x_test, data.y_test))
    assert min(scores) > 0.85
    assert abs(scores[0] - scores[1]) <= 0.015


@pytest.mark.slow
def test_mnist_streams_to_974_permille_with_one_evaluation_per_batch() -> None:
    root = os.environ.get("CTSIGPROP_DATA")
    if not root:
        pytest.skip("set CTSIGPROP_DATA to the folder that holds mnist/ with the four IDX files")
    mnist = ct.datasets.mnist(root)
    network = ct.Network(
        [784, 500, 500],
        n_classes=10,
        signal=ct.TargetStream(contrast=ct.rules.SoftmaxCosine(beta=20.0)),
        rule=ct.rules.ContrastiveHebbian(rate=4.0),
    )
    stimulus = ct.Presentations(mnist.x_train, mnist.y_train, batch_size=100, duration=1.0, epochs=3)
    sol = ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0))
    assert sol.stats["rhs_evaluations"] == 1800
    assert network.score(sol.final, mnist.x_test, mnist.y_test) >= 0.974


def test_traces_let_inputs_follow_each_other_where_one_instant_does_not(data: Dataset) -> None:
    scores = []
    for traces in (True, False):
        network = digits_network(traces=traces)
        stimulus = ct.Presentations(data.x_train, data.y_train, batch_size=64, epochs=5)
        sol = ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0))
        scores.append(network.score(sol.final, data.x_test, data.y_test))
    assert scores[0] > 0.9
    assert scores[1] < 0.6  # its post factor stems from the batch before that of its pre factor


def test_labels_of_the_test_set_do_not_touch_predictions(data: Dataset, trained: tuple[ct.Network, ct.State]) -> None:
    network, state = trained
    before = {name: value.clone() for name, value in state.items()}
    guess = network.predict(state, data.x_test)
    shuffled = data.y_test[torch.from_numpy(np.random.default_rng(0).permutation(len(data.y_test)))]
    right, wrong = (network.score(state, data.x_test, y) for y in (data.y_test, shuffled))
    assert right > 0.9
    assert wrong < 0.3
    assert torch.equal(network.predict(state, data.x_test), guess)
    assert state.equal(before)
    assert right == pytest.approx(float((guess == data.y_test).double().mean()))


def test_a_prediction_depends_on_its_own_sample_only(data: Dataset, trained: tuple[ct.Network, ct.State]) -> None:
    network, state = trained
    together = network.similarity(state, data.x_test[:20])
    for i in (0, 7, 19):
        torch.testing.assert_close(network.similarity(state, data.x_test[i : i + 1])[0], together[i])


def test_a_prediction_forgets_the_activity_of_the_state(data: Dataset, trained: tuple[ct.Network, ct.State]) -> None:
    network, state = trained
    resting = {name: torch.zeros_like(value) for name, value in state.items() if name[0] in "rxgy"}
    x = data.x_test[:50]
    assert torch.equal(network.similarity(state, x), network.similarity(state.replace(resting), x))


def settled_similarity(network: ct.Network, state: ct.State, x: torch.Tensor, contrast: Any) -> torch.Tensor:
    """Similarity of the top layer's streams at the end of a long simulation of one input, plasticity off."""
    silent = ct.Network(
        network.sizes,
        n_classes=network.n_classes,
        neuron=[layer.neuron for layer in network.layers],
        signal=network.signal,
        rule=ct.rules.ContrastiveHebbian(rate=0.0),
    )
    stimulus = ct.Presentations(x, torch.zeros(len(x), dtype=torch.int64), len(x), duration=60.0, shuffle=False)
    final = ct.simulate(silent, stimulus, ct.solvers.Euler(dt=0.25), state=state).final
    assert torch.equal(final["W.1"], state["W.1"])
    top = final[f"r.{len(network.layers)}"]
    match: torch.Tensor = contrast.similarity(top[: len(x)], top[len(x) :])
    return match


def test_predict_is_the_argmax_of_a_long_simulation_with_plasticity_off(
    data: Dataset, trained: tuple[ct.Network, ct.State]
) -> None:
    network, state = trained
    wide = ct.State({name: value.double() for name, value in state.items()})
    x = data.x_test[:40].double()
    simulated = settled_similarity(network, wide, x, ct.rules.SoftmaxCosine())
    torch.testing.assert_close(network.similarity(wide, x), simulated, rtol=0, atol=1e-6)
    assert torch.equal(network.predict(wide, x), simulated.argmax(-1))


def own_neuron_network(neuron: Any) -> ct.Network:
    return ct.Network(
        [20, 30, 24, 16],
        n_classes=4,
        neuron=[ct.Rate(activation="softplus"), neuron, ct.Rate(activation="tanh")],
        signal=ct.TargetStream(),
        rule=ct.rules.ContrastiveHebbian(rate=2.0),
    )


@pytest.mark.parametrize("solver", [ct.solvers.Euler(dt=0.25), ct.solvers.Dopri5(rtol=1e-3)], ids=["euler", "dopri5"])
def test_a_users_own_neuron_between_two_layers_learns_and_predicts(
    solver: ct.solvers.Solver, tiny_neuron: torch.nn.Module
) -> None:
    clusters = ct.datasets.gaussian_clusters(n=160, n_features=20, n_classes=4, seed=0)
    x_train, x_test = clusters.x_train.double() / 10, clusters.x_test.double() / 10
    network = own_neuron_network(tiny_neuron)
    stimulus = ct.Presentations(x_train, clusters.y_train, batch_size=64, duration=4.0, epochs=3)
    sol = ct.simulate(network, stimulus, solver)
    assert sol.final["a.2"].shape == sol.final["r.2"].shape
    assert network.score(sol.final, x_test, clusters.y_test) > 0.95
    assert all(parameter.grad is None for parameter in tiny_neuron.parameters())


def test_a_users_own_neuron_predicts_what_a_long_simulation_finds(tiny_neuron: torch.nn.Module) -> None:
    network = own_neuron_network(tiny_neuron)
    x = torch.randn(6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = network.initial_state(1, 6, torch.float64)
    simulated = settled_similarity(network, state, x, ct.rules.SoftmaxCosine())
    torch.testing.assert_close(network.similarity(state, x), simulated, rtol=0, atol=1e-6)
    assert torch.equal(network.predict(state, x), simulated.argmax(-1))
