"""How well the network performs over time."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr
from matplotlib.axes import Axes

from ctsigprop.plot.records import recorded, time_of
from ctsigprop.plot.style import axis_label, canvas, legend, palette, styled, tint
from ctsigprop.results.solution import Solution


@styled
def learning(ax: Axes, sol: Solution, names: Sequence[str] = ("accuracy",)) -> None:
    """Recorded numbers, such as the accuracy on test data, against simulated time.

    Parameters
    ----------
    sol : a run with probes of functions, such as Probe(lambda s: net.score(s, x, y), every=20, name="accuracy")
    names : names of those probes
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : a name that was not recorded
    """
    record = recorded(sol, names[0])
    for k, name in enumerate(names):
        record = recorded(sol, name)
        if record.ndim != 1:
            raise ValueError(f"{name} must be one number at each time, it has dimensions {record.dims}")
        ax.plot(record[time_of(record)], record, marker=".", color=palette(ax, k), label=name)
    ax.set(
        xlabel=axis_label(record[time_of(record)]), ylabel=names[0] if len(names) == 1 else "value", title="Learning"
    )
    if len(names) > 1:
        legend(ax, "lower right")


def alignment(sol: Solution | xr.DataArray, ax: Axes | None = None) -> Axes:
    """Cosine between what each layer's rule does and minus the gradient of the global loss, over time.

    Parameters
    ----------
    sol : a run with Probe(lambda s: ct.alignment(s, x, y, net), every=..., name="alignment"), or the
        result of `ct.alignment(sol, x, y)` for a whole run
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no alignment recorded, or one of a single state
    """
    record = recorded(sol, "alignment") if isinstance(sol, Solution) else sol
    if "layer" not in record.dims or not any(str(dim).startswith("time") for dim in record.dims):
        raise ValueError(f"alignment over time has dimensions time and layer, got {record.dims}")
    clock = time_of(record)
    with canvas(ax) as axes:
        for k, layer in enumerate(record["layer"].values):
            line = record.sel(layer=layer)
            if line.notnull().any():
                axes.plot(record[clock], line, marker=".", color=palette(axes, k), label=f"layer {layer}")
        axes.axhline(0.0, color=tint(axes, 0.4), linewidth=0.8)
        axes.set(
            xlabel=axis_label(record[clock]),
            ylabel="cosine with minus the gradient",
            title="Alignment",
            ylim=(-1.05, 1.05),
        )
        legend(axes, "lower right")
    return axes
