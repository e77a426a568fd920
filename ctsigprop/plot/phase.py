"""The phase portrait of two state variables: the vector field over their plane, and the trajectory of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.quiver import Quiver
from torch import Tensor

from ctsigprop.dynamics.vector_field import Field
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.plot.records import recorded, time_of
from ctsigprop.plot.style import COLOURS, canvas, ink, legend, moment
from ctsigprop.results.solution import Solution
from ctsigprop.solvers.field import DenseWeight
from ctsigprop.stimuli.frame import Input
from ctsigprop.stimuli.stimulus import Stimulus

RECORDS = {
    "W": ("weights", ("post", "pre")),
    "b": ("biases", ("post",)),
    "r": ("rates", ("row", "post")),
    "x": ("traces", ("row", "pre")),
}
Place = tuple[str, tuple[int | slice, ...]]
Range = tuple[float, float]


def phase(
    sol: Solution,
    stimulus: Stimulus,
    x: str,
    y: str,
    t: float | None = None,
    ranges: tuple[Range, Range] | None = None,
    settled: bool = True,
    points: int = 21,
    ax: Axes | None = None,
) -> Axes:
    """Phase portrait of two state variables: their vector field, with all others fixed, and their recorded values.

    Parameters
    ----------
    sol : a run of this session (its network is needed); the other variables come from its final state
    stimulus : the stimulus that the network sees
    x, y : names of numbers in the state, such as "W.1[0, 2]" or "r.1[0, 0]"
    t : float, time of the stimulus; default the end of the run
    ranges : ((low, high), (low, high)) of x and y; default a little more than the trajectory, or 1 around the state
    settled : bool, let activities and traces other than x and y settle at each point first, as slow weights see
        them; default True
    points : int, number of arrows along each side
    ax : Axes to draw on; default new ones

    Raises
    ------
    ValueError : a variable that the state does not have, a run loaded from disk
    """
    if not isinstance(sol, Solution) or sol.network is None:
        raise ValueError("a phase portrait needs the network: give a ct.Solution of this session, not a loaded one")
    places = [parsed(name, sol.final) for name in (x, y)]
    paths = [recorded_path(sol, place) for place in places]
    middles = [float(sol.final[name][index]) for name, index in places]
    spans = ranges or (limits(paths[0], middles[0]), limits(paths[1], middles[1]))
    sides = [np.linspace(*span, points) for span in spans]
    when, unit = sol.final.t if t is None else t, sol.time_unit
    u, v = slopes(sol.network, stimulus, sol.final, list(zip(places, np.meshgrid(*sides), strict=True)), when, settled)
    with canvas(ax, (6.4, 5.0)) as axes:
        arrows = field_of_arrows(axes, sides, u, v)
        for slope, colour, name in ((u, COLOURS[1], x), (v, COLOURS[2], y)):
            if slope.min() < 0 < slope.max():
                axes.contour(*sides, slope, levels=[0.0], colors=[colour], linewidths=1.5)
                axes.plot([], [], color=colour, label=f"d({name})/dt = 0")
        if paths[0] is not None and paths[1] is not None and len(paths[0]) == len(paths[1]):
            axes.plot(paths[0], paths[1], color=ink(axes), linewidth=1.5, label="the run")
        axes.plot(*middles, marker="o", color=ink(axes), linestyle="none", label="its end")
        axes.set(xlabel=x, ylabel=y, title=f"Phase portrait at {moment(when, unit)}", xlim=spans[0], ylim=spans[1])
        axes.figure.colorbar(arrows, ax=axes, label=f"log10 of the speed (1 / {unit})")
        legend(axes, "below")
    return axes


def field_of_arrows(axes: Axes, sides: list[np.ndarray], u: np.ndarray, v: np.ndarray) -> Quiver:
    """Arrows of one length in units of the grid, the speed in their colour."""
    speed = np.hypot(u, v)
    steps = np.hypot(u / (sides[0][1] - sides[0][0]), v / (sides[1][1] - sides[1][0]))
    steps = np.where(steps > 0, steps, 1.0)
    most = float(speed.max()) or 1.0
    shade = np.log10(np.maximum(speed, 1e-3 * most))
    return axes.quiver(*sides, u / steps, v / steps, shade, cmap="cividis", angles="xy", scale_units="xy", scale=1.25)


def parsed(name: str, state: State) -> Place:
    """The tensor and index that a name such as "W.1[0, 2]" means.

    Raises
    ------
    ValueError : no such number in this state
    """
    match = re.fullmatch(r"\s*([\w.]+)\s*\[([\d,\s]*)\]\s*", str(name))
    if match is None or match[1] not in state:
        raise ValueError(f"a variable is a tensor of the state with an index, such as 'W.1[0, 2]', got {name!r}")
    index = tuple(int(number) for number in match[2].split(","))
    shape = tuple(state[match[1]].shape)
    if len(index) != len(shape) or any(i >= n for i, n in zip(index, shape, strict=True)):
        raise ValueError(f"{match[1]} has shape {shape}, got the index {index}")
    return match[1], index


def recorded_path(sol: Solution, place: Place) -> np.ndarray | None:
    """What a run recorded of one number over time; None where it did not."""
    kind, _, layer = place[0].partition(".")
    name, dims = RECORDS.get(kind, ("", ()))
    if name not in sol.dataset or not set(dims) <= {str(dim) for dim in recorded(sol, name).dims}:
        return None
    record: xr.DataArray = recorded(sol, name)
    where = {"layer": int(layer), **dict(zip(dims, place[1], strict=True))}
    if any(value not in record[dim].values for dim, value in where.items()):
        return None
    return np.asarray(record.sel(where).transpose(time_of(record)).values)


def limits(path: np.ndarray | None, middle: float) -> Range:
    """A little more than a trajectory spans."""
    if path is None:
        return middle - 1.0, middle + 1.0
    margin = 0.25 * float(np.ptp(path)) or 0.5
    return float(path.min()) - margin, float(path.max()) + margin


def slopes(
    network: Network,
    stimulus: Stimulus,
    state: State,
    grid: Sequence[tuple[Place, np.ndarray]],
    t: float,
    settled: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Time derivatives of two numbers, given with their values over a grid, in one evaluation with the grid as a
    leading dimension.
    """
    total = stimulus.duration_total
    frame = next(iter(stimulus.frames(max(0.0, min(t, total * (1 - 1e-6))), total)))
    sides = grid[0][1].shape
    count = grid[0][1].size
    field = Field(network, replace(frame, at=lambda t: everywhere(frame.at(t), count)))
    with torch.inference_mode():
        tensors = {name: value.expand(count, *value.shape).clone() for name, value in state.items()}

        def pin() -> None:
            for (name, index), values in grid:
                tensors[name][(slice(None), *index)] = torch.as_tensor(values.ravel()).to(tensors[name])

        pin()
        weights = {name: DenseWeight(tensors[name]) for name in network.weight_shapes}
        moving = [name for name in network.row_shapes(stimulus.rows) if name in tensors]
        step = 0.25 * min(layer.neuron.tau for layer in network.layers)
        for _ in range(80 if settled else 0):
            rates = field(t, activities_of(tensors, network), weights)[0]
            for name in moving:
                if name in rates:
                    tensors[name] = tensors[name] + step * rates[name]
            pin()
        rates, updates = field(t, activities_of(tensors, network), weights)
        derivatives = []
        for (name, index), _ in grid:
            if name in updates:
                change = updates[name].derivative(tensors[name])
            else:
                change = rates.get(name, torch.zeros_like(tensors[name]))
            derivatives.append(change.expand_as(tensors[name])[(slice(None), *index)].cpu().numpy().reshape(sides))
    return derivatives[0], derivatives[1]


def everywhere(shown: Input, count: int) -> Input:
    """What is shown, the same at each of `count` points."""
    target = None if shown.target is None else shown.target.expand(count, *shown.target.shape)
    x, present = shown.x.expand(count, *shown.x.shape), shown.present.expand(count, *shown.present.shape)
    return Input(x, target, present, shown.gate)


def activities_of(tensors: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """All of a state but the weights."""
    return {name: value for name, value in tensors.items() if name not in network.weight_shapes}
