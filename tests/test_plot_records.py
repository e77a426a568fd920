"""Whatever two probes recorded together, each plot draws what is there and says by name what is not."""

from __future__ import annotations

import re
from collections.abc import Callable

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.axes import Axes

import ctsigprop as ct
from ctsigprop.plot.summary import choose

pytestmark = pytest.mark.usefixtures("without_a_screen")

CLASSES = 3
NETWORK = ct.Network([4, 5, 6], CLASSES, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
STIMULUS = ct.Presentations(torch.rand(4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(4) % CLASSES, 2)
PROBES = {
    "weights": ct.Probe("weights", every=0.1),
    "weights of layer 2": ct.Probe("weights", every=0.1, layers=[2]),
    "synapses": ct.Probe("weights", every=0.1, select={"synapse": [(0, 1), (2, 3)]}),
    "norms": ct.Probe("weights", every=0.2, reduce="norm"),
    "modes": ct.Probe("weights", every=0.1, reduce="singular_values"),
    "rates": ct.Probe("rates", every=0.1),
    "rates of targets": ct.Probe("rates", every=0.2, select={"row": [3, 4]}),
    "traces of a row": ct.Probe("traces", every=0.1, select={"row": [0]}),
    "spikes of a row": ct.Probe("spikes", every=0.1, select={"row": [1], "post": [0, 2]}),
    "voltages": ct.Probe("voltages", every=0.1, select={"post": [1, 2, 5]}),
}
OTHERS = {
    "norms called weights": ct.Probe("weights", every=0.1, reduce="norm", name="weights"),
    "traces of a target": ct.Probe("traces", every=0.1, select={"row": [3]}),
    "alignment of nothing": ct.Probe(lambda state: [0.0, state.t], every=0.1, name="alignment"),
    "a number called rates": ct.Probe(lambda state: state.t, log_spaced=2, name="rates"),
}
OF_LAYER = ("weights", "rates", "traces", "similarity", "weight_matrix", "weight_histogram", "singular_values")
OF_ROW = ("raster", "voltages")
PLOTS: dict[str, Callable[..., Axes]] = {
    name: getattr(ct.plot, name) for name in (*OF_LAYER, *OF_ROW, "norms", "learning", "alignment")
}


def run(*probes: ct.Probe) -> ct.Solution:
    return ct.simulate(NETWORK, STIMULUS, probes=probes, t_span=(0.0, 0.2))


def panels(sol: ct.Solution, layer: int = 2) -> list[str]:
    """Titles of a summary's panels, drawn on one pair of axes."""
    ax = plt.figure().add_subplot()
    return [draw(ax=ax).get_title() for draw in choose(sol, layer)]


@pytest.mark.parametrize("first", PROBES)
def test_a_summary_draws_the_records_of_every_two_probes(first: str) -> None:
    for second in PROBES:
        if PROBES[first].label != PROBES[second].label:
            titles = panels(run(PROBES[first], PROBES[second]))
            assert len(titles) >= 2, second
            plt.close("all")


@pytest.mark.parametrize("name", OTHERS)
def test_every_plot_draws_or_says_what_it_needs(name: str) -> None:
    """Records of another form under a known name, and layers and rows that are only padding."""
    probes = [OTHERS[name], PROBES["voltages"], PROBES["weights of layer 2"], PROBES["rates of targets"]]
    sol = run(*{probe.label: probe for probe in reversed(probes)}.values())
    panels(sol)
    ax = plt.figure().add_subplot()
    drawn: list[Axes | ValueError] = []
    for plot, draw in PLOTS.items():
        choices = [{"row": 0}, {"row": 3}] if plot in OF_ROW else [{"layer": 1}, {"layer": 2, "row": 3}]
        for choice in choices if plot in (*OF_ROW, "rates", "traces") else [{"layer": 2}] if plot in OF_LAYER else [{}]:
            try:
                drawn.append(draw(sol, ax=ax, **choice))
            except ValueError as refused:
                drawn.append(refused)
    words = "this run recorded|must be one of the recorded|needs|it has dimensions|has dimensions time|this record has"
    assert [error for error in drawn if isinstance(error, ValueError) and not re.search(words, str(error))] == []
    assert any(isinstance(axes, Axes) for axes in drawn)


def test_a_summary_takes_rows_from_the_record_that_it_draws() -> None:
    sol = run(PROBES["weights"], PROBES["traces of a row"], PROBES["rates of targets"], PROBES["spikes of a row"])
    titles = [ax.get_title() for ax in ct.plot.summary(sol).axes]
    assert "Activity of layer 1, target of class 1" in titles
    assert "Presynaptic traces of layer 1, sample 0" in titles
    assert any(title.startswith("Spikes of layer 1, sample 1 (") for title in titles)


def test_a_layer_or_a_row_that_is_only_padding_was_not_recorded() -> None:
    sol = run(PROBES["rates"], PROBES["weights of layer 2"], OTHERS["traces of a target"])
    for plot in (ct.plot.weights, ct.plot.weight_matrix, ct.plot.weight_histogram, ct.plot.traces):
        with pytest.raises(ValueError, match=r"layer must be one of the recorded layers \[2\], got 1"):
            plot(sol, layer=1)


def test_something_else_under_the_name_of_a_record_is_named() -> None:
    sol = run(OTHERS["a number called rates"])
    with pytest.raises(ValueError, match=r"needs 'rates' with a dimension 'layer'.* under that name has time"):
        ct.plot.rates(sol)
