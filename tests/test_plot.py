"""Each plot returns Axes, draws on the ones it is given, shows what was recorded, and leaves matplotlib as it was."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.image import AxesImage

import ctsigprop as ct
from ctsigprop.plot.style import COLOURS, look

pytestmark = pytest.mark.usefixtures("without_a_screen")

Plot = Callable[..., Axes]


def network() -> ct.Network:
    return ct.Network([6, 12, 4], 3, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=3.0))


def stimulus() -> ct.Presentations:
    x, y = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    return ct.Presentations(x, y, 2, epochs=2)


def simulated() -> ct.Solution:
    net, shown = network(), stimulus()
    x = shown.x
    probes = [
        ct.Probe("weights", every=0.5),
        ct.Probe("rates", every=0.25),
        ct.Probe("traces", every=0.25),
        ct.Probe(lambda state: float(state.t) ** 2, every=1.0, name="accuracy"),
        ct.Probe(lambda state: 10 - float(state.t), every=1.0, name="loss"),
        ct.Probe(lambda state: ct.alignment(state, x, torch.arange(6) % 3, net), every=2.0, name="alignment"),
    ]
    return ct.simulate(net, shown, ct.solvers.Euler(dt=0.25), probes=probes)


@pytest.fixture(scope="module")
def sol() -> ct.Solution:
    return simulated()


def mosaic(sol: ct.Solution, **settings: Any) -> Axes:
    return ct.plot.receptive_fields(sol, (2, 3), **settings)


def portrait(sol: ct.Solution, **settings: Any) -> Axes:
    """Of a run in memory: what was loaded has no network."""
    here = sol if sol.network is not None else ct.Solution(sol.dataset, sol.final, sol.stats, sol.status, "", network())
    return ct.plot.phase(here, stimulus(), "W.2[0, 1]", "W.2[3, 2]", points=9, **settings)


def drawing(sol: ct.Solution, **settings: Any) -> Axes:
    return ct.plot.diagram(sol.network or network(), **settings)


PLOTS: dict[str, Plot] = {
    "weights": ct.plot.weights,
    "rates": ct.plot.rates,
    "traces": ct.plot.traces,
    "similarity": ct.plot.similarity,
    "learning": ct.plot.learning,
    "alignment": ct.plot.alignment,
    "receptive_fields": mosaic,
    "weight_matrix": ct.plot.weight_matrix,
    "weight_histogram": ct.plot.weight_histogram,
    "norms": ct.plot.norms,
    "singular_values": ct.plot.singular_values,
    "phase": portrait,
    "diagram": drawing,
}
CURVES = [name for name in PLOTS if name not in ("receptive_fields", "phase", "diagram")]
TIME = "simulated time (tau)"
LABELS = {  # of x, of y, and of the colour bar
    "weights": (TIME, "synaptic weight", ""),
    "rates": (TIME, "activity", ""),
    "traces": (TIME, "presynaptic trace", ""),
    "similarity": (f"targets of classes, at each {TIME}", "sample of the batch", "cosine"),
    "learning": (TIME, "accuracy", ""),
    "alignment": (TIME, "cosine with minus the gradient", ""),
    "receptive_fields": ("", "", "synaptic weight"),
    "weight_matrix": ("presynaptic unit", "postsynaptic unit", "synaptic weight"),
    "weight_histogram": (TIME, "synaptic weight", "synapses per bin (%)"),
    "norms": (TIME, "norm of the synaptic weight", ""),
    "singular_values": (TIME, "singular value", ""),
    "phase": ("W.2[0, 1]", "W.2[3, 2]", "log10 of the speed (1 / tau)"),
    "diagram": ("", "", ""),
}


def pixels(ax: Axes) -> np.ndarray:
    figure = ax.get_figure(root=True)
    assert figure is not None
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=50)
    out.seek(0)
    return np.asarray(plt.imread(out))


def curves(ax: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()}


def test_every_plot_of_the_module_is_covered_here() -> None:
    own = {
        name
        for name, value in vars(ct.plot).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "").startswith("ctsigprop.plot.")
        and value.__module__ != "ctsigprop.plot.batches"  # of tables of runs, tested with them
        and "Axes to draw on" in (value.__doc__ or "")
    }
    assert own - {"raster", "voltages", "stdp_window"} == set(PLOTS)  # these have a file of their own


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_makes_its_own_axes_and_its_picture_is_not_blank(name: str, sol: ct.Solution) -> None:
    plt.figure()
    before = plt.get_fignums()
    ax = PLOTS[name](sol)
    assert isinstance(ax, Axes)
    assert len(plt.get_fignums()) == len(before) + 1
    image = pixels(ax)
    assert image.var() > 1e-3
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 5


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_on_no_other(name: str, sol: ct.Solution) -> None:
    figure, (left, right) = plt.subplots(1, 2)
    blank = np.asarray(right.get_children())
    assert PLOTS[name](sol, ax=right) is right
    assert plt.get_fignums() == [figure.number]
    assert len(left.get_lines()) + len(left.images) + len(left.collections) == 0
    assert len(right.get_children()) > len(blank)


@pytest.mark.parametrize("name", PLOTS)
def test_axes_are_labelled_and_titled(name: str, sol: ct.Solution) -> None:
    ax = PLOTS[name](sol)
    assert ax.get_title()
    figure = ax.get_figure(root=True)
    assert figure is not None
    bars = [other.get_ylabel() for other in figure.axes if other is not ax]
    assert (ax.get_xlabel(), ax.get_ylabel(), *(bars or [""])) == LABELS[name]


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_leaves_the_global_settings_alone(name: str, sol: ct.Solution) -> None:
    mpl.rcParams["lines.linewidth"] = 7.5
    mpl.rcParams["font.size"] = 23
    before, backend, random = dict(mpl.rcParams), mpl.get_backend(), np.random.get_state(legacy=False)
    PLOTS[name](sol)
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend() == backend
    np.testing.assert_equal(np.random.get_state(legacy=False), random)


@pytest.mark.parametrize("name", CURVES)
def test_a_plot_that_fails_leaves_the_global_settings_alone(name: str, sol: ct.Solution) -> None:
    empty = ct.Solution(sol.dataset[[]], sol.final, sol.stats, sol.status, sol.message)
    before = dict(mpl.rcParams)
    with pytest.raises(ValueError, match="this run recorded nothing"):
        PLOTS[name](empty)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", CURVES)
def test_a_plot_that_fails_leaves_no_empty_figure_behind(name: str, sol: ct.Solution) -> None:
    empty = ct.Solution(sol.dataset[[]], sol.final, sol.stats, sol.status, sol.message)
    with pytest.raises(ValueError, match="this run recorded nothing"):
        PLOTS[name](empty)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_changes_nothing_in_the_solution(name: str, sol: ct.Solution) -> None:
    before = sol.dataset.copy(deep=True)
    PLOTS[name](sol)
    assert sol.dataset.identical(before)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_of_a_loaded_solution_is_the_same_picture(
    name: str, sol: ct.Solution, tmp_path_factory: pytest.TempPathFactory
) -> None:
    back = ct.load(sol.save(tmp_path_factory.mktemp("saved") / "run"))
    np.testing.assert_array_equal(pixels(PLOTS[name](back)), pixels(PLOTS[name](sol)))


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_drawn_without_a_warning(name: str, sol: ct.Solution) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels(PLOTS[name](sol))


def test_what_a_backend_turns_on_when_it_is_first_used_stays_on() -> None:
    """A notebook's backend turns the interactive mode on: undone, no later cell would show its figure."""
    try:
        with look():
            mpl.interactive(True)
        assert mpl.is_interactive()
    finally:
        mpl.interactive(False)


