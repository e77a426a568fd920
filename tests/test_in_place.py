"""Steps in place: what is taken back, what they need no memory for, and what is not done in place.

That they are the steps of the plain path is shown in test_equivalence.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import ctsigprop as ct
from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.inplace.rollback import BETWEEN, RollbackStepper
from ctsigprop.solvers.field import HybridState
from tests.networks import CLASSES, SIZES, rates, shown
from tests.ways import ended_alike, in_place_and_not

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
EULER = ct.solvers.FactoredEuler(dt=0.02)


@pytest.mark.parametrize("extra", range(BETWEEN))
def test_steps_that_go_wrong_at_the_very_end_are_found(extra: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ct.Network([2, 2], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=3.0), bias=False)
    whole = ct.Presentations(np.ones((1, 2), np.float32), None, 1, duration=100.0)
    solver = ct.solvers.FactoredEuler(dt=0.05)
    end = ct.simulate(net, whole, solver, seed=1).final.t + 0.05 * extra
    fast, plain = in_place_and_not(monkeypatch, RollbackStepper, net, whole, solver, seed=1, t_span=(0.0, end))
    ended_alike(fast, plain)
    for name, value in plain.final.items():
        torch.testing.assert_close(fast.final[name], value, rtol=1e-10, atol=1e-12)
    assert fast.status is (ct.Status.DIVERGED if extra else ct.Status.COMPLETED)


@pytest.mark.parametrize("rule", [ct.rules.ContrastiveHebbian(), ct.rules.Oja(), ct.rules.Hebb(decay=0.1)], ids=repr)
def test_no_step_of_rates_in_place_after_the_first_takes_memory(rule: ct.rules.Rule) -> None:
    net, stimulus = rates(rule, neuron="relu"), shown(duration=1.5)
    state = net.initial_state(0, 3, torch.float64)
    names = net.weight_shapes
    hybrid = HybridState({n: v for n, v in state.items() if n not in names}, {n: state[n] for n in names})
    frame = next(stimulus.frames(0.0, 1.5))
    with torch.inference_mode():
        place = RollbackStepper(net, frame.at(0.0), hybrid)
        assert place.show(FrameInput.to(net, frame.at(0.0)))
        for k in range(BETWEEN + 1):
            assert place.step(0.02 * k, 0.02)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            for k in range(BETWEEN - 2):
                place.step(0.02 * k, 0.02)
    taken = {event.key: event.self_cpu_memory_usage for event in profiled.key_averages()}
    assert not {key: size for key, size in taken.items() if size > 0}


def test_a_rule_of_ones_own_on_rates_is_carried_out_at_every_step() -> None:
    """A rule of one's own may count its calls, draw numbers, or look at the world."""
    calls = []

    def counting(local: ct.rules.Local) -> ct.rules.Update:
        calls.append(local.t)
        return ct.rules.Update(local.share * local.post * len(calls), local.pre)

    net = ct.Network(SIZES, CLASSES, rule=[ct.rules.Custom(counting, rate=1e-4), None], signal=ct.TargetStream())
    sol = ct.simulate(net, shown(duration=1.5, epochs=2), EULER)
    assert len(calls) == sol.stats["steps"] >= 256


def test_a_plain_run_of_few_steps_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RollbackStepper, "__init__", lambda *_: pytest.fail("recorded"))
    assert ct.simulate(rates(ct.rules.Oja()), shown(duration=1.5), ct.solvers.FactoredEuler(dt=1.0)).status.ok


@pytest.mark.parametrize("tau", [1.0, 3.0])
@pytest.mark.parametrize("cut", [97.0, 50.0])
def test_a_run_of_rates_in_place_cut_anywhere_ends_with_the_same_bits(tau: float, cut: float) -> None:
    """What is left may be too short for steps in place."""
    x = torch.rand(16, 6, generator=torch.Generator().manual_seed(0))
    net = ct.Network(
        [6, 9, 4], 4, neuron=ct.Rate(tau=tau), signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian()
    )
    stimulus = ct.Presentations(x, torch.arange(16) % 4, 8, duration=10.0, epochs=5)
    solver = ct.solvers.FactoredEuler(dt=0.1)
    whole = ct.simulate(net, stimulus, solver, seed=1)
    first = ct.simulate(net, stimulus, solver, seed=1, t_span=(0.0, cut))
    second = ct.simulate(net, stimulus, solver, state=first.final, t_span=(cut, 100.0))
    assert second.final.equal(whole.final)
