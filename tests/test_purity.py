"""A simulation changes nothing, repeats itself, can be continued, keeps no graph, and does not grow with time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ctsigprop as ct
from ctsigprop.stimuli.validation import as_inputs

Coupled: TypeAlias = Callable[[str], tuple[ct.Network, ct.Presentations, ct.State, dict[str, NDArray[np.float64]]]]

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
ONE_STEP = ["euler", "midpoint", "heun2", "heun3", "rk4", "factored_euler", "factored_heun", "factored_rk4"]
SOLVERS: list[ct.solvers.Solver] = [
    ct.solvers.Euler(dt=0.25),
    ct.solvers.RK4(dt=0.25),
    ct.solvers.ExplicitAdams(dt=0.05),
    ct.solvers.Dopri5(),
    ct.solvers.FactoredEuler(dt=0.25),
    ct.solvers.FactoredDopri5(),
    ct.solvers.FactoredTsit5(),
    ct.solvers.SciPy(solver="RK45"),
]
NAMED: dict[str, Any] = {"ids": lambda solver: type(solver).__name__}


def make(name: str, **settings: Any) -> ct.solvers.Solver:
    kind: Any = ct.solvers.get(name)
    return kind(**settings)  # type: ignore[no-any-return]


def small(dtype: torch.dtype = torch.float32) -> tuple[ct.Network, ct.Presentations]:
    """A network that learns four classes in 12 presentations of 1 tau."""
    data = ct.datasets.gaussian_clusters(n=60, n_features=5, n_classes=4, seed=1)
    network = ct.Network(
        [5, 8, 6],
        n_classes=4,
        neuron=ct.Rate(activation="softplus"),
        signal=ct.TargetStream(),
        rule=ct.rules.ContrastiveHebbian(rate=1.0),
    )
    return network, ct.Presentations(data.x_train.to(dtype), data.y_train, batch_size=16, epochs=4, seed=2)


@pytest.mark.parametrize("solver", SOLVERS, **NAMED)
def test_the_same_seed_gives_the_same_bits(solver: ct.solvers.Solver) -> None:
    (network, stimulus), (network_again, stimulus_again) = small(), small()
    first = ct.simulate(network, stimulus, solver, seed=3, t_span=(0.0, 3.0))
    second = ct.simulate(network_again, stimulus_again, solver, seed=3, t_span=(0.0, 3.0))
    assert first.final.equal(second.final)
    assert not first.final.equal(ct.simulate(network, stimulus, solver, seed=4, t_span=(0.0, 3.0)).final)


@pytest.mark.parametrize("solver", SOLVERS, **NAMED)
def test_a_simulation_changes_neither_network_nor_state_nor_stimulus(solver: ct.solvers.Solver) -> None:
    network, stimulus = small()
    state = network.initial_state(0, stimulus.rows)
    before = {name: value.clone() for name, value in state.items()}
    x, y, described = as_inputs("x", stimulus.x).clone(), torch.as_tensor(stimulus.y).clone(), repr(network)
    sol = ct.simulate(network, stimulus, solver, state=state, t_span=(0.0, 3.0))
    assert state.equal(before)
    assert state.t == 0.0
    assert repr(network) == described
    assert torch.equal(as_inputs("x", stimulus.x), x)
    assert torch.equal(torch.as_tensor(stimulus.y), y)
    assert not sol.final.equal(before)
    assert not {value.data_ptr() for value in sol.final.values()} & {value.data_ptr() for value in state.values()}


def test_a_simulation_leaves_the_random_numbers_of_torch_and_numpy_alone() -> None:
    network, stimulus = small()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    np.random.seed(0)
    expected_of_numpy = np.random.random_sample(3)
    np.random.seed(0)
    ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0))
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(np.random.random_sample(3), expected_of_numpy)


@pytest.mark.parametrize("solver", SOLVERS, **NAMED)
def test_the_final_state_is_made_of_ordinary_tensors(solver: ct.solvers.Solver) -> None:
    network, stimulus = small()
    sol = ct.simulate(network, stimulus, solver, t_span=(0.0, 2.0))
    for value in sol.final.values():
        assert not value.requires_grad
        assert value.grad_fn is None
        assert not value.is_inference()
    weight = sol.final["W.1"].clone().requires_grad_()
    (weight * sol.final["W.1"]).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, sol.final["W.1"])


def test_the_final_state_of_a_neuron_with_parameters_has_no_graph(tiny_coupled: Coupled) -> None:
    network, stimulus, state, _ = tiny_coupled("own_neuron")
    sol = ct.simulate(network, stimulus, ct.solvers.Euler(dt=0.25), state=state)
    assert all(value.grad_fn is None and not value.requires_grad for value in sol.final.values())
    features = network.transform(sol.final, stimulus.x)
    readout = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    (features @ readout).sum().backward()
    assert readout.grad is not None


@pytest.mark.parametrize("solver", SOLVERS[:-1], **NAMED)
def test_probes_watch_without_touching(solver: ct.solvers.Solver) -> None:
    network, stimulus = small(torch.float64)
    probes = [ct.Probe("weights", every=0.37), ct.Probe("signal", times=[0.5, 1.0, 1.99])]
    alone = ct.simulate(network, stimulus, solver, t_span=(0.0, 2.0))
    watched = ct.simulate(network, stimulus, solver, t_span=(0.0, 2.0), probes=probes)
    assert watched.final.equal(alone.final)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dt", [0.25, 0.1, 0.3])
@pytest.mark.parametrize("method", ONE_STEP)
def test_a_run_stopped_by_max_steps_and_continued_is_the_uninterrupted_one(
    method: str, dt: float, dtype: torch.dtype
) -> None:
    network, stimulus = small(dtype)
    whole = ct.simulate(network, stimulus, make(method, dt=dt), t_span=(0.0, 2.0))
    for limit in (1, 6):
        part = ct.simulate(network, stimulus, make(method, dt=dt, max_steps=limit), t_span=(0.0, 2.0))
        assert part.status is ct.Status.MAX_STEPS
        rest = ct.simulate(network, stimulus, make(method, dt=dt), state=part.final, t_span=(part.final.t, 2.0))
        assert rest.final.t == whole.final.t
        assert part.stats["steps"] + rest.stats["steps"] == whole.stats["steps"]
        assert rest.final.equal(whole.final), limit


@pytest.mark.parametrize("dt", [0.25, 0.1])
@pytest.mark.parametrize("steps", [1, 3, 4, 7])
@pytest.mark.parametrize("method", ["euler", "rk4", "factored_rk4"])
def test_a_run_stopped_on_its_grid_and_continued_is_the_uninterrupted_one(method: str, steps: int, dt: float) -> None:
    stop = steps * dt
    network, stimulus = small(torch.float64)
    whole = ct.simulate(network, stimulus, make(method, dt=dt), t_span=(0.0, 2.0))
    part = ct.simulate(network, stimulus, make(method, dt=dt), t_span=(0.0, stop))
    assert part.final.t == stop
    rest = ct.simulate(network, stimulus, make(method, dt=dt), state=part.final, t_span=(stop, 2.0))
    assert rest.final.equal(whole.final)


def test_many_short_runs_are_one_long_run() -> None:
    network, stimulus = small()
    whole = ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0), seed=1)
    state = network.initial_state(1, stimulus.rows)
    for k in range(stimulus.count):
        state = ct.simulate(
            network, stimulus, ct.solvers.Euler(dt=1.0), state=state, t_span=(float(k), float(k + 1))
        ).final
    assert state.equal(whole.final)


def test_an_adaptive_run_continues_within_its_tolerance() -> None:
    network, stimulus = small(torch.float64)
    solver = ct.solvers.Dopri5(rtol=1e-7, atol=1e-9)
    whole = ct.simulate(network, stimulus, solver, t_span=(0.0, 2.0))
    part = ct.simulate(network, stimulus, solver, t_span=(0.0, 1.37))
    rest = ct.simulate(network, stimulus, solver, state=part.final, t_span=(1.37, 2.0))
    for name, value in whole.final.items():
        torch.testing.assert_close(rest.final[name], value, rtol=1e-5, atol=1e-7)


def test_a_long_smooth_stretch_continues_bit_for_bit() -> None:
    def x(t: float) -> torch.Tensor:
        return torch.sin(torch.tensor([[t, 2 * t, 0.3 * t]], dtype=torch.float64))

    network = ct.Network([3, 4], rule=ct.rules.Oja(rate=0.1))
    stimulus = ct.Stimulus.from_function(x, duration=30.0)
    whole = ct.simulate(network, stimulus, ct.solvers.Heun2(dt=0.1))
    for stop in (12.3, 25.7):
        part = ct.simulate(network, stimulus, ct.solvers.Heun2(dt=0.1), t_span=(0.0, stop))
        rest = ct.simulate(network, stimulus, ct.solvers.Heun2(dt=0.1), state=part.final, t_span=(stop, 30.0))
        assert rest.final.equal(whole.final), stop


PEAK = """
import resource, torch
import ctsigprop as ct

x = torch.rand(320, 50, generator=torch.Generator().manual_seed(0))
network = ct.Network([50, 30, 20], n_classes=10, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
for steps in (100, 10_000):
    for stimulus in (
        ct.Presentations(x, torch.arange(320) % 10, 32, duration=10.0, epochs=steps // 100),
        ct.Presentations(x[:32], torch.arange(32) % 10, 32, duration=float(steps)),
    ):
        sol = ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0))
        assert sol.status.ok and sol.stats["steps"] == steps, sol
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is of Unix")
def test_peak_memory_does_not_grow_with_time() -> None:
    """In one process: after short runs of both kinds, long ones of many presentations and of one."""
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    _, short, *long = map(int, done.stdout.split())
    assert max(long) <= 1.05 * short
