"""Plots of spikes show what was recorded, on the axes that they are given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import ctsigprop as ct

pytestmark = pytest.mark.usefixtures("without_a_screen")


@pytest.fixture(scope="module")
def sol() -> ct.Solution:
    network = ct.Network([6, 12, 4], 3, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
    x = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    probes = [ct.Probe("spikes", every=0.1), ct.Probe("voltages", every=0.1)]
    return ct.simulate(network, ct.Presentations(x, torch.arange(6) % 3, 2, duration=5.0), probes=probes)


def test_a_raster_has_a_mark_for_each_spike(sol: ct.Solution) -> None:
    for layer, row in ((1, 0), (1, 3), (2, 1)):
        record = sol.dataset["spikes"].sel(layer=layer, row=row)
        ax = ct.plot.raster(sol, layer=layer, row=row)
        marks = np.array(ax.lines[0].get_xydata())
        at, unit = np.nonzero(record.values > 0)
        expected = np.stack([record["time"].values[at], unit], axis=1)
        np.testing.assert_allclose(marks, expected)
        assert len(marks) == float(sol.final[f"n.{layer}"][row].sum())
    assert "time" in ax.get_xlabel()
    assert "postsynaptic unit" in ax.get_ylabel()


def test_potentials_stand_above_each_other_with_a_stroke_at_each_spike(sol: ct.Solution) -> None:
    ax = ct.plot.voltages(sol, layer=1, row=0, count=2)
    record = sol.dataset["voltages"].sel(layer=1, row=0).values
    traces = [line for line in ax.lines if len(line.get_xdata()) == len(record)]  # type: ignore[arg-type]
    offset = ax.get_yticks()
    for k, line in enumerate(traces):
        np.testing.assert_allclose(np.asarray(line.get_ydata()) - offset[k], record[:, k], atol=1e-6)
    strokes = sum(len(found.get_paths()) for found in ax.collections)
    assert strokes == float(sol.final["n.1"][0, :2].sum())


def test_a_window_is_drawn_as_measured_and_is_the_analytic_one() -> None:
    rule = ct.rules.STDP(rate=0.1, tau_plus=1.5, tau_minus=3.0)
    window = ct.stdp_window(rule)
    s = window["interval"].values
    expected = np.where(s > 0, 0.1 * np.exp(-np.abs(s) / 1.5), -0.105 * np.exp(-np.abs(s) / 3.0)) * (s != 0)
    np.testing.assert_allclose(window.values, expected, rtol=0, atol=1e-6)
    ax = ct.plot.stdp_window(window)
    drawn = np.concatenate([np.asarray(line.get_ydata()) for line in ax.lines[2:]])
    np.testing.assert_allclose(np.sort(drawn), np.sort(window.values[s != 0]))
    assert ax.get_title().startswith("STDP")
    given = plt.figure().add_subplot()
    assert ct.plot.stdp_window(window, ax=given) is given


def test_what_cannot_be_drawn_is_told(sol: ct.Solution) -> None:
    with pytest.raises(ValueError, match="row must be one of the recorded rows"):
        ct.plot.raster(sol, row=99)
    with pytest.raises(ValueError, match="layer must be one of the recorded layers"):
        ct.plot.voltages(sol, layer=3)
    with pytest.raises(TypeError, match=r"stdp_window draws what ct.stdp_window\(rule\) measured, got STDP"):
        ct.plot.stdp_window(ct.rules.STDP())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="stdp_window measures a rule that acts at spikes"):
        ct.stdp_window(ct.rules.Hebb())
    with pytest.raises(ValueError, match="intervals must be a list of finite times"):
        ct.stdp_window(ct.rules.STDP(), [float("nan")])
    assert not plt.get_fignums()
