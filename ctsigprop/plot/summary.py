"""One figure of a whole run: everything that it recorded, each in its own panel."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ctsigprop.plot.activity import rates
from ctsigprop.plot.curves import alignment, learning
from ctsigprop.plot.diagram import diagram
from ctsigprop.plot.matrices import weight_histogram, weight_matrix
from ctsigprop.plot.spectra import norms, singular_values
from ctsigprop.plot.style import look, moment, recorded
from ctsigprop.plot.synapses import weights
from ctsigprop.solution import Solution

COLUMNS = 3


def summary(sol: Solution, layer: int = 1) -> Figure:
    """One figure of a run: the network, and a panel for each thing that was recorded.

    Parameters
    ----------
    sol : a run; what it recorded decides the panels: weights, rates, norms, single numbers, alignment
    layer : int, from 1, the layer whose weights and rates are shown

    Returns
    -------
    Figure : its axes are those of the single plots

    Raises
    ------
    TypeError : something else than a Solution
    ValueError : neither a network nor anything recorded
    """
    if not isinstance(sol, Solution):
        raise TypeError(f"a plot takes the ct.Solution of a run, got {type(sol).__name__}")
    panels = choose(sol, layer)
    if not panels:
        raise ValueError("this run recorded nothing that a summary shows: add ct.Probe('weights', every=...) to it")
    lines = -(-len(panels) // COLUMNS)
    with look(font__size=8):
        figure, axes = plt.subplots(
            lines, min(COLUMNS, len(panels)), figsize=(15, 3.6 * lines), layout="constrained", squeeze=False
        )
        try:
            for ax, draw in zip(axes.flat, panels, strict=False):
                draw(ax)
            for ax in axes.flat[len(panels) :]:
                ax.remove()
        except BaseException:
            plt.close(figure)
            raise
        cost = f"{sol.stats['steps']} steps, {sol.stats['wall_seconds']:.1f} s" if "wall_seconds" in sol.stats else ""
        figure.suptitle(f"{sol.message} {moment(sol.final.t, sol.time_unit)}; {cost}".rstrip("; "))
    return figure


def choose(sol: Solution, layer: int) -> list[Callable[[Axes], object]]:
    """A drawing function for each panel."""
    panels: list[Callable[[Axes], object]] = []
    network = sol.network
    if network is not None:
        panels.append(lambda ax: diagram(network, ax=ax))
    numbers = [str(name) for name, value in sol.dataset.data_vars.items() if value.ndim == 1]
    if numbers:
        panels.append(lambda ax: learning(sol, numbers, ax=ax))
    if "alignment" in sol.dataset and sol.dataset["alignment"].ndim == 2:
        panels.append(lambda ax: alignment(sol, ax=ax))
    if "weights" in sol.dataset and layer in sol.dataset["weights"]["layer"]:
        panels += [lambda ax: weights(sol, layer, ax=ax), lambda ax: weight_histogram(sol, layer, ax=ax)]
        if "pre" in recorded(sol, "weights").dims:
            panels.append(lambda ax: weight_matrix(sol, layer, "difference", ax=ax))
            panels.append(lambda ax: singular_values(sol, layer, ax=ax))
    if "weights" in sol.dataset or "weights_norm" in sol.dataset:
        panels.append(lambda ax: norms(sol, ax=ax))
    if "rates" in sol.dataset and layer in sol.dataset["rates"]["layer"]:
        row = int(sol.dataset["rates"]["row"][0]) if "row" in sol.dataset else int(recorded(sol, "rates")["row"][0])
        panels.append(lambda ax: rates(sol, layer, row, ax=ax))
    return panels
