"""Spikes: rasters, membrane potentials, and windows of spike-timing rules."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ctsigprop.plot.style import COLOURS, axis_label, canvas, of_layer, recorded, styled, time_of
from ctsigprop.solution import Solution


def row_of(record: xr.DataArray, row: int) -> xr.DataArray:
    """One row of one layer's record, without the units that the layer does not have."""
    if row not in record["row"].values:
        raise ValueError(f"row must be one of the recorded rows {record['row'].values.tolist()}, got {row!r}")
    return record.sel(row=row).dropna("post", how="all")


@styled
def raster(ax: Axes, sol: Solution, layer: int = 1, row: int = 0) -> None:
    """Spikes of a layer's units in one row of the batch: a mark where a unit spiked since the record before.

    Parameters
    ----------
    sol : a run with Probe("spikes", every=the solver's step), which shows every spike; a longer interval merges some
    layer : int, from 1; row : int, row of the batch (the target stream's rows come last)
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no spikes recorded, or not of that layer or row
    """
    record = row_of(of_layer(recorded(sol, "spikes"), layer), row)
    clock = time_of(record)
    when, which = np.nonzero(record.transpose(clock, "post").values > 0)
    ax.plot(record[clock].values[when], record["post"].values[which], linestyle="none", marker="|", markersize=3)
    ax.set(
        xlabel=axis_label(record[clock]),
        ylabel=axis_label(record["post"]),
        title=f"Spikes of layer {layer}, row {row}: {len(when)}",
        ylim=(-0.5, record.sizes["post"] - 0.5),
    )


@styled
def voltages(ax: Axes, sol: Solution, layer: int = 1, row: int = 0, count: int = 3, threshold: float = 1.0) -> None:
    """Membrane potentials of a layer's first units in one row, one above the other, with a stroke at each spike.

    Parameters
    ----------
    sol : a run with Probe("voltages", ...) and, for the strokes, Probe("spikes", ...) at the same times
    layer : int, from 1; row : int, row of the batch (the target stream's rows come last)
    count : int, units drawn at most
    threshold : float, drawn as a dotted line, and the foot of the strokes; default 1
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no voltages recorded, or not of that layer or row
    """
    record = row_of(of_layer(recorded(sol, "voltages"), layer), row)
    clock = time_of(record)
    record = record.transpose(clock, "post").isel(post=slice(0, count))
    t = record[clock].values
    low = float(np.nanmin(record.values))
    height = 1.6 * max(threshold - low, 1e-9)
    fired = None
    if "spikes" in sol.dataset:
        found = row_of(of_layer(sol.dataset["spikes"], layer), row)
        fired = found.transpose(time_of(found), "post").isel(post=slice(0, count))
    for k in range(record.sizes["post"]):
        base, colour = k * height, COLOURS[k % len(COLOURS)]
        ax.plot(t, record.values[:, k] + base, color=colour, linewidth=0.9)
        ax.axhline(threshold + base, color="0.6", linestyle=":", linewidth=0.8)
        if fired is not None:
            at = fired[time_of(fired)].values[fired.values[:, k] > 0]
            ax.vlines(at, threshold + base, threshold + base + 0.3 * height, color=colour, linewidth=0.9)
    ax.set(
        xlabel=axis_label(record[clock]),
        ylabel=f"{axis_label(record)}, units above each other",
        title=f"Potentials of layer {layer}, row {row}",
        yticks=[k * height for k in range(record.sizes["post"])],
        yticklabels=[f"unit {int(unit)}: 0" for unit in record["post"].values],
    )


def stdp_window(window: xr.DataArray, ax: Axes | None = None) -> Axes:
    """The window of a spike-timing rule: change in weight against the interval between two spikes.

    Parameters
    ----------
    window : what `ct.stdp_window(rule)` measured
    ax : Axes to draw on; default new ones

    Raises
    ------
    TypeError : something else
    """
    if not isinstance(window, xr.DataArray) or window.dims != ("interval",):
        raise TypeError(f"stdp_window draws what ct.stdp_window(rule) measured, got {type(window).__name__}")
    with canvas(ax) as axes:
        axes.axhline(0.0, color="0.6", linewidth=0.8)
        axes.axvline(0.0, color="0.6", linewidth=0.8)
        s = window["interval"].values
        for side, colour, label in ((s > 0, COLOURS[0], "post after pre"), (s < 0, COLOURS[1], "post before pre")):
            axes.plot(s[side], window.values[side], color=colour, marker="o", markersize=3, label=label)
        axes.set(
            xlabel=axis_label(window["interval"]),
            ylabel=axis_label(window),
            title=f"{str(window.attrs.get('rule', 'rule')).split('(')[0]}: the window, simulated",
        )
        axes.legend()
    return axes
