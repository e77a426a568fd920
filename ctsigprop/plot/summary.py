"""One figure of a whole run: a panel for each thing that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ctsigprop.plot.activity import rates, traces
from ctsigprop.plot.curves import alignment, learning
from ctsigprop.plot.diagram import diagram, extent
from ctsigprop.plot.matrices import weight_histogram, weight_matrix
from ctsigprop.plot.records import of_layer, recorded
from ctsigprop.plot.spectra import norms, singular_values
from ctsigprop.plot.spikes import raster, voltages
from ctsigprop.plot.style import look, moment
from ctsigprop.plot.synapses import weights
from ctsigprop.results.solution import Solution

COLUMNS, WIDTH, HEIGHT = 3, 15.0, 3.6


def summary(sol: Solution, layer: int = 1) -> Figure:
    """One figure of a run: the network, and below it a panel for each thing that was recorded.

    Parameters
    ----------
    sol : a run. Its records decide the panels: single numbers, alignment, weights and their norms, rates,
        traces, spikes, potentials. If it recorded several rows, the first one is shown
    layer : int, from 1, the layer to show

    Returns
    -------
    Figure : with the axes of the single plots

    Raises
    ------
    TypeError : the argument is not a Solution
    ValueError : there is no network and nothing was recorded
    """
    if not isinstance(sol, Solution):
        raise TypeError(f"a plot takes the ct.Solution of a run, got {type(sol).__name__}")
    network, panels = sol.network, choose(sol, layer)
    if not panels and network is None:
        raise ValueError("this run recorded nothing that a summary shows: add ct.Probe('weights', every=...) to it")
    heights = [HEIGHT] * -(-len(panels) // COLUMNS)
    if network is not None:
        across, down = extent(network)
        heights.insert(0, min(0.85 * HEIGHT, 0.3 + 0.97 * WIDTH * down / across))
    with look(**{"font.size": 8}):
        figure = plt.figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        try:
            grid = figure.add_gridspec(len(heights), min(COLUMNS, max(len(panels), 1)), height_ratios=heights)
            lines = list(range(len(heights)))
            if network is not None:
                diagram(network, ax=figure.add_subplot(grid[lines.pop(0), :]))
            for k, draw in enumerate(panels):
                draw(ax=figure.add_subplot(grid[lines[k // COLUMNS], k % COLUMNS]))
        except BaseException:
            plt.close(figure)
            raise
        cost = f"{sol.stats['steps']} steps, {sol.stats['wall_seconds']:.1f} s" if "wall_seconds" in sol.stats else ""
        figure.suptitle(f"{sol.message} {moment(sol.final.t, sol.time_unit)}; {cost}".rstrip("; "))
    return figure


def choose(sol: Solution, layer: int) -> list[Callable[..., Axes]]:
    """A drawing function for each thing that was recorded."""
    panels: list[Callable[..., Axes]] = []
    numbers = [str(name) for name, value in sol.dataset.data_vars.items() if value.ndim == 1 and value.size]
    if numbers:
        panels.append(partial(learning, sol, numbers))
    if "layer" in dims_of(sol, "alignment"):
        panels.append(partial(alignment, sol))
    of_weights, of_modes = dims_of(sol, "weights", layer), dims_of(sol, "weights_singular_values", layer)
    matrix = {"post", "pre"} <= of_weights
    if matrix or "synapse" in of_weights:
        panels += [partial(weights, sol, layer), partial(weight_histogram, sol, layer)]
    if matrix:
        panels.append(partial(weight_matrix, sol, layer, "difference"))
    if matrix or "mode" in of_modes:
        panels.append(partial(singular_values, sol, layer))
    if "layer" in dims_of(sol, "weights") | dims_of(sol, "weights_norm"):
        panels.append(partial(norms, sol))
    for name, dim, draw in (
        ("rates", "post", rates),
        ("traces", "pre", traces),
        ("spikes", "post", raster),
        ("voltages", "post", voltages),
    ):
        if {"row", dim} <= dims_of(sol, name, layer):
            row = int(of_layer(recorded(sol, name), layer)["row"][0])
            panels.append(partial(draw, sol, layer, row))
    return panels


def dims_of(sol: Solution, name: str, layer: int | None = None) -> set[str]:
    """Dimensions of what a run recorded under a name, of that layer where one is given; none where it did not."""
    try:
        record = recorded(sol, name, "layer")
        return set(map(str, (record if layer is None else of_layer(record, layer)).dims)) | {"layer"}
    except ValueError:
        return set()
