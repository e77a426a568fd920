"""Comparing rules: each run is the run that `simulate` makes, budgets are the same for all, labels stay outside."""

from __future__ import annotations

import re
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

import ctsigprop as ct
from ctsigprop.batch.job import reseeded
from ctsigprop.batch.measures import as_test, without_rows

mpl.use("Agg")
DATA = ct.datasets.two_moons(200, seed=0)
SHOWN = ct.Presentations(DATA.x_train, DATA.y_train, 32, epochs=3)
EULER = ct.solvers.Euler(dt=1.0)


def network(rate: float = 2.0, **signal: Any) -> ct.Network:
    rule = ct.rules.ContrastiveHebbian(rate=rate)
    return ct.Network([2, 10, 10], n_classes=2, signal=ct.TargetStream(**signal), rule=rule)


def backprop(rate: float = 1.0) -> ct.Network:
    return ct.Network([2, 10, 2], n_classes=2, signal=ct.Backprop(), rule=ct.rules.ContrastiveHebbian(rate=rate))


BOTH = {"sigprop": network(), "backprop": backprop()}


@pytest.fixture(scope="module")
def runs() -> ct.Runs:
    return ct.compare(BOTH, SHOWN, seeds=4, test=DATA, metrics=["accuracy", "margin"], solver=EULER)


def rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples())


def directly(net: ct.Network, seed: int, stimulus: ct.Presentations = SHOWN) -> ct.Solution:
    order = ct.Presentations(stimulus.x, stimulus.y, stimulus.batch_size, epochs=stimulus.epochs, seed=seed)
    return ct.simulate(net, order, EULER, seed=seed)


def test_every_run_is_the_one_that_simulate_makes(runs: ct.Runs) -> None:
    assert len(runs.runs) == 8
    for row in rows(runs.runs):
        sol = directly(BOTH[row.rule], row.seed)
        assert row.accuracy == BOTH[row.rule].score(sol.final, DATA.x_test, DATA.y_test)
        assert row.rhs_evaluations == sol.stats["rhs_evaluations"]
        assert row.status == "completed"


def test_the_table_has_means_of_the_runs_with_intervals_and_costs(runs: ct.Runs) -> None:
    table = runs.table
    assert table.index.tolist() == ["sigprop", "backprop"]
    for name, part in runs.runs.groupby("rule"):
        row: Any = table.loc[str(name)]
        assert row["mean"] == pytest.approx(part["accuracy"].mean())
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["rhs_evaluations"] == part["rhs_evaluations"].mean()
        assert row["seeds"] == 4
        assert row["seconds"] > 0
        assert not row["megabytes"] < 100  # or unknown


def test_differences_are_those_of_pairs_that_share_a_seed(runs: ct.Runs) -> None:
    wide = runs.runs.pivot(index="seed", columns="rule", values="margin")
    found = runs.differences("margin")
    assert found["difference"].item() == pytest.approx((wide["sigprop"] - wide["backprop"]).mean())
    assert found["pairs"].item() == 4
    with_reference = ct.compare(BOTH, SHOWN, seeds=3, test=DATA, solver=EULER, reference="backprop").table
    assert with_reference["difference"].isna().tolist() == [False, True]
    assert with_reference["p_holm"].between(0, 1).tolist() == [True, False]


def test_a_rule_does_not_differ_from_itself() -> None:
    runs = ct.compare({"a": network(), "b": network()}, SHOWN, seeds=3, test=DATA, solver=EULER)
    assert runs.differences()[["difference", "p"]].to_numpy().tolist() == [[0.0, 1.0]]
    assert runs.dataset.accuracy.sel(rule="a").equals(runs.dataset.accuracy.sel(rule="b").assign_coords(rule="a"))


def test_the_learning_curves_are_labelled_and_end_where_the_table_says(runs: ct.Runs) -> None:
    data = runs.dataset
    assert data.accuracy.dims == ("rule", "seed", "presentation")
    assert data.presentation.values.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 15]
    for row in rows(runs.runs):
        assert data.margin.sel(rule=row.rule, seed=row.seed)[-1].item() == row.margin
    sol = ct.simulate(network(), SHOWN, EULER, t_span=(0, 8), seed=0)
    assert data.accuracy.sel(rule="sigprop", seed=0, presentation=8).item() == network().score(
        sol.final, DATA.x_test, DATA.y_test
    )


