"""Weights: their trajectories, and what they look for in an image."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes

from ctsigprop.plot.style import COLOURS, axis_label, canvas, of_layer, recorded, styled, time_of
from ctsigprop.solution import Solution
from ctsigprop.state import State


@styled
def weights(ax: Axes, sol: Solution, layer: int = 1, count: int = 40, seed: int = 0) -> None:
    """Weight trajectories of a layer: sampled synapses, one colour per postsynaptic unit, over the band of all.

    Parameters
    ----------
    sol : a run with Probe("weights", ...), of matrices or of single synapses
    layer : int, from 1
    count : int, synapses drawn at most, spread over at most seven units
    seed : int, decides which
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no weights recorded, or not of that layer
    """
    record = of_layer(recorded(sol, "weights"), layer)
    clock = time_of(record)
    single = "synapse" in record.dims
    post = record["synapse_post"].values if single else record["post"].values
    if not single:
        record = record.dropna("post", how="all").dropna("pre", how="all")
        post = np.repeat(record["post"].values, record.sizes["pre"])
    flat = record.transpose(clock, ...).values.reshape(record.sizes[clock], -1)
    low, mid, high = np.nanquantile(flat, [0.05, 0.5, 0.95], axis=1)
    t = record[clock].values
    ax.fill_between(t, low, high, color="0.85", label="5 to 95 % of all synapses", linewidth=0)
    random = np.random.default_rng(seed)
    there = np.unique(post)
    units = np.sort(there[random.permutation(len(there))[: min(len(COLOURS), max(1, count // 4))]])
    for k, unit in enumerate(units):
        places = np.flatnonzero(post == unit)
        chosen = places[random.permutation(len(places))[: max(1, count // len(units))]]
        lines = ax.plot(t, flat[:, chosen], color=COLOURS[k], alpha=0.7, linewidth=0.8)
        lines[0].set_label(f"unit {int(unit)}")
    ax.plot(t, mid, color="0.35", linestyle="--", linewidth=1.5, label="median of all")
    ax.set(xlabel=axis_label(record[clock]), ylabel=axis_label(record), title=f"Weights of layer {layer}")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def receptive_fields(
    state: State | Solution, shape: tuple[int, int], layer: int = 1, count: int = 32, ax: Axes | None = None
) -> Axes:
    """Weights of a layer's first units, each as an image over the inputs, in one mosaic.

    Parameters
    ----------
    state : a State, or a Solution, whose final state is taken
    shape : (height, width) of an input image
    layer : int, from 1; default 1, the only one that sees pixels
    count : int, units drawn at most
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : a layer that is not there, a shape that does not fit its inputs
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
