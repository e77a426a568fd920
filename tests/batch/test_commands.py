"""The commands: what they print and write, what they refuse, and the exit codes that scripts read."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from typer.testing import CliRunner

import ctsigprop as ct
from ctsigprop.batch import Store, commands
from ctsigprop.cli import app

TEXT = """
title = "Two moons"
seeds = 2
[data]
name = "two_moons"
n = 60
[presentations]
batch_size = 16
epochs = 2
[solver]
name = "euler"
dt = 1.0
[network]
hidden = [5]
[compare.rules.slow]
network.rule.rate = 0.5
[compare.rules.fast]
network.rule.rate = 4.0
[sweep.settings]
"network.rule.rate" = [1.0, 4.0]
"network.hidden" = [[4], [5]]
"""


class Outcome(NamedTuple):
    """What the shell sees."""

    code: int
    out: str


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "moons.toml"
    path.write_text(TEXT)
    return path


def call(*words: object) -> Outcome:
    mpl.use("Agg")
    settings = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [str(word) for word in words], env=settings)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return Outcome(result.exit_code, result.output)


def test_run_prints_the_metrics_and_saves_the_solution(file: Path, tmp_path: Path) -> None:
    found = call("run", file, "--store", tmp_path / "sol", "--seed", 3)
    assert found.code == 0
    accuracy = re.search(r"accuracy (0\.\d{4})", found.out)
    data = ct.datasets.two_moons(60, seed=3)
    net = ct.Network([2, 5], n_classes=2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    assert accuracy is not None
    final = ct.load(tmp_path / "sol").final
    assert float(accuracy[1]) == pytest.approx(net.score(final, data.x_test, data.y_test), abs=1e-4)
    again = call("run", file, "--store", tmp_path / "sol")
    assert again.code == 2
    assert "exists: choose another folder" in again.out


def test_compare_prints_a_table_and_writes_it_with_a_picture(file: Path, tmp_path: Path) -> None:
    found = call("compare", file, "--out", tmp_path / "out", "--store", tmp_path / "runs")
    assert found.code == 0
    assert "# Two moons" in found.out
    assert "| slow - fast |" in found.out
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.strip() in found.out
    assert table.strip() == ct.Runs.load(tmp_path / "runs").to_markdown()
    assert r"\toprule" in (tmp_path / "out" / "table.tex").read_text()
    summary, each = (pd.read_csv(tmp_path / "out" / name) for name in ("table.csv", "runs.csv"))
    runs = ct.Runs.load(tmp_path / "runs")
    pd.testing.assert_frame_equal(summary.set_index("rule"), runs.table, check_dtype=False, check_names=False)
    assert each["accuracy"].tolist() == runs.runs["accuracy"].tolist()
    assert each["rule"].tolist() == ["slow", "slow", "fast", "fast"]
    assert plt.imread(tmp_path / "out" / "plot.png").var() > 1e-3
    assert plt.get_fignums() == []


def test_sweep_runs_every_setting_and_goes_on_if_told_to(file: Path, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    assert call("sweep", file, "--store", store, "--n-jobs", 1).code == 0
    whole = ct.Runs.load(store)
    assert len(whole.table) == 8
    assert whole.table["network.hidden"].tolist() == [[4], [4], [5], [5]] * 2
    refused = call("sweep", file, "--store", store, "--n-jobs", 1)
    assert refused.code == 2
    assert "already has 8 of the 8 runs: --resume goes on" in refused.out
    for key in whole.keys[2:5]:
        (store / key / "run.json").unlink()
    assert call("sweep", file, "--store", store, "--n-jobs", 1, "--resume").code == 0
    pd.testing.assert_frame_equal(ct.Runs.load(store).table, whole.table, check_exact=True)


def test_a_changed_setting_makes_other_runs(file: Path, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    call("compare", file, "--store", store)
    assert call("compare", file, "--store", store, "--set", "presentations.epochs=3").code == 0
    assert len(Store(store).keys()) == 8
    assert len(ct.Runs.load(store).runs) == 4


@pytest.mark.parametrize("command", ["run", "compare", "sweep"])
def test_a_dry_run_tells_what_is_needed_and_runs_nothing(file: Path, tmp_path: Path, command: str) -> None:
    store = tmp_path / "runs"
    words = [] if command == "run" else ["--store", store]
    found = call(command, file, "--dry-run", *words)
    assert found.code == 0
    count = {"run": 1, "compare": 4, "sweep": 8}[command]
    told = re.search(rf"{count} runs, 0 of them done; the other {count} take about (\S+) s and (\S+) MB", found.out)
    assert told is not None
    assert float(told[1]) < 30
    assert not store.exists()
    if command == "sweep":
        call("sweep", file, "--store", store, "--n-jobs", 1)
        stored = sum(file.stat().st_size for file in store.rglob("run.json"))
        assert stored / 3 < float(told[2]) * 1e6 < 3 * stored


def test_rules_that_are_shown_the_same_share_it_and_their_test_data_are_checked_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()

    def counting(name: str, function: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            counts[name] += 1
            return function(*given, **named)

        return counted

    for name, place in (("check_no_label_inside", "measures"), ("Presentations", "parts"), ("shape", "estimate")):
        module = importlib.import_module(f"ctsigprop.batch.{place}")
        monkeypatch.setattr(module, name, counting(name, vars(module)[name]))
    assert call("compare", file, "--dry-run").code == 0
    assert counts["check_no_label_inside"] == 2  # two seeds
    assert counts["Presentations"] <= 2 + 2  # two seeds, and one for each rule's network
    assert counts["shape"] == 4  # four runs


def test_compare_and_sweep_take_as_many_processes_by_default() -> None:
    found = {f.__name__: inspect.signature(f).parameters["n_jobs"].default for f in (commands.compare, commands.sweep)}
    assert found == {"compare": 1, "sweep": 1}
    assert {inspect.signature(f).parameters["n_jobs"].default for f in (ct.compare, ct.sweep)} == {1}


def test_ctrl_c_in_a_run_stores_what_it_has(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = ct.solvers.Euler.advance

    def impatient(self: ct.solvers.Euler, field: Any, state: Any, stretch: Any, *rest: Any) -> Any:
        if stretch.start >= 3.0:
            raise KeyboardInterrupt
        return advance(self, field, state, stretch, *rest)

    monkeypatch.setattr(ct.solvers.Euler, "advance", impatient)
    found = call("run", file, "--store", tmp_path / "sol")
    assert found.code == 130
    sol = ct.load(tmp_path / "sol")
    assert sol.status is ct.Status.INTERRUPTED
    assert sol.final.t == 3.0


def test_status_counts_and_its_exit_code_says_what_is_left(file: Path, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    call("sweep", file, "--store", store, "--n-jobs", 1)
    done = call("status", store)
    assert done.code == 0
    assert re.search(r"runs +8\ndone +8\nfailed +0\nrunning +0\nleft +0\n", done.out)
    keys = ct.Runs.load(store).keys
    (store / keys[0] / "run.json").unlink()
    (store / keys[1] / "run.json").write_text("cut")
    with Store(store).claim(keys[0]):
        some = call("status", store)
    assert some.code == 3
    assert re.search(r"done +6\nfailed +0\nrunning +1\nleft +2, about ", some.out)
    table = ct.Runs.load(store).table
    assert table["status"].tolist()[:3] == ["missing", "damaged", "completed"]


def test_runs_that_fail_are_told_by_exit_code_and_status(file: Path, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    wild = ["--set", "network.neuron.activation=linear", "--set", "network.signal.contrast.name=dot"]
    wild = [*wild, "--set", "network.neuron.name=rate", "--set", "network.signal.name=target_stream"]
    wild = [*wild, "--set", "network.rule.name=contrastive_hebbian", "--set", "network.hidden=[5, 5]"]
    rates = ["--set", "compare.rules.fast.network.rule.rate=1e30", "--set", "presentations.epochs=5"]
    found = call("compare", file, "--store", store, *wild, *rates)
    assert found.code == 1
    assert "| fast | - | 0 (2 failed) |" in found.out
    told = call("status", store)
    assert told.code == 1
    assert "failed     2" in told.out
    assert "became non-finite" in told.out
    call("compare", file, "--store", store, "--retry", *wild, *rates)
    assert len(Store(store).keys()) == 4


def test_plot_draws_what_is_there(file: Path, tmp_path: Path) -> None:
    store, picture = tmp_path / "runs", tmp_path / "p.png"
    call("sweep", file, "--store", store, "--n-jobs", 1)
    assert call("plot", store, "--out", picture).code == 0
    assert plt.imread(picture).var() > 1e-3
    assert call("plot", store, "--out", picture, "--x", "network.rule.rate").code == 0
    wrong = call("plot", store, "--metric", "accurate")
    assert wrong.code == 2
    assert "did you mean 'accuracy'" in wrong.out


def test_mistakes_are_told_in_one_sentence(file: Path, tmp_path: Path) -> None:
    mistakes = {
        ("compare", file, "--set", "network.rule.rate=-1"): f"{file}: network.rule: ContrastiveHebbian(rate=)",
        ("compare", tmp_path / "none.toml"): "none.toml cannot be read",
        ("sweep", file, "--engine", "lcoal"): "engine must be 'local'",
        ("sweep", file, "--n-jobs", 0): "n_jobs must be an integer >= 1, or -1 for one process per core, got 0",
        ("sweep", file, "--set", "sweep.n=3"): "leave n out, got n=3",
        ("run", file, "--set", "data.n_classes=3"): "data: two_moons() got an unexpected keyword",
    }
    for words, said in mistakes.items():
        found = call(*words)
        assert found.code == 2
        assert said in found.out
    file.write_text("seeds = 3")
    for command in ("compare", "sweep"):
        assert f"{command}: is missing" in call(command, file).out


def test_stores_that_are_none_are_told(tmp_path: Path) -> None:
    for command in ("status", "plot"):
        assert call(command, tmp_path).code == 3
        assert "no comparison or sweep was started in it" in call(command, tmp_path).out
    (tmp_path / "store.json").write_text(json.dumps({"format": "ctsigprop-runs", "version": 9}))
    assert "has format version 9" in call("status", tmp_path).out


def test_a_scheduler_that_is_not_there_is_told_with_the_command_that_resumes(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("ctsigprop.batch.engine.PATIENCE", 0.5)
    where = ("--set", "seeds=1", "--store", tmp_path / "my runs", "--engine", "tcp://127.0.0.1:9")
    found = call("sweep", file, *where)
    assert found.code == 3
    said, resume = found.out.strip().splitlines()[-2:]
    assert "the Dask scheduler tcp://127.0.0.1:9 cannot be used: it does not answer" in said
    assert f"0 of 4 runs are done and whole in {tmp_path / 'my runs'}" in said
    assert resume == f"To resume: {shlex.join(map(str, ('ctsigprop', 'sweep', file, *where, '--resume')))}"