def test_printed_tables_hold_every_rule_and_pair(runs: ct.Runs) -> None:
    lines = [line for line in runs.to_markdown().splitlines() if line]
    assert {line.count("|") for line in lines[:4]} == {7}
    assert re.search(r"\| sigprop \| 0\.\d{4} \[0\.\d{4}, 0\.\d{4}\] \| 4 \| \d+ \|", runs.to_markdown())
    assert "| sigprop - backprop |" in runs.to_markdown()
    assert runs.to_latex().count(r"\toprule") == 2
    assert "95 \\%" in runs.to_latex()
    assert runs._repr_html_().count("<table") == 2
    assert "sigprop - backprop" in str(runs)
    assert repr(runs) == "Runs(8 completed; settings: rule; metrics: accuracy, margin)"


def test_the_plot_has_a_line_and_a_band_for_each_rule(runs: ct.Runs) -> None:
    ax = runs.plot("margin")
    assert ax.get_ylabel() == "margin"
    assert ax.get_xlabel() == "presentations"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sigprop", "backprop"]  # type: ignore[union-attr]
    for name, line in zip(BOTH, ax.lines, strict=True):
        wanted = runs.dataset.margin.sel(rule=name).mean("seed")
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), wanted)
    assert len(ax.collections) == 2
    assert runs.plot(x="seconds").get_xlabel() == "wall time (s)"
    plt.close("all")


def test_every_seed_has_input_spikes_of_its_own() -> None:
    data = ct.datasets.digits(seed=0)
    shown = ct.Presentations(data.x_train[:40], data.y_train[:40], 20, encoder=ct.Poisson(rate=5.0), shuffle=False)
    first, second = reseeded(shown, 1), reseeded(shown, 2)
    assert isinstance(first, ct.Presentations)
    assert isinstance(second, ct.Presentations)
    assert first.encoder == ct.Poisson(rate=5.0, seed=1)
    assert second.encoder == ct.Poisson(rate=5.0, seed=2)
    assert shown.encoder == ct.Poisson(rate=5.0)


def test_a_budget_of_evaluations_stops_every_run_before_it_is_overdrawn() -> None:
    solvers = {"cheap": EULER, "dear": ct.solvers.RK4(dt=1.0)}
    trials = {name: ct.Trial(network(), solver=solver) for name, solver in solvers.items()}
    runs = ct.compare(trials, SHOWN, seeds=2, test=DATA, every=1, budget=("rhs", 10))
    for row in rows(runs.runs):
        per_presentation = 1 if row.rule == "cheap" else 4
        assert row.rhs_evaluations == 10 // per_presentation * per_presentation
        assert "budget" in row.message


def test_a_budget_of_seconds_that_is_nothing_leaves_the_network_as_it_was() -> None:
    runs = ct.compare({"a": network()}, SHOWN, seeds=1, test=DATA, solver=EULER, budget=("seconds", 1e-9))
    row = rows(runs.runs)[0]
    untaught = network().initial_state(0, 32)
    assert (row.status, row.rhs_evaluations) == ("completed", 0)
    assert row.accuracy == network().score(untaught, DATA.x_test, DATA.y_test)


def test_a_budget_without_amount_is_what_the_cheapest_needs() -> None:
    solvers = {"cheap": EULER, "dear": ct.solvers.RK4(dt=1.0)}
    trials = {name: ct.Trial(network(), solver=solver) for name, solver in solvers.items()}
    runs = ct.compare(trials, SHOWN, seeds=2, test=DATA, every=1, budget="rhs")
    assert (runs.costs.query("rule == 'cheap'")["rhs_evaluations"] == 15).all()
    dear = runs.runs.query("rule == 'dear'")
    at = runs.dataset.accuracy.sel(rule="dear", presentation=3).values
    assert dear["accuracy"].tolist() == at.tolist()
    assert (runs.costs.query("rule == 'dear'")["rhs_evaluations"] == 12).all()


