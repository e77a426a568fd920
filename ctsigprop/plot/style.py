"""What all plots share: the style, and the axes they draw on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, Concatenate, ParamSpec

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba

from ctsigprop.results.solution import Solution

Options = dict[str, Any]
"""Arguments of matplotlib's, by keyword."""
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
"""What matplotlib calls a style, for figures of your own beside ours: `plt.style.use(ct.plot.STYLE)`."""
WRITING = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
BESIDE: dict[str, Options] = {
    "right": {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)},
    "below": {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 4},
}
FEW = 25
"""Times up to which a record is drawn with a mark at each."""
P = ParamSpec("P")


@contextmanager
def look(**more: object) -> Iterator[None]:
    """The common style, and `more` settings, for as long as the context lasts.

    A notebook's backend turns the interactive mode on when it is first used: that outlasts the context.
    """
    settings: Any = {**STYLE, **more}
    with plt.rc_context(settings):
        try:
            yield
        finally:
            interactive = mpl.is_interactive()
    mpl.interactive(interactive)


@contextmanager
def canvas(ax: object, size: tuple[float, float] = (6.4, 4.0)) -> Iterator[Axes]:
    """Given or new axes, inside this module's style; no empty figure is left behind where drawing fails.

    Given axes keep the size of their letters, and what is written beside them has the colour of their labels.
    """
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
    theirs: dict[str, object] = {}
    if isinstance(ax, Axes):
        theirs["font.size"] = mpl.rcParams["font.size"]
        if ink(ax) != to_rgb(mpl.rcParams["axes.labelcolor"]):
            theirs |= dict.fromkeys(WRITING, ink(ax))
    with look(**theirs):
        axes: Axes = ax if isinstance(ax, Axes) else plt.subplots(figsize=size, layout="constrained")[1]
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
        with canvas(ax) as axes:
            draw(axes, sol, *args, **kwargs)
        return axes

    vars(plot)["__signature__"] = as_called(signature(draw))
    return plot


def as_called(drawing: Signature) -> Signature:
    """The signature of a styled function: the axes, first in the source, are the keyword `ax`, and are returned."""
    axes, *rest = drawing.parameters.values()
    ax = axes.replace(kind=Parameter.KEYWORD_ONLY, default=None, annotation=f"{axes.annotation} | None")
    return drawing.replace(parameters=[*rest, ax], return_annotation=axes.annotation)


def ink(ax: Axes) -> tuple[float, float, float]:
    """The colour of writing on these axes."""
    return to_rgb(ax.xaxis.label.get_color())


def paper(ax: Axes) -> tuple[float, float, float]:
    """The colour behind these axes; where nothing is drawn behind, white under dark writing and black under light."""
    for face in (ax.get_facecolor(), ax.figure.get_facecolor()):
        red, green, blue, opacity = to_rgba(face)
        if opacity > 0:
            return red, green, blue
    return (0.0, 0.0, 0.0) if sum(ink(ax)) > 1.5 else (1.0, 1.0, 1.0)


def tint(ax: Axes, share: float, colour: str | None = None) -> tuple[float, float, float]:
    """So much of a colour, by default that of writing, on the colour behind."""
    above = ink(ax) if colour is None else to_rgb(colour)
    red, green, blue = (share * a + (1 - share) * b for a, b in zip(above, paper(ax), strict=True))
    return red, green, blue


def palette(ax: Axes, k: int) -> str | tuple[float, float, float]:
    """Colour number k of lines: the last of COLOURS is that of writing, black or white."""
    k %= len(COLOURS)
    return COLOURS[k] if k < len(COLOURS) - 1 else ink(ax)


def marks(t: np.ndarray) -> str:
    """A mark at each sample of a record where they are few or unevenly spaced; else none, the line says enough."""
    gaps = np.diff(t)
    return "." if len(t) <= FEW or gaps.max() > 1.5 * gaps.min() else ""


def legend(ax: Axes, place: str = "best", title: str | None = None) -> None:
    """The legend: "right" of the axes or "below" them where the figure's layout makes room for it, else inside.

    Inside it is never larger than the axes; what was meant for a place outside then gets a ground of its own.
    """
    figure = ax.get_figure(root=True)
    outside = BESIDE.get(place)
    if outside is not None and figure is not None and figure.get_layout_engine() is not None:
        ax.legend(title=title, fontsize="small", **outside)
        return
    settings: Options = {"title": title, "loc": place}
    size = float(mpl.rcParams["font.size"])
    if outside is not None:
        ground = {"frameon": True, "framealpha": 0.7, "facecolor": paper(ax), "edgecolor": "none"}
        settings |= {"loc": "upper right", "labelspacing": 0.3, **ground}
        size *= 0.8
    box, room = ax.legend(fontsize=size, **settings).get_window_extent(), ax.get_window_extent()
    share = 0.96 * min(room.width / box.width, room.height / box.height)
    if share < 1:
        ax.legend(fontsize=size * share, title_fontsize=size * share, **settings)


def axis_label(array: xr.DataArray) -> str:
    """Long name and unit of an array, for an axis; "1" is the unit of a pure number."""
    unit = array.attrs.get("units", "1")
    return f"{array.attrs.get('long_name', array.name)}" + (f" ({unit})" if unit != "1" else "")


def moment(t: float, unit: str) -> str:
    """A time, for a title."""
    return f"t = {t:g} {unit}"
