"""The network as a diagram: its connections, and where the learning signal enters."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.typing import ColorType

from ctsigprop.model.convolution import Conv2d
from ctsigprop.model.layer import Layer
from ctsigprop.model.network import Network
from ctsigprop.plot.style import COLOURS, canvas, ink, paper, tint
from ctsigprop.rules.base import Rule, Scaled, Sum
from ctsigprop.rules.custom import Custom
from ctsigprop.signals.feedback import DirectFeedbackAlignment
from ctsigprop.signals.target_stream import TargetStream

WIDTH, HEIGHT, GAP = 1.8, 1.1, 2.0
STEP = WIDTH + GAP
TARGETS = 1.65
"""Height of the middle of the box of targets."""
Point = tuple[float, float]
LETTERS, LINES = 0.21, 1.25
"""Height of letters, in the units of boxes, and from line to line, in letters."""


def extent(network: Network) -> tuple[float, float]:
    """Width and height of a network's diagram, in the units of boxes."""
    low, high = heights(network)
    return len(network.layers) * STEP + WIDTH + 0.6, high - low


def heights(network: Network) -> tuple[float, float]:
    """The lower edge, below the deepest arc and what is said of it, and the upper one, above the targets."""
    if network.signal is None:
        return -0.8, 1.2
    return -1.3 - (depth(1, len(network.layers)) if direct(network) else 0.0), 2.4


def diagram(network: Network, ax: Axes | None = None) -> Axes:
    """The network: layers with their neurons, weights with their rules, and the path of the learning signal.

    Parameters
    ----------
    network : a ct.Network
    ax : Axes to draw on; default new ones

    Raises
    ------
    TypeError : the argument is not a network
    """
    if not isinstance(network, Network):
        raise TypeError(f"diagram takes a ct.Network, got {type(network).__name__}")
    width, height = extent(network)
    with canvas(ax, (0.6 * width, 0.6 * height + 0.4)) as axes:
        axes.set_xlim(-0.3, width - 0.3)
        axes.set_ylim(*heights(network))
        axes.set_aspect("equal")
        below = network.structure[0]
        units = " x ".join(map(str, below)) if isinstance(below, tuple) else str(network.sizes[0])
        box(axes, 0, 0, f"input\n{units}", tint(axes, 0.08), tint(axes, 0.65))
        for layer, part in zip(network.layers, network.structure[1:], strict=True):
            box(axes, layer.index * STEP, 0, units_of(layer, part), paper(axes), ink(axes))
            arrow(axes, ((layer.index - 1) * STEP + WIDTH, 0), (layer.index * STEP, 0), COLOURS[0])
            note(axes, layer.index * STEP - GAP / 2, 0.1, f"W.{layer.index}", rule_name(layer.rule))
        if isinstance(network.signal, TargetStream):
            targets(axes, network, network.signal)
        elif network.signal is not None:
            errors(axes, network)
        axes.set(xticks=[], yticks=[], title="Network: drive from left to right")
        axes.spines[:].set_visible(False)
    return axes


def units_of(layer: Layer, spec: object) -> str:
    """Number, units, neuron and time constant of a layer."""
    neuron = type(layer.neuron).__name__
    if not isinstance(spec, Conv2d):
        return f"layer {layer.index}\n{layer.n_post} x {neuron}\ntau = {layer.neuron.tau:g}"
    extent = layer.synapses.described.split(",")[0]
    patch = f"{spec.kernel} x {spec.kernel} patches" + (f", pool {spec.pool}" if spec.pool > 1 else "")
    return f"layer {layer.index}\n{extent} {neuron}\n{patch}\ntau = {layer.neuron.tau:g}"


def rule_name(rule: Rule | None) -> str:
    """A rule's name with those of its parts, one line each."""
    if rule is None:
        return "fixed"
    if isinstance(rule, Sum):
        return " +\n".join(rule_name(part) for part in rule.parts)
    if isinstance(rule, Scaled):
        inside = rule_name(rule.rule)
        return f"{rule.rate:g} x ({inside})" if isinstance(rule.rule, Sum) else f"{rule.rate:g} x {inside}"
    if isinstance(rule, Custom):
        return rule.name
    around = [part for part in vars(rule).values() if isinstance(part, Rule)]
    return type(rule).__name__ + "".join(f"\n({rule_name(part)})" for part in around)


