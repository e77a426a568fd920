"""The network as a diagram: who drives whom, and where the learning signal enters."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ctsigprop.layer import Layer
from ctsigprop.network import Network
from ctsigprop.plot.style import COLOURS, canvas
from ctsigprop.signals.target_stream import TargetStream

WIDTH, HEIGHT, GAP = 1.8, 1.1, 2.0
TEXT = 0.21
"""Height of letters, in the units of boxes."""


def diagram(network: Network, ax: Axes | None = None) -> Axes:
    """The network: layers and their neurons, the weights with their rules, and the way of the learning signal.

    Parameters
    ----------
    network : a ct.Network
    ax : Axes to draw on; default new ones

    Raises
    ------
    TypeError : something else than a network
    """
    if not isinstance(network, Network):
        raise TypeError(f"diagram takes a ct.Network, got {type(network).__name__}")
    count = len(network.layers)
    step = WIDTH + GAP
    with canvas(ax, (2.2 + 2.2 * count, 3.2)) as axes:
        axes.set_xlim(-0.3, count * step + WIDTH + 0.3)
        axes.set_ylim(-1.3, 2.4)
        axes.set_aspect("equal")
        box(axes, 0, 0, f"input\n{network.sizes[0]}", "0.92", "0.35")
        for layer in network.layers:
            text = f"layer {layer.index}\n{layer.n_post} x {type(layer.neuron).__name__}\ntau = {layer.neuron.tau:g}"
            box(axes, layer.index * step, 0, text, "white", "black")
            arrow(axes, (layer.index - 1) * step + WIDTH, 0, layer.index * step, 0, COLOURS[0])
            note(axes, layer.index * step - GAP / 2, 0.12, f"W.{layer.index}", rule_of(layer))
        if isinstance(network.signal, TargetStream):
            targets(axes, network, step)
        elif network.signal is not None:
            errors(axes, network, step)
        axes.set(xticks=[], yticks=[], title="Network: drive from left to right")
        axes.spines[:].set_visible(False)
    return axes


def targets(axes: Axes, network: Network, step: float) -> None:
    """The target stream: from the contexts through S into layer 1, then through the same weights."""
    signal = network.signal
    per = f"per {signal.per}" if isinstance(signal, TargetStream) else ""
    box(axes, 0, 1.65, f"targets, {network.n_classes}\n{per}", "#fbe9d9", COLOURS[1])
    arrow(axes, WIDTH, 1.65, step + 0.3, HEIGHT / 2, COLOURS[1])
    note(axes, step - GAP / 2 + 0.45, 1.3, "S", "learned" if network.learns_generator else "fixed", COLOURS[1])
    for i in range(1, len(network.layers)):
        arrow(axes, i * step + WIDTH, -0.3, (i + 1) * step, -0.3, COLOURS[1], "--")
    if len(network.layers) > 1:
        say(axes, step * (1 + len(network.layers)) / 2 + WIDTH / 2, "target stream, through the same weights")


def errors(axes: Axes, network: Network, step: float) -> None:
    """A feedback signal: the error is formed at the top and comes back down."""
    top = len(network.layers)
    name = type(network.signal).__name__
    box(axes, top * step, 1.65, "target\nerror at the top", "#fbe9d9", COLOURS[1])
    arrow(axes, top * step + WIDTH / 2, 1.65 - HEIGHT / 2, top * step + WIDTH / 2, HEIGHT / 2, COLOURS[1])
    direct = name == "DirectFeedbackAlignment"
    for i in range(top - 1, 0, -1):
        start = top if direct else i + 1
        arrow(axes, start * step + 0.3, -HEIGHT / 2, i * step + WIDTH - 0.3, -HEIGHT / 2, COLOURS[1], "--", -0.25)
    say(axes, step * (1 + top) / 2 + WIDTH / 2, f"{name}: errors come back")


def rule_of(layer: Layer) -> str:
    """A rule's name, short."""
    return "fixed" if layer.rule is None else type(layer.rule).__name__


def box(axes: Axes, x: float, y: float, text: str, face: str, edge: str) -> None:
    """A rounded box with its left side at x and its middle at y."""
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch((x, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle=style, facecolor=face, edgecolor=edge))
    axes.text(x + WIDTH / 2, y, text, ha="center", va="center", fontsize=letters(axes))


def arrow(
    axes: Axes, x0: float, y0: float, x1: float, y1: float, colour: str, line: str = "-", bend: float = 0.0
) -> None:
    """An arrow from one point to another."""
    axes.add_patch(
        FancyArrowPatch(
            (x0, y0),
            (x1, y1),
            arrowstyle="-|>",
            mutation_scale=11,
            color=colour,
            linestyle=line,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=1,
            shrinkB=1,
        )
    )


def say(axes: Axes, x: float, text: str) -> None:
    """What the dashed arrows are."""
    axes.text(x, -1.1, text, color=COLOURS[1], ha="center", fontsize=letters(axes))


def note(axes: Axes, x: float, y: float, above: str, below: str, colour: str = COLOURS[0]) -> None:
    """The name of a weight over an arrow, and its rule."""
    axes.text(x, y + 0.24, above, ha="center", fontsize=letters(axes), color=colour)
    axes.text(x, y, below, ha="center", fontsize=0.85 * letters(axes), color=colour)


def letters(axes: Axes) -> float:
    """A font size, in points, that is in proportion to the boxes."""
    figure = axes.get_figure(root=True)
    inches = axes.get_position().width * (figure.get_figwidth() if figure is not None else 6.4)
    left, right = axes.get_xlim()
    return max(3.5, min(11.0, 72 * TEXT * inches / (right - left)))
