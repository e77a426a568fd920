"""What plots of matrices, spectra, streams, phase planes and whole runs show is what NumPy and the equations say."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.animation import FFMpegWriter
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.quiver import Quiver
from PIL import Image

import ctsigprop as ct

pytestmark = pytest.mark.usefixtures("without_a_screen")

SAMPLES, CLASSES = 4, 3


def network() -> ct.Network:
    return ct.Network([6, 8, 5], CLASSES, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=3.0))


def run(*probes: ct.Probe) -> ct.Solution:
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shown = ct.Presentations(x, np.arange(8) % CLASSES, SAMPLES, epochs=3)
    return ct.simulate(network(), shown, ct.solvers.Euler(dt=0.5), probes=probes)


@pytest.fixture(scope="module")
def sol() -> ct.Solution:
    return run(
        ct.Probe("weights", every=0.5),
        ct.Probe("rates", every=0.5),
        ct.Probe(lambda state: state.t, every=1.0, name="accuracy"),
    )


def image_of(ax: Axes) -> np.ndarray:
    (image,) = (child for child in ax.get_children() if isinstance(child, AxesImage))
    return np.ma.filled(np.ma.masked_invalid(np.asarray(image.get_array(), dtype=float)), np.nan)


def weights(sol: ct.Solution, layer: int) -> np.ndarray:
    sizes = network().sizes
    return np.asarray(sol.dataset["weights"].sel(layer=layer).values[:, : sizes[layer], : sizes[layer - 1]])


def test_a_matrix_is_that_of_the_first_or_last_time_or_their_difference(sol: ct.Solution) -> None:
    values = weights(sol, 2)
    expected = {"before": values[0], "after": values[-1], "difference": values[-1] - values[0]}
    for show, matrix in expected.items():
        np.testing.assert_array_equal(image_of(ct.plot.weight_matrix(sol, 2, show)), matrix)
    with pytest.raises(ValueError, match="show must be one of before, after, difference, got 'change'"):
        ct.plot.weight_matrix(sol, show="change")


def test_each_column_of_the_histogram_counts_every_synapse_once(sol: ct.Solution) -> None:
    ax = ct.plot.weight_histogram(sol, 2, bins=10)
    counts = np.asarray(ax.collections[0].get_array()).reshape(10, -1)
    np.testing.assert_allclose(counts.sum(axis=0), 100.0)
    values = weights(sol, 2)
    edges = np.histogram_bin_edges(values, 10)
    np.testing.assert_allclose(counts[:, -1], 100 * np.histogram(values[-1], edges)[0] / values[-1].size)


def test_norms_and_singular_values_are_numpys_whether_recorded_or_computed(sol: ct.Solution) -> None:
    also = run(ct.Probe("weights", every=0.5, reduce="norm"), ct.Probe("weights", every=0.5, reduce="singular_values"))
    for one in (sol, also):
        lines = ct.plot.norms(one).get_lines()
        for layer, line in zip((1, 2), lines, strict=True):
            found = np.asarray(line.get_ydata(), dtype=float)
            np.testing.assert_allclose(found, np.linalg.norm(weights(sol, layer), axis=(1, 2)), rtol=1e-9)
        lines = ct.plot.singular_values(one, 2, count=3).get_lines()
        assert len(lines) == 3
        expected = np.linalg.svd(weights(sol, 2), compute_uv=False)
        for k, line in enumerate(lines):
            np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), expected[:, k], rtol=1e-9)


def test_the_streams_are_compared_by_the_cosines_of_their_rows(sol: ct.Solution) -> None:
    found = image_of(ct.plot.similarity(sol, 1, count=2))
    rates = sol.dataset["rates"].sel(layer=1).values[-1, :, :8]
    h, z = rates[:SAMPLES], rates[SAMPLES:]
    expected = (h @ z.T) / (np.linalg.norm(h, axis=1)[:, None] * np.linalg.norm(z, axis=1)[None])
    np.testing.assert_allclose(found[:, -CLASSES:], expected, rtol=1e-9)
    one_stream = run(ct.Probe("rates", every=1.0, select={"row": [0, 1]}))
    with pytest.raises(ValueError, match=r"similarity needs rows of both streams: 0 ... 3 .*got \[0, 1\]"):
        ct.plot.similarity(one_stream)


def test_grey_lines_part_the_presentations() -> None:
    ax = ct.plot.rates(run(ct.Probe("rates", every=0.5)))
    (lines,) = (child for child in ax.get_children() if isinstance(child, LineCollection))
    assert [segment[0, 0] for segment in np.asarray(lines.get_segments())] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_trajectories_may_be_of_single_synapses() -> None:
    sol = run(ct.Probe("weights", every=0.5, select={"synapse": ct.Sample(12)}))
    found = [np.asarray(line.get_ydata()) for line in ct.plot.weights(sol, 1).get_lines()[:-1]]
    record = sol.dataset["weights"].sel(layer=1).values
    assert len(found) >= 4
    assert all(any(np.array_equal(line, one) for one in record.T) for line in found)
    assert ct.plot.weight_histogram(sol, 1).get_title()
    with pytest.raises(ValueError, match="a matrix needs Probe"):
        ct.plot.weight_matrix(sol)


def test_a_record_with_dimensions_of_its_own_is_drawn_all_the_same() -> None:
    probes = [ct.Probe("rates", every=1.0, select={"post": [0, 1]}), ct.Probe("weights", every=0.5)]
    sol = run(*probes)
    assert "post_weights" in sol.dataset.dims
    np.testing.assert_array_equal(image_of(ct.plot.weight_matrix(sol, 2)), sol.final["W.2"].numpy())


def oja() -> tuple[ct.Solution, ct.Presentations, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 2)) @ np.array([[1.5, 0.8], [0.0, 0.5]])
    net = ct.Network([2, 1], neuron=ct.Rate(activation="linear"), rule=ct.rules.Oja(rate=0.1), bias=False)
    shown = ct.Presentations(x, None, 50, duration=80.0)
    sol = ct.simulate(net, shown, ct.solvers.Dopri5(), probes=[ct.Probe("weights", every=1.0)], seed=1)
    return sol, shown, x.T @ x / len(x)


def test_the_phase_portrait_of_ojas_rule_is_that_of_its_equation() -> None:
    """With activity at rest, h = w x: dw/dt = rate (C w - (w C w) w)."""
    sol, shown, C = oja()
    ax = ct.plot.phase(sol, shown, "W.1[0, 0]", "W.1[0, 1]", ranges=((-1.5, 1.5), (-1.2, 1.2)), points=7)
    (arrows,) = (child for child in ax.get_children() if isinstance(child, Quiver))
    w = np.stack([arrows.X, arrows.Y], axis=1)
    slope = 0.1 * (w @ C - np.einsum("ki,ij,kj->k", w, C, w)[:, None] * w)
    found = np.stack([arrows.U, arrows.V], axis=1)
    length = np.hypot(slope[:, 0] / 0.5, slope[:, 1] / 0.4)
    moving = length > 1e-6
    np.testing.assert_allclose(found[moving], (slope / np.where(length, length, 1.0)[:, None])[moving], atol=1e-4)
    path = next(line for line in ax.get_lines() if line.get_label() == "the run")
    np.testing.assert_array_equal(path.get_xdata(), sol.dataset["weights"].sel(layer=1, post=0, pre=0).values)


def test_a_phase_portrait_of_activity_is_that_of_the_neuron() -> None:
    sol, shown, _ = oja()
    ax = ct.plot.phase(sol, shown, "r.1[0, 0]", "W.1[0, 0]", ranges=((-2.0, 2.0), (-2.0, 2.0)), points=5)
    (arrows,) = (child for child in ax.get_children() if isinstance(child, Quiver))
    x, w1 = shown.x[shown.order(0)][0].numpy(), float(sol.final["W.1"][0, 1])
    slope = arrows.Y * x[0] + w1 * x[1] - arrows.X
    assert np.all(np.sign(arrows.U) == np.sign(slope))


def test_what_is_no_number_of_the_state_is_refused() -> None:
    sol, shown, _ = oja()
    for name, words in {
        "W.1": "a variable is a tensor",
        "V.1[0]": "a variable is",
        "W.1[0, 2]": r"shape \(1, 2\)",
    }.items():
        with pytest.raises(ValueError, match=words):
            ct.plot.phase(sol, shown, name, "W.1[0, 0]")


@pytest.mark.parametrize(
    "net",
    [
        ct.Network([3, 2], rule=ct.rules.Oja()),
        network(),
        ct.Network([3, 4, 2], 2, signal=ct.FeedbackAlignment(), rule=[None, ct.rules.ContrastiveHebbian()]),
        ct.Network([3, 4, 4, 2], 2, signal=ct.DirectFeedbackAlignment(), rule=ct.rules.ContrastiveHebbian()),
    ],
)
def test_the_diagram_names_layers_rules_and_signal(net: ct.Network) -> None:
    words = "\n".join(text.get_text() for text in ct.plot.diagram(net).texts)
    for layer in net.layers:
        assert f"layer {layer.index}\n{layer.n_post} x Rate" in words
        assert f"W.{layer.index}" in words
        assert ("fixed" if layer.rule is None else type(layer.rule).__name__) in words
    if net.signal is not None:
        assert ("target stream" if isinstance(net.signal, ct.TargetStream) else type(net.signal).__name__) in words


def test_a_summary_is_one_figure_with_a_panel_for_each_record(sol: ct.Solution) -> None:
    figure = ct.plot.summary(sol, layer=2)
    assert isinstance(figure, Figure)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    for words in ("Network", "Learning", "Weights of layer 2", "Distribution", "Norms", "Singular", "Activity"):
        assert any(words in title for title in titles)
    figure.canvas.draw()
    assert len(plt.get_fignums()) == 1
    bare = ct.Solution(sol.dataset[[]], sol.final, sol.stats, sol.status, sol.message)
    with pytest.raises(ValueError, match="recorded nothing that a summary shows"):
        ct.plot.summary(bare)


@pytest.mark.parametrize("shape", [None, (2, 3)])
def test_a_film_has_the_frames_that_were_recorded(
    sol: ct.Solution, tmp_path: Path, shape: tuple[int, int] | None
) -> None:
    path = ct.animate(sol, tmp_path / "deep" / "run.gif", frames=4, shape=shape)
    with Image.open(path) as film:
        assert film.n_frames == 4  # type: ignore[attr-defined]
        pictures = []
        for k in range(4):
            film.seek(k)
            pictures.append(np.asarray(film.convert("RGB"), dtype=float))
    assert all(picture.var() > 1 for picture in pictures)
    assert np.abs(pictures[0] - pictures[-1]).max() > 10
    assert plt.get_fignums() == []


def test_a_film_may_be_a_page_that_plays_by_itself(sol: ct.Solution, tmp_path: Path) -> None:
    page = ct.animate(sol, tmp_path / "run.html", frames=3).read_text()
    assert page.count("data:image/png;base64") == 3
    assert list(tmp_path.iterdir()) == [tmp_path / "run.html"]


def test_mp4_without_ffmpeg_is_refused_with_what_to_do(
    sol: ct.Solution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(RuntimeError, match=r"\.mp4 needs ffmpeg.*or write run.gif or run.html instead"):
        ct.animate(sol, tmp_path / "run.mp4")
    with pytest.raises(ValueError, match=r"unknown film format '.avi'.*known are .gif, .html, .mp4"):
        ct.animate(sol, tmp_path / "run.avi")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="ffmpeg is not installed")
def test_mp4_is_written_where_ffmpeg_is(sol: ct.Solution, tmp_path: Path) -> None:
    assert ct.animate(sol, tmp_path / "run.mp4", frames=3).stat().st_size > 1000
