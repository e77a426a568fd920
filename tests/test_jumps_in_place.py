"""Steps of flow and jump in place are those of the plain path, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import ctsigprop as ct
from ctsigprop.dynamics.event_field import JumpField
from ctsigprop.execution.inplace.jump_step import JumpInPlaceStepper
from ctsigprop.rules.surrogates import SURROGATES
from ctsigprop.simulation.run import split
from tests.ways import ended_alike, in_place_and_not

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
SIZES, CLASSES = (6, 8, 5), 3
RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(0.0, 1.0, (7, SIZES[0])).astype(np.float32)
Y = np.arange(7) % CLASSES
SOLVER = ct.solvers.Hybrid(dt=0.1)
NEURONS = [
    ct.LIF(),
    ct.LIF(reset=0.0, tau_rate=2.0),
    ct.LIF(reset=-0.3, refractory=0.25),
    ct.LIF(tau_syn=0.5),
    ct.LIF(tau_syn=1.0, refractory=0.2, reset=0.0),
    ct.IF(tau=1.5),
    ct.IF(tau_syn=0.4),
    ct.AdaptiveLIF(step=0.3, tau_a=3.0),
]
TAUGHT: list[ct.rules.Rule] = [
    ct.rules.Voltage(decay=0.1),
    ct.rules.ContrastiveHebbian(),
    ct.rules.Hebb(rate=0.1, decay=0.2, traces=True),
    ct.rules.Oja(rate=0.1, traces=True),
    ct.rules.BCM(rate=0.1, traces=True),
    *(ct.rules.Surrogate(psi=psi) for psi in SURROGATES),
]
PAIRED: list[ct.rules.Rule] = [
    ct.rules.STDP(rate=0.02),
    ct.rules.STDP(rate=0.02, tau_plus=2.0, pairing="nearest"),
    ct.rules.TripletSTDP(rate=1.0),
    ct.rules.Bounded(ct.rules.STDP(rate=0.05), -1.0, 1.0, "hard"),
    0.5 * ct.rules.STDP(rate=0.04) + ct.rules.Scaling(rate=0.1),
]
ENCODERS = [ct.Poisson(rate=3.0, dt=0.1), ct.Poisson(rate=2.0, dt=0.25, seed=3), ct.Latency(last=2.0)]


def network(neuron: Any, rule: Any, signal: bool = True, sizes: tuple[int, ...] = SIZES) -> ct.Network:
    return ct.Network(sizes, CLASSES, neuron=neuron, signal=ct.TargetStream() if signal else None, rule=rule)


def shown(**settings: Any) -> ct.Presentations:
    return ct.Presentations(X * 3, Y, 3, **{"duration": 3.0, "epochs": 4, **settings})


def spikes(encoder: Any, **settings: Any) -> ct.Presentations:
    return ct.Presentations(X, Y, 3, **{"duration": 3.0, "epochs": 4, "encoder": encoder, **settings})


def both(monkeypatch: pytest.MonkeyPatch, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """The same run in place and not."""
    return in_place_and_not(monkeypatch, JumpInPlaceStepper, *args, **kwargs)


def same(fast: ct.Solution, plain: ct.Solution) -> None:
    ended_alike(fast, plain)
    assert fast.final.t == plain.final.t
    for name, value in plain.final.items():
        assert torch.equal(fast.final[name], value), name


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
def test_every_neuron_is_the_same(neuron: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = ct.rules.Surrogate()
    fast, plain = both(monkeypatch, network(neuron, rule), shown(gate=(1.0, 2.55)), SOLVER, seed=1)
    same(fast, plain)
    assert float(plain.final["n.2"].sum()) > 10
    assert not torch.equal(plain.final["W.2"], network(neuron, rule).initial_state(1)["W.2"])
    same(*both(monkeypatch, network(neuron, rule), spikes(ENCODERS[1]), SOLVER, seed=1))


@pytest.mark.parametrize("rule", TAUGHT, ids=repr)
def test_every_rule_is_the_same(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    same(*both(monkeypatch, network(ct.LIF(), rule), shown(), SOLVER, seed=1))
    same(*both(monkeypatch, network(ct.LIF(tau_syn=0.5), rule), spikes(ENCODERS[0]), SOLVER, seed=1))


@pytest.mark.parametrize("rule", PAIRED, ids=repr)
@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_every_rule_of_spike_times_is_the_same(rule: Any, encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(ct.LIF(reset=0.0), [rule, None], signal=False)
    fast, plain = both(monkeypatch, net, spikes(encoder, gate=(0.3, 2.8)), SOLVER, seed=1)
    same(fast, plain)
    assert not torch.equal(plain.final["W.1"], net.initial_state(1)["W.1"])


def test_rate_layers_below_and_float64_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    neurons = [ct.Rate(activation="tanh"), ct.LIF()]
    stimulus = ct.Presentations(X.astype(np.float64) * 3, Y, 3, duration=3.0, epochs=4, gate=(1.0, 3.0))
    same(*both(monkeypatch, network(neurons, ct.rules.ContrastiveHebbian()), stimulus, SOLVER, seed=1))


def test_what_is_recorded_is_the_same_on_and_between_grid_points(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = [
        ct.Probe("weights", every=0.31),
        ct.Probe("voltages", every=0.1),
        ct.Probe("spikes", every=0.5),
        ct.Probe("signal", every=0.47),
        ct.Probe(lambda state: state["v.2"], every=0.4, name="own"),
        ct.Probe(lambda state: state["v.2"].numpy(), every=0.4, name="array"),
    ]
    net = network(ct.LIF(), ct.rules.Surrogate())
    fast, plain = both(monkeypatch, net, shown(gate=(1.0, 2.5)), SOLVER, probes=probes)
    same(fast, plain)
    for name in plain.dataset:
        np.testing.assert_array_equal(fast.dataset[name], plain.dataset[name])


@pytest.mark.parametrize("stop", [7.3, 9.0, 27.0])
def test_a_run_that_goes_on_is_the_whole_run(stop: float) -> None:
    """Parts in place and parts that are too short for it."""
    net, stimulus = network(ct.LIF(), ct.rules.Surrogate()), spikes(ENCODERS[0], epochs=5)
    cut = ct.simulate(net, stimulus, SOLVER, seed=1, t_span=(0.0, stop))
    again = ct.simulate(net, stimulus, SOLVER, state=cut.final, t_span=(stop, 45.0))
    whole = ct.simulate(net, stimulus, SOLVER, seed=1)
    for name, value in whole.final.items():
        assert torch.equal(again.final[name], value), name


def test_a_run_that_diverges_ends_where_the_plain_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that are too long for the decay of the weights."""
    net = ct.Network([2, 2], neuron=ct.LIF(), rule=ct.rules.Oja(rate=20.0, traces=True), bias=False)
    stimulus = ct.Presentations(np.full((1, 2), 5.0, np.float32), None, 1, duration=300.0)
    probes = [ct.Probe("weights", every=0.5)]
    state = net.initial_state(0).replace({"W.1": torch.ones(2, 2)})
    fast, plain = both(monkeypatch, net, stimulus, SOLVER, state=state, probes=probes)
    assert plain.status is ct.Status.DIVERGED
    assert "became non-finite" in plain.message
    same(fast, plain)
    assert torch.isfinite(fast.final["W.1"]).all()


