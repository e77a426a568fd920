"""Activities, traces and weights as one system, against the same equations written by hand in NumPy (conftest)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

import ctsigprop as ct

Arrays: TypeAlias = dict[str, NDArray[np.float64]]
Coupled: TypeAlias = Callable[[str], tuple[ct.Network, ct.Presentations, ct.State, Arrays]]

NAMES = [
    "hebb",
    "hebb_traced",
    "hebb_in_streams",
    "oja",
    "oja_traced",
    "contrastive",
    "contrastive_from_rest",
    "contrastive_gated",
    "contrastive_untraced",
    "contrastive_fixed_generator",
    "contrastive_per_sample",
    "contrastive_contexts",
    "contrastive_dot",
    "contrastive_difference",
    "contrastive_plain_difference",
    "mixed_rules",
    "one_layer_frozen",
    "own_neuron",
]
TIGHT = [ct.solvers.Dopri5(rtol=1e-8, atol=1e-10), ct.solvers.FactoredDopri5(rtol=1e-8, atol=1e-10)]
ADAPTIVE: list[tuple[ct.solvers.Solver, float]] = [
    (ct.solvers.Dopri8(rtol=1e-8, atol=1e-10), 1e-6),
    (ct.solvers.Bosh3(rtol=1e-6, atol=1e-8), 1e-4),
    (ct.solvers.AdaptiveHeun(rtol=1e-4, atol=1e-6), 1e-2),
    (ct.solvers.Fehlberg2(rtol=1e-4, atol=1e-6), 1e-2),
    (ct.solvers.FactoredTsit5(rtol=1e-8, atol=1e-10), 1e-6),
    (ct.solvers.FactoredBosh3(rtol=1e-6, atol=1e-8), 1e-4),
    (ct.solvers.SciPy(rtol=1e-8, atol=1e-10, solver="DOP853"), 1e-6),
    (ct.solvers.SciPy(rtol=1e-8, atol=1e-10, solver="RK45"), 1e-6),
    (ct.solvers.SciPy(rtol=1e-8, atol=1e-10, solver="LSODA"), 1e-5),
]


def is_learned(name: str) -> bool:
    return name[0] in "WSb"


def relative_errors(final: ct.State, start: ct.State, expected: Arrays) -> dict[str, float]:
    """Of weights and biases, the error relative to their change; of anything else, to its size."""
    errors = {}
    for name, value in expected.items():
        scale = value - start[name].numpy() if is_learned(name) else value
        if np.any(scale):
            errors[name] = float(np.linalg.norm(final[name].numpy() - value) / np.linalg.norm(scale))
    return errors


def test_every_setting_of_the_oracle_is_compared(tiny_names: list[str]) -> None:
    assert sorted([*NAMES, "orders"]) == sorted(tiny_names)


@pytest.mark.usefixtures("tiny_unchecked")
@pytest.mark.parametrize("solver", TIGHT, ids=lambda solver: type(solver).__name__)
@pytest.mark.parametrize("name", NAMES)
def test_the_coupled_system_follows_dop853(name: str, solver: ct.solvers.Solver, tiny_coupled: Coupled) -> None:
    network, stimulus, start, expected = tiny_coupled(name)
    sol = ct.simulate(network, stimulus, solver, state=start)
    assert sol.status is ct.Status.COMPLETED
    assert sol.final.keys() == expected.keys()
    errors = relative_errors(sol.final, start, expected)
    assert "W.1" in errors
    assert max(errors.values()) <= 1e-6, errors
    for key in expected.keys() - errors.keys():  # what no rule moves
        np.testing.assert_allclose(sol.final[key].numpy(), expected[key], rtol=1e-13, err_msg=key)


@pytest.mark.usefixtures("tiny_unchecked")
@pytest.mark.parametrize(("solver", "bar"), ADAPTIVE, ids=lambda value: getattr(value, "solver", type(value).__name__))
def test_every_adaptive_method_follows_dop853(solver: ct.solvers.Solver, bar: float, tiny_coupled: Coupled) -> None:
    network, stimulus, start, expected = tiny_coupled("contrastive")
    sol = ct.simulate(network, stimulus, solver, state=start)
    errors = relative_errors(sol.final, start, expected)
    assert max(errors.values()) <= bar, errors


@pytest.mark.filterwarnings("ignore:.*is longer than anything that the stimulus shows")
@pytest.mark.parametrize("kind", [ct.solvers.Euler, ct.solvers.FactoredEuler])
@pytest.mark.parametrize("dt", [1.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_euler_takes_the_very_steps_taken_by_hand(
    name: str, dt: float, kind: type[Any], tiny_coupled: Coupled, tiny_euler: Callable[[str, float], Arrays]
) -> None:
    network, stimulus, start, _ = tiny_coupled(name)
    sol = ct.simulate(network, stimulus, kind(dt=dt), state=start)
    for key, value in tiny_euler(name, dt).items():
        np.testing.assert_allclose(sol.final[key].numpy(), value, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.usefixtures("tiny_unchecked")
def test_tolerances_are_met_in_proportion(tiny_coupled: Coupled) -> None:
    network, stimulus, start, expected = tiny_coupled("contrastive")
    worst = []
    for rtol in (1e-4, 1e-6, 1e-8):
        sol = ct.simulate(network, stimulus, ct.solvers.Dopri5(rtol=rtol, atol=1e-2 * rtol), state=start)
        worst.append(max(relative_errors(sol.final, start, expected).values()))
        assert worst[-1] <= 20 * rtol
    assert worst[0] > worst[1] > worst[2]
