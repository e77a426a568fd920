"""Steps of flow and jump in place: interrupted, cut, and what they need no memory for.

That they are the steps of the plain path to the last bit is shown in test_equivalence.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import ctsigprop as ct
from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.base import split
from ctsigprop.execution.inplace.jump_step import JumpInPlaceStepper
from tests.networks import currents, spikes, spiking
from tests.ways import ended_alike, in_place_and_not

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
SOLVER = ct.solvers.Hybrid(dt=0.1)
ENCODER = ct.Poisson(rate=3.0, dt=0.1)


def long(**settings: Any) -> ct.Presentations:
    """As many steps as are worth recording."""
    return currents(np.float32, epochs=4, **settings)


def both(monkeypatch: pytest.MonkeyPatch, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """The same run in place and not."""
    return in_place_and_not(monkeypatch, JumpInPlaceStepper, *args, **kwargs)


def same(fast: ct.Solution, plain: ct.Solution) -> None:
    ended_alike(fast, plain)
    assert fast.final.t == plain.final.t
    for name, value in plain.final.items():
        assert torch.equal(fast.final[name], value), name


@pytest.mark.parametrize("stop", [7.3, 9.0, 27.0])
def test_a_run_of_spikes_in_place_that_goes_on_is_the_whole_run(stop: float) -> None:
    """Parts in place and parts that are too short for it."""
    net, stimulus = spiking(ct.LIF(), ct.rules.Surrogate()), spikes(ENCODER, np.float32, epochs=5)
    cut = ct.simulate(net, stimulus, SOLVER, seed=1, t_span=(0.0, stop))
    again = ct.simulate(net, stimulus, SOLVER, state=cut.final, t_span=(stop, 45.0))
    whole = ct.simulate(net, stimulus, SOLVER, seed=1)
    for name, value in whole.final.items():
        assert torch.equal(again.final[name], value), name


@pytest.mark.usefixtures("at_a_prompt")
def test_an_interrupt_within_a_step_gives_the_last_good_state(monkeypatch: pytest.MonkeyPatch) -> None:
    net, stimulus = spiking(ct.LIF(), ct.rules.Surrogate()), long()
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


def test_the_state_that_is_given_and_the_one_given_back_are_the_callers() -> None:
    net, stimulus = spiking(ct.LIF(), ct.rules.Surrogate()), long()
    state = net.initial_state(0, 3)
    before = {name: value.clone() for name, value in state.items()}
    first = ct.simulate(net, stimulus, SOLVER, state=state)
    kept = {name: value.clone() for name, value in first.final.items()}
    second = ct.simulate(net, stimulus, SOLVER, state=state)
    assert state.equal(before)
    assert first.final.equal(kept)
    assert second.final.equal(kept)


@pytest.mark.parametrize("rule", [ct.rules.Voltage(), ct.rules.Surrogate(psi="triangle")], ids=repr)
def test_no_step_of_spikes_in_place_takes_memory(rule: ct.rules.Rule) -> None:
    net, stimulus = spiking(ct.LIF(), rule), long()
    frame = next(stimulus.frames(0.0, 3.0))
    with torch.inference_mode():
        place = JumpInPlaceStepper(net, frame, split(net, net.initial_state(0, 3)), 0.1)
        assert place.show(FrameInput.to(net, frame.at(0.0)), None)
        place.step(0.0, 0.1, 0.1)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            for k in range(1, 10):
                place.step(0.1 * k, 0.1 * k + 0.1, 0.1)
    taken = {event.key: event.self_cpu_memory_usage for event in profiled.key_averages()}
    assert not {key: size for key, size in taken.items() if size > 0}


def test_a_rule_that_asks_for_the_time_takes_the_plain_path_while_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = ct.rules.ThreeFactor(ct.rules.STDP(rate=0.05), modulator=lambda t: 1.0 if t > 5.0 else 0.0)
    net = spiking(ct.LIF(), [rule, None], signal=False)
    fast, plain = both(monkeypatch, net, spikes(ENCODER, np.float32, epochs=4, gate=(1.0, 2.5)), SOLVER, seed=1)
    same(fast, plain)
    assert not torch.equal(plain.final["W.1"], net.initial_state(1)["W.1"])


def test_a_rule_of_ones_own_on_spikes_is_carried_out_at_every_step() -> None:
    calls = []

    def counting(local: ct.rules.Local) -> ct.rules.Update:
        calls.append(local.t)
        return ct.rules.Update(local.share * local.post * len(calls), local.pre)

    rule = ct.rules.Custom(counting, rate=1e-4, traces=True)
    sol = ct.simulate(spiking(ct.LIF(), [rule, None]), long(), SOLVER)
    assert len(calls) == sol.stats["steps"] >= 256
