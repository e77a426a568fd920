"""Activities and traces over time, and how similar the two streams are."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ctsigprop.plot.records import configuration, of_layer, of_row, recorded, row_name, time_of
from ctsigprop.plot.style import axis_label, legend, marks, palette, styled, tint
from ctsigprop.recording.probes import KINDS
from ctsigprop.results.solution import Solution

MOST_BOUNDARIES = 60
"""Presentations in view above which their boundaries would only grey the picture."""


@styled
def rates(ax: Axes, sol: Solution, layer: int = 1, row: int = 0, count: int = 7) -> None:
    """Activity of some units of a layer over time, in one row of the batch. Grey lines separate presentations.

    Parameters
    ----------
    sol : a run with Probe("rates", ...)
    layer : int, from 1; row : int, row of the batch (the target stream's rows come last)
    count : int, maximum number of units
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no rates recorded, or not of that layer or row
    """
    over_time(ax, sol, "rates", (layer, row), count)
    ax.set_title(f"Activity of layer {layer}, {row_name(sol, row)}")


@styled
def traces(ax: Axes, sol: Solution, layer: int = 1, row: int = 0, count: int = 7) -> None:
    """Presynaptic traces of some inputs of a layer over time, in one row of the batch.

    Parameters
    ----------
    sol : a run with Probe("traces", ...)
    layer : int, from 1; row : int, row of the batch (the target stream's rows come last)
    count : int, maximum number of traces; those that vary most are drawn
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no traces recorded, or not of that layer or row
    """
    over_time(ax, sol, "traces", (layer, row), count)
    ax.set_title(f"Presynaptic traces of layer {layer}, {row_name(sol, row)}")


def over_time(ax: Axes, sol: Solution, name: str, place: tuple[int, int], count: int) -> None:
    """Some units of a record (time, row, units) in one (layer, row), with the boundaries of presentations."""
    dim, (layer, row) = KINDS[name][0][1], place
    record = of_row(of_layer(recorded(sol, name, "layer", "row", dim), layer), row)
    if dim == "pre":
        spread = record.std(time_of(record)).values
        record = record.isel(pre=np.sort(np.argsort(-spread, kind="stable")[:count]))
    clock = time_of(record)
    t = record[clock].values
    size = record.sizes[dim]
    for k, unit in enumerate(record[dim].values[np.linspace(0, size - 1, min(count, size)).astype(int)]):
        label = f"{'unit' if dim == 'post' else 'input'} {int(unit)}"
        ax.plot(record[clock], record.sel({dim: unit}), color=palette(ax, k), marker=marks(t), label=label)
    boundaries(ax, sol, t)
    ax.set(xlabel=axis_label(record[clock]), ylabel=axis_label(record))
    legend(ax, "right")


def boundaries(ax: Axes, sol: Solution, t: np.ndarray) -> None:
    """A thin line where one presentation ends and the next begins, where there are few enough."""
    duration = configuration(sol).get("stimulus", {}).get("duration")
    if duration is None or not len(t) or (t[-1] - t[0]) / duration > MOST_BOUNDARIES:
        return
    onsets = duration * np.arange(np.ceil(t[0] / duration), np.floor(t[-1] / duration) + 1)
    ax.vlines(onsets, 0, 1, transform=ax.get_xaxis_transform(), colors=[tint(ax, 0.15)], linewidths=0.8, zorder=0)


@styled
def similarity(ax: Axes, sol: Solution, layer: int = 1, count: int = 4) -> None:
    """How similar the two streams are at some times: cosines of input rows with target rows, one block per time.

    Parameters
    ----------
    sol : a run with signal=ct.TargetStream() and Probe("rates", ...) of all rows
    layer : int, from 1
    count : int, maximum number of times, spread from the first one with activity to the last one
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no rates recorded, not for that layer, or rows of one stream only
    """
    record = of_layer(recorded(sol, "rates", "layer", "row", "post"), layer)
    samples = int(configuration(sol).get("stimulus", {}).get("rows", 0))
    inputs, targets = (
        record.isel(row=record["row"].values < samples),
        record.isel(row=record["row"].values >= samples),
    )
    if not inputs.sizes["row"] or not targets.sizes["row"]:
        raise ValueError(
            f"similarity needs rows of both streams: 0 ... {samples - 1} and the target rows after them, "
            f"got {record['row'].values.tolist()}"
        )
    clock = time_of(record)
    active = np.flatnonzero((abs(record) > 0).any([dim for dim in record.dims if dim != clock]).values)
    first = int(active[0]) if len(active) else 0
    picked = np.unique(np.linspace(first, record.sizes[clock] - 1, min(count, record.sizes[clock] - first)).astype(int))
    blocks = [cosines(inputs.isel({clock: k}), targets.isel({clock: k})) for k in picked]
    width = blocks[0].shape[1]
    gap = np.full((len(blocks[0]), max(1, width // 8)), np.nan)
    joined = np.concatenate([part for block in blocks for part in (block, gap)][:-1], axis=1)
    picture = ax.imshow(joined, cmap="PuOr", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    ax.locator_params(axis="y", integer=True)
    centres = [k * (width + gap.shape[1]) + (width - 1) / 2 for k in range(len(blocks))]
    ax.set_xticks(centres, [f"t = {float(record[clock][k]):g}" for k in picked])
    of = "samples" if row_name(sol, samples).startswith("target of sample") else "classes"
    ax.set(xlabel=f"targets of {of}, at each {axis_label(record[clock])}", ylabel="sample of the batch")
    ax.set_title(f"Similarity of the streams in layer {layer}")
    ax.figure.colorbar(picture, ax=ax, label="cosine")


def cosines(inputs: xr.DataArray, targets: xr.DataArray) -> np.ndarray:
    """Cosine of each input row with each target row, 0 where one is silent."""
    h, z = (part.transpose("row", "post").values for part in (inputs, targets))
    sizes = np.linalg.norm(h, axis=1)[:, None] * np.linalg.norm(z, axis=1)[None]
    return np.asarray(np.divide(h @ z.T, sizes, out=np.zeros_like(sizes), where=sizes > 0))
