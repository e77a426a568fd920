"""The vector field of a whole network: what a layer learns from, and that it is nothing else's business."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import ctsigprop as ct
from ctsigprop.dynamics.vector_field import Field
from ctsigprop.rules import DenseUpdate, Update
from ctsigprop.solvers import DenseWeight

Coupled: TypeAlias = Callable[[str], tuple[ct.Network, ct.Presentations, ct.State, dict[str, NDArray[np.float64]]]]

PHI: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": torch.nn.functional.softplus,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


def evaluate(
    network: ct.Network, stimulus: ct.Stimulus, state: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], Mapping[str, Update | DenseUpdate]]:
    """The field in the first frame of a stimulus in which weights may change."""
    frames = list(stimulus.frames(0.0, stimulus.duration_total))
    frame = next(frame for frame in frames if frame.at(frame.start).gate == 1.0)
    names = network.weight_shapes
    activities = {name: value for name, value in state.items() if name not in names}
    return Field(network, frame)(frame.start, activities, {name: DenseWeight(state[name]) for name in names})


def own_loss(h: Tensor, z: Tensor, y: Tensor, beta: float, kappa: float) -> Tensor:
    """Cross-entropy of a layer's input stream against its target stream."""
    u, v = (a / (a.square().sum(-1, keepdim=True).sqrt() + kappa) for a in (h, z))
    return -(y * torch.log_softmax(beta * u @ v.mT, -1)).sum(-1).mean()


@pytest.mark.parametrize("per", ["class", "sample"])
@pytest.mark.parametrize("activation", list(PHI))
def test_settled_and_untraced_each_layer_descends_its_own_loss(activation: str, per: str) -> None:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(6, 5, generator=random, dtype=torch.float64)
    labels = torch.arange(6) % 3
    network = ct.Network(
        [5, 7, 6, 4],
        n_classes=3,
        neuron=ct.Rate(activation=activation),
        signal=ct.TargetStream(per=per, contrast=ct.rules.SoftmaxCosine(beta=4.0, kappa=0.3)),  # type: ignore[arg-type]
        rule=ct.rules.ContrastiveHebbian(rate=1.0, traces=False),
    )
    stimulus = ct.Presentations(x, labels, batch_size=6, shuffle=False)
    state = network.initial_state(5, 6, torch.float64)
    state = state.replace({f"b.{i}": 0.1 + torch.rand_like(state[f"b.{i}"]) for i in (1, 2, 3)})
    one_hot = torch.eye(3, dtype=torch.float64)
    contexts, match = (one_hot, one_hot[labels]) if per == "class" else (one_hot[labels], torch.eye(6).double())

    settled, gradients, below = {}, {}, x
    for i in (1, 2, 3):
        W, b = (state[f"{name}.{i}"].clone().requires_grad_() for name in "Wb")
        S = state["S"].clone().requires_grad_()
        drive = below @ W.T + b
        drive = torch.cat([drive, contexts @ S.T]) if i == 1 else drive
        r = PHI[activation](drive)
        own_loss(r[:6], r[6:], match, 4.0, 0.3).backward()
        gradients.update({f"W.{i}": W.grad, f"b.{i}": b.grad})
        if i == 1:
            gradients["S"] = S.grad
        below = settled[f"r.{i}"] = r.detach()  # the layers are cut apart

    rates, updates = evaluate(network, stimulus, state.replace(settled))
    for name, gradient in gradients.items():
        assert gradient is not None
        found = rates[name] if name.startswith("b") else updates[name].derivative(state[name])
        assert float((found + gradient).norm() / gradient.norm()) <= 1e-6, name
    for i in (1, 2, 3):
        assert float(rates[f"r.{i}"].abs().max()) <= 1e-12  # it is settled indeed


def visible(layer: int) -> set[str]:
    """What the synapses of a layer may know: its own variables, and the activity right below."""
    own = {f"{name}.{layer}" for name in ("r", "W", "b", "x", "g", "y", "c", "a")} | {f"r.{layer - 1}"}
    return own | ({"S"} if layer == 1 else set())


