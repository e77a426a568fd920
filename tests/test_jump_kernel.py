"""Steps of flow and jump as machine code are those of the plain path to rounding, spikes included.

Most tests run the generated source as plain Python, which shows that it says the right thing without waiting for
machine code; a few compile it.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.execution.numba import emitter as code
from tests.test_jumps_in_place import CLASSES, ENCODERS, NEURONS, PAIRED, SIZES, TAUGHT, network
from tests.ways import ended_alike

pytest.importorskip("numba", reason="numba, which compiles, is not installed")
pytestmark = pytest.mark.usefixtures("own_cache")
RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(0.0, 1.0, (7, SIZES[0]))
Y = np.arange(7) % CLASSES


def shown(**settings: Any) -> ct.Presentations:
    return ct.Presentations(X * 3, Y, 4, **{"duration": 3.0, **settings})


def spikes(encoder: Any, **settings: Any) -> ct.Presentations:
    return ct.Presentations(X, Y, 4, **{"duration": 3.0, "encoder": encoder, **settings})


def same(net: ct.Network, stimulus: ct.Stimulus, rtol: float = 1e-9, **settings: Any) -> ct.Solution:
    """The same run compiled, with no word of warning, and not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast: ct.Solution = ct.simulate(net, stimulus, ct.solvers.Hybrid(dt=0.1, compile=True), seed=1, **settings)
    plain: ct.Solution = ct.simulate(net, stimulus, ct.solvers.Hybrid(dt=0.1), seed=1, **settings)
    assert fast.stats["path"] == "compiled"
    assert plain.stats["path"] in ("grid", "grid, in place")
    ended_alike(fast, plain)
    assert fast.final.t == plain.final.t
    for name, value in plain.final.items():
        if name.startswith("n."):
            assert torch.equal(fast.final[name], value), name
        torch.testing.assert_close(fast.final[name], value, rtol=rtol, atol=rtol)
    for name in map(str, plain.dataset or ()):
        np.testing.assert_allclose(fast.dataset[name], plain.dataset[name], rtol=rtol, atol=rtol)
    return fast


@pytest.mark.parametrize("large", [0, 2000], ids=["spike to spike", "in tiles"])
@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
@pytest.mark.usefixtures("interpreted")
def test_every_neuron_is_the_same(neuron: Any, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "SPARSE", large)
    net = network(neuron, ct.rules.Surrogate())
    sol = same(net, shown(gate=(1.0, 2.55)))
    assert float(sol.final["n.2"].sum()) > 10
    assert not torch.equal(sol.final["W.2"], net.initial_state(1, 4, torch.float64)["W.2"])
    same(net, spikes(ENCODERS[1]))


@pytest.mark.parametrize("rule", [rule for rule in TAUGHT if getattr(rule, "psi", "") != "shift_add"], ids=repr)
@pytest.mark.usefixtures("interpreted")
def test_every_rule_is_the_same(rule: Any) -> None:
    same(network(ct.LIF(), rule), shown())
    same(network(ct.LIF(tau_syn=0.5), rule), spikes(ENCODERS[0]))


@pytest.mark.parametrize("large", [0, 2000], ids=["spike to spike", "in tiles"])
@pytest.mark.parametrize("rule", PAIRED, ids=repr)
@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
@pytest.mark.usefixtures("interpreted")
def test_every_rule_of_spike_times_is_the_same(
    rule: Any, encoder: Any, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "SPARSE", large)
    net = network(ct.LIF(reset=0.0), [rule, None], signal=False)
    sol = same(net, spikes(encoder, gate=(0.3, 2.8)))
    assert not torch.equal(sol.final["W.1"], net.initial_state(1, 4, torch.float64)["W.1"])


@pytest.mark.usefixtures("interpreted")
def test_rate_layers_below_are_the_same() -> None:
    neurons = [ct.Rate(activation="tanh"), ct.LIF()]
    same(network(neurons, ct.rules.ContrastiveHebbian()), shown(gate=(1.0, 3.0)))


@pytest.mark.usefixtures("interpreted")
def test_probes_see_the_same_on_and_between_grid_points() -> None:
    probes = [
        ct.Probe("weights", every=0.31),
        ct.Probe("voltages", every=0.1),
        ct.Probe("spikes", every=0.5),
        ct.Probe(lambda state: state["v.2"], every=0.4, name="own"),
    ]
    same(network(ct.LIF(), ct.rules.Surrogate()), shown(gate=(1.0, 2.5)), probes=probes)


