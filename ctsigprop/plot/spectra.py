"""Size of the weights over time: norms and singular values."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes

from ctsigprop.plot.matrices import matrices
from ctsigprop.plot.style import COLOURS, axis_label, of_layer, recorded, styled, time_of
from ctsigprop.solution import Solution


@styled
def norms(ax: Axes, sol: Solution) -> None:
    """Frobenius norm of each layer's weights over time.

    Parameters
    ----------
    sol : a run with Probe("weights", ..., reduce="norm"), or with Probe("weights", ...)
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : neither was recorded
    """
    if "weights_norm" in sol.dataset:
        record = recorded(sol, "weights_norm")
    else:
        full = recorded(sol, "weights")
        inner = [dim for dim in full.dims if dim not in (time_of(full), "layer")]
        record = xr.DataArray(np.sqrt((full**2).sum(inner)))
        record.attrs = {"long_name": f"norm of the {full.attrs['long_name']}"}
    clock = time_of(record)
    for k, layer in enumerate(record["layer"].values):
        line = record.sel(layer=layer)
        if line.notnull().any():
            ax.plot(record[clock], line, color=COLOURS[k % len(COLOURS)], label=f"layer {layer}")
    ax.set(xlabel=axis_label(record[clock]), ylabel=axis_label(record), title="Norms of the weights", ylim=(0, None))
    ax.legend(loc="best")


@styled
def singular_values(ax: Axes, sol: Solution, layer: int = 1, count: int = 10) -> None:
    """The largest singular values of a layer's weights over time.

    Parameters
    ----------
    sol : a run with Probe("weights", ..., reduce="singular_values"), or with Probe("weights", ...)
    layer : int, from 1
    count : int, singular values drawn at most
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : neither was recorded, or not of that layer
    """
    if "weights_singular_values" in sol.dataset:
        record = of_layer(recorded(sol, "weights_singular_values"), layer)
        values = record.transpose(time_of(record), "mode").values
    else:
        record, full = matrices(sol, layer)
        values = np.linalg.svd(full, compute_uv=False)
    values = values[:, ~np.isnan(values).all(axis=0)][:, :count]
    clock = time_of(record)
    shades = colormaps["cividis"](np.linspace(0, 0.85, values.shape[1]))
    for k, shade in enumerate(shades):
        label = {0: "largest", len(shades) - 1: f"number {len(shades)}"}.get(k)
        ax.plot(record[clock], values[:, k], color=shade, label=label)
    ax.set(
        xlabel=axis_label(record[clock]),
        ylabel="singular value",
        title=f"Singular values of the weights of layer {layer}",
        ylim=(0, None),
    )
    ax.legend(loc="best")
