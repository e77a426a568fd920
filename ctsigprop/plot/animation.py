"""A run as an animation: the weights of a layer as they change."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FFMpegWriter, FuncAnimation, HTMLWriter, PillowWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from ctsigprop.files.paths import local
from ctsigprop.plot.matrices import matrices
from ctsigprop.plot.records import time_of
from ctsigprop.plot.style import axis_label, look, moment
from ctsigprop.plot.synapses import mosaic
from ctsigprop.results.solution import Solution
from ctsigprop.rules.checks import lookup, whole

Writer = type[PillowWriter] | type[HTMLWriter] | type[FFMpegWriter]
WRITERS: dict[str, Writer] = {".gif": PillowWriter, ".html": HTMLWriter, ".mp4": FFMpegWriter}


def animate(
    sol: Solution,
    path: str | Path,
    layer: int = 1,
    shape: tuple[int, int] | None = None,
    frames: int = 60,
    fps: int = 12,
    count: int = 32,
) -> Path:
    """Write an animation of a layer's weights: GIF, HTML5 (one self-contained page with controls) or MP4.

    Parameters
    ----------
    sol : a run with Probe("weights", ...)
    path : where to write. The ending, .gif, .html or .mp4, sets the format; MP4 needs ffmpeg
    layer : int, from 1
    shape : (height, width) of an input image, to draw units as receptive fields; default None, the weight matrix
    frames : int, maximum number of frames, spread evenly over the recorded times
    fps : int, frames per second
    count : int, maximum number of receptive fields

    Returns
    -------
    Path : the file

    Raises
    ------
    ValueError : no weights recorded, an unknown ending, a shape that does not fit
    RuntimeError : MP4 without ffmpeg
    """
    path = local("path", path)
    writer = lookup("film format", path.suffix.lower(), WRITERS)
    whole("frames", frames, 1)
    whole("fps", fps, 1)
    if not writer.isAvailable():
        raise RuntimeError(
            f"{path.suffix} needs ffmpeg, which was not found on this computer: "
            f"install it, or write {path.stem}.gif or {path.stem}.html instead"
        )
    record, values = matrices(sol, layer)
    if shape is not None and shape[0] * shape[1] != values.shape[2]:
        raise ValueError(f"shape must have {values.shape[2]} pixels, the inputs of layer {layer}, got {shape!r}")
    clock = record[time_of(record)].values
    picked = np.unique(np.linspace(0, len(clock) - 1, min(frames, len(clock))).astype(int))
    images = [values[k] if shape is None else mosaic(values[k][:count], shape) for k in picked]
    path.parent.mkdir(parents=True, exist_ok=True)
    with look(**{"animation.embed_limit": 100.0}):
        figure, ax = plt.subplots(figsize=(6.4, 4.2), dpi=100, layout="constrained")
        try:
            bound = float(np.abs(values[picked]).max()) or 1.0
            image = ax.imshow(images[0], cmap="PuOr", vmin=-bound, vmax=bound, interpolation="nearest")
            ax.set_aspect("auto" if shape is None else "equal")
            figure.colorbar(image, ax=ax, label=axis_label(record))
            label_axes(ax, shape is None, axis_label(record["pre"]), axis_label(record["post"]))

            def draw(k: int) -> list[Artist]:
                image.set_data(images[k])
                ax.set_title(f"Weights of layer {layer}, {moment(clock[picked[k]], sol.time_unit)}")
                return [image]

            film = FuncAnimation(figure, draw, frames=len(picked), blit=False)
            page = writer is HTMLWriter
            film.save(str(path), writer=HTMLWriter(fps=fps, embed_frames=True) if page else writer(fps=fps))
        finally:
            plt.close(figure)
    return path


def label_axes(ax: Axes, matrix: bool, across: str, down: str) -> None:
    """Names of the axes of a matrix; neither names nor lines beside receptive fields."""
    if matrix:
        ax.set(xlabel=across, ylabel=down)
    else:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
