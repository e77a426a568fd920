"""What a notebook shows says what there is, as well-formed HTML; the bar says how far the run is and how good."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import ctsigprop as ct


class Words(HTMLParser):
    """All text of a page, and a check that every tag is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def network() -> ct.Network:
    rule = ct.rules.ContrastiveHebbian(rate=3.0)
    return ct.Network([4, 5, 3], 3, neuron=ct.Rate(tau=2.0), signal=ct.TargetStream(), rule=[rule, None])


def simulated(*probes: ct.Probe, progress: bool = False) -> ct.Solution:
    x = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    shown = ct.Presentations(x, np.arange(4) % 3, 2, epochs=3)
    return ct.simulate(network(), shown, ct.solvers.Euler(dt=0.5), probes=probes, progress=progress)


def test_a_network_is_a_table_of_its_layers() -> None:
    words = Words(network()._repr_html_()).words
    for expected in (
        "4 to 5",
        "5 to 3",
        "2",
        "fixed",
        "25",
        "18",
        "ContrastiveHebbian(rate=3.0, decay=0.0, traces=True)",
    ):
        assert expected in words
    assert any("S 5 x 3" in word for word in words)


def test_a_state_is_a_table_of_its_tensors() -> None:
    state = network().initial_state(seed=1)
    words = Words(state._repr_html_()).words
    assert {"W.1", "5 x 4", "S", "b.2", "float32"} <= set(words)
    assert f"{float(state['W.1'].min()):.4g}" in words


def test_a_solution_shows_status_statistics_and_a_picture_of_its_weights() -> None:
    before = plt.get_fignums()
    page = simulated(ct.Probe("weights", every=1.0), ct.Probe(lambda state: state.t, 1.0, name="a<b"))._repr_html_()
    words = Words(page).words
    assert {"The simulation reached its end.", "steps", "12", "weights", "a<b"} <= set(words)
    found = re.search(r"data:image/png;base64,([^\"]+)", page)
    assert found is not None
    assert plt.imread(io.BytesIO(base64.b64decode(found[1]))).var() > 1e-3
    assert plt.get_fignums() == before


def test_a_solution_of_nothing_says_so() -> None:
    page = simulated()._repr_html_()
    assert any("nothing was recorded" in word for word in Words(page).words)
    assert "<img" not in page


def test_a_loaded_and_an_unfinished_solution_are_shown_too(tmp_path: Path) -> None:
    back = ct.load(simulated(ct.Probe("weights", every=1.0)).save(tmp_path / "run"))
    assert "<img" in back._repr_html_()
    Words(ct.Solution(back.dataset, ct.State({}), {"solver": "x"}, ct.Status.UNFINISHED, "still")._repr_html_())


def test_the_bar_shows_simulated_time_speed_and_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    simulated(ct.Probe(lambda state: 0.25 + state.t / 10, every=1.0, name="accuracy"), progress=True)
    last = capsys.readouterr().err.split("\r")[-1]
    assert re.search(r"100% .* 6/6 units of time simulated \[.*units of time/s, accuracy 0\.850\]", last)
    simulated(ct.Probe(lambda state: state.t, every=1.0, name="other"), progress=True)
    assert "accuracy" not in capsys.readouterr().err
