"""Long steps of the weights and short ones of the activities: order, limits, what is equal to what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ctsigprop as ct

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
Coupled: TypeAlias = Callable[[str], tuple[ct.Network, ct.Presentations, ct.State, dict[str, NDArray[np.float64]]]]


def errors(system: Coupled, name: str, steps: list[int], micro: Callable[[int], int]) -> list[float]:
    """Largest error of a weight matrix against DOP853, for some numbers of macro steps in a presentation."""
    network, stimulus, start, expected = system(name)
    found = []
    for count in steps:
        solver = ct.solvers.Multirate(dt=stimulus.duration / count, micro=micro(count))
        final = ct.simulate(network, stimulus, solver, state=start).final
        found.append(max(float(np.linalg.norm(final[k].numpy() - expected[k])) for k in network.weight_shapes))
    return found


def slope(found: list[float], steps: list[int]) -> float:
    return float(np.polyfit(np.log(1 / np.array(steps)), np.log(found), 1)[0])


@pytest.mark.parametrize("name", ["orders", "contrastive_difference", "oja_traced", "mixed_rules"])
def test_weights_converge_with_the_square_of_the_macro_step(name: str, tiny_coupled: Coupled) -> None:
    """Activities in steps so short that their own error does not show."""
    steps = [8, 12, 18, 27]
    found = errors(tiny_coupled, name, steps, lambda count: 16)
    assert abs(slope(found, steps) - 2.0) <= 0.3, found


def test_short_steps_of_the_activities_are_worth_their_while(tiny_coupled: Coupled) -> None:
    """At one macro step, errors fall as micro steps get shorter, down to the error of the macro step."""
    one, four, many = (errors(tiny_coupled, "orders", [6], lambda _, m=m: m)[0] for m in (1, 4, 16))  # type: ignore[misc]
    assert four < 0.6 * one
    assert abs(many - four) < 0.5 * four


def slow() -> tuple[ct.Network, ct.Presentations]:
    """Weights a hundred times slower than activities, inputs that last."""
    x = np.random.default_rng(0).standard_normal((6, 8))
    rule = ct.rules.ContrastiveHebbian(rate=0.05)
    net = ct.Network([8, 10, 6], 3, neuron=ct.Rate(tau=0.2, activation="tanh"), signal=ct.TargetStream(), rule=rule)
    return net, ct.Presentations(x, np.arange(6) % 3, 6, duration=20.0)


def test_where_weights_are_slow_long_steps_do(tiny_coupled: Coupled) -> None:
    net, stimulus = slow()
    exact = ct.simulate(net, stimulus, ct.solvers.Dopri5(rtol=1e-9, atol=1e-11)).final
    start = net.initial_state(0, 6, torch.float64)
    sol = ct.simulate(net, stimulus, ct.solvers.Multirate(dt=1.0, micro=20))
    assert sol.stats["steps"] == 20
    for name in net.weight_shapes:
        change = torch.linalg.vector_norm(exact[name] - start[name])
        assert torch.linalg.vector_norm(sol.final[name] - exact[name]) < 2e-2 * change  # most of it from the onset


def test_samples_lie_on_the_line_between_steps() -> None:
    net, stimulus = slow()
    probe = ct.Probe("weights", times=[1.0, 1.25, 2.0], layers=[1])
    sol = ct.simulate(net, stimulus, ct.solvers.Multirate(dt=1.0), probes=[probe])
    first, between, second = sol.dataset["weights"].values[:, 0]
    np.testing.assert_allclose(between, 0.75 * first + 0.25 * second, rtol=1e-12, atol=1e-14)


def test_a_rule_without_factors_is_refused_with_the_solver_to_use() -> None:
    net = ct.Network([3, 2], rule=ct.rules.OjaSubspace())
    with pytest.raises(TypeError, match=r"returns a DenseUpdate.*use solver=ct\.solvers\.Heun2\(dt=\.\.\.\)"):
        ct.simulate(net, ct.Presentations(np.ones((2, 3)), None, 2), ct.solvers.Multirate(dt=0.5))


@pytest.mark.parametrize(("given", "words"), [({"dt": 0.0}, "dt=.*> 0"), ({"dt": 1.0, "micro": 0}, "micro=.*>= 1")])
def test_steps_out_of_range_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"Multirate\({words}"):
        ct.solvers.Multirate(**given)