def test_too_many_steps_end_a_run_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    solver = ct.solvers.Hybrid(dt=0.1, max_steps=37)
    fast, plain = both(monkeypatch, network(ct.LIF(), ct.rules.Surrogate()), shown(), solver)
    same(fast, plain)
    assert fast.status is ct.Status.MAX_STEPS


@pytest.mark.usefixtures("at_a_prompt")
def test_an_interrupt_within_a_step_gives_the_last_good_state(monkeypatch: pytest.MonkeyPatch) -> None:
    net, stimulus = network(ct.LIF(), ct.rules.Surrogate()), shown()
    original, count = JumpInPlaceStepper.step, 0

    def step(self: JumpInPlaceStepper, t0: float, t1: float, dt: float) -> None:
        nonlocal count
        count += 1
        if count == 95:
            self.current.activities["v.1"].fill_(torch.nan)  # half a step
            self.current.weights["W.1"].fill_(torch.nan)
            raise KeyboardInterrupt
        original(self, t0, t1, dt)

    monkeypatch.setattr(JumpInPlaceStepper, "step", step)
    sol = ct.simulate(net, stimulus, SOLVER)
    assert sol.status is ct.Status.INTERRUPTED
    monkeypatch.setattr(JumpInPlaceStepper, "step", original)
    there = ct.simulate(net, stimulus, SOLVER, t_span=(0.0, sol.final.t))
    assert sol.final.t == pytest.approx(9.4)
    assert sol.final.equal(there.final)


