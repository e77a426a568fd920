"""Without test data a metric is named after what it is measured on; and what a batch refuses at the door."""

from __future__ import annotations

import re
import warnings
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import ctsigprop as ct

mpl.use("Agg")
DATA = ct.datasets.two_moons(60, seed=0)
SHOWN = ct.Presentations(DATA.x_train, DATA.y_train, 16, epochs=3)
EULER = ct.solvers.Euler(dt=1.0)
SAID = "there is no test=: accuracy is measured on the samples shown in training, and called 'training accuracy'"


def network(rate: float = 2.0) -> ct.Network:
    return ct.Network([2, 6], n_classes=2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=rate))


def build(rate: float) -> ct.Network:
    return network(rate)


BOTH = {"slow": network(0.5), "fast": network(2.0)}


def test_accuracy_on_training_samples_is_called_so_everywhere(tmp_path: Any) -> None:
    with pytest.warns(UserWarning, match=SAID) as caught:
        runs = ct.compare(BOTH, SHOWN, seeds=2, solver=EULER, store=tmp_path / "runs")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    final = ct.simulate(BOTH["fast"], ct.Presentations(DATA.x_train, DATA.y_train, 16, epochs=3, seed=1), EULER, seed=1)
    score = BOTH["fast"].score(final.final, DATA.x_train, DATA.y_train)
    assert runs.runs.query("rule == 'fast' and seed == 1")["training accuracy"].item() == score
    assert runs.metrics == ("training accuracy",)
    assert "training accuracy" in runs.dataset
    assert "accuracy" not in runs.dataset
    for text in (runs.to_markdown(), runs.to_latex(), str(runs), repr(runs), runs._repr_html_()):
        assert "training accuracy" in text
        assert not re.search(r"(?<!training )accuracy", text)
    axes = runs.plot("accuracy")  # whoever asks for the accuracy means the one there is
    assert axes.get_ylabel() == "training accuracy"
    plt.close("all")
    assert ct.Runs.load(tmp_path / "runs").to_markdown() == runs.to_markdown()


def test_a_sweep_does_the_same_and_hopeless_runs_are_found_by_the_plain_name() -> None:
    stop = ct.StopBelow("accuracy", least=1.1, after=0.5)
    with pytest.warns(UserWarning, match="no test=") as caught:
        runs = ct.sweep(build, {"rate": [1.0, 2.0]}, SHOWN, solver=EULER, stop=stop, metrics=["accuracy", "margin"])
    assert len(caught) == 1
    assert {"training accuracy", "training margin"} < set(runs.table)
    assert runs.table["status"].tolist() == ["stopped", "stopped"]


def test_with_test_data_or_metrics_of_ones_own_nothing_is_renamed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ct.compare(BOTH, SHOWN, seeds=1, solver=EULER, test=DATA).metrics == ("accuracy",)
        own = ct.Trial(network(), test=DATA)
        assert ct.compare({"own": own}, SHOWN, seeds=1, solver=EULER).metrics == ("accuracy",)
        size = {"size": lambda state: float(state["W.1"].norm())}
        assert ct.compare(BOTH, SHOWN, seeds=1, solver=EULER, metrics=size).metrics == ("size",)


def test_test_samples_for_some_and_none_for_others_are_refused() -> None:
    with pytest.raises(ValueError, match="on test samples for some networks and on training samples for others"):
        ct.compare({"a": ct.Trial(network(), test=DATA), "b": network()}, SHOWN, seeds=1, solver=EULER)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rte": [1.0]}, "build takes rate, and settings have 'rte', did you mean 'rate'?"),
        ({"rate": [1.0], "units": [3]}, "build takes rate, and settings have 'units'"),
    ],
)
def test_settings_that_build_does_not_take_are_one_error_at_the_start(settings: Any, said: str, tmp_path: Any) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        ct.sweep(build, settings, SHOWN, test=DATA, solver=EULER, store=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_arguments_of_build_that_no_setting_gives_are_one_error_too() -> None:
    def needy(rate: float, units: int, seed: int) -> ct.Network:
        return network(rate)

    with pytest.raises(TypeError, match=r"settings must name every argument of build: needy also needs units"):
        ct.sweep(needy, {"rate": [1.0]}, SHOWN, test=DATA, solver=EULER)


def test_what_build_takes_by_any_name_or_by_default_is_allowed() -> None:
    def open_minded(rate: float, gain: float = 1.0, **others: Any) -> ct.Network:
        return network(rate * gain)

    runs = ct.sweep(open_minded, {"rate": [1.0], "label": ["x"]}, SHOWN, test=DATA, solver=EULER)
    assert runs.table["status"].tolist() == ["completed"]


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, True])
def test_a_number_of_processes_that_makes_no_sense_is_told_with_what_is_allowed(n_jobs: Any, tmp_path: Any) -> None:
    said = f"n_jobs must be an integer >= 1, or -1 for one process per core, got {n_jobs!r}"
    with pytest.raises(ValueError, match=re.escape(said)):
        ct.sweep(build, {"rate": [1.0]}, SHOWN, test=DATA, solver=EULER, n_jobs=n_jobs, store=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
