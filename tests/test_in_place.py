"""Steps in place are the steps of the plain path, and take no memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import ctsigprop as ct
from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.inplace.step import BETWEEN, InPlaceStepper
from ctsigprop.rules.table import RULES
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.field import HybridState
from tests.ways import ended_alike, in_place_and_not

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
SIZES, CLASSES = (4, 5, 3), 3
X = np.random.default_rng(0).standard_normal((5, SIZES[0]))
Y = np.arange(5) % CLASSES
EULER = ct.solvers.FactoredEuler(dt=0.02)
OF_RATES = {name: rule() for name, rule in RULES.items() if not (rule().jumps or rule().potential or rule().of_voltage)}
FACTORED = [name for name, rule in OF_RATES.items() if not rule.dense and name != "custom"]


def network(rule: Any, signal: Any = None, activation: str = "tanh") -> ct.Network:
    return ct.Network(
        SIZES, CLASSES, neuron=ct.Rate(activation=activation), signal=signal or ct.TargetStream(), rule=rule
    )


def shown(**settings: Any) -> ct.Presentations:
    return ct.Presentations(X, Y, 3, **{"duration": 1.5, "epochs": 3, **settings})


def both(monkeypatch: pytest.MonkeyPatch, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """The same run in place and not."""
    return in_place_and_not(monkeypatch, InPlaceStepper, *args, **kwargs)


def same(fast: ct.Solution, plain: ct.Solution) -> None:
    ended_alike(fast, plain)
    for name, value in plain.final.items():
        torch.testing.assert_close(fast.final[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FACTORED)
def test_every_rule_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    same(*both(monkeypatch, network(RULES[name]()), shown(), EULER, seed=1))


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = ct.rules.ContrastiveHebbian(decay=0.1)
    same(*both(monkeypatch, network(rule, SIGNALS[name]()), shown(gate=(0.3, 1.2)), EULER, seed=1))


@pytest.mark.parametrize("per", ["class", "sample"])
def test_matrices_that_are_their_own_shape_turned_over_are_the_same(per: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many samples as targets, three layers: memory that a product has read the other way round is used again."""
    deep = ct.Network((4, 5, 4, 3), 2, signal=ct.TargetStream(per=per), rule=ct.rules.ContrastiveHebbian())
    same(*both(monkeypatch, deep, ct.Presentations(X, Y % 2, 2, duration=1.5, epochs=3), EULER))