def test_members_of_an_ensemble_are_the_single_runs() -> None:
    net, stimulus = network(ct.LIF(), ct.rules.Surrogate()), shown()
    for k, member in enumerate(ct.simulate(net, stimulus, SOLVER, ensemble=2)):
        assert member.final.equal(ct.simulate(net, stimulus, SOLVER, seed=k).final)


def test_the_state_that_is_given_and_the_one_given_back_are_the_callers() -> None:
    net, stimulus = network(ct.LIF(), ct.rules.Surrogate()), shown()
    state = net.initial_state(0, 3)
    before = {name: value.clone() for name, value in state.items()}
    first = ct.simulate(net, stimulus, SOLVER, state=state)
    kept = {name: value.clone() for name, value in first.final.items()}
    second = ct.simulate(net, stimulus, SOLVER, state=state)
    assert state.equal(before)
    assert first.final.equal(kept)
    assert second.final.equal(kept)


@pytest.mark.parametrize("rule", [ct.rules.Voltage(), ct.rules.Surrogate(psi="triangle")], ids=repr)
def test_no_step_takes_memory(rule: ct.rules.Rule) -> None:
    net, stimulus = network(ct.LIF(), rule), shown()
    frame = next(stimulus.frames(0.0, 3.0))
    with torch.inference_mode():
        place = JumpInPlaceStepper(net, frame, split(net, net.initial_state(0, 3)), 0.1)
        assert JumpField(net, frame, place).in_place is place
        place.step(0.0, 0.1, 0.1)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            for k in range(1, 10):
                place.step(0.1 * k, 0.1 * k + 0.1, 0.1)
    taken = {event.key: event.self_cpu_memory_usage for event in profiled.key_averages()}
    assert not {key: size for key, size in taken.items() if size > 0}


def test_a_rule_that_asks_for_the_time_takes_the_plain_path_while_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = ct.rules.ThreeFactor(ct.rules.STDP(rate=0.05), modulator=lambda t: 1.0 if t > 5.0 else 0.0)
    net = network(ct.LIF(), [rule, None], signal=False)
    fast, plain = both(monkeypatch, net, spikes(ENCODERS[0], gate=(1.0, 2.5)), SOLVER, seed=1)
    same(fast, plain)
    assert not torch.equal(plain.final["W.1"], net.initial_state(1)["W.1"])


def test_what_others_wrote_is_carried_out_at_every_step() -> None:
    calls = []

    def counting(local: ct.rules.Local) -> ct.rules.Update:
        calls.append(local.t)
        return ct.rules.Update(local.share * local.post * len(calls), local.pre)

    rule = ct.rules.Custom(counting, rate=1e-4, traces=True)
    sol = ct.simulate(network(ct.LIF(), [rule, None]), shown(), SOLVER)
    assert len(calls) == sol.stats["steps"] >= 256
