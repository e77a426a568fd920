"""The same run in another unit of time: with all times scaled it ends with the same state and samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ctsigprop as ct
from ctsigprop.solvers.base import Solver

pytestmark = pytest.mark.usefixtures("interpreted", "own_cache")  # nothing here depends on the compiler
UNITS = [1e-9, 1e-4, 3.0, 1e6]
RATES: dict[str, Callable[[float], Solver]] = {
    "euler": lambda u: ct.solvers.Euler(dt=0.1 * u),
    "rk4": lambda u: ct.solvers.RK4(dt=0.1 * u),
    "rk4_compiled": lambda u: ct.solvers.RK4(dt=0.1 * u, compile=True),
    "factored_euler": lambda u: ct.solvers.FactoredEuler(dt=0.1 * u),
    "factored_rk4": lambda u: ct.solvers.FactoredRK4(dt=0.1 * u),
    "multirate": lambda u: ct.solvers.Multirate(dt=0.2 * u, micro=4),
    "hybrid": lambda u: ct.solvers.Hybrid(dt=0.1 * u),
    "dopri5": lambda u: ct.solvers.Dopri5(rtol=1e-9, atol=1e-11),
    "factored_dopri5": lambda u: ct.solvers.FactoredDopri5(rtol=1e-9, atol=1e-11),
}
SPIKES: dict[str, Callable[[float], Solver]] = {
    "plain": lambda u: ct.solvers.Hybrid(dt=0.1 * u),
    "in_place": lambda u: ct.solvers.Hybrid(dt=0.02 * u),
    "compiled": lambda u: ct.solvers.Hybrid(dt=0.1 * u, compile=True),
    "rk4_flow": lambda u: ct.solvers.Hybrid(dt=0.1 * u, flow="rk4"),
    "euler_flow": lambda u: ct.solvers.Hybrid(dt=0.1 * u, flow="euler"),
    "event_driven": lambda u: ct.solvers.EventDriven(rtol=1e-8),
}
START = ct.Network([3, 4, 2], neuron=ct.Rate(activation="tanh"), bias=False).initial_state(0, dtype=torch.float64)
X = torch.rand(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def rate_run(unit: float, solver: Solver) -> ct.Solution:
    """Gated presentations of a learning network, sampled on the grid and off it."""
    rule = ct.rules.Hebb(rate=0.05 / unit)
    net = ct.Network([3, 4, 2], neuron=ct.Rate(tau=unit, activation="tanh"), rule=rule, bias=False)
    stim = ct.Presentations(X, None, 2, duration=1.2 * unit, gate=(0.5 * unit, 0.9 * unit), shuffle=False)
    probes = [ct.Probe("rates", every=0.3 * unit), ct.Probe("weights", times=np.array([0.05, 0.7, 1.2, 2.05]) * unit)]
    return ct.simulate(net, stim, solver, state=START, probes=probes)


def spike_run(unit: float, solver: Solver) -> ct.Solution:
    """Two layers with refractory times and synaptic currents under spike trains on a grid, samples on it too."""
    neuron = ct.LIF(tau=unit, tau_syn=0.5 * unit, refractory=0.2 * unit, reset=0.0)
    net = ct.Network([3, 2, 2], neuron=neuron, bias=False)
    random = np.random.default_rng(0)
    trains = [np.sort(random.choice(np.arange(1, 60), 10, replace=False)) * (0.1 * unit) for _ in range(3)]
    state = net.initial_state(0, dtype=torch.float64)
    state = state.replace({name: 2 * state[name].abs() for name in ("W.1", "W.2")})
    probes = [ct.Probe("spikes", every=0.5 * unit), ct.Probe("voltages", times=np.linspace(0.1, 5.9, 5) * unit)]
    stim = ct.SpikeTrains(trains, duration=6 * unit, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "compile=True is without effect")
        return ct.simulate(net, stim, solver, state=state, probes=probes)


def equal(one: ct.Solution, other: ct.Solution, names: tuple[str, ...], unit: float, tolerance: float) -> None:
    """Both ended with the same state and samples, at the same times but for the unit."""
    assert one.status is other.status is ct.Status.COMPLETED
    assert one.dataset.sizes == other.dataset.sizes
    for name, value in one.dataset.variables.items():
        scale = unit if str(name).startswith("time") else 1.0
        np.testing.assert_allclose(other.dataset[name], scale * value, rtol=1e-12 if scale != 1 else 0, atol=tolerance)
    for name in names:
        torch.testing.assert_close(other.final[name], one.final[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", RATES)
def test_a_rate_network_in_another_unit(name: str) -> None:
    reference = rate_run(1.0, RATES[name](1.0))
    assert float((reference.final["W.1"] - START["W.1"]).abs().max()) > 1e-3
    for unit in UNITS:
        other = rate_run(unit, RATES[name](unit))
        equal(reference, other, ("r.1", "r.2", "W.1", "W.2"), unit, 1e-8 if "dopri5" in name else 1e-13)
        if "dopri5" not in name:
            assert other.stats["steps"] == reference.stats["steps"]


@pytest.mark.parametrize("name", SPIKES)
def test_a_spiking_network_in_another_unit(name: str) -> None:
    reference = spike_run(1.0, SPIKES[name](1.0))
    assert min(float(reference.final[f"n.{i}"].sum()) for i in (1, 2)) > 10
    for unit in UNITS[::2] if name == "event_driven" else UNITS:
        other = spike_run(unit, SPIKES[name](unit))
        equal(reference, other, ("v.1", "v.2", "i.2", "n.1", "n.2"), unit, 1e-6 if name == "event_driven" else 1e-12)


@pytest.mark.parametrize("solver", [ct.solvers.EventDriven(), ct.solvers.Hybrid(dt=0.1), ct.solvers.Hybrid(dt=0.02)])
def test_samples_at_the_times_of_input_spikes_change_nothing(solver: Solver) -> None:
    """0.1 * 25 and 5 * 0.5 are not the same number in binary."""
    net = ct.Network([1, 1], neuron=ct.IF(threshold=50.0), bias=False)
    trains = [np.arange(1, 60) * 0.1]
    start = net.initial_state(0, dtype=torch.float64).replace({"W.1": torch.ones(1, 1, dtype=torch.float64)})
    stim = ct.SpikeTrains([trains[0]], duration=6.0, dtype=torch.float64)
    for probes in ([], [ct.Probe("voltages", every=0.3)], [ct.Probe("voltages", times=trains[0] * (1 - 1e-16))]):
        final = ct.simulate(net, stim, solver, state=start, probes=probes).final
        assert final["n.1"].item() == 1.0  # of 59 kicks
        assert final["v.1"].item() == 9.0


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e5])
@pytest.mark.parametrize("encoder", ["poisson", "latency"])
def test_encoders_in_another_unit(encoder: str, unit: float) -> None:
    made: dict[str, Callable[[float], ct.Poisson | ct.Latency]] = {
        "poisson": lambda u: ct.Poisson(rate=3.0 / u, dt=0.1 * u),
        "latency": lambda u: ct.Latency(first=0.1 * u, last=1.1 * u),
    }

    def run(u: float) -> Tensor:
        net = ct.Network([3, 2], neuron=ct.LIF(tau=u), bias=False)
        stim = ct.Presentations(X, None, 2, duration=1.2 * u, shuffle=False, encoder=made[encoder](u))
        state = net.initial_state(1, dtype=torch.float64)
        final = ct.simulate(net, stim, ct.solvers.Hybrid(dt=0.1 * u), state=state).final
        return torch.cat([final["v.1"], final["n.1"]])

    torch.testing.assert_close(run(unit), run(1.0), rtol=1e-9, atol=1e-9)


def test_samples_do_not_double_where_time_is_large_against_their_spacing() -> None:
    net = ct.Network([1, 1], neuron=ct.Rate(activation="linear"), bias=False)
    stim = ct.Stimulus.from_function(lambda t: torch.ones(1, 1, dtype=torch.float64), duration=1e6)
    every = ct.Probe(lambda state: state.t, every=5e-4, name="clock")
    sol = ct.simulate(net, stim, ct.solvers.Euler(dt=5e-4), t_span=(1e6 - 5e-3, 1e6), probes=[every])
    assert sol.stats["steps"] == 10
    np.testing.assert_allclose(sol.dataset["clock"], 1e6 - 5e-3 + np.arange(11) * 5e-4, rtol=0, atol=1e-9)


SAMPLED: list[Solver] = [
    ct.solvers.Euler(dt=0.1),
    ct.solvers.RK4(dt=0.1),
    ct.solvers.FactoredRK4(dt=0.1),
    ct.solvers.Hybrid(dt=0.1),
    ct.solvers.Dopri5(),
    ct.solvers.FactoredDopri5(),
    ct.solvers.RK4(dt=0.1, compile=True),
]


@pytest.mark.parametrize("solver", SAMPLED, ids=repr)
@pytest.mark.parametrize("duration", [0.7, 1.1, 5 / 7])
def test_float32_times_of_a_probe(solver: Solver, duration: float) -> None:
    net = ct.Network([1, 1], neuron=ct.Rate(activation="linear"), bias=False)
    state = net.initial_state(0).replace({"W.1": torch.ones(1, 1)})
    stim = ct.Presentations(torch.ones(1, 1), None, 1, duration=duration)
    probe = ct.Probe("rates", times=torch.linspace(0, duration, 8))
    data = ct.simulate(net, stim, solver, state=state, probes=[probe]).dataset
    clock = np.linspace(0, duration, 8)
    np.testing.assert_allclose(data["time"], clock, rtol=2e-7)
    if not isinstance(solver, ct.solvers.Euler):
        np.testing.assert_allclose(data["rates"].values.ravel(), 1 - np.exp(-clock), atol=2e-5)


def test_float32_spike_times_and_gates() -> None:
    net = ct.Network([1, 1], neuron=ct.IF(threshold=100.0), bias=False)
    state = net.initial_state(0).replace({"W.1": torch.ones(1, 1)})
    short: Any = np.float32
    times = np.arange(1, 50, dtype=np.float32) * np.float32(0.1)
    stim = ct.SpikeTrains([times], duration=short(4.9))
    probe = ct.Probe("voltages", every=short(0.1))
    data = ct.simulate(net, stim, ct.solvers.Hybrid(dt=0.1), state=state, probes=[probe]).dataset
    np.testing.assert_array_equal(data["voltages"].values.ravel(), np.arange(50))

    rates = ct.Network([1, 1], rule=ct.rules.Hebb(rate=0.1), bias=False)
    gate = (short(0.3), short(0.7))
    stim2 = ct.Presentations(torch.ones(1, 1), None, 1, duration=short(0.7), gate=gate)
    assert stim2.duration_total == 0.7
    assert ct.simulate(rates, stim2, ct.solvers.Euler(dt=short(0.1))).stats["steps"] == 7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_differences_of_time_are_not_taken_from_large_numbers(dtype: torch.dtype) -> None:
    x = torch.ones(1, 1, dtype=dtype)
    rate = ct.Network([1, 1], neuron=ct.Rate(activation="linear"), bias=False)
    state = rate.initial_state(0, dtype=dtype).replace({"W.1": torch.ones(1, 1, dtype=dtype)})
    stim = ct.Presentations(x, None, 1, duration=1.0)
    probe = ct.Probe("rates", times=[1e-5])
    early = ct.simulate(rate, stim, ct.solvers.Hybrid(dt=1.0), state=state, probes=[probe]).dataset["rates"]
    assert early.item() == pytest.approx(-math.expm1(-1e-5), rel=3e-7)
    drive, dt = torch.ones(1, 1, dtype=dtype), 1e-5
    for neuron in (ct.LIF(refractory=0.1), ct.LIF(refractory=0.1, tau_syn=0.5), ct.IF(refractory=0.1, tau_syn=0.5)):
        rest = {name: torch.full((1, 1), value, dtype=dtype) for name, value in neuron.variables().items()}
        for i in (0.0, 2.0) if neuron.tau_syn else (0.0,):
            given = {**rest, "i": torch.full((1, 1), i, dtype=dtype)} if neuron.tau_syn else rest
            leak = 1.0 if isinstance(neuron, ct.LIF) else 0.0  # to first order in dt, which is 1e-5
            expected = dt * (1 + i) * (1 - dt / 2 * leak) - (i * dt**2 / 2 / 0.5)
            assert neuron.exact(given, drive, dt)["v"].item() == pytest.approx(expected, rel=1e-6)


def test_spikes_of_float32_samples_come_on_their_step() -> None:
    """1 - 0.7 is 0.30000001 in float32, and the spike is due at 0.1 + 0.3."""
    net = ct.Network([1, 1], neuron=ct.IF(threshold=100.0), bias=False)
    state = net.initial_state(0).replace({"W.1": torch.ones(1, 1)})
    stim = ct.Presentations(
        torch.tensor([[0.7]]), None, 1, duration=1.2, encoder=ct.Latency(first=0.1, last=1.1), shuffle=False
    )
    probe = ct.Probe("voltages", every=0.1)
    v = ct.simulate(net, stim, ct.solvers.Hybrid(dt=0.1), state=state, probes=[probe]).dataset["voltages"]
    assert v.values.ravel().tolist() == [0.0] * 4 + [1.0] * 9


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_spike_times_that_were_added_up_come_on_their_step(unit: float) -> None:
    net = ct.Network([1, 1], neuron=ct.IF(tau=2 * unit, threshold=1e4), bias=False)
    state = net.initial_state(0, dtype=torch.float64).replace({"W.1": torch.ones(1, 1, dtype=torch.float64)})
    times = np.cumsum(np.full(300, 0.7 * unit))
    stim = ct.SpikeTrains([times], duration=210 * unit, dtype=torch.float64)
    probe = ct.Probe("voltages", every=0.7 * unit)
    v = ct.simulate(net, stim, ct.solvers.Hybrid(dt=0.7 * unit), state=state, probes=[probe]).dataset["voltages"]
    assert v.values.ravel().tolist() == list(range(301))


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_a_run_cut_where_presentations_and_gates_switch_takes_the_steps_of_the_whole(unit: float) -> None:
    net = ct.Network([3, 2], neuron=ct.Rate(tau=unit), rule=ct.rules.Hebb(rate=0.1 / unit), bias=False)
    stim = ct.Presentations(X, None, 2, duration=0.7 * unit, gate=(0.3 * unit, 0.6 * unit), epochs=2, shuffle=False)
    start, solver = net.initial_state(0, dtype=torch.float64), ct.solvers.RK4(dt=0.1 * unit)
    whole = ct.simulate(net, stim, solver, state=start)
    state, steps = start, 0
    for a, b in pairwise([0.0, 0.1 + 0.2, 0.7, 0.7 + 0.6, 3 * 0.7, 2.8]):
        part = ct.simulate(net, stim, solver, state=state, t_span=(a * unit, b * unit))
        state, steps = part.final, steps + part.stats["steps"]
    assert steps == whole.stats["steps"] == 28
    for name, value in whole.final.items():
        torch.testing.assert_close(state[name], value, rtol=1e-12, atol=1e-14)
