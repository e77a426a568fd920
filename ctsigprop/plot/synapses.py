"""Weights: their trajectories, and their receptive fields."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes

from ctsigprop.display.html import ENOUGH
from ctsigprop.model.state import State
from ctsigprop.plot.records import of_layer, recorded, time_of
from ctsigprop.plot.style import COLOURS, axis_label, canvas, legend, marks, palette, styled, tint
from ctsigprop.results.solution import Solution


@styled
def weights(ax: Axes, sol: Solution, layer: int = 1, count: int = 40, seed: int = 0) -> None:
    """Weight trajectories of a layer: sampled synapses, one colour per postsynaptic unit.

    Layers with twenty or more synapses also show the median and the 5 to 95 % band of all synapses.

    Parameters
    ----------
    sol : a run with Probe("weights", ...), of matrices or of single synapses
    layer : int, from 1
    count : int, maximum number of synapses, spread over at most seven units
    seed : int, sets which ones are drawn
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no weights recorded, or not of that layer
    """
    record = of_layer(recorded(sol, "weights", "layer"), layer)
    clock = time_of(record)
    single = "synapse" in record.dims
    if not single and not {"post", "pre"} <= set(record.dims):
        raise ValueError(
            f"trajectories need Probe('weights') without reduce=, this record has dimensions {record.dims}"
        )
    post = record["synapse_post"].values if single else np.repeat(record["post"].values, record.sizes["pre"])
    flat = record.transpose(clock, ...).values.reshape(record.sizes[clock], -1)
    t = record[clock].values
    many = flat.shape[1] >= ENOUGH
    if many:
        low, mid, high = np.nanquantile(flat, [0.05, 0.5, 0.95], axis=1)
        ax.fill_between(t, low, high, color=tint(ax, 0.15), label="5 to 95 % of all", linewidth=0)
    random = np.random.default_rng(seed)
    there = np.unique(post)
    units = np.sort(there[random.permutation(len(there))[: min(len(COLOURS), max(1, count // 4))]])
    for k, unit in enumerate(units):
        places = np.flatnonzero(post == unit)
        chosen = places[random.permutation(len(places))[: max(1, count // len(units))]]
        lines = ax.plot(
            t, flat[:, chosen], color=palette(ax, k), alpha=0.7, linewidth=0.8, marker=marks(t), markersize=3
        )
        lines[0].set_label(f"unit {int(unit)}")
    if many:
        ax.plot(t, mid, color=tint(ax, 0.65), linestyle="--", linewidth=1.5, label="median of all")
    ax.set(xlabel=axis_label(record[clock]), ylabel=axis_label(record), title=f"Weights of layer {layer}")
    legend(ax, "right")


def receptive_fields(
    state: State | Solution, shape: tuple[int, int], layer: int = 1, count: int = 32, ax: Axes | None = None
) -> Axes:
    """Weights of a layer's first units, each as an image over the inputs, in one grid of images.

    Parameters
    ----------
    state : a State, or a Solution, of which the final state is used
    shape : (height, width) of an input image
    layer : int, from 1; default 1, the only layer that sees pixels
    count : int, maximum number of units
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : an unknown layer, a shape that does not fit its inputs
    """
    final = state.final if isinstance(state, Solution) else state
    name = f"W.{layer}"
    if name not in final:
        raise ValueError(f"layer must be one of the network's layers, got {layer!r}")
    matrix = final[name].detach().cpu().to(torch.float64).numpy()[:count]
    if matrix.shape[1] != shape[0] * shape[1]:
        raise ValueError(f"shape must have {matrix.shape[1]} pixels, the inputs of layer {layer}, got {shape!r}")
    bound = float(np.abs(matrix).max()) or 1.0
    with canvas(ax, (7.2, 4.0)) as axes:
        picture = axes.imshow(mosaic(matrix, shape), cmap="PuOr", vmin=-bound, vmax=bound, interpolation="nearest")
        axes.set(xticks=[], yticks=[], title=f"Receptive fields of layer {layer}, units 0 to {len(matrix) - 1}")
        axes.spines[:].set_visible(False)
        bar = axes.figure.colorbar(picture, ax=axes, shrink=0.8)
        bar.set_label("synaptic weight")
    return axes


def mosaic(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Each row of a matrix as an image of this shape, side by side, NaN between them."""
    columns = int(np.ceil(np.sqrt(2 * len(matrix))))
    lines = int(np.ceil(len(matrix) / columns))
    joined = np.full((lines * (shape[0] + 1) - 1, columns * (shape[1] + 1) - 1), np.nan)
    for k, field in enumerate(matrix):
        top, left = (k // columns) * (shape[0] + 1), (k % columns) * (shape[1] + 1)
        joined[top : top + shape[0], left : left + shape[1]] = field.reshape(shape)
    return joined