@pytest.mark.usefixtures("interpreted")
def test_a_step_of_another_length_takes_more_memory_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step of a presentation is shorter; the one array of everything may have to grow for it."""
    same(network(ct.LIF(), ct.rules.Surrogate()), shown(duration=1.27, epochs=2))


@pytest.mark.usefixtures("interpreted")
def test_a_run_that_goes_on_is_the_whole_run() -> None:
    net, stimulus, solver = network(ct.LIF(), ct.rules.STDP(rate=0.02), signal=False), spikes(ENCODERS[0]), "hybrid"
    solver = ct.solvers.Hybrid(dt=0.1, compile=True)  # type: ignore[assignment]
    cut = ct.simulate(net, stimulus, solver, seed=1, t_span=(0.0, 4.3))
    again = ct.simulate(net, stimulus, solver, state=cut.final, t_span=(4.3, 6.0))
    whole = ct.simulate(net, stimulus, solver, seed=1)
    for name, value in whole.final.items():
        assert torch.equal(again.final[name], value), name


def test_a_run_that_diverges_ends_where_the_plain_one_does() -> None:
    """Machine code; steps that are too long for the decay of the weights."""
    net = ct.Network([2, 2], neuron=ct.LIF(), rule=ct.rules.Oja(rate=20.0, traces=True), bias=False)
    stimulus = ct.Presentations(np.full((1, 2), 5.0), None, 1, duration=300.0)
    state = net.initial_state(0, 1, torch.float64).replace({"W.1": torch.ones(2, 2, dtype=torch.float64)})
    runs = [ct.simulate(net, stimulus, ct.solvers.Hybrid(dt=0.1, compile=fast), state=state) for fast in (True, False)]
    assert runs[1].status is ct.Status.DIVERGED
    ended_alike(*runs)
    assert torch.isfinite(runs[0].final["W.1"]).all()


@pytest.mark.parametrize("rate", [0.1, 6.0], ids=["few spikes", "many spikes"])
def test_machine_code_of_large_layers_is_the_same(rate: float) -> None:
    """Products large enough for both ways, spike to spike and in tiles."""
    rule = ct.rules.STDP(rate=1e-3)
    net = ct.Network([40, 60, 10], neuron=ct.LIF(reset=0.0), rule=[rule, None], bias=False)
    encoder = ct.Poisson(rate=rate, dt=0.1, seed=2)
    stimulus = ct.Presentations(np.ones((8, 40)), None, 8, duration=40.0, encoder=encoder)
    state = net.initial_state(0, 8, torch.float64)
    state = state.replace({name: state[name].abs() for name in ("W.1", "W.2")})
    sol = same(net, stimulus, state=state)
    assert float(sol.final["n.1"].sum()) > 100


def test_members_of_an_ensemble_are_their_single_runs() -> None:
    net, solver = network(ct.LIF(), ct.rules.Surrogate()), ct.solvers.Hybrid(dt=0.1, compile=True)
    together = ct.simulate(net, shown(), solver, ensemble=2)
    for member, seed in zip(together, together.seeds, strict=True):
        alone = ct.simulate(net, shown(), solver, seed=seed)
        assert all(torch.equal(member.final[name], value) for name, value in alone.final.items())


@pytest.mark.parametrize("settings", [{"compile": 1}, {"compile": True, "flow": "rk4"}])
def test_a_wrong_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Hybrid\(compile="):
        ct.solvers.Hybrid(dt=0.1, **settings)


def test_what_has_no_compiled_form_says_why_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    solver, plain = ct.solvers.Hybrid(dt=0.1, compile=True), ct.solvers.Hybrid(dt=0.1)
    net = ct.Network([6, 5], CLASSES, neuron=ct.Rate(), signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    with pytest.warns(UserWarning, match="compile=True is without effect: Hybrid compiles neurons with a reset"):
        sol = ct.simulate(net, shown(), solver)
    assert sol.status is ct.Status.COMPLETED
    shifted = network(ct.LIF(), ct.rules.Surrogate(psi="shift_add"))
    with pytest.warns(UserWarning, match=r"the operation aten\.ldexp\.Tensor has no compiled form"):
        assert ct.simulate(shifted, shown(), solver).status is ct.Status.COMPLETED
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))
    net = network(ct.LIF(), ct.rules.Surrogate())
    with pytest.warns(UserWarning, match="numba is not installed"):
        sol = ct.simulate(net, shown(), solver)
    expected = ct.simulate(net, shown(), plain)
    assert all(torch.equal(sol.final[name], value) for name, value in expected.final.items())
