"""What all plots share: the style, the axes they draw on, and the records they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, Concatenate, ParamSpec

import matplotlib as mpl
import matplotlib.pyplot as plt
import xarray as xr
from cycler import cycler
from matplotlib.axes import Axes

from ctsigprop.solution import Solution

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
def look(**more: Any) -> Iterator[None]:
    """The common style, and `more` settings with two underscores for a dot, for as long as the context lasts.

    A notebook's backend turns the interactive mode on when it is first used: that outlasts the context.
    """
    settings: Any = {**STYLE, **{name.replace("__", "."): value for name, value in more.items()}}
    with plt.rc_context(settings):
        try:
            yield
        finally:
            interactive = mpl.is_interactive()
    mpl.interactive(interactive)


@contextmanager
def canvas(ax: Axes | None, size: tuple[float, float] = (6.4, 4.0)) -> Iterator[Axes]:
    """Given or new axes, inside this module's style; no empty figure is left behind where drawing fails."""
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
    with look():
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

    vars(plot)["__signature__"] = as_called(signature(draw))
    return plot


def as_called(drawing: Signature) -> Signature:
    """The signature of a styled function: the axes, first in the source, are the keyword `ax`, and are returned."""
    axes, *rest = drawing.parameters.values()
    ax = axes.replace(kind=Parameter.KEYWORD_ONLY, default=None, annotation=f"{axes.annotation} | None")
    return drawing.replace(parameters=[*rest, ax], return_annotation=axes.annotation)


def recorded(sol: Solution, name: str) -> xr.DataArray:
    """A variable of the solution's dataset with plain names of dimensions, or an error that says how to record it."""
    if name not in sol.dataset:
        has = ", ".join(map(str, sol.dataset)) or "nothing"
        raise ValueError(f"this run recorded {has}, not {name!r}: add a ct.Probe of that name to probes=[...]")
    record = sol.dataset[name]
    own = {str(key): str(key).removesuffix(f"_{name}") for key in (*record.dims, *record.coords)}
    return record.rename({key: plain for key, plain in own.items() if plain != key and not plain.startswith("time")})


def of_layer(record: xr.DataArray, layer: int) -> xr.DataArray:
    """One layer of a record."""
    if layer not in record["layer"].values:
        raise ValueError(f"layer must be one of the recorded layers {record['layer'].values.tolist()}, got {layer!r}")
    return record.sel(layer=layer)


def time_of(record: xr.DataArray) -> str:
    """Name of a record's time dimension."""
    return next(str(dim) for dim in record.dims if str(dim).startswith("time"))


def axis_label(array: xr.DataArray) -> str:
    """Long name and unit of an array, for an axis; "1" is the unit of a pure number."""
    unit = array.attrs.get("units", "1")
    return f"{array.attrs.get('long_name', array.name)}" + (f" ({unit})" if unit != "1" else "")