def targets(axes: Axes, network: Network, signal: TargetStream) -> None:
    """The target stream: from the contexts through S into layer 1, then through the same weights."""
    count = len(network.layers)
    orange = tint(axes, 0.15, COLOURS[1])
    box(axes, 0, TARGETS, f"targets, {network.n_classes}\nper {signal.per}", orange, COLOURS[1])
    arrow(axes, (WIDTH, TARGETS), (STEP + 0.3, HEIGHT / 2), COLOURS[1])
    learns = "learned" if network.learns_generator else "fixed"
    note(axes, STEP - GAP / 2 + 0.75, TARGETS - 0.35, "S", learns, COLOURS[1])
    for i in range(1, count):
        arrow(axes, (i * STEP + WIDTH, -0.3), ((i + 1) * STEP, -0.3), COLOURS[1], "--")
    if count > 1:
        say(
            axes,
            STEP * (1 + count) / 2 + WIDTH / 2,
            heights(network)[0] + 0.2,
            "target stream, through the same weights",
        )


def errors(axes: Axes, network: Network) -> None:
    """A feedback signal: the error is formed at the top and comes back down."""
    top = len(network.layers)
    box(axes, top * STEP, TARGETS, "target\nerror at the top", tint(axes, 0.15, COLOURS[1]), COLOURS[1])
    above = top * STEP + WIDTH / 2
    arrow(axes, (above, TARGETS - HEIGHT / 2), (above, HEIGHT / 2), COLOURS[1])
    for i in range(top - 1, 0, -1):
        start = top if direct(network) else i + 1
        x, end = start * STEP + 0.3 + 0.15 * (start - i - 1), i * STEP + WIDTH - 0.3
        arrow(axes, (x, -HEIGHT / 2), (end, -HEIGHT / 2), COLOURS[1], "--", depth(i, start))
    text = f"{type(network.signal).__name__}: errors come back"
    say(axes, STEP * (1 + top) / 2 + WIDTH / 2, heights(network)[0] + 0.2, text)


def direct(network: Network) -> bool:
    """Whether errors go from the top to each layer by a way of their own."""
    return isinstance(network.signal, DirectFeedbackAlignment) and len(network.layers) > 2


def depth(low: int, high: int) -> float:
    """How far the arc from one layer back to another hangs down."""
    return 0.25 + 0.3 * (high - low - 1)


def box(axes: Axes, x: float, y: float, text: str, face: ColorType, edge: ColorType) -> None:
    """A rounded box with its left side at x and its middle at y."""
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch((x, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle=style, facecolor=face, edgecolor=edge))
    write(axes, (x + WIDTH / 2, y), text, ink(axes), (WIDTH - 0.35, HEIGHT - 0.1), "center")


def arrow(axes: Axes, start: Point, end: Point, colour: str, line: str = "-", hang: float = 0.0) -> None:
    """An arrow from one point to another, hanging down in the middle by `hang`."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            color=colour,
            linestyle=line,
            connectionstyle=f"arc3,rad={-2 * hang / abs(end[0] - start[0]) if hang else 0.0}",
            shrinkA=1,
            shrinkB=1,
        )
    )


def say(axes: Axes, x: float, y: float, text: str) -> None:
    """What the dashed arrows are."""
    write(axes, (x, y), text, COLOURS[1], (2 * STEP, 0.3), "center")


def note(axes: Axes, x: float, y: float, above: str, below: str, colour: str = COLOURS[0]) -> None:
    """The name of a weight over an arrow, and its rule."""
    write(axes, (x, y), f"{above}\n{below}", colour, (GAP - 0.35, 0.7), "bottom")


def write(axes: Axes, place: Point, text: str, colour: ColorType, room: tuple[float, float], align: str) -> None:
    """A text no larger than there is room for, in the units of boxes."""
    lines = text.split("\n")
    widest = max(TextPath((0, 0), line, size=1).get_extents().width for line in lines)
    height = min(LETTERS, room[0] / widest, room[1] / (LINES * len(lines)))
    axes.add_artist(Letters(height, place, text, colour, align))


class Letters(Text):
    """A text whose letters have a height in the units of the axes, whatever size these are given."""

    def __init__(self, height: float, place: Point, text: str, colour: ColorType, align: str) -> None:
        super().__init__(*place, text, color=colour, ha="center", va=align, linespacing=LINES)
        self.height = height
        self.set_in_layout(False)

    def draw(self, renderer: RendererBase) -> None:
        if self.axes is not None and self.figure is not None:
            self.set_transform(self.axes.transData)
            (_, low), (_, high) = self.axes.transData.transform([(0.0, 0.0), (0.0, self.height)])
            self.set_fontsize(72 * (high - low) / self.figure.dpi)
        super().draw(renderer)
