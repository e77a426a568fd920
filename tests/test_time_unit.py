"""What the unit of time is called, wherever a time is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

import ctsigprop as ct
from ctsigprop.batch.parts import NetworkPart

NAMES: dict[str, dict[str, Any]] = {
    "tau": {},
    "units of time": {"neuron": ct.Rate(tau=20.0)},
    "ms": {"neuron": ct.Rate(tau=20.0), "time_unit": "ms"},
    "s": {"time_unit": "s"},
}
X = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
METRICS = {"size": lambda state: float(state["W.1"].norm())}
STIM = ct.Presentations(X, None, 2, duration=1.0)


def network(unit: str) -> ct.Network:
    return ct.Network([3, 2], rule=ct.rules.Hebb(rate=0.1), bias=False, **NAMES[unit])


def simulated(unit: str, **options: Any) -> ct.Solution:
    probes = [ct.Probe("weights", every=0.5), ct.Probe("rates", every=0.25)]
    sol: ct.Solution = ct.simulate(network(unit), STIM, ct.solvers.Euler(dt=0.25), probes=probes, **options)
    return sol


def test_the_unit_of_a_network() -> None:
    assert ct.Network([3, 2, 2], neuron=[ct.Rate(), ct.Rate(tau=2.0)]).time_unit == "units of time"
    assert ct.Network([3, 2, 2], neuron=[ct.LIF(), ct.Izhikevich()]).time_unit == "ms"
    assert ct.Network([3, 2], neuron=ct.Izhikevich(), time_unit="steps").time_unit == "steps"
    assert "time_unit" not in repr(network("tau"))
    assert "time_unit='ms'" in repr(network("ms"))


@pytest.mark.parametrize("unit", NAMES)
def test_datasets_and_stores_carry_the_unit(unit: str, tmp_path: Path) -> None:
    sol = simulated(unit)
    stored = simulated(unit, store=tmp_path / "stored")
    for one in (sol, stored, ct.load(tmp_path / "stored"), ct.load(sol.save(tmp_path / "saved"))):
        assert [one.dataset[clock].attrs["units"] for clock in ("time", "time_rates")] == [unit, unit]
        assert one.time_unit == one.dataset.attrs["time_unit"] == unit
    assert network(unit).time_unit == unit


def test_the_name_of_a_unit_changes_no_number() -> None:
    for one, other in (("tau", "s"), ("units of time", "ms")):
        assert simulated(one).final.equal(simulated(other).final)
        attrs = [simulated(unit).dataset.attrs["configuration_hash"] for unit in (one, other)]
        assert attrs[0] == attrs[1]


@pytest.mark.parametrize("unit", NAMES)
def test_plots_and_pages_tell_the_unit(unit: str) -> None:
    sol = simulated(unit)
    label = f"simulated time ({unit})"
    for plot in (ct.plot.weights, ct.plot.rates, ct.plot.norms, ct.plot.weight_histogram):
        assert plot(sol).get_xlabel() == label
    assert ct.plot.weight_matrix(sol).get_title().endswith(f"t = 2 {unit}")
    portrait = ct.plot.phase(sol, STIM, "W.1[0, 0]", "W.1[1, 1]", points=3)
    assert portrait.get_title() == f"Phase portrait at t = 2 {unit}"
    assert f"t = 2 {unit};" in ct.plot.summary(sol)._suptitle.get_text()  # type: ignore[attr-defined]
    assert f"t = 2 {unit}<" in sol._repr_html_()
    assert f"time in {unit}," in network(unit)._repr_html_()
    plt.close("all")


def test_the_progress_bar_tells_the_unit(capsys: pytest.CaptureFixture[str]) -> None:
    simulated("ms", progress=True)
    assert re.search(r"2/2 ms simulated", capsys.readouterr().err)


def test_runs_and_files_carry_the_unit() -> None:
    stim = ct.Stimulus.from_function(lambda t: X, duration=1.0)
    runs = ct.compare({"one": network("ms")}, stim, seeds=1, solver=ct.solvers.Euler(dt=0.5), metrics=METRICS)
    assert runs.dataset["time"].attrs["units"] == "ms"
    assert NetworkPart(hidden=[2], time_unit="ms").build(3, 2).time_unit == "ms"
    assert NetworkPart(hidden=[2]).build(3, 2).time_unit == "tau"


@pytest.mark.parametrize("unit", [3, "", " ", 1.0])
def test_a_unit_is_a_name(unit: Any) -> None:
    with pytest.raises(TypeError, match=r"time_unit must be the name of a unit such as \"ms\", or None, got"):
        ct.Network([3, 2], time_unit=unit)
