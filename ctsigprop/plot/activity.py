"""Activities over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ctsigprop.plot.style import COLOURS, axis_label, of_layer, recorded, styled, time_of
from ctsigprop.solution import Solution


@styled
def rates(ax: Axes, sol: Solution, layer: int = 1, row: int = 0, count: int = 7) -> None:
    """Activity of some units of a layer, in one row of the batch, over time.

    Parameters
    ----------
    sol : a run with Probe("rates", ...)
    layer : int, from 1; row : int, row of the batch (the target stream's rows come last)
    count : int, units drawn at most
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no rates recorded, or not of that layer or row
    """
    record = of_layer(recorded(sol, "rates"), layer)
    if row not in record["row"].values:
        raise ValueError(f"row must be one of the recorded rows {record['row'].values.tolist()}, got {row!r}")
    record = record.sel(row=row).dropna("post", how="all")
    clock = time_of(record)
    chosen = record["post"].values[
        np.linspace(0, record.sizes["post"] - 1, min(count, record.sizes["post"])).astype(int)
    ]
    for k, unit in enumerate(chosen):
        ax.plot(record[clock], record.sel(post=unit), color=COLOURS[k % len(COLOURS)], label=f"unit {int(unit)}")
    ax.set(xlabel=axis_label(record[clock]), ylabel=axis_label(record), title=f"Activity of layer {layer}, row {row}")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
