"""Plots of a solution. Each takes `ax=` and returns matplotlib Axes; none changes matplotlib's global state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from cycler import cycler
from matplotlib.axes import Axes

from ctsigprop.rules.checks import lookup
from ctsigprop.solution import Solution
from ctsigprop.state import State

# Okabe and Ito's palette, which colour-blind readers can tell apart (Nature Methods 8, 2011, p. 441)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: Any = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "savefig.dpi": 150,
}
P = ParamSpec("P")


@contextmanager
def canvas(ax: Axes | None, size: tuple[float, float] = (6.4, 4.0)) -> Iterator[Axes]:
    """Given or new axes, inside this module's style; no empty figure is left behind where drawing fails."""
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
    with plt.rc_context(STYLE):
        axes: Axes = ax if ax is not None else plt.subplots(figsize=size, layout="constrained")[1]
        try:
            yield axes
        except BaseException:
            if ax is None:
                plt.close(axes.get_figure(root=True))
            raise


def styled(draw: Callable[Concatenate[Axes, Solution, P], None]) -> Callable[..., Axes]:
    """A plotting function over given or new axes, inside this module's style."""

    @wraps(draw)
    def plot(sol: Solution, *args: P.args, **kwargs: P.kwargs) -> Axes:
        ax = kwargs.pop("ax", None)
        if not isinstance(sol, Solution):
            raise TypeError(f"a plot takes the ct.Solution of a run, got {type(sol).__name__}")
        with canvas(ax) as axes:  # type: ignore[arg-type]
            draw(axes, sol, *args, **kwargs)
        return axes

    return plot


@styled
def weights(ax: Axes, sol: Solution, layer: int = 1, count: int = 40, seed: int = 0) -> None:
    """Weight trajectories of a layer: sampled synapses, one colour per postsynaptic unit, over the band of all.

    Parameters
    ----------
    sol : a run with Probe("weights", ...)
    layer : int, from 1
    count : int, synapses drawn at most, spread over at most seven units
    seed : int, decides which
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no weights recorded, or not of that layer
    """
    record = of_layer(recorded(sol, "weights"), layer).dropna("post", how="all").dropna("pre", how="all")
    clock = time_of(record)
    values = record.transpose(clock, "post", "pre").values
    flat = values.reshape(len(values), -1)
    low, mid, high = np.nanquantile(flat, [0.05, 0.5, 0.95], axis=1)
    t = record[clock].values
    ax.fill_between(t, low, high, color="0.85", label="5 to 95 % of all synapses", linewidth=0)
    random = np.random.default_rng(seed)
    units = np.sort(random.permutation(values.shape[1])[: min(len(COLOURS), max(1, count // 4))])
    for k, unit in enumerate(units):
        inputs = random.permutation(values.shape[2])[: max(1, count // len(units))]
        lines = ax.plot(t, values[:, unit, inputs], color=COLOURS[k], alpha=0.7, linewidth=0.8)
        lines[0].set_label(f"unit {int(record['post'][unit])}")
    ax.plot(t, mid, color="0.35", linestyle="--", linewidth=1.5, label="median of all")
    ax.set(xlabel=axis_label(record[clock]), ylabel=axis_label(record), title=f"Weights of layer {layer}")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


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


@styled
def learning(ax: Axes, sol: Solution, names: Sequence[str] = ("accuracy",)) -> None:
    """Recorded numbers against simulated time, such as the accuracy on test data.

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
    for name in names:
        record = recorded(sol, name)
        if record.ndim != 1:
            raise ValueError(f"{name} must be one number at each time, it has dimensions {record.dims}")
        ax.plot(record[time_of(record)], record, marker=".", label=name)
    ax.set(
        xlabel=axis_label(record[time_of(record)]), ylabel=names[0] if len(names) == 1 else "value", title="Learning"
    )
    if len(names) > 1:
        ax.legend(loc="lower right")


def alignment(sol: Solution | xr.DataArray, ax: Axes | None = None) -> Axes:
    """Cosine between what each layer's rule does and minus the gradient of the global loss, over time.

    Parameters
    ----------
    sol : a run with Probe(lambda s: ct.alignment(s, x, y, net), every=..., name="alignment"), or what
        `ct.alignment(sol, x, y)` returned for a whole run
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : no alignment recorded, or that of a single state
    """
    record = recorded(sol, "alignment") if isinstance(sol, Solution) else sol
    if "layer" not in record.dims or not any(str(dim).startswith("time") for dim in record.dims):
        raise ValueError(f"alignment over time has dimensions time and layer, got {record.dims}")
    clock = time_of(record)
    with canvas(ax) as axes:
        for k, layer in enumerate(record["layer"].values):
            line = record.sel(layer=layer)
            axes.plot(record[clock], line, marker=".", color=COLOURS[k % len(COLOURS)], label=f"layer {layer}")
        axes.axhline(0.0, color="0.6", linewidth=0.8)
        axes.set(
            xlabel=axis_label(record[clock]),
            ylabel="cosine with minus the gradient",
            title="Alignment",
            ylim=(-1.05, 1.05),
        )
        axes.legend(loc="lower right")
    return axes


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
    columns = int(np.ceil(np.sqrt(2 * len(matrix))))
    lines = int(np.ceil(len(matrix) / columns))
    mosaic = np.full((lines * (shape[0] + 1) - 1, columns * (shape[1] + 1) - 1), np.nan)
    for k, field in enumerate(matrix):
        top, left = (k // columns) * (shape[0] + 1), (k % columns) * (shape[1] + 1)
        mosaic[top : top + shape[0], left : left + shape[1]] = field.reshape(shape)
    bound = float(np.abs(matrix).max()) or 1.0
    with canvas(ax, (7.2, 4.0)) as axes:
        picture = axes.imshow(mosaic, cmap="PuOr", vmin=-bound, vmax=bound, interpolation="nearest")
        axes.set(xticks=[], yticks=[], title=f"Receptive fields of layer {layer}, units 0 to {len(matrix) - 1}")
        axes.spines[:].set_visible(False)
        bar = axes.figure.colorbar(picture, ax=axes, shrink=0.8)
        bar.set_label("synaptic weight")
    return axes


def recorded(sol: Solution, name: str) -> xr.DataArray:
    """A variable of the solution's dataset, or an error that says how to record it."""
    if name not in sol.dataset:
        has = ", ".join(map(str, sol.dataset)) or "nothing"
        raise ValueError(f"this run recorded {has}, not {name!r}: add a ct.Probe of that name to probes=[...]")
    return lookup("record", name, {str(key): value for key, value in sol.dataset.data_vars.items()})


def of_layer(record: xr.DataArray, layer: int) -> xr.DataArray:
    """One layer of a record."""
    if layer not in record["layer"].values:
        raise ValueError(f"layer must be one of the recorded layers {record['layer'].values.tolist()}, got {layer!r}")
    return record.sel(layer=layer)


def time_of(record: xr.DataArray) -> str:
    """Name of a record's time dimension."""
    return next(str(dim) for dim in record.dims if str(dim).startswith("time"))


def axis_label(array: xr.DataArray) -> str:
    """Long name and unit of an array, for an axis."""
    unit = array.attrs.get("units", "")
    return f"{array.attrs.get('long_name', array.name)}" + (f" ({unit})" if unit else "")
