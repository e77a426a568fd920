"""Weights as matrices: at one time, before and after, and their distribution over time."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ctsigprop.display.html import ENOUGH
from ctsigprop.plot.records import of_layer, recorded, time_of
from ctsigprop.plot.style import COLOURS, axis_label, moment, styled
from ctsigprop.results.solution import Solution


def matrices(sol: Solution, layer: int) -> tuple[xr.DataArray, np.ndarray]:
    """The record of a layer's weights, and its values (times, post, pre) without padding.

    Raises
    ------
    ValueError : no weights recorded, not of that layer, or single synapses only
    """
    record = of_layer(recorded(sol, "weights", "layer"), layer)
    if not {"post", "pre"} <= set(map(str, record.dims)):
        raise ValueError(f"a matrix needs Probe('weights') of whole units, this record has dimensions {record.dims}")
    return record, record.transpose(time_of(record), "post", "pre").values


@styled
def weight_matrix(
    ax: Axes, sol: Solution, layer: int = 1, show: Literal["before", "after", "difference"] = "after"
) -> None:
    """The weights of a layer as an image: at the first recorded time, at the last, or the difference of the two.

    Parameters
    ----------
    sol : a run with Probe("weights", ...)
    layer : int, from 1
    show : "before", "after" (default) or "difference"; before and after share one colour scale
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no weights recorded, not of that layer, or another `show`
    """
    record, values = matrices(sol, layer)
    choices = {"before": values[0], "after": values[-1], "difference": values[-1] - values[0]}
    if show not in choices:
        raise ValueError(f"show must be one of {', '.join(choices)}, got {show!r}")
    drawn = choices[show] if show == "difference" else values[[0, -1]]
    bound = float(np.abs(drawn).max()) or 1.0
    picture = ax.imshow(choices[show], cmap="PuOr", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
    ax.locator_params(integer=True)
    clock = record[time_of(record)].values
    when = {"before": moment(clock[0], sol.time_unit), "after": moment(clock[-1], sol.time_unit)}
    ax.set(
        xlabel=axis_label(record["pre"]),
        ylabel=axis_label(record["post"]),
        title=f"Weights of layer {layer}, {when.get(show, 'after - before')}",
    )
    ax.figure.colorbar(picture, ax=ax, label=("change of " if show == "difference" else "") + axis_label(record))


@styled
def weight_histogram(ax: Axes, sol: Solution, layer: int = 1, bins: int = 60) -> None:
    """Distribution of a layer's weights over time. Each column is one histogram.

    Parameters
    ----------
    sol : a run with Probe("weights", ...), of matrices or of single synapses
    layer : int, from 1
    bins : int, number of bins of the weights
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no weights recorded, or not of that layer
    """
    record = of_layer(recorded(sol, "weights", "layer"), layer)
    clock = time_of(record)
    values = record.transpose(clock, ...).values.reshape(record.sizes[clock], -1)
    edges = np.histogram_bin_edges(values, bins)
    share = np.stack([np.histogram(one, edges)[0] / values.shape[1] for one in values])
    t = record[clock].values
    mesh = ax.pcolormesh(sides(t), edges, 100 * share.T, cmap="cividis", rasterized=True)
    if values.shape[1] >= ENOUGH:
        ax.plot(t, np.median(values, axis=1), color=COLOURS[1], linestyle="--", linewidth=1.2, label="median")
        ground = {"frameon": True, "facecolor": "black", "framealpha": 0.6, "edgecolor": "none"}
        ax.legend(loc="upper left", labelcolor="white", **ground)
    ax.set(xlabel=axis_label(record[clock]), ylabel=axis_label(record), title=f"Distribution of weights, layer {layer}")
    ax.figure.colorbar(mesh, ax=ax, label="synapses per bin (%)")


def sides(t: np.ndarray) -> np.ndarray:
    """Edges of columns that stand for these times."""
    if len(t) == 1:
        return np.array([t[0] - 0.5, t[0] + 0.5])
    middle = (t[1:] + t[:-1]) / 2
    return np.concatenate([[t[0]], middle, [t[-1]]])
