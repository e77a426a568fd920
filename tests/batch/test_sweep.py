"""Sweeps: every run once, whatever happens; failures in the table, not in the way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import ctsigprop as ct
from tests.batch.sweeping import DATA, EULER, GRID, SHOWN, build, run

mpl.use("Agg")
exact = pd.testing.assert_frame_equal


@pytest.fixture(scope="module")
def whole() -> ct.Runs:
    return run()


def test_every_combination_is_run_with_every_seed_as_simulate_would(whole: ct.Runs) -> None:
    table = whole.table
    assert len(table) == 64
    assert list(table.columns[:5]) == ["rate", "units", "seed", "status", "message"]
    assert (table["status"] == "completed").all()
    for row in list(table.sample(20, random_state=0).itertuples()):
        net = build(row.rate, row.units)  # type: ignore[arg-type]
        order = ct.Presentations(SHOWN.x, SHOWN.y, 48, epochs=100, seed=row.seed)  # type: ignore[arg-type]
        final = ct.simulate(net, order, EULER, seed=row.seed).final  # type: ignore[arg-type]
        assert row.accuracy == net.score(final, DATA.x_test, DATA.y_test)


def test_the_curves_have_a_dimension_for_each_setting(whole: ct.Runs) -> None:
    assert whole.dataset.accuracy.dims == ("rate", "units", "seed", "presentation")
    one = whole.table.query("rate == 2.0 and units == 5 and seed == 3")["accuracy"].item()
    assert whole.dataset.accuracy.sel(rate=2.0, units=5, seed=3, presentation=100).item() == one


def test_a_stored_sweep_is_the_same_and_is_not_run_again(tmp_path: Path, whole: ct.Runs, monkeypatch: Any) -> None:
    stored = run(tmp_path / "runs")
    exact(stored.table, whole.table, check_exact=True)
    monkeypatch.setattr("ctsigprop.batch.schedule.run_group", None)
    exact(run(tmp_path / "runs").table, whole.table, check_exact=True)


def test_two_processes_find_what_one_finds(tmp_path: Path, whole: ct.Runs) -> None:
    exact(run(tmp_path / "runs", n_jobs=2).table, whole.table, check_exact=True)


def test_only_what_is_missing_is_run(tmp_path: Path, whole: ct.Runs, monkeypatch: Any) -> None:
    ct.sweep(build, {**GRID, "units": [3, 5]}, SHOWN, seeds=2, test=DATA, solver=EULER, store=tmp_path, n_jobs=1)
    done: list[str] = []
    true = ct.batch.schedule.run_group  # type: ignore[attr-defined]

    def noting(jobs: Any) -> Any:
        done.extend(job.key for job in jobs)
        return true(jobs)

    monkeypatch.setattr("ctsigprop.batch.schedule.run_group", noting)
    exact(run(tmp_path).table, whole.table, check_exact=True)
    assert len(done) == len(set(done)) == 64 - 16


def test_other_data_or_another_metric_are_other_runs(tmp_path: Path) -> None:
    one = {"rate": [1.0], "units": [3]}
    given: dict[str, Any] = {"test": DATA, "solver": EULER, "store": tmp_path, "n_jobs": 1}
    first = ct.sweep(build, one, SHOWN, **given)
    noisier = ct.Presentations(DATA.x_train + 1e-4, DATA.y_train, 48, epochs=4)
    others = [
        ct.sweep(build, one, noisier, **given),
        ct.sweep(build, one, SHOWN, **{**given, "metrics": ["margin"]}),
        ct.sweep(build, one, SHOWN, **{**given, "solver": ct.solvers.Euler(dt=0.5)}),
    ]
    keys = {runs.keys[0] for runs in (first, *others)}
    assert len(keys) == 4
    assert ct.sweep(build, one, SHOWN, **given).keys == first.keys


# ---------------------------------------------------------------------------------- failures


class Broken(ct.Rate):
    """A neuron that raises when it is used."""

    def flow(self, variables: Any, drive: Any) -> Any:
        raise RuntimeError("no current\nat all")


def troubled(index: int) -> Any:
    """Number 5 raises while it runs, 7 while it is built, 20 diverges, 40 is fed NaN."""
    signal = ct.TargetStream()
    if index == 7:
        raise ValueError("there is no number 7")
    if index == 5:
        return ct.Network([2, 3, 3], 2, signal=signal, neuron=Broken(), rule=ct.rules.ContrastiveHebbian())
    net = ct.Network(
        [2, 3, 3], 2, signal=signal, rule=ct.rules.ContrastiveHebbian(rate=1e300 if index == 20 else 0.02 * index)
    )
    if index == 40:
        x = DATA.x_train.clone()
        x[3, 1] = math.nan
        return net, ct.Presentations(x, DATA.y_train, 48, epochs=100)
    return net


@pytest.mark.parametrize(("n_jobs", "stored"), [(1, True), (2, False)])
def test_runs_in_trouble_stand_in_the_table_and_the_others_complete(tmp_path: Path, n_jobs: int, stored: bool) -> None:
    store = tmp_path if stored else None
    given: dict[str, Any] = {"test": DATA, "solver": EULER, "n_jobs": n_jobs}
    runs = ct.sweep(troubled, {"index": list(range(44))}, SHOWN, store=store, **given)
    found = runs.table.set_index("index")
    assert found["status"].drop([5, 7, 20, 40]).eq("completed").all()
    assert found["accuracy"].drop([5, 7, 40]).notna().all()
    assert found["status"][[5, 7, 20, 40]].tolist() == ["failed", "failed", "diverged", "failed"]
    assert found["message"][5] == "neuron Broken of layer 1 raised an error at t=0: RuntimeError: no current at all"
    assert found["message"][7] == "ValueError: there is no number 7"
    assert "became non-finite after t=" in found["message"][20]
    assert "x must be finite, got nan in row 3, column 1" in found["message"][40]
    assert "test_sweep.py" in runs.records[5].traceback
    alone = ct.sweep(troubled, {"index": [19]}, SHOWN, **given).table
    assert alone["accuracy"].item() == found["accuracy"][19]  # it went beside the one that diverged


def test_what_failed_is_repeated_if_asked(tmp_path: Path) -> None:
    patience = {"left": 1}

    class Moody(ct.Rate):
        """Raises the first time it is used."""

        def flow(self, variables: Any, drive: Any) -> Any:
            if patience["left"]:
                patience["left"] -= 1
                raise OSError("the license server is away")
            return super().flow(variables, drive)

    def moody(units: int) -> ct.Network:
        rule = ct.rules.ContrastiveHebbian()
        return ct.Network([2, units], n_classes=2, neuron=Moody(), signal=ct.TargetStream(), rule=rule)

    given: dict[str, Any] = {"solver": EULER, "test": DATA, "store": tmp_path, "n_jobs": 1}
    first = ct.sweep(moody, {"units": [3, 4]}, SHOWN, **given)
    assert first.table["status"].tolist() == ["failed", "completed"]
    assert ct.sweep(moody, {"units": [3, 4]}, SHOWN, **given).table["status"].tolist() == ["failed", "completed"]
    again = ct.sweep(moody, {"units": [3, 4]}, SHOWN, retry=True, **given)
    assert again.table["status"].tolist() == ["completed", "completed"]
    exact(ct.sweep(moody, {"units": [3, 4]}, SHOWN, **given).table, again.table)


def test_hopeless_runs_are_stopped_and_say_so() -> None:
    stop = ct.StopBelow("accuracy", least=1.1, after=0.5)
    runs = ct.sweep(build, {"rate": [1.0], "units": [4]}, SHOWN, test=DATA, solver=EULER, stop=stop, n_jobs=1)
    assert runs.table["status"].item() == "stopped"
    assert "below 1.1" in runs.table["message"].item()
    assert runs.table["rhs_evaluations"].item() == 50
    assert run(stop=ct.StopBelow("accuracy", least=0.0)).table["status"].eq("completed").all()
    for wrong in ({"least": math.nan}, {"least": 0, "after": 2}):
        with pytest.raises(ValueError, match="StopBelow"):
            ct.StopBelow("accuracy", **wrong)


def test_the_interrupt_key_keeps_what_is_done(tmp_path: Path, whole: ct.Runs, monkeypatch: Any) -> None:
    true = ct.batch.schedule.run_group  # type: ignore[attr-defined]

    def impatient(jobs: Any) -> Any:
        yield from list(true(jobs))[:3]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ctsigprop.batch.schedule.run_group", impatient)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert len(ct.batch.Store(tmp_path).keys()) == 3
    exact(run(tmp_path).table, whole.table, check_exact=True)


# ---------------------------------------------------------------------------------- results


def test_a_sweep_over_a_design_that_is_no_grid_has_a_dimension_of_runs() -> None:
    space = {"rate": stats.loguniform(0.1, 10.0), "units": stats.randint(3, 6)}
    runs = ct.sweep(build, space, SHOWN, design="sobol", n=6, seeds=2, test=DATA, solver=EULER, n_jobs=1)
    assert runs.dataset.accuracy.dims == ("run", "presentation")
    assert runs.dataset.rate.values.tolist() == runs.table["rate"].tolist()
    assert runs.plot().get_xlabel() == "rate"
    plt.close("all")


def test_levels_of_a_setting_can_be_compared_pairing_runs_that_agree_in_all_else(whole: ct.Runs) -> None:
    found = whole.compare_by("units", reference=3)
    assert found.table.index.tolist() == [3, 4, 5, 6]
    assert found.table["seeds"].tolist() == [16] * 4
    wide = whole.table.pivot(index=["rate", "seed"], columns="units", values="accuracy")
    np.testing.assert_allclose(found.differences()["difference"], [(wide[k] - wide[3]).mean() for k in (4, 5, 6)])
    assert len(found.plot().lines) == 4
    with pytest.raises(ValueError, match="compared must be one of rate, units, got 'unit'"):
        whole.compare_by("unit")
    plt.close("all")


def test_the_plot_of_a_grid_shows_every_mean(whole: ct.Runs) -> None:
    ax = whole.plot()
    wanted = whole.table.groupby(["units", "rate"])["accuracy"].mean().unstack()
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), wanted)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rate", "units")
    assert whole.plot(x="units").get_xlabel() == "units"
    assert whole.to_markdown().count("\n") == 65
    plt.close("all")


def test_the_last_solution_of_every_run_is_kept_if_asked(tmp_path: Path) -> None:
    runs = ct.sweep(
        build, {"rate": [1.0], "units": [4]}, SHOWN, test=DATA, solver=EULER, store=tmp_path, n_jobs=1, keep=True
    )
    sol = ct.load(tmp_path / runs.keys[0] / "solution")
    assert build(1.0, 4).score(sol.final, DATA.x_test, DATA.y_test) == runs.table["accuracy"].item()
    assert sol.stats["rhs_evaluations"] == runs.table["rhs_evaluations"].item()


def test_build_may_take_the_seed_and_return_its_own_stimulus() -> None:
    def own(rate: float, seed: int) -> ct.Trial:
        data = ct.datasets.two_moons(60, seed=seed)
        return ct.Trial(build(rate, 4), ct.Presentations(data.x_train, data.y_train, 48), EULER, data)

    runs = ct.sweep(own, {"rate": [1.0]}, seeds=[4, 7], n_jobs=1)
    for row in list(runs.table.itertuples()):
        data = ct.datasets.two_moons(60, seed=row.seed)  # type: ignore[arg-type]
        shown = ct.Presentations(data.x_train, data.y_train, 48, seed=row.seed)  # type: ignore[arg-type]
        final = ct.simulate(build(1.0, 4), shown, EULER, seed=row.seed).final  # type: ignore[arg-type]
        assert row.accuracy == build(1.0, 4).score(final, data.x_test, data.y_test)


def test_torch_keeps_its_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ct.sweep(build, {"rate": [1.0], "units": [4]}, SHOWN, test=DATA, solver=EULER, n_jobs=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_how_a_run_is_done_does_not_depend_on_which_others_are_left() -> None:
    """Settings that change what is computed, not only its numbers, are put in groups of their own."""

    def mixed(decay: float, traces: bool, tau: float) -> ct.Network:
        rule = ct.rules.ContrastiveHebbian(rate=1.0, decay=decay, traces=traces)
        neuron = ct.Rate(tau=tau, activation="tanh")
        return ct.Network([2, 5, 4], 2, neuron=neuron, signal=ct.TargetStream(), rule=rule)

    grid = {"decay": [0.0, 0.1], "traces": [True, False], "tau": [1.0, 1.5]}
    given: dict[str, Any] = {"test": DATA, "solver": EULER, "n_jobs": 1, "metrics": ["margin"]}
    whole = ct.sweep(mixed, grid, SHOWN, seeds=2, **given).table
    for one in (
        {"decay": [0.1], "traces": [True], "tau": [1.0]},
        {**grid, "traces": [False]},
        {**grid, "decay": [0.0]},
    ):
        part = ct.sweep(mixed, one, SHOWN, seeds=2, **given).table
        both = part.merge(whole, on=["decay", "traces", "tau", "seed"])
        # to rounding: how products round may depend on how many members stand side by side
        np.testing.assert_allclose(both["margin_x"], both["margin_y"], rtol=1e-5)
        assert len(both) == len(part)
