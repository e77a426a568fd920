"""What a reader sees: legends on the figure, writing that stands out from its ground, names instead of numbers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import ctsigprop as ct
from ctsigprop.plot.animation import label_axes
from ctsigprop.plot.batches import sweep

pytestmark = pytest.mark.usefixtures("without_a_screen")

R = ct.rules


def deep(count: int, signal: ct.signals.Signal | None = None, rule: R.Rule | None = None) -> ct.Network:
    return ct.Network([64] + [32] * count, 10, signal=signal or ct.TargetStream(), rule=rule or R.ContrastiveHebbian())


NETWORKS = {
    "one layer": ct.Network([3, 2], rule=R.Oja()),
    "sum": deep(2, rule=R.ContrastiveHebbian() + R.WeightDecay(rate=0.001) + 0.5 * R.Scaling()),
    "around": deep(2, rule=R.ThreeFactor(R.ContrastiveHebbian(), tau_e=2.0)),
    "convolution": ct.Network(
        [(1, 8, 8), ct.Conv2d(8, padding=1, pool=2), 512],
        10,
        neuron=ct.AdaptiveLIF(),
        signal=ct.TargetStream(),
        rule=R.Surrogate(),
    ),
    "direct feedback": ct.Network([64, 32, 32, 32, 10], 10, signal=ct.DirectFeedbackAlignment(), rule=R.Hebb()),
    "seven layers": deep(7),
}


@pytest.fixture(scope="module")
def sol() -> ct.Solution:
    x = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    network = ct.Network([8, 12, 6], 3, neuron=ct.LIF(), signal=ct.TargetStream(), rule=R.Surrogate())
    probes = [ct.Probe(what, every=0.1) for what in ("weights", "rates", "traces", "spikes", "voltages")]
    probes.append(ct.Probe(lambda state: state.t, every=0.5, name="accuracy"))
    return ct.simulate(network, ct.Presentations(x, torch.arange(6) % 3, 2, duration=2.0), probes=probes)


PLOTS = ("weights", "rates", "traces", "norms", "singular_values", "learning", "raster", "voltages")
IMAGES = ("weight_matrix", "weight_histogram", "similarity")


@pytest.mark.parametrize("name", PLOTS)
def test_a_legend_stays_within_its_panel_where_the_figure_makes_no_room(name: str, sol: ct.Solution) -> None:
    figure, axes = plt.subplots(2, 2)
    getattr(ct.plot, name)(sol, ax=axes[0, 0])
    figure.canvas.draw()
    legend = axes[0, 0].get_legend()
    if legend is not None:
        box, panel = legend.get_window_extent(), axes[0, 0].get_window_extent()
        assert panel.x0 <= box.x0 < box.x1 <= panel.x1
        assert panel.y0 <= box.y0 < box.y1 <= panel.y1


@pytest.mark.parametrize("name", ["weights", "rates"])
def test_a_legend_stands_beside_its_panel_where_the_layout_makes_room(name: str, sol: ct.Solution) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    getattr(ct.plot, name)(sol, ax=axes[0])
    figure.canvas.draw()
    box = axes[0].get_legend().get_window_extent()
    assert axes[0].get_window_extent().x1 <= box.x0 < box.x1 <= axes[1].get_window_extent().x0


def luminance(colour: np.ndarray) -> float:
    """Relative luminance of sRGB (WCAG 2)."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Contrast ratio (WCAG 2), 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def faint(figure: Figure) -> list[str]:
    """Texts whose colour is hardly another than that of the pixels behind them, as rendered without the texts."""
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    colours = [np.array(to_rgb(text.get_color())) for text in texts]
    for text in texts:
        text.set_alpha(0)
    figure.canvas.draw()
    assert isinstance(figure.canvas, FigureCanvasAgg)
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    found = []
    for text, box, colour in zip(texts, boxes, colours, strict=True):
        top, bottom = int(len(pixels) - box.y1), int(len(pixels) - box.y0)
        behind = pixels[max(top, 0) : bottom, max(int(box.x0), 0) : int(box.x1)].reshape(-1, 3)
        if len(behind) and contrast(colour, np.median(behind, axis=0)) < 3:
            found.append(text.get_text())
    return found