def test_stimuli_of_different_length_are_no_equal_budget_of_presentations() -> None:
    longer = ct.Presentations(DATA.x_train, DATA.y_train, 32, epochs=4)
    with pytest.raises(ValueError, match=r"must be shown as many, got a 15 of 32 samples, b 20 of 32 samples"):
        ct.compare({"a": network(), "b": (network(), longer)}, SHOWN, seeds=2, test=DATA, solver=EULER)


def test_a_function_of_the_seed_draws_data_for_every_seed() -> None:
    def data(seed: int) -> ct.datasets.Dataset:
        return ct.datasets.two_moons(100, seed=seed)

    def shown(seed: int) -> ct.Presentations:
        return ct.Presentations(data(seed).x_train, data(seed).y_train, 32, epochs=2, seed=seed)

    runs = ct.compare({"a": network()}, shown, seeds=[3, 5], test=data, solver=EULER)
    for row in rows(runs.runs):
        final = ct.simulate(network(), shown(row.seed), EULER, seed=row.seed).final
        assert row.accuracy == network().score(final, data(row.seed).x_test, data(row.seed).y_test)


def test_runs_that_diverge_are_counted_and_left_out_of_the_mean() -> None:
    wild = ct.Network(
        [2, 10, 10],
        n_classes=2,
        neuron=ct.Rate(activation="linear"),
        signal=ct.TargetStream(contrast=ct.rules.DotProduct(beta=1.0)),
        rule=ct.rules.ContrastiveHebbian(rate=1e12),
    )
    runs = ct.compare({"tame": network(), "wild": wild}, SHOWN, seeds=2, test=DATA, solver=EULER)
    table = runs.table
    assert table["failed"].tolist() == [0, 2]
    assert table["mean"].isna().tolist() == [False, True]
    assert set(runs.runs.query("rule == 'wild'")["status"]) == {"diverged"}
    assert all("diverged" in str(text) for text in runs.runs.query("rule == 'wild'")["message"])
    assert "| wild | - | 0 (2 failed) |" in runs.to_markdown()
    assert len(runs.plot().lines) == 2  # up to where it broke off
    plt.close("all")


# ---------------------------------------------------------------------------------- no label at test time


def test_scores_do_not_depend_on_the_labels_that_they_are_held_against() -> None:
    seen: dict[str, list[torch.Tensor]] = {"true": [], "shuffled": []}

    def noting(name: str) -> Any:
        def metric(scores: torch.Tensor, y: torch.Tensor) -> float:
            seen[name].append(scores.clone())
            return float((scores.argmax(-1) == y).double().mean())

        return {"accuracy": metric}

    labels = {"true": DATA.y_test, "shuffled": DATA.y_test.flip(0)}
    for name, y in labels.items():
        ct.compare({"a": network()}, SHOWN, seeds=2, test=(DATA.x_test, y), metrics=noting(name), solver=EULER)
    assert len(seen["true"]) == 18
    assert all(torch.equal(a, b) for a, b in zip(seen["true"], seen["shuffled"], strict=True))


def test_the_state_that_is_tested_holds_no_trace_of_training_labels() -> None:
    final = directly(network(), 0).final
    assert final["y.1"].any()
    tested = without_rows(network(), final)
    rows = network().row_shapes(1)
    assert {"y.1", "y.2", "x.1", "g.1", "r.1"} <= set(rows)
    assert not any(tested[name].any() for name in rows)
    assert all(torch.equal(tested[name], final[name]) for name in final if name not in rows)


