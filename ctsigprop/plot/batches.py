"""Batches: learning curves with bands, and the results of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from scipy import stats

from ctsigprop.plot.style import COLOURS, axis_label, canvas, legend, palette

READABLE = 100
"""Cells of a table up to which each has its number written in it."""
DASHES = ("-", "--", ":", "-.")
MANY = 7
"""More levels than this have their legend beside the axes."""
MARKS = ("o", "s", "^", "v", "D", "P", "X", "*")


def comparison(dataset: xr.Dataset, metric: str, compared: str, x: str | None = None, ax: Axes | None = None) -> Axes:
    """Mean learning curve of each level over all other dimensions, with a 95 % bootstrap band of the mean.

    Parameters
    ----------
    dataset : `Runs.dataset`, with a dimension for `compared`
    metric : the variable to draw
    compared : the dimension whose levels are drawn, one line each
    x : "rhs_evaluations" or "seconds"; default the presentations or the time shown
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : a dataset without that dimension, an unknown x
    """
    if compared not in dataset.dims:
        raise ValueError(f"curves need a full grid with a dimension {compared!r}, this one has {tuple(dataset.dims)}")
    axis = str(dataset[metric].dims[-1])
    if x not in (None, axis, "rhs_evaluations", "seconds"):
        raise ValueError(f"x must be 'rhs_evaluations', 'seconds' or {axis!r}, got {x!r}")
    along = axis if x is None else x
    levels = dataset[compared].values
    many = len(levels) > MANY
    with canvas(ax, (8.4, 4.8) if many else (6.4, 4.0)) as axes:
        for k, level in enumerate(levels):
            colour, mark = palette(axes, k), MARKS[k % len(MARKS)]
            dash = DASHES[k // len(COLOURS) % len(DASHES)]  # another one where colours begin again
            of_level = dataset.sel({compared: level})
            curve = of_level[metric].transpose(..., axis).values.reshape(-1, dataset.sizes[axis])
            kept = np.isfinite(curve).any(0)
            if not kept.any():
                continue
            where = of_level[along].values if along == axis else spent(of_level[along], axis)
            mean, low, high = band(curve[:, kept])
            axes.plot(where[kept], mean, dash, marker=mark, markersize=4, color=colour, label=str(level))
            axes.fill_between(where[kept], low, high, color=colour, alpha=0.2, linewidth=0)
        label = axis_label(dataset[along])
        axes.set(xlabel=label, ylabel=metric, title=f"{metric}: mean and 95 % interval of the mean")
        legend(axes, "right" if many else "best", compared)
    return axes


def spent(cost: xr.DataArray, axis: str) -> np.ndarray:
    """Mean cost at each point of the curve, over the runs that got there."""
    values = cost.transpose(..., axis).values.reshape(-1, cost.sizes[axis])
    there = np.isfinite(values)
    return np.asarray(np.where(there, values, 0).sum(0) / np.maximum(there.sum(0), 1))


def band(curve: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high) at each point of curves (runs, points); percentile bootstrap over whole runs."""
    mean = np.nanmean(curve, 0)
    if len(curve) < 2:
        return mean, mean, mean
    drawn = np.random.default_rng(0).integers(len(curve), size=(1000, len(curve)))
    sample = np.where(np.isfinite(curve), curve, mean)[drawn].mean(1)
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return mean, low, high


def sweep(runs: pd.DataFrame, metric: str, factors: Sequence[str], ax: Axes | None = None) -> Axes:
    """Final metric against one setting (a point per run, a line through the means), or two (a colour per mean).

    Parameters
    ----------
    runs : `Runs.runs`; those that did not complete are left out
    metric : the column to draw
    factors : one or two settings; of more, the two that affect the metric most (by rank correlation)
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : an unknown setting, no run that completed
    """
    for name in factors:
        if name not in runs:
            raise ValueError(f"{name!r} is no setting of these runs, they have {', '.join(map(str, runs.columns))}")
    good = runs[runs["status"].isin(["completed", "stopped"])]
    if good.empty:
        raise ValueError("no run completed: there is nothing to draw")
    chosen = list(factors) if len(factors) <= 2 else strongest(good, metric, factors)
    with canvas(ax) as axes:
        if len(chosen) == 1:
            over_one(axes, good, metric, chosen[0])
        else:
            over_two(axes, good, metric, chosen[0], chosen[1])
    return axes


def strongest(runs: pd.DataFrame, metric: str, factors: Sequence[str]) -> list[str]:
    """The two settings with the largest rank correlation with the metric."""
    size = {}
    for name in factors:
        codes = runs[name] if pd.api.types.is_numeric_dtype(runs[name]) else pd.factorize(runs[name])[0]
        varied = len(set(codes)) > 1 and runs[metric].nunique() > 1
        size[name] = abs(float(stats.spearmanr(codes, runs[metric]).statistic)) if varied else 0.0
    two = sorted(factors, key=lambda name: -size[name])[:2]
    return [name for name in factors if name in two]


def over_one(axes: Axes, runs: pd.DataFrame, metric: str, name: str) -> None:
    """Every run a point, the means of each value joined."""
    numeric = pd.api.types.is_numeric_dtype(runs[name])
    at = runs[name] if numeric else runs[name].astype(str)
    axes.plot(at, runs[metric], "o", color=COLOURS[0], alpha=0.5, markersize=4, label="run")
    mean = runs.groupby(at, sort=numeric)[metric].mean()
    axes.plot(mean.index, mean, color=COLOURS[1], label="mean")
    if numeric and log_like(runs[name]):
        axes.set_xscale("log")
    axes.set(xlabel=name, ylabel=metric, title=f"{metric} over {name}")
    legend(axes)


def over_two(axes: Axes, runs: pd.DataFrame, metric: str, x: str, y: str) -> None:
    """A table of mean values where the settings are a grid, else one coloured point per run."""
    mean = runs.groupby([y, x])[metric].mean().unstack()
    if mean.notna().to_numpy().all() and mean.size <= 400:
        image: ScalarMappable = axes.imshow(mean, origin="lower", aspect="auto", cmap="cividis")
        axes.set_xticks(range(mean.shape[1]), [label(value) for value in mean.columns])
        axes.set_yticks(range(mean.shape[0]), [label(value) for value in mean.index])
        if mean.size <= READABLE:
            write_numbers(axes, mean.to_numpy(dtype=float), image)
    else:
        image = axes.scatter(runs[x], runs[y], c=runs[metric], cmap="cividis")
        for name, scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
            if pd.api.types.is_numeric_dtype(runs[name]) and log_like(runs[name]):
                scale("log")
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.colorbar(image, ax=axes, label=metric)
    axes.set(xlabel=x, ylabel=y, title=f"{metric} (mean over seeds)")


def write_numbers(axes: Axes, values: np.ndarray, image: ScalarMappable) -> None:
    """The number in each cell of a table, with as many decimals as tell the smallest from the largest."""
    span = float(np.ptp(values))
    decimals = int(np.clip(np.ceil(-np.log10(span)) + 1, 0, 6)) if span > 0 else 3
    size = "small" if values.shape[1] <= MANY else "xx-small"
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.to_rgba(value)
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
        text = f"{value:.{decimals}f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color="white" if dark else "black")


def label(value: object) -> str:
    """A setting as a tick label."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def log_like(values: pd.Series) -> bool:
    """Whether positive values span more than a decade."""
    return bool(values.min() > 0 and values.max() / values.min() > 10)