def same(first: Update | DenseUpdate, second: Update | DenseUpdate) -> bool:
    """Whether two updates agree to the last bit."""
    assert isinstance(first, Update)
    assert isinstance(second, Update)
    decays = (torch.as_tensor(update.decay) for update in (first, second))
    return torch.equal(first.post, second.post) and torch.equal(first.pre, second.pre) and torch.equal(*decays)


LOCAL = [
    "hebb",
    "oja_traced",
    "contrastive",
    "contrastive_gated",
    "contrastive_per_sample",
    "mixed_rules",
    "own_neuron",
]


@pytest.mark.parametrize("name", LOCAL)
def test_an_update_depends_on_no_other_layer(name: str, tiny_coupled: Coupled) -> None:
    network, stimulus, state, _ = tiny_coupled(name)
    _, before = evaluate(network, stimulus, state)
    for layer in network.layers:
        own = [layer.name("W")] + (["S"] if layer.index == 1 and "S" in before else [])
        for key in set(state) - visible(layer.index):
            _, after = evaluate(network, stimulus, state.replace({key: 3.0 * state[key] + 1.0}))
            assert all(same(before[weights], after[weights]) for weights in own), key


@pytest.mark.parametrize("name", LOCAL)
def test_an_update_depends_on_both_sides_of_its_synapses(name: str, tiny_coupled: Coupled) -> None:
    network, stimulus, state, _ = tiny_coupled(name)
    _, before = evaluate(network, stimulus, state)
    for layer in network.layers:
        traced = layer.rule is not None and layer.rule.traces
        below = layer.name("x") if traced else f"r.{layer.index - 1}"
        for key in {layer.name("r"), below} & set(state):
            _, after = evaluate(network, stimulus, state.replace({key: 3.0 * state[key] + 1.0}))
            assert not same(before[layer.name("W")], after[layer.name("W")]), key


@pytest.mark.parametrize("name", LOCAL)
def test_the_field_is_a_pure_function_of_its_arguments(name: str, tiny_coupled: Coupled) -> None:
    network, stimulus, state, _ = tiny_coupled(name)
    copies = {key: value.clone() for key, value in state.items()}
    rates, updates = evaluate(network, stimulus, state)
    again, updates_again = evaluate(network, stimulus, state)
    assert state.equal(copies)
    assert rates.keys() == again.keys()
    assert all(torch.equal(rates[key], again[key]) for key in rates)
    assert all(same(updates[key], updates_again[key]) for key in updates)


def test_a_closed_gate_stops_weights_and_biases_and_nothing_else(tiny_coupled: Coupled) -> None:
    network, stimulus, state, _ = tiny_coupled("contrastive_gated")
    closed = next(stimulus.frames(0.0, stimulus.duration_total))
    assert closed.at(closed.start).gate == 0.0
    activities = {name: value for name, value in state.items() if name not in network.weight_shapes}
    weights = {name: DenseWeight(state[name]) for name in network.weight_shapes}
    rates, updates = Field(network, closed)(closed.start, activities, weights)
    opened, _ = evaluate(network, stimulus, state)
    assert not updates
    assert set(opened) - set(rates) == {"b.1", "b.2"}
    assert all(torch.equal(rates[key], opened[key]) for key in rates)


def test_half_a_gate_is_half_the_rate() -> None:
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    network = ct.Network([4, 3], rule=ct.rules.Hebb(rate=0.5, decay=0.2))
    state = network.initial_state(0, 3, torch.float64).replace({"r.1": torch.ones(3, 3, dtype=torch.float64)})
    gates: list[Callable[[float], float]] = [lambda t: 1.0, lambda t: 0.5]
    frames = [next(ct.Presentations(x, batch_size=3, shuffle=False, gate=gate).frames(0.0, 1.0)) for gate in gates]
    found = []
    for frame in frames:
        activities = {name: state[name] for name in ("r.1", "b.1")}
        rates, updates = Field(network, frame)(0.0, activities, {"W.1": DenseWeight(state["W.1"])})
        found.append((updates["W.1"].derivative(state["W.1"]), rates["b.1"]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, 0.5 * one)
        assert float(one.abs().max()) > 0
