"""Steps of flow and jump as machine code: products from spike to spike, what is compiled for good, and what is not.

That the generated source says what the plain path does is shown in test_equivalence.py.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.execution.numba import emitter as code
from tests.cases import CASES, ENCODERS
from tests.networks import CLASSES, currents, spikes, spiking
from tests.test_equivalence import TOLERANCES, carried_out, plain, same_end, same_numbers
from tests.ways import ended_alike

pytest.importorskip("numba", reason="numba, which compiles, is not installed")
pytestmark = pytest.mark.usefixtures("own_cache")
TWO_WAYS = [name for name in CASES if name.startswith(("neuron: ", "spike times: "))]


@pytest.mark.parametrize("name", TWO_WAYS)
@pytest.mark.usefixtures("interpreted")
def test_products_from_spike_to_spike_are_those_in_tiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of networks as small as these all products are written in tiles otherwise."""
    monkeypatch.setattr(code, "SPARSE", 0)
    (fast,), expected = carried_out(name, "compiled"), plain(name, 0)
    same_end(fast, expected, CASES[name])
    same_numbers(fast, expected, TOLERANCES["compiled", "spikes", torch.float64])


@pytest.mark.usefixtures("interpreted")
def test_a_compiled_run_of_spikes_that_goes_on_is_the_whole_run() -> None:
    net = spiking(ct.LIF(), ct.rules.STDP(rate=0.02), signal=False)
    stimulus, solver = spikes(ENCODERS[0]), ct.solvers.Hybrid(dt=0.1, compile=True)
    cut = ct.simulate(net, stimulus, solver, seed=1, t_span=(0.0, 4.3))
    again = ct.simulate(net, stimulus, solver, state=cut.final, t_span=(4.3, 9.0))
    whole = ct.simulate(net, stimulus, solver, seed=1)
    for name, value in whole.final.items():
        assert torch.equal(again.final[name], value), name


def test_machine_code_of_spikes_that_diverges_ends_where_the_plain_run_does() -> None:
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
    fast, expected = (
        ct.simulate(net, stimulus, ct.solvers.Hybrid(dt=0.1, compile=way), state=state) for way in (True, False)
    )
    assert fast.stats["path"] == "compiled"
    ended_alike(fast, expected)
    same_numbers(fast, expected, TOLERANCES["compiled", "spikes", torch.float64])
    assert float(fast.final["n.1"].sum()) > 100


def test_members_of_a_compiled_ensemble_of_spikes_are_their_single_runs() -> None:
    net, solver = spiking(ct.LIF(), ct.rules.Surrogate()), ct.solvers.Hybrid(dt=0.1, compile=True)
    together = ct.simulate(net, currents(), solver, ensemble=2)
    for member, seed in zip(together, together.seeds, strict=True):
        alone = ct.simulate(net, currents(), solver, seed=seed)
        assert all(torch.equal(member.final[name], value) for name, value in alone.final.items())


@pytest.mark.parametrize("settings", [{"compile": 1}, {"compile": True, "flow": "rk4"}])
def test_a_wrong_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Hybrid\(compile="):
        ct.solvers.Hybrid(dt=0.1, **settings)


def test_what_has_no_compiled_form_says_why_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    solver, plain = ct.solvers.Hybrid(dt=0.1, compile=True), ct.solvers.Hybrid(dt=0.1)
    net = ct.Network([6, 5], CLASSES, neuron=ct.Rate(), signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    with pytest.warns(UserWarning, match="compile=True is without effect: Hybrid compiles neurons with a reset"):
        sol = ct.simulate(net, currents(), solver)
    assert sol.status is ct.Status.COMPLETED
    shifted = spiking(ct.LIF(), ct.rules.Surrogate(psi="shift_add"))
    with pytest.warns(UserWarning, match=r"the operation aten\.ldexp\.Tensor has no compiled form"):
        assert ct.simulate(shifted, currents(), solver).status is ct.Status.COMPLETED
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))
    net = spiking(ct.LIF(), ct.rules.Surrogate())
    with pytest.warns(UserWarning, match="numba is not installed"):
        sol = ct.simulate(net, currents(), solver)
    expected = ct.simulate(net, currents(), plain)
    assert all(torch.equal(sol.final[name], value) for name, value in expected.final.items())