@pytest.mark.parametrize("kind", ["a column of labels", "a column for each class"])
def test_labels_among_the_inputs_are_refused(kind: str) -> None:
    def leak(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        inside = y.unsqueeze(-1) * 3.0 + 1 if kind == "a column of labels" else torch.nn.functional.one_hot(y, 2) * 0.5
        return torch.cat([x, inside], -1)

    net = ct.Network([2 + (3 if kind != "a column of labels" else 2) - 1, 5], n_classes=2, signal=ct.TargetStream())
    shown = ct.Presentations(leak(DATA.x_train, DATA.y_train), DATA.y_train, 32)
    with pytest.raises(ValueError, match="the test inputs contain the labels, in column 2"):
        ct.compare({"a": net}, shown, seeds=1, test=(leak(DATA.x_test, DATA.y_test), DATA.y_test))


def test_testing_on_what_was_shown_is_told() -> None:
    with pytest.warns(UserWarning, match="160 of the 160 test samples are among those shown in training"):
        as_test((DATA.x_train, DATA.y_train), network(), SHOWN)


# ---------------------------------------------------------------------------------- metrics and mistakes


def test_a_metric_of_the_state_works_without_labels() -> None:
    oja = ct.Network([2, 1], neuron=ct.Rate(activation="linear"), rule=ct.rules.Oja(rate=0.1), bias=False)
    metrics = {"norm": lambda state: state["W.1"].norm()}
    runs = ct.compare(
        {"oja": oja}, ct.Presentations(DATA.x_train, batch_size=160, duration=20.0), metrics=metrics, seeds=2
    )
    assert runs.runs["norm"].to_numpy() == pytest.approx([1.0, 1.0], abs=0.2)
    with pytest.raises(ValueError, match="accuracy compares outputs with labels, and a network has signal=None"):
        ct.compare({"oja": oja}, SHOWN)


def test_metrics_of_labels_need_labels() -> None:
    wave = ct.Stimulus.from_function(lambda t: torch.ones(1, 2), lambda t: torch.eye(2)[:1], duration=2.0)
    with pytest.raises(ValueError, match=r"accuracy needs labels, and the stimulus has none: give test="):
        ct.compare({"a": network()}, wave, solver=EULER)
    contexts = torch.eye(2)[DATA.y_test]
    with pytest.raises(ValueError, match="accuracy compares with class labels, and the test data have context vectors"):
        ct.compare({"a": network()}, wave, test=(DATA.x_test, contexts), solver=EULER)
    own = {"fit": lambda scores, y: (scores * y).sum(-1).mean()}
    runs = ct.compare({"a": network()}, wave, test=(DATA.x_test, contexts), metrics=own, solver=EULER, seeds=2)
    assert runs.dataset.fit.dims == ("rule", "seed", "time")
    assert runs.dataset.time.size == 11
    assert runs.plot().get_xlabel() == "time (tau)"
    plt.close("all")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"networks": {}}, TypeError, "networks must be a mapping"),
        ({"networks": {"a": 1}}, TypeError, r"networks\['a'\] must be a ct.Network"),
        ({"stimulus": None}, ValueError, "there is no stimulus"),
        ({"seeds": [1, 1]}, ValueError, "seeds must be at least one, each once"),
        ({"seeds": -1}, ValueError, "seeds must be an integer >= 1"),
        ({"metrics": ["acuracy"]}, ValueError, "did you mean 'accuracy'"),
        ({"metrics": {"a": lambda: 0}}, TypeError, r"must take \(state\) or \(scores, labels\), got 0"),
        ({"budget": "rsh"}, ValueError, "budget must be 'presentations', 'rhs' or 'seconds'"),
        ({"budget": ("presentations", 5)}, ValueError, "choose its epochs"),
        ({"budget": ("rhs", -5)}, ValueError, "budget amount of rhs must be a finite number > 0"),
        ({"paired_test": "u"}, ValueError, "test must be one of t, permutation, wilcoxon"),
        ({"reference": "c"}, ValueError, "unknown reference 'c'"),
        ({"every": 0}, ValueError, "every must be an integer >= 1"),
        ({"test": 3}, TypeError, "test must be a pair"),
        ({"n_jobs": 0}, ValueError, r"n_jobs must be an integer >= 1, or -1 for one process per core"),
        ({"engine": "lcoal"}, ValueError, "engine must be 'local', an address"),
    ],
)
def test_mistakes_are_told_before_anything_runs(change: dict[str, Any], error: type[Exception], said: str) -> None:
    given = {"networks": BOTH, "stimulus": SHOWN, "seeds": 2, "test": DATA, "solver": EULER, **change}
    with pytest.raises(error, match=said):
        ct.compare(**given)


def test_runs_are_a_table_whose_rows_do_not_depend_on_the_clock(runs: ct.Runs) -> None:
    again = ct.compare(BOTH, SHOWN, seeds=4, test=DATA, metrics=["accuracy", "margin"], solver=EULER)
    pd.testing.assert_frame_equal(runs.runs, again.runs, check_exact=True)