@pytest.mark.parametrize("activation", ["linear", "relu", "softplus", "sigmoid"])
def test_every_activation_is_the_same(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    same(*both(monkeypatch, network(ct.rules.ContrastiveHebbian(), None, activation), shown(), EULER, seed=1))


def test_what_is_recorded_is_the_same_and_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = [
        ct.Probe("weights", every=0.31),
        ct.Probe("signal", every=0.5),
        ct.Probe(lambda state: state["W.1"], every=0.4, name="own"),
        ct.Probe(lambda state: state["r.2"].numpy(), every=0.4, name="array"),
    ]
    fast, plain = both(monkeypatch, network(ct.rules.ContrastiveHebbian()), shown(), EULER, probes=probes)
    same(fast, plain)
    for name in plain.dataset:
        np.testing.assert_allclose(fast.dataset[name], plain.dataset[name], rtol=1e-9, atol=1e-12)


def test_a_batch_of_members_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stimulus = shown(duration=6.0)
    fast, plain = both(monkeypatch, network(ct.rules.Oja()), stimulus, EULER, ensemble=3)
    for a, b in zip(fast, plain, strict=True):
        same(a, b)


@pytest.mark.parametrize("every", [None, 1.0, 0.12])
@pytest.mark.parametrize("duration", [100.0, 0.05])
def test_a_run_that_diverges_ends_where_the_plain_one_does(
    duration: float, every: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long presentations and one step each: what went wrong some steps ago is found."""
    net = ct.Network([2, 2], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=3.0), bias=False)
    x = np.ones((1, 2), np.float32)
    stimulus = ct.Presentations(x, None, 1, duration=duration, epochs=round(100.0 / duration))
    probes = [] if every is None else [ct.Probe("weights", every=every)]
    solver = ct.solvers.FactoredEuler(dt=0.05)
    fast, plain = both(monkeypatch, net, stimulus, solver, seed=1, probes=probes)
    assert plain.status is ct.Status.DIVERGED
    same(fast, plain)
    assert fast.final.t == pytest.approx(plain.final.t, rel=1e-9)
    if probes:
        assert np.isfinite(fast.dataset["weights"]).all()
        assert fast.dataset.sizes == plain.dataset.sizes


@pytest.mark.parametrize("extra", range(BETWEEN))
def test_steps_that_go_wrong_at_the_very_end_are_found(extra: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ct.Network([2, 2], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=3.0), bias=False)
    whole = ct.Presentations(np.ones((1, 2), np.float32), None, 1, duration=100.0)
    solver = ct.solvers.FactoredEuler(dt=0.05)
    end = ct.simulate(net, whole, solver, seed=1).final.t + 0.05 * extra
    fast, plain = both(monkeypatch, net, whole, solver, seed=1, t_span=(0.0, end))
    same(fast, plain)
    assert fast.status is (ct.Status.DIVERGED if extra else ct.Status.COMPLETED)


def test_too_many_steps_end_a_run_in_place() -> None:
    sol = ct.simulate(network(ct.rules.Oja()), shown(), ct.solvers.FactoredEuler(dt=0.01, max_steps=37))
    assert sol.status is ct.Status.MAX_STEPS
    assert sol.final.t == pytest.approx(0.37)


@pytest.mark.parametrize("rule", [ct.rules.ContrastiveHebbian(), ct.rules.Oja(), ct.rules.Hebb(decay=0.1)], ids=repr)
def test_no_step_after_the_first_takes_memory(rule: ct.rules.Rule) -> None:
    net, stimulus = network(rule, activation="relu"), shown()
    state = net.initial_state(0, 3, torch.float64)
    names = net.weight_shapes
    hybrid = HybridState({n: v for n, v in state.items() if n not in names}, {n: state[n] for n in names})
    frame = next(stimulus.frames(0.0, 1.5))
    with torch.inference_mode():
        place = InPlaceStepper(net, frame.at(0.0), hybrid)
        assert place.show(FrameInput.to(net, frame.at(0.0)))
        for k in range(BETWEEN + 1):
            assert place.step(0.02 * k, 0.02)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            for k in range(BETWEEN - 2):
                place.step(0.02 * k, 0.02)
    taken = {event.key: event.self_cpu_memory_usage for event in profiled.key_averages()}
    assert not {key: size for key, size in taken.items() if size > 0}


def test_what_others_wrote_is_carried_out_at_every_step() -> None:
    """A rule of one's own may count its calls, draw numbers, or look at the world."""
    calls = []

    def counting(local: ct.rules.Local) -> ct.rules.Update:
        calls.append(local.t)
        return ct.rules.Update(local.share * local.post * len(calls), local.pre)

    net = ct.Network(SIZES, CLASSES, rule=[ct.rules.Custom(counting, rate=1e-4), None], signal=ct.TargetStream())
    sol = ct.simulate(net, shown(epochs=2), EULER)
    assert len(calls) == sol.stats["steps"] >= 256


def test_a_plain_run_of_few_steps_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InPlaceStepper, "__init__", lambda *_: pytest.fail("recorded"))
    assert ct.simulate(network(ct.rules.Oja()), shown(), ct.solvers.FactoredEuler(dt=1.0)).status.ok


@pytest.mark.parametrize("tau", [1.0, 3.0])
@pytest.mark.parametrize("cut", [97.0, 50.0])
def test_a_run_cut_anywhere_ends_with_the_same_bits(tau: float, cut: float) -> None:
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