def test_faint_writing_is_found() -> None:
    figure, ax = plt.subplots()
    ax.text(0.5, 0.5, "faint", color="0.8")
    ax.text(0.5, 0.2, "clear", color="0.2")
    assert faint(figure) == ["faint"]


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("name", [*PLOTS, *IMAGES])
def test_writing_and_lines_stand_out_in_light_and_dark(name: str, style: str, sol: ct.Solution) -> None:
    with plt.style.context(style):
        ax = getattr(ct.plot, name)(sol)
        figure = ax.get_figure(root=True)
        assert faint(figure) == []
        paper = np.array(to_rgb(ax.get_facecolor()))
        marked = [line for line in ax.get_lines() if name not in IMAGES]
        assert [line.get_label() for line in marked if contrast(np.array(to_rgb(line.get_color())), paper) < 1.3] == []


@pytest.mark.parametrize("drawn_in", ["default", "dark_background"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_diagram_is_legible_on_dark_axes_in_and_outside_of_their_style(network: str, drawn_in: str) -> None:
    with plt.style.context("dark_background"):
        figure, ax = plt.subplots(figsize=(14, 4))
    with plt.style.context(drawn_in):
        ct.plot.diagram(NETWORKS[network], ax=ax)
        assert faint(figure) == []


def texts_of(ax: Axes) -> dict[str, Bbox]:
    """Where each text of a diagram stands, in pixels, once drawn."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    return {f"{k}: {text.get_text()}": text.get_window_extent() for k, text in enumerate(ax.texts)}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "one of three"])
@pytest.mark.parametrize("network", NETWORKS)
def test_no_two_texts_of_a_diagram_meet_and_none_is_cut(network: str, alone: bool) -> None:
    ax = ct.plot.diagram(NETWORKS[network], ax=None if alone else plt.subplots(1, 3, figsize=(14, 4))[1][1])
    places = list(texts_of(ax).items())
    panel = ax.get_window_extent()
    for k, (text, box) in enumerate(places):
        assert panel.x0 <= box.x0 < box.x1 <= panel.x1, text
        assert panel.y0 <= box.y0 < box.y1 <= panel.y1, text
        assert [other for other, there in places[:k] if box.overlaps(there)] == [], text


@pytest.mark.parametrize("network", NETWORKS)
def test_no_arrow_of_a_diagram_is_cut(network: str) -> None:
    ax = ct.plot.diagram(NETWORKS[network])
    texts_of(ax)
    panel = ax.get_window_extent()
    for patch in ax.patches:
        box = patch.get_path().get_extents(patch.get_transform())  # a curve, not its control points
        assert panel.x0 <= box.x0 < box.x1 <= panel.x1
        assert panel.y0 <= box.y0 < box.y1 <= panel.y1


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("sum", "W.1\nContrastiveHebbian +\nWeightDecay +\n0.5 x Scaling"),
        ("around", "W.2\nThreeFactor\n(ContrastiveHebbian)"),
        ("convolution", "layer 1\n8 x 8 x 8 AdaptiveLIF\n3 x 3 patches, pool 2\ntau = 1"),
        ("convolution", "input\n1 x 8 x 8"),
        ("convolution", "layer 2\n512 x AdaptiveLIF\ntau = 1"),
    ],
)
def test_a_diagram_spells_out_sums_of_rules_and_convolutions(network: str, words: str) -> None:
    assert words in [text.get_text() for text in ct.plot.diagram(NETWORKS[network]).texts]


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_the_diagram_in_a_summary_is_large_enough_to_read(count: int, sol: ct.Solution) -> None:
    record = sol.dataset[["accuracy"]]
    run = ct.Solution(record, sol.final, sol.stats, sol.status, sol.message, deep(count))
    figure = ct.plot.summary(run)
    figure.canvas.draw()
    assert min(float(text.get_fontsize()) for text in figure.axes[0].texts) >= 6


def test_a_summary_of_a_spiking_run_shows_its_spikes_and_potentials(sol: ct.Solution) -> None:
    titles = " ".join(ax.get_title() for ax in ct.plot.summary(sol).axes)
    assert "Spikes of layer 1, sample 0" in titles
    assert "Potentials of layer 1, sample 0" in titles


def test_a_row_is_called_by_what_it_holds(sol: ct.Solution) -> None:
    """Two samples a batch, then three classes."""
    for row, words in {0: "sample 0", 1: "sample 1", 2: "target of class 0", 4: "target of class 2"}.items():
        for plot in (ct.plot.rates, ct.plot.raster, ct.plot.voltages):
            assert words in plot(sol, row=row).get_title()
    network = ct.Network([8, 4], 3, signal=ct.TargetStream(per="sample"), rule=R.ContrastiveHebbian())
    stimulus = ct.Presentations(torch.rand(4, 8), torch.arange(4) % 3, 2)
    run = ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.0), probes=[ct.Probe("rates", every=1.0)])
    assert ct.plot.rates(run, row=3).get_title() == "Activity of layer 1, target of sample 1"
    total = int(sol.dataset["spikes"].sel(layer=1, row=0).sum())
    assert ct.plot.raster(sol).get_title() == f"Spikes of layer 1, sample 0 ({total} spikes)"


@pytest.mark.parametrize(("threshold", "neuron"), [(0.7, ct.LIF(threshold=0.7)), (None, ct.Izhikevich())])
def test_potentials_are_drawn_with_the_threshold_of_their_neuron(threshold: float | None, neuron: ct.LIF) -> None:
    network = ct.Network([3, 2], neuron=neuron, bias=False)
    stimulus = ct.Presentations(torch.rand(2, 3), None, 2, duration=1.0)
    sol = ct.simulate(network, stimulus, probes=[ct.Probe("voltages", every=0.1)])
    ax = ct.plot.voltages(sol, count=1)
    dotted = [float(np.asarray(line.get_ydata())[0]) for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert dotted == ([] if threshold is None else [threshold])


def synapses(pre: int, probe: ct.Probe) -> ct.Solution:
    network = ct.Network([pre, 1], neuron=ct.Rate(activation="linear"), rule=R.Oja(), bias=False)
    stimulus = ct.Presentations(torch.rand(4, pre), None, 4, duration=4.0)
    return ct.simulate(network, stimulus, ct.solvers.Euler(dt=0.05), probes=[probe])


def test_neither_percentiles_nor_a_median_are_drawn_of_few_synapses() -> None:
    """5 % of fewer than twenty is not one of them."""
    for pre, shown in ((2, False), (19, False), (20, True)):
        sol = synapses(pre, ct.Probe("weights", every=0.05))
        legend = ct.plot.weights(sol).get_legend()
        assert legend is not None
        assert ("5 to 95 % of all" in [text.get_text() for text in legend.get_texts()]) is shown
        assert bool(ct.plot.weights(sol).collections) is shown
        assert bool(ct.plot.weight_histogram(sol).get_lines()) is shown


@pytest.mark.parametrize(
    ("probe", "marked"),
    [
        (ct.Probe("weights", every=0.05), False),
        (ct.Probe("weights", every=0.5), True),
        (ct.Probe("weights", log_spaced=60), True),
        (ct.Probe("weights", times=[0.0, 1.0, 1.5, 4.0]), True),
    ],
)
def test_few_or_unevenly_spaced_samples_are_marked(probe: ct.Probe, marked: bool) -> None:
    sol = synapses(3, probe)
    for plot in (ct.plot.weights, ct.plot.norms, ct.plot.singular_values):
        assert all((line.get_marker() == ".") is marked for line in plot(sol).get_lines())


def test_a_heat_map_says_its_numbers_with_digits_that_tell_them_apart() -> None:
    values = {(0.25, 3.0): 0.9631, (0.25, 10.0): 0.9644, (4.0, 3.0): 0.9652, (4.0, 10.0): 0.9667}
    runs = pd.DataFrame([{"rate": a, "beta": b, "accuracy": v, "status": "completed"} for (a, b), v in values.items()])
    ax = sweep(runs, "accuracy", ["rate", "beta"])
    assert sorted(text.get_text() for text in ax.texts) == ["0.9631", "0.9644", "0.9652", "0.9667"]
    figure = ax.get_figure(root=True)
    assert figure is not None
    assert faint(figure) == []


def test_a_film_of_receptive_fields_has_no_lines_beside_them() -> None:
    ax = plt.subplots()[1]
    label_axes(ax, False, "across", "down")
    assert not any(spine.get_visible() for spine in ax.spines.values())


def test_our_style_is_one_of_matplotlibs() -> None:
    plt.style.use(ct.plot.STYLE)
    (line,) = plt.subplots()[1].plot([0, 1])
    assert line.get_color() == ct.plot.STYLE["axes.prop_cycle"].by_key()["color"][0] == "#0072B2"
