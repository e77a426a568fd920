"""Size of the weights over time: norms and singular values."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes

from ctsigprop.plot.matrices import matrices
from ctsigprop.plot.records import of_layer, recorded, time_of
from ctsigprop.plot.style import axis_label, ink, legend, marks, palette, styled
from ctsigprop.results.solution import Solution


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
        record = recorded(sol, "weights_norm", "layer")
    else:
        full = recorded(sol, "weights", "layer")
        inner = [dim for dim in full.dims if dim not in (time_of(full), "layer")]
        record = xr.DataArray(np.sqrt((full**2).sum(inner)))
        record.attrs = {"long_name": f"norm of the {full.attrs['long_name']}"}
    clock = time_of(record)
    for k, layer in enumerate(record["layer"].values):
        line = record.sel(layer=layer)
        if line.notnull().any():
            ax.plot(
                record[clock], line, color=palette(ax, k), marker=marks(record[clock].values), label=f"layer {layer}"
            )
    ax.set(xlabel=axis_label(record[clock]), ylabel=axis_label(record), title="Norms of the weights", ylim=(0, None))
    legend(ax)


@styled
def singular_values(ax: Axes, sol: Solution, layer: int = 1, count: int = 10) -> None:
    """The largest singular values of a layer's weights over time.

    Parameters
    ----------
    sol : a run with Probe("weights", ..., reduce="singular_values"), or with Probe("weights", ...)
    layer : int, from 1
    count : int, maximum number of singular values
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : neither was recorded, or not for that layer
    """
    if "weights_singular_values" in sol.dataset:
        record = of_layer(recorded(sol, "weights_singular_values", "layer", "mode"), layer)
        values = record.transpose(time_of(record), "mode").values
    else:
        record, full = matrices(sol, layer)
        values = np.linalg.svd(full, compute_uv=False)
    values = values[:, :count]
    clock = time_of(record)
    span = (0, 0.85) if sum(ink(ax)) < 1.5 else (1, 0.3)
    shades = colormaps["cividis"](np.linspace(*span, values.shape[1]))
    for k, shade in enumerate(shades):
        label = {len(shades) - 1: f"number {len(shades)}", 0: "largest"}.get(k)
        ax.plot(record[clock], values[:, k], color=shade, marker=marks(record[clock].values), label=label)
    ax.set(
        xlabel=axis_label(record[clock]),
        ylabel="singular value",
        title=f"Singular values of the weights of layer {layer}",
        ylim=(0, None),
    )
    legend(ax)
