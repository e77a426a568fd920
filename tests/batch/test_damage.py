"""Stores of runs and experiments that were changed: told by one error or in the table, never by an inner one."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ctsigprop as ct
from ctsigprop.batch import Record, Store, StoreError
from ctsigprop.batch.config import ConfigError, read
from ctsigprop.batch.records import digest
from ctsigprop.cli import app
from ctsigprop.files.unreadable import sealed
from tests.mutations import VALUES, mutated

COUNT = 117
SHIPPED = Path(__file__).parents[2] / "notebooks" / "experiments" / "hebbian_vs_surrogate.toml"
unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
exact = pd.testing.assert_frame_equal


def network(rate: float) -> ct.Network:
    return ct.Network([2, 3], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=rate))


def size(state: ct.State) -> float:
    return float(state["W.1"].norm())


def swept(store: Path) -> ct.Runs:
    stimulus = ct.Presentations(np.eye(2, dtype=np.float32), [0, 1], 2)
    given: dict[str, Any] = {"seeds": 2, "n_jobs": 1, "solver": ct.solvers.Euler(dt=0.5), "metrics": {"size": size}}
    return ct.sweep(network, {"rate": [1.0, 2.0]}, stimulus, store=store, **given)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("runs") / "runs"
    swept(store)
    return store


def status(store: Path) -> tuple[int, str]:
    """Exit code and output of `ctsigprop status`, which tells everything in a sentence."""
    result = CliRunner().invoke(app, ["status", str(store)], env={"TERM": "dumb", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def loaded_or_refused(store: Path) -> ct.Runs | None:
    """The runs, every view of them looked at, or None where the store was refused by the one error."""
    try:
        runs = ct.Runs.load(store)
    except ct.Unreadable as error:
        message = str(error)
    except StoreError as error:
        message = str(error)
        assert "no comparison or sweep" in message or f"no {Path('store.json')}" in message, message
    else:
        assert str(runs)
        assert len(runs.dataset) > 1
        return runs
    assert str(store) in message
    return None


@unix
@pytest.mark.parametrize("version", ["new", "old"])
def test_a_mutated_store_of_runs_is_read_as_it_was_or_says_what_is_damaged(
    runs: Path, old_stores: Path, tmp_path: Path, version: str
) -> None:
    store = runs if version == "new" else old_stores / "runs"
    whole = ct.Runs.load(store).runs
    told = 0
    for seed in range(COUNT):
        copy = tmp_path / str(seed) / "store"
        what = mutated(store, copy, seed)
        found = loaded_or_refused(copy)
        code, out = status(copy)
        if found is None:
            told += 1
            assert code == 3, f"{what}: {out}"
            continue
        states = found.runs["status"]
        told += bool(states.isin(["damaged", "missing"]).any())
        assert code == (3 if states.isin(["damaged", "missing"]).any() else 0), f"{what}: {out}"
        if version == "new":
            kept = ~states.isin(["damaged", "missing"])
            exact(found.runs[kept], whole[kept], check_exact=True)
    assert told > COUNT / 3


def test_a_record_in_the_place_of_another_is_refused_and_done_again(runs: Path, tmp_path: Path) -> None:
    store = shutil.copytree(runs, tmp_path / "runs")
    a, b = ct.Runs.load(store).keys[:2]
    for first, second in ((a, "aside"), (b, a), ("aside", b)):
        (store / first).rename(store / second)
    with pytest.raises(ct.Unreadable, match=f"{a}/run.json is damaged: it is the record of another run, {b}"):
        Store(store).read(a)
    states = ct.Runs.load(store).runs["status"].tolist()
    assert states == ["damaged", "damaged", "completed", "completed"]
    with pytest.warns(UserWarning, match="it is the record of another run"):
        exact(swept(store).runs, ct.Runs.load(runs).runs, check_exact=True)


def test_a_swapped_record_of_the_first_format_is_seen_by_its_settings(old_stores: Path, tmp_path: Path) -> None:
    store = shutil.copytree(old_stores / "runs", tmp_path / "runs")
    a, b = ct.Runs.load(store).keys
    for first, second in ((a, "aside"), (b, a), ("aside", b)):
        (store / first).rename(store / second)
    assert ct.Runs.load(store).runs["status"].tolist() == ["damaged", "damaged"]


def test_runs_of_the_first_format_load(old_stores: Path) -> None:
    expected = json.loads((old_stores / "expected.json").read_text())
    runs = ct.Runs.load(old_stores / "runs")
    assert runs.runs["status"].tolist() == ["completed", "completed"]
    assert runs.runs["rate"].tolist() == expected["rate"]
    assert runs.runs["accuracy"].tolist() == expected["accuracy"]
    assert runs.costs["rhs_evaluations"].tolist() == expected["rhs"]


@pytest.mark.parametrize(
    "change",
    [
        {"curve": {"size": [1.0]}},
        {"curve": {"shown": [0.0], "size": [1.0, 2.0], "rhs_evaluations": [0], "seconds": [0.0]}},
        {"curve": {"shown": [], "size": [], "rhs_evaluations": [], "seconds": []}},
        {"curve": 3},
        {"seed": "0"},
        {"status": None},
        {"settings": {}},
        {"unknown": 1},
    ],
)
def test_a_record_with_a_right_checksum_and_wrong_contents_is_damaged(
    runs: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    store = shutil.copytree(runs, tmp_path / "runs")
    key = ct.Runs.load(store).keys[0]
    head = json.loads((store / key / "run.json").read_text())
    body = json.dumps({**json.loads(head["run"]), **change})
    (store / key / "run.json").write_text(json.dumps({**head, "run": body, "digest": digest(body)}))
    found = loaded_or_refused(store)
    assert found is not None
    assert found.runs["status"].tolist() == ["damaged", "completed", "completed", "completed"]
    assert status(store)[0] == 3


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_with_a_right_digest_and_wrong_contents_is_refused_or_read(
    runs: Path, tmp_path: Path, seed: int
) -> None:
    store = shutil.copytree(runs, tmp_path / "runs")
    (file,) = (store / "plans").iterdir()
    draw = random.Random(seed)
    plan = {key: value for key, value in json.loads(file.read_text()).items() if key != "digest"}
    place: Any = draw.choice([plan, plan["about"], plan["runs"][0], plan["runs"][0]["settings"], plan["runs"]])
    place[draw.choice(list(place)) if isinstance(place, dict) else 0] = draw.choice(VALUES)
    file.write_text(sealed(plan))
    loaded_or_refused(store)
    assert status(store)[0] in (0, 3)


def test_the_key_of_a_plan_does_not_lead_out_of_the_store(runs: Path, tmp_path: Path) -> None:
    store = shutil.copytree(runs, tmp_path / "runs")
    (file,) = (store / "plans").iterdir()
    plan = {key: value for key, value in json.loads(file.read_text()).items() if key != "digest"}
    (store / plan["runs"][0]["key"]).rename(tmp_path / "outside")
    plan["runs"][0]["key"] = "../outside"
    file.write_text(sealed(plan))
    assert ct.Runs.load(store).runs["status"].tolist()[0] == "damaged"


@unix
def test_a_lock_that_is_a_link_is_not_touched(runs: Path, tmp_path: Path) -> None:
    store = shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "thesis").write_text("mine")
    (store / "locks" / "a.lock").symlink_to(tmp_path / "thesis")
    os.mkfifo(store / "locks" / "b.lock")
    assert status(store)[0] == 0
    swept(store)
    assert (tmp_path / "thesis").read_text() == "mine"


def test_a_record_notes_whose_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    store.write("k", Record({}, 0, "completed", ""))
    assert json.loads((tmp_path / "k" / "run.json").read_text())["key"] == "k"


# ------------------------------------------------------------------------------ experiments


def test_a_mutated_experiment_is_read_or_refused_by_name(tmp_path: Path) -> None:
    """Bits, cuts and exchanged lines; what comes of it is an experiment, or one error with the name of the file."""
    text = SHIPPED.read_text()
    file = tmp_path / "mutated.toml"
    for seed in range(200):
        draw = random.Random(seed)
        content = bytearray(text.encode())
        if seed % 4 == 0:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        elif seed % 4 == 1:
            del content[draw.randrange(len(content)) :]
        elif seed % 4 == 2:
            lines = text.splitlines(keepends=True)
            draw.shuffle(lines)
            content = bytearray("".join(lines).encode())
        else:
            words = text.split(" ")
            words[draw.randrange(len(words))] = draw.choice(["10000000000000000000000", "-1", "[]", "{}", '"x"', "nan"])
            content = bytearray(" ".join(words).encode())
        file.write_bytes(content)
        try:
            read(file)
        except ConfigError as error:
            message = str(error)
        else:
            continue
        assert str(file) in message, seed


@unix
def test_an_experiment_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="/dev/zero is no experiment: it has more than"):
        read(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a." * 3000 + "b = 1"])
def test_an_experiment_that_is_nested_too_deeply_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"deep\.toml"):
        read(tmp_path / "deep.toml")


@pytest.mark.parametrize("change", ["seeds=1000000000000", "network.hidden=[1000000000000]", "presentations.epochs=-1"])
def test_numbers_that_no_computer_holds_are_refused_by_name(tmp_path: Path, change: str) -> None:
    with pytest.raises(ConfigError, match=change.partition("=")[0]):
        read(SHIPPED, [change])
