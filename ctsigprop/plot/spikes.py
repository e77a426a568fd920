"""Spikes: rasters, membrane potentials, and windows of spike-timing rules."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ctsigprop.plot.records import configuration, of_layer, of_row, recorded, row_name, time_of
from ctsigprop.plot.style import COLOURS, axis_label, canvas, legend, marks, palette, styled, tint
from ctsigprop.results.solution import Solution


@styled
def raster(ax: Axes, sol: Solution, layer: int = 1, row: int = 0) -> None:
    """Spikes of a layer's units in one row of the batch: a mark if a unit spiked since the previous record.

    Parameters
    ----------
    sol : a run with Probe("spikes", every=the solver's step), which shows every spike; longer intervals merge some
    layer : int, from 1; row : int, row of the batch (the target stream's rows come last)
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no spikes recorded, or not of that layer or row
    """
    record = of_row(of_layer(recorded(sol, "spikes", "layer", "row", "post"), layer), row)
    clock = time_of(record)
    counts = record.transpose(clock, "post").values
    when, which = np.nonzero(counts > 0)
    t, units = record[clock].values[when], record["post"].values[which]
    ax.plot(t, units, linestyle="none", marker="|", markersize=3, color=COLOURS[0])
    total = int(counts.sum())
    ax.set(
        xlabel=axis_label(record[clock]),
        ylabel=axis_label(record["post"]),
        title=f"Spikes of layer {layer}, {row_name(sol, row)} ({total} {'spike' if total == 1 else 'spikes'})",
        ylim=(record["post"].values.min() - 0.5, record["post"].values.max() + 0.5),
    )


@styled
def voltages(
    ax: Axes, sol: Solution, layer: int = 1, row: int = 0, count: int = 3, threshold: float | None = None
) -> None:
    """Membrane potentials of a layer's first units in one row, stacked, with a vertical line at each spike.

    The name of each unit marks its 0.

    Parameters
    ----------
    sol : a run with Probe("voltages", ...) and, for the spikes, Probe("spikes", ...) of the same units
    layer : int, from 1; row : int, row of the batch (the target stream's rows come last)
    count : int, maximum number of units
    threshold : float, drawn as a dotted line, where the spikes start; default that of the layer's neuron. Without
        a threshold there is no dotted line, and spikes start at the highest recorded potential
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no voltages recorded, or not of that layer or row
    """
    record = of_row(of_layer(recorded(sol, "voltages", "layer", "row", "post"), layer), row)
    clock = time_of(record)
    record = record.transpose(clock, "post").isel(post=slice(0, count))
    t, units = record[clock].values, record["post"].values
    threshold = threshold_of(sol, layer) if threshold is None else threshold
    low = float(np.nanmin(record.values))
    top = float(np.nanmax(record.values)) if threshold is None else threshold
    height = 1.6 * max(top - low, 1e-9)
    strokes = spike_times(sol, layer, row)
    for k, unit in enumerate(units):
        base, colour = k * height, palette(ax, k)
        ax.plot(t, record.values[:, k] + base, color=colour, linewidth=0.9, marker=marks(t), markersize=3)
        if threshold is not None:
            name = "threshold" if k == 0 else None
            ax.axhline(threshold + base, color=tint(ax, 0.4), linestyle=":", linewidth=0.8, label=name)
        if unit in strokes:
            ax.vlines(strokes[unit], top + base, top + base + 0.3 * height, color=colour, linewidth=0.9)
    ax.set(
        xlabel=axis_label(record[clock]),
        ylabel=axis_label(record),
        title=f"Potentials of layer {layer}, {row_name(sol, row)}",
        yticks=[k * height for k in range(len(units))],
        yticklabels=[f"unit {int(unit)}" for unit in units],
    )
    if threshold is not None:
        legend(ax, "right")


def threshold_of(sol: Solution, layer: int) -> float | None:
    """The threshold of a layer's neuron, as the run describes it; None where it describes none."""
    neurons = configuration(sol).get("network", {}).get("neurons", [])
    told = re.search(r"\bthreshold=([-+.\de]+)", neurons[layer - 1]) if layer <= len(neurons) else None
    return float(told[1]) if told else None


def spike_times(sol: Solution, layer: int, row: int) -> dict[int, np.ndarray]:
    """When each unit of a row spiked, by unit; nothing where that was not recorded."""
    try:
        record = of_row(of_layer(recorded(sol, "spikes", "layer", "row", "post"), layer), row)
    except ValueError:
        return {}
    t = record[time_of(record)].values
    counts = record.transpose(time_of(record), "post").values
    return {int(unit): t[counts[:, k] > 0] for k, unit in enumerate(record["post"].values)}


def stdp_window(window: xr.DataArray, ax: Axes | None = None) -> Axes:
    """The window of a spike-timing rule: change in weight against the interval between two spikes.

    Parameters
    ----------
    window : the result of `ct.stdp_window(rule)`
    ax : Axes to draw on; default new ones

    Raises
    ------
    TypeError : another kind of object
    """
    if not isinstance(window, xr.DataArray) or window.dims != ("interval",):
        raise TypeError(f"stdp_window draws what ct.stdp_window(rule) measured, got {type(window).__name__}")
    with canvas(ax) as axes:
        axes.axhline(0.0, color=tint(axes, 0.4), linewidth=0.8)
        axes.axvline(0.0, color=tint(axes, 0.4), linewidth=0.8)
        s = window["interval"].values
        for side, colour, label in ((s > 0, COLOURS[0], "post after pre"), (s < 0, COLOURS[1], "post before pre")):
            axes.plot(s[side], window.values[side], color=colour, marker="o", markersize=3, label=label)
        axes.set(
            xlabel=axis_label(window["interval"]),
            ylabel=axis_label(window),
            title=f"{str(window.attrs.get('rule', 'rule')).split('(')[0]}: the window, simulated",
        )
        legend(axes)
    return axes
