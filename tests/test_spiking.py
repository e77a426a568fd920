"""Neurons with a reset: closed forms, SciPy, and what they refuse."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import ctsigprop as ct
from ctsigprop.dynamics.event_field import JumpField

NEURONS: dict[str, Any] = {
    "lif": ct.LIF(),
    "lif_all": ct.LIF(tau=0.8, threshold=1.5, reset=0.2, tau_syn=0.3, refractory=0.25, tau_rate=2.0, v=0.1),
    "lif_equal": ct.LIF(tau=0.5, tau_syn=0.5),
    "if": ct.IF(tau=2.0, reset=0.0, tau_syn=0.4),
    "if_refractory": ct.IF(refractory=0.3),
    "adaptive": ct.AdaptiveLIF(refractory=0.1, tau_a=3.0, step=0.4),
    "izhikevich": ct.Izhikevich(),
}
EXACT = [name for name in NEURONS if name != "izhikevich"]
GRID, FINE = ct.solvers.Hybrid(dt=0.01), ct.solvers.EventDriven(rtol=1e-9, atol=1e-11)


def one(neuron: Any, drive: float, duration: float = 10.0) -> tuple[ct.Network, ct.Presentations, ct.State]:
    """A single unit under a constant drive."""
    network = ct.Network([1, 1], neuron=neuron, bias=False)
    state = network.initial_state(dtype=torch.float64)
    state = state.replace({"W.1": torch.full((1, 1), drive, dtype=torch.float64)})
    return network, ct.Presentations(np.ones((1, 1)), None, 1, duration), state


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Tensor]]:
    """Every jump of a run: (time, spikes of layer 1)."""
    found: list[tuple[float, Tensor]] = []
    jump = JumpField.jump

    def listening(self: JumpField, span: Any, activities: Any, weights: Any, slack: float = 0.0) -> Any:
        jumped, updates = jump(self, span, activities, weights, slack)
        spikes = jumped["n.1"] - activities["n.1"]
        if bool(spikes.any()):
            found.append((span[1], spikes))
        return jumped, updates

    monkeypatch.setattr(JumpField, "jump", listening)
    return found


@pytest.mark.parametrize("refractory", [0.0, 0.3])
@pytest.mark.parametrize("drive", [1.05, 1.7, 4.0])
def test_the_interval_of_a_lif_neuron_is_the_closed_form(
    drive: float, refractory: float, heard: list[tuple[float, Tensor]]
) -> None:
    neuron = ct.LIF(tau=1.3, reset=0.0, refractory=refractory)
    expected = 1.3 * math.log(drive / (drive - 1.0))
    network, stimulus, state = one(neuron, drive, 25.0)
    ct.simulate(network, stimulus, FINE, state=state)
    times = np.array([t for t, _ in heard])
    assert len(times) >= 5
    assert times[0] == pytest.approx(expected, rel=1e-8)
    np.testing.assert_allclose(np.diff(times), expected + refractory, rtol=1e-8)
    for flow in ("exponential", "midpoint"):
        heard.clear()
        ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=0.02, flow=flow), state=state)
        on_grid = np.diff([t for t, _ in heard])
        assert np.all(on_grid >= expected + refractory - 0.02)
        assert np.all(on_grid <= expected + refractory + (0.02 if refractory == 0 or flow == "exponential" else 0.04))


@pytest.mark.parametrize("neuron", [ct.IF(tau=2.0, reset=0.0), ct.IF(tau=2.0)], ids=["value", "subtract"])
def test_an_integrate_and_fire_neuron_counts_its_drive(neuron: Any, heard: list[tuple[float, Tensor]]) -> None:
    network, stimulus, state = one(neuron, 1.6)
    ct.simulate(network, stimulus, FINE, state=state)
    np.testing.assert_allclose([t for t, _ in heard], 2.0 / 1.6 * np.arange(1, 9), rtol=1e-8)


@pytest.mark.parametrize("solver", [FINE, ct.solvers.Hybrid(dt=0.05), ct.solvers.Hybrid(dt=0.05, flow="rk4")], ids=repr)
def test_no_spike_falls_in_the_refractory_time_however_strong_the_drive(
    solver: Any, heard: list[tuple[float, Tensor]]
) -> None:
    network, stimulus, state = one(ct.LIF(refractory=0.45, reset=0.0), 500.0, 20.0)
    ct.simulate(network, stimulus, solver, state=state)
    gaps = np.diff([t for t, _ in heard])
    assert len(gaps) >= 35
    assert gaps.min() >= 0.45 - 1e-9
    assert gaps.max() <= 0.45 + (0.01 if solver is FINE else 0.0501)


def test_kicks_during_the_refractory_time_are_lost_and_after_it_count(heard: list[tuple[float, Tensor]]) -> None:
    network = ct.Network([1, 1], neuron=ct.LIF(reset=0.0, refractory=1.0), bias=False)
    state = network.initial_state(dtype=torch.float64)
    state = state.replace({"W.1": torch.full((1, 1), 1.5, dtype=torch.float64)})
    trains = ct.SpikeTrains([[0.5, 0.9, 1.4, 1.6, 2.5]], 4.0, dtype=torch.float64)
    for solver in (FINE, ct.solvers.Hybrid(dt=0.1)):
        heard.clear()
        ct.simulate(network, trains, solver, state=state)
        np.testing.assert_allclose([t for t, _ in heard], [0.5, 1.6], rtol=0, atol=1e-9)
    # 2.5 falls within 1 of the spike at 1.6


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dt", [0.05, 0.7])
def test_the_exact_step_is_what_dop853_finds(name: str, dt: float) -> None:
    """Below threshold, under a constant drive, from states some of which are refractory for part of the step."""
    neuron = NEURONS[name]
    random = np.random.default_rng(0)
    start = {key: torch.from_numpy(random.uniform(0.0, 0.5, (2, 3))) for key in neuron.variables()}
    if "q" in start:
        start["q"] = torch.from_numpy(np.array([[0.0, 0.02, 0.2], [0.0, 0.04, 0.6]]))
    drive = torch.from_numpy(random.uniform(-0.5, 0.5, (2, 3)))
    leak, tau, tau_syn = (0.0 if isinstance(neuron, ct.IF) else 1.0), neuron.tau, neuron.tau_syn or 1.0
    found = neuron.exact(start, drive, dt)
    assert set(found) == set(start) - {"n"}
    for index in np.ndindex(2, 3):
        wait = float(start["q"][index]) if "q" in start else 0.0
        state = {key: float(value[index]) for key, value in start.items()}

        def slope(t: float, y: np.ndarray, free: bool, index: tuple[int, ...] = index) -> list[float]:
            v, i = y
            return [((i + float(drive[index]) - leak * v) / tau) if free else 0.0, -i / tau_syn]

        y, t = [state["v"], state.get("i", 0.0)], 0.0
        for stop, free in ((min(wait, dt), False), (dt, True)):
            if stop > t:
                y = solve_ivp(slope, (t, stop), y, "DOP853", rtol=1e-12, atol=1e-13, args=(free,)).y[:, -1]
                t = stop
        assert float(found["v"][index]) == pytest.approx(y[0], rel=1e-9, abs=1e-10)
        if "i" in found:
            assert float(found["i"][index]) == pytest.approx(y[1], rel=1e-9)
        if "q" in found:
            assert float(found["q"][index]) == pytest.approx(max(wait - dt, 0.0), abs=1e-12)
        assert float(found["r"][index]) == pytest.approx(state["r"] * math.exp(-dt / (neuron.tau_rate or tau)))


@pytest.mark.parametrize("name", NEURONS)
def test_a_jump_changes_nothing_it_is_given_and_resets_those_that_spike(name: str) -> None:
    neuron = NEURONS[name]
    start = {key: torch.full((2, 3), value, dtype=torch.float64) for key, value in neuron.variables().items()}
    top = 30.0 if name == "izhikevich" else neuron.threshold
    start["v"] = torch.tensor([[top + 0.3, top - 0.3, top], [top - 0.1, top - 0.1, top - 0.1]], dtype=torch.float64)
    kick = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.2, -0.2]], dtype=torch.float64)
    before = {key: value.clone() for key, value in start.items()}
    found, spikes = neuron.jump(start, kick)
    assert all(torch.equal(start[key], before[key]) for key in start)
    by_kick = 0.0 if "i" in start else 1.0  # a kick to the current moves v only later
    assert spikes.tolist() == [[1.0, 0.0, 1.0], [0.0, by_kick, 0.0]]
    assert torch.equal(found["n"], spikes)
    after = {**start, **found}
    assert float(neuron.margin(after).amax()) < 0 if name != "lif" else True
    reset = neuron.c if name == "izhikevich" else 0.3 if neuron.reset == "subtract" else neuron.reset
    assert float(found["v"][0, 0]) == pytest.approx(reset)
    if "q" in start:
        assert torch.equal(found["q"], spikes * neuron.refractory)
    if name == "adaptive":
        assert torch.equal(found["a"], spikes * 0.4)


def test_an_adaptive_neuron_slows_down(heard: list[tuple[float, Tensor]]) -> None:
    network, stimulus, state = one(ct.AdaptiveLIF(tau_a=5.0, step=0.2), 2.5, 10.0)
    ct.simulate(network, stimulus, FINE, state=state)
    gaps = np.diff([t for t, _ in heard])
    assert np.all(np.diff(gaps[:5]) > 0)
    assert gaps[-1] > 1.5 * gaps[0]


def test_an_izhikevich_neuron_follows_dop853(heard: list[tuple[float, Tensor]]) -> None:
    network, stimulus, state = one(ct.Izhikevich(), 10.0, 200.0)
    ct.simulate(network, stimulus, FINE, state=state)
    expected, t, y = [], 0.0, np.array([-65.0, -13.0])

    def slope(_: float, y: np.ndarray) -> list[float]:
        v, u = y
        return [0.04 * v * v + 5 * v + 140 - u + 10.0, 0.02 * (0.2 * v - u)]

    def peak(_: float, y: np.ndarray) -> float:
        return float(y[0] - 30.0)

    peak.terminal = True  # type: ignore[attr-defined]
    while t < 200.0:
        run = solve_ivp(slope, (t, 200.0), y, "DOP853", rtol=1e-11, atol=1e-11, events=peak)
        t, y = float(run.t[-1]), run.y[:, -1].copy()
        if run.status == 1:
            expected.append(t)
            y = np.array([-65.0, y[1] + 8.0])
    assert len(expected) >= 5
    np.testing.assert_allclose([t for t, _ in heard], expected, rtol=1e-6)
    heard.clear()
    sol = ct.simulate(network, stimulus, state=state)
    assert "flow='rk4'" in sol.stats["solver"]
    np.testing.assert_allclose([t for t, _ in heard], expected, rtol=0.03)


def test_a_theta_neuron_spikes_without_jumps_at_the_frequency_of_its_drive() -> None:
    network, stimulus, state = one(ct.Theta(tau=0.7), 2.0, 40.0)
    assert not network.jumps
    sol = ct.simulate(network, stimulus, ct.solvers.Dopri5(rtol=1e-9, atol=1e-10), state=state)
    turns = float(sol.final["phase.1"]) / (2 * math.pi)
    assert turns == pytest.approx(40.0 * math.sqrt(2.0) / (math.pi * 0.7), abs=0.5)


@pytest.mark.parametrize("drive", [0.5, 1.0, 3.0, -0.4])
def test_the_steady_output_of_a_theta_neuron_is_the_average_over_time(drive: float) -> None:
    network, stimulus, state = one(ct.Theta(), drive, 200.0)
    state = state.replace({"phase.1": torch.full((1, 1), -0.5, dtype=torch.float64)})
    probe = ct.Probe("rates", times=np.arange(50.0, 200.0, 0.05).tolist())
    sol = ct.simulate(network, stimulus, ct.solvers.Dopri5(rtol=1e-8), state=state, probes=[probe])
    expected = float(network.transform(state, np.ones((1, 1)))[0, 0])
    assert float(sol.dataset["rates"].mean()) == pytest.approx(expected, rel=0.02)


def test_a_theta_network_learns_with_an_adaptive_solver_and_any_rule_for_rates() -> None:
    data = ct.datasets.gaussian_clusters(n=100, n_features=4, n_classes=3, seed=0)
    network = ct.Network(
        [4, 12], 3, neuron=ct.Theta(), signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=0.3)
    )
    stimulus = ct.Presentations(data.x_train / 3, data.y_train, 16, 2.0, epochs=3)
    sol = ct.simulate(network, stimulus)
    assert sol.status.ok
    assert network.score(sol.final, data.x_test / 3, data.y_test) > network.score(
        network.initial_state(), data.x_test / 3, data.y_test
    )


# a network of them


def network_of(rule: Any = None, neuron: Any = None, sizes: tuple[int, ...] = (4, 6, 5), **settings: Any) -> ct.Network:
    neuron = ct.LIF(refractory=0.1, tau_syn=0.5) if neuron is None else neuron
    return ct.Network(sizes, 3, neuron=neuron, signal=ct.TargetStream(), rule=rule, **settings)


def shown(**settings: Any) -> ct.Presentations:
    x = np.random.default_rng(1).uniform(0.2, 1.0, (6, 4))
    return ct.Presentations(x, np.arange(6) % 3, 3, 3.0, shuffle=False, **settings)


@pytest.mark.parametrize("sizes", [(4, 6), (4, 6, 5)], ids=repr)
@pytest.mark.parametrize("encoder", [None, ct.Poisson(rate=3.0, dt=0.05), ct.Latency(last=2.0)], ids=repr)
@pytest.mark.parametrize("rule", [ct.rules.Surrogate(), ct.rules.Voltage(), ct.rules.ContrastiveHebbian()], ids=repr)
def test_the_exact_step_and_runge_kutta_agree_in_a_network_that_learns(
    rule: Any, encoder: Any, sizes: tuple[int, ...]
) -> None:
    """Traces, currents and rates included: two ways to take the same small step, weights held during it.

    In layer 2 they agree to first order: its label trace follows that of layer 1, which the exact step holds.
    """
    network = network_of(rule, ct.AdaptiveLIF(tau_syn=0.5, tau_rate=0.7), sizes, bias=False)
    state = network.initial_state(2, 3, torch.float64)
    state = state.replace({name: 2 * state[name].abs() for name in network.weight_shapes})
    first, second = (
        ct.simulate(network, shown(encoder=encoder), ct.solvers.Hybrid(dt=0.02, flow=flow), state=state)
        for flow in ("exponential", "rk4")
    )
    assert first.status.ok
    assert float(first.final[f"n.{len(sizes) - 1}"].sum()) > 5
    for name, value in first.final.items():
        if name.endswith((".1", "S")):
            torch.testing.assert_close(second.final[name], value, rtol=1e-6, atol=1e-6, msg=name)
        elif name in ("W.2", "x.2", "y.2"):  # for the others, one spike a step later makes a difference
            assert float((second.final[name] - value).norm()) <= 0.03 * float(value.norm()), name


@pytest.mark.parametrize("tau_syn", [None, 0.4])
def test_the_presynaptic_trace_is_the_derivative_of_the_potential_in_the_weight(tau_syn: float | None) -> None:
    """Below threshold: v is linear in W, so v of layer 2 is W times the trace."""
    neurons = [ct.LIF(), ct.LIF(threshold=100.0, tau_syn=tau_syn)]
    rule = [None, ct.rules.Voltage(rate=0.0)]
    network = ct.Network([4, 6, 5], 3, neuron=neurons, signal=ct.TargetStream(), rule=rule, bias=False)
    state = network.initial_state(2, 3, torch.float64)
    state = state.replace({"W.1": state["W.1"].abs(), "W.2": state["W.2"] / 100})
    sol = ct.simulate(network, shown(), ct.solvers.Hybrid(dt=0.05), state=state)
    assert float(sol.final["n.1"].sum()) > 10
    assert float(sol.final["n.2"].sum()) == 0
    torch.testing.assert_close(sol.final["v.2"], sol.final["x.2"] @ sol.final["W.2"].mT, rtol=1e-9, atol=1e-12)


def test_layers_spike_at_the_same_instant_in_the_event_driven_solver_as_on_a_fine_grid() -> None:
    network = network_of(neuron=ct.LIF(reset=0.0, tau_syn=0.5), bias=False)
    state = network.initial_state(5, 3, torch.float64)
    state = state.replace({name: state[name].abs() for name in ("W.1", "W.2")})
    exact = ct.simulate(network, shown(), ct.solvers.EventDriven(rtol=1e-6, atol=1e-8), state=state)
    fine = ct.simulate(network, shown(), ct.solvers.Hybrid(dt=0.002), state=state)
    for layer in (1, 2):
        a, b = exact.final[f"n.{layer}"], fine.final[f"n.{layer}"]
        assert float(a.sum()) > 10
        assert float((a - b).abs().max()) <= 1.0
        assert float((a - b).abs().sum()) <= 0.05 * float(a.sum()) + 1


def test_a_network_of_spikes_is_the_same_to_the_bit_each_time_and_in_two_halves() -> None:
    network = network_of(ct.rules.Surrogate())
    stimulus = shown(encoder=ct.Poisson(rate=3.0, dt=0.05, seed=3))
    solver = ct.solvers.Hybrid(dt=0.05)
    whole, again = (ct.simulate(network, stimulus, solver, seed=2) for _ in range(2))
    assert whole.final.equal(again.final)
    part = ct.simulate(network, stimulus, solver, seed=2, t_span=(0.0, 1.25))
    rest = ct.simulate(network, stimulus, solver, state=part.final, t_span=(1.25, 6.0))
    for name, value in whole.final.items():
        torch.testing.assert_close(rest.final[name], value, rtol=1e-12, atol=1e-12)


def test_auto_takes_the_grid_solver_and_a_solver_without_jumps_is_refused_by_name() -> None:
    network = network_of(ct.rules.Surrogate(), neuron=ct.LIF(tau=2.0))
    sol = ct.simulate(network, shown())
    assert sol.stats["solver"].startswith("Hybrid(dt=0.2, flow='exponential'")
    for solver in ("dopri5", ct.solvers.Euler(dt=0.1), ct.solvers.FactoredEuler(dt=0.1)):
        with pytest.raises(
            ValueError, match=r"knows no jumps, and neuron LIF of layer 1 has a reset: use solver='auto'"
        ):
            ct.simulate(network, shown(), solver)


REFUSED: dict[str, tuple[str, Any]] = {
    "threshold 0": (r"LIF\(threshold=\) must be above rest, 0", lambda: ct.LIF(threshold=0.0)),
    "no gap": (r"LIF\(threshold=\) must be above the reset", lambda: ct.LIF(threshold=1.0, reset=1.0)),
    "start above": (r"IF\(v=\) must be below threshold=1.0, got 1.0", lambda: ct.IF(v=1.0)),
    "tau_syn": (r"LIF\(tau_syn=\) must be a finite number > 0", lambda: ct.LIF(tau_syn=0.0)),
    "refractory": (r"LIF\(refractory=\) must be a finite number >= 0", lambda: ct.LIF(refractory=-1.0)),
    "step": (r"AdaptiveLIF\(step=\) must be a finite number >= 0", lambda: ct.AdaptiveLIF(step=-0.1)),
    "peak": (r"Izhikevich\(c=\) must be below the peak, 30 mV, got 30", lambda: ct.Izhikevich(c=30.0)),
    "rate above": (
        "neuron of layer 2 is Rate, which takes no spikes, and layer 1 sends spikes",
        lambda: network_of(neuron=[ct.LIF(), ct.Rate()]),
    ),
    "surrogate": (
        "rule of layer 1 is Surrogate, which needs spikes and membrane potentials, and its neuron is Rate",
        lambda: network_of(ct.rules.Surrogate(), ct.Rate()),
    ),
    "voltage": ("rule of layer 1 is Voltage, .* its neuron is Rate", lambda: network_of(ct.rules.Voltage(), ct.Rate())),
    "stdp": ("rule of layer 1 is STDP, .* its neuron is Rate", lambda: network_of(ct.rules.STDP(), ct.Rate())),
    "stdp on rates": (
        "rule of layer 2 is STDP, which needs presynaptic spikes, and layer 1 is Rate, which sends none",
        lambda: network_of([None, ct.rules.STDP()], [ct.Rate(), ct.LIF()]),
    ),
    "traces": (
        r"rule of layer 2 is ContrastiveHebbian\(traces=False\), and its presynaptic side is spikes",
        lambda: network_of(ct.rules.ContrastiveHebbian(traces=False)),
    ),
    "backprop": (
        "signal=Backprop feeds phi' back, and the spikes of LIF have none",
        lambda: ct.Network([4, 5, 3], 3, neuron=ct.LIF(), signal=ct.Backprop(), rule=ct.rules.ContrastiveHebbian()),
    ),
    "psi": (
        r"unknown Surrogate\(psi=\) 'triangel': did you mean 'triangle'",
        lambda: ct.rules.Surrogate(psi="triangel"),
    ),
    "two sources": (
        "must read the learning signal out of one thing",
        lambda: ct.rules.Surrogate() + ct.rules.Voltage(),
    ),
    "exact": (
        r"Hybrid\(flow='exponential'\) needs the exact step of every neuron, and Izhikevich of layer 1 has none",
        lambda: ct.simulate(network_of(neuron=ct.Izhikevich()), shown(), ct.solvers.Hybrid(dt=0.1)),
    ),
    "dt refractory": (
        r"Hybrid\(dt=\) must be at most the refractory time of layer 1, 0.1, got 0.2",
        lambda: ct.simulate(network_of(), shown(), ct.solvers.Hybrid(dt=0.2)),
    ),
    "no encoder": (
        "rule of layer 1 is STDP, which needs presynaptic spikes, and the stimulus shows none",
        lambda: ct.simulate(network_of(ct.rules.STDP()), shown()),
    ),
    "spikes into rates": (
        "the stimulus shows spikes, and neuron Rate of layer 1 takes none",
        lambda: ct.simulate(network_of(neuron=ct.Rate()), shown(encoder=ct.Poisson())),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_spiking_network_that_makes_no_sense_is_refused_by_name(case: str) -> None:
    message, act = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        act()


def test_a_step_above_half_of_tau_is_warned_of_once() -> None:
    network = network_of(neuron=ct.LIF())
    with pytest.warns(UserWarning, match=r"Hybrid\(dt=0.75\) is more than half of tau=1 of layer 1") as caught:
        ct.simulate(network, shown(), ct.solvers.Hybrid(dt=0.75))
    assert len(caught) == 1


@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_is_a_frozen_value(name: str) -> None:
    neuron = NEURONS[name]
    assert neuron == dataclasses.replace(neuron)
    assert hash(neuron) == hash(dataclasses.replace(neuron))
    with pytest.raises(dataclasses.FrozenInstanceError):
        neuron.tau = 3.0