def test_weight_curves_are_the_recorded_weights(sol: ct.Solution) -> None:
    ax = ct.plot.weights(sol, layer=2, count=8)
    record = sol.dataset["weights"].sel(layer=2, post=slice(0, 3)).values
    everything = record.reshape(len(record), -1)
    found = curves(ax)
    np.testing.assert_allclose(found.pop("median of all"), np.median(everything, axis=1), rtol=1e-6)
    assert 1 <= len(found) <= 8
    for line in found.values():
        assert any(np.array_equal(line, column) for column in everything.T)
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), sol.dataset["time"].values)


def test_weight_curves_have_the_colour_of_their_unit(sol: ct.Solution) -> None:
    ax = ct.plot.weights(sol, layer=1, count=40)
    unit_of = {to_hex(o.get_color()): o.get_label() for o in ax.get_lines() if str(o.get_label()).startswith("unit")}
    record = sol.dataset["weights"].sel(layer=1).values[:, :, :6]
    for line in ax.get_lines()[:-1]:
        values = np.asarray(line.get_ydata())
        (unit,) = {k for k in range(12) if any(np.array_equal(values, record[:, k, j]) for j in range(6))}
        assert unit_of[to_hex(line.get_color())] == f"unit {unit}"


def test_the_sample_of_synapses_is_decided_by_the_seed(sol: ct.Solution) -> None:
    first, again, other = (pixels(ct.plot.weights(sol, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_activity_curves_are_the_recorded_rates(sol: ct.Solution) -> None:
    ax = ct.plot.rates(sol, layer=1, row=1, count=3)
    record = sol.dataset["rates"].sel(layer=1, row=1)
    found = curves(ax)
    assert len(found) == 3
    for label, line in found.items():
        np.testing.assert_array_equal(line, record.sel(post=int(label.removeprefix("unit "))).values)


def test_activity_of_a_row_that_was_not_recorded_is_refused(sol: ct.Solution) -> None:
    with pytest.raises(ValueError, match=r"row must be one of the recorded rows \[0, 1, 2, 3, 4\], got 9"):
        ct.plot.rates(sol, row=9)


def test_learning_curves_are_the_recorded_numbers(sol: ct.Solution) -> None:
    ax = ct.plot.learning(sol, ["accuracy", "loss"])
    for name, line in curves(ax).items():
        np.testing.assert_array_equal(line, sol.dataset[name].values)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["accuracy", "loss"]


def test_alignment_curves_are_the_recorded_cosines(sol: ct.Solution) -> None:
    found = curves(ct.plot.alignment(sol))
    for layer in (1, 2):
        np.testing.assert_array_equal(found[f"layer {layer}"], sol.dataset["alignment"].sel(layer=layer).values)
    for line, again in zip(found.values(), curves(ct.plot.alignment(sol.dataset["alignment"])).values(), strict=True):
        np.testing.assert_array_equal(line, again)


def test_receptive_fields_are_the_weights_in_rows_of_pictures(sol: ct.Solution) -> None:
    weight = sol.final["W.1"].numpy()
    for given in (sol, sol.final):
        ax = ct.plot.receptive_fields(given, (2, 3))
        (image,) = (child for child in ax.get_children() if isinstance(child, AxesImage))
        canvas = np.ma.filled(np.ma.masked_invalid(np.asarray(image.get_array(), dtype=float)), np.nan)
        columns = (canvas.shape[1] + 1) // 4
        for k, field in enumerate(weight):
            top, left = 3 * (k // columns), 4 * (k % columns)
            np.testing.assert_array_equal(canvas[top : top + 2, left : left + 3], field.reshape(2, 3))
        assert np.isfinite(canvas).sum() == weight.size
        low, high = image.get_clim()
        assert (-low, high) == pytest.approx((np.abs(weight).max(),) * 2)


def test_seven_colours_of_the_palette_are_told_apart() -> None:
    assert len(set(COLOURS)) == 7
