"""What is counted is counted exactly in float32: steps of a refractory time, spikes, times of a recording."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import ctsigprop as ct

Way = Literal["plain", "in_place", "compiled", "euler", "rk4"]
WAYS: tuple[Way, ...] = ("plain", "in_place", "compiled", "euler", "rk4")
KINDS = (ct.LIF, ct.IF, ct.AdaptiveLIF)


EXECUTIONS: dict[Way, Literal["plain", "inplace"]] = {"plain": "plain", "in_place": "inplace"}


def run(way: Way, dt: float, net: ct.Network, stim: ct.Stimulus, **settings: Any) -> ct.Solution:
    """A run carried out in this way."""
    flow: Any = way if way in ("euler", "rk4") else "exponential"
    solver = ct.solvers.Hybrid(dt=dt, flow=flow, compile=way == "compiled")
    sol: ct.Solution = ct.simulate(net, stim, solver, execution=EXECUTIONS.get(way, "auto"), **settings)
    return sol


def kicked(
    neuron: ct.LIF | ct.IF | ct.AdaptiveLIF, dt: float, steps: int
) -> tuple[ct.Network, ct.State, ct.SpikeTrains]:
    """One unit that an input spike at every step would make spike at every step."""
    net = ct.Network([1, 1], neuron=neuron, bias=False)
    state = net.initial_state(0).replace({"W.1": torch.full((1, 1), 3.0)})
    return net, state, ct.SpikeTrains([np.arange(1, steps + 1) * dt], duration=steps * dt)


def spike_steps(sol: ct.Solution) -> list[int]:
    """The steps at whose end the unit spiked."""
    return np.flatnonzero(sol.dataset["spikes"].values.ravel()).tolist()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_refractory_time_lasts_its_number_of_steps(
    kind: type[ct.LIF] | type[ct.IF] | type[ct.AdaptiveLIF], way: Way
) -> None:
    dt, wait = 0.001, 600
    net, state, stim = kicked(kind(refractory=wait * dt, reset=0.0), dt, 2 * wait + 10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "compile=True is without effect")
        sol = run(way, dt, net, stim, state=state, probes=[ct.Probe("spikes", every=dt)])
    assert spike_steps(sol) == [1, 1 + wait, 1 + 2 * wait]


@pytest.mark.parametrize("way", ["plain", "in_place", "euler", "rk4"])
@pytest.mark.parametrize(("refractory", "wait"), [(0.55, 6), (0.5, 5), (0.501, 6), (0.1, 1)])
def test_a_refractory_time_that_ends_within_a_step_is_over_at_its_end(refractory: float, wait: int, way: Way) -> None:
    net, state, stim = kicked(ct.LIF(refractory=refractory, reset=0.0), 0.1, 30)
    sol = run(way, 0.1, net, stim, state=state, probes=[ct.Probe("spikes", every=0.1)])
    assert set(np.diff(spike_steps(sol))) == {wait}


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_state_saved_within_a_refractory_time_goes_on(way: Way, early: bool, tmp_path: Path) -> None:
    """Also one of an earlier version, which has counted in float32 and is off by some last places: a step at most."""
    dt, wait = 0.001, 600
    net, state, stim = kicked(ct.LIF(refractory=wait * dt, reset=0.0), dt, 700)
    left = torch.full((1, 1), wait * dt if early else 200 * dt)
    for _ in range(400 if early else 0):
        left = left - dt
    old = ct.State({**state, "q.1": left}, 0.4)
    ct.Solution(ct.simulate(net, stim, t_span=(0.0, dt)).dataset, old, {}, ct.Status.COMPLETED, "").save(tmp_path / "s")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "compile=True is without effect")
        sol = run(
            way,
            dt,
            net,
            stim,
            state=ct.load(tmp_path / "s").final,
            t_span=(0.4, 0.65),
            probes=[ct.Probe("spikes", every=dt)],
        )
    assert spike_steps(sol) == [200] or (early and spike_steps(sol) == [201])


@pytest.mark.parametrize("way", WAYS)
def test_spikes_are_counted_beyond_the_whole_numbers_of_float32(way: Way) -> None:
    net, state, stim = kicked(ct.LIF(), 0.1, 10)
    state = state.replace({"n.1": torch.full((1, 1), 2.0**24 - 4)})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "compile=True is without effect")
        sol = run(way, 0.1, net, stim, state=state, probes=[ct.Probe("spikes", every=0.2)])
    assert sol.dataset["spikes"].values.ravel().tolist() == [0, 2, 2, 2, 2, 2]
    assert sol.final["n.1"].item() == 6.0


def test_in_float64_the_count_goes_on() -> None:
    neuron = ct.Izhikevich()
    variables = {name: torch.full((1, 1), value) for name, value in neuron.variables().items()}
    for dtype, after in ((torch.float32, 0.0), (torch.float64, 2.0**24)):
        given = {name: value.to(dtype) for name, value in variables.items()} | {
            "v": torch.full((1, 1), 31.0, dtype=dtype),
            "n": torch.full((1, 1), 2.0**24 - 1, dtype=dtype),
        }
        assert neuron.jump(given, None)[0]["n"].item() == after


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("every", [1e-9, 1e-12])
def test_a_recording_too_large_is_refused_before_its_times_are_made(
    every: float, stored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def schedule(*_: object) -> list[float]:
        raise AssertionError("the times were made")

    monkeypatch.setattr(ct.Probe, "schedule", schedule)
    net = ct.Network([2, 2], rule=ct.rules.Hebb())
    stim = ct.Presentations(torch.ones(1, 2), None, 1, duration=100.0)
    with pytest.raises(MemoryError, match=r"recording at 100,000,.*every="):
        ct.simulate(
            net, stim, probes=[ct.Probe("weights", every=every)], store=str(tmp_path / "run") if stored else None
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "probe",
    [
        ct.Probe("rates", every=0.3),
        ct.Probe("rates", every=0.1),
        ct.Probe("rates", times=[0.0, 0.5]),
        ct.Probe("rates", log_spaced=7),
        ct.Probe("rates", log_spaced=(5, 0.01)),
    ],
)
def test_the_number_of_times_is_known_without_them(probe: ct.Probe) -> None:
    for stop in (0.6, 0.7, 0.9, 2.0):
        assert probe.length(0.0, stop) == len(probe.schedule(0.0, stop))
