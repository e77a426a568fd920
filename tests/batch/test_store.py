"""The store: killed, shared, full, read-only, cut short or of a newer format, it loses nothing and says why."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import ctsigprop as ct
from ctsigprop.batch import Record, Store, StoreError, course
from tests.batch.sweeping import (
    DATA,
    EULER,
    SHOWN,
    build,
    noted_run,
    run,
    run_in_two_processes,
    run_slowly_in_two_processes,
)

ROOT = Path(__file__).parents[2]
KILLS = 3
exact = pd.testing.assert_frame_equal
unix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return run().table


def written(store: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of writing) of every run that is there."""
    files = {file.parent.name: file.stat() for file in store.glob("*/run.json") if file.parent.name[0] != "."}
    return {key: (stat.st_ino, stat.st_mtime_ns) for key, stat in files.items()}


def start(target: Any, *args: Any) -> Any:
    """A process that sweeps; it is forked off a server of its own, which has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.batch.sweeping"])
    process = context.Process(target=target, args=args)
    process.start()
    return process


@unix
@pytest.mark.slow
def test_parent_and_workers_killed_again_and_again_at_random_moments_lose_nothing_and_the_table_has_the_same_bits(
    tmp_path: Path, whole: pd.DataFrame
) -> None:
    store, moments = tmp_path / "runs", random.Random(0)
    seen: dict[str, tuple[int, int]] = {}
    interrupted = 0
    for _ in range(KILLS):
        process = start(run_in_two_processes, store)
        enough = len(seen) + moments.randint(1, 4)
        while process.is_alive() and len(written(store)) < enough:
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.01))
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        now = written(store)
        assert {key: now[key] for key in seen} == seen  # no run is done again once its folder is there
        seen = now
        interrupted += len(now) < 64
    assert interrupted >= 2
    exact(run(store).table, whole, check_exact=True)
    now = written(store)
    assert {key: now[key] for key in seen} == seen
    assert not list(store.glob(".*.part"))
    assert len(now) == 64


@unix
def test_two_sweeps_at_once_share_the_work(tmp_path: Path, whole: pd.DataFrame) -> None:
    store, logs = tmp_path / "runs", [tmp_path / "a", tmp_path / "b"]
    both = [start(noted_run, log, store) for log in logs]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    done = [key for log in logs if log.exists() for key in log.read_text().split()]
    assert len(done) == len(set(done)) == 64
    exact(run(store).table, whole, check_exact=True)


@unix
@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    process = start(run_slowly_in_two_processes, store)
    while process.is_alive() and not written(store):
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    assert 0 < len(written(store)) < 200


def test_members_side_by_side_are_written_as_they_end_where_that_takes_long(
    tmp_path: Path, whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a group goes first, and half of that: some are whole when the process ends in the middle."""
    true, calls = course.advance, []

    def dying(going: Any, span: Any) -> float:
        calls.append(len(going))
        if len(calls) > 60:
            raise KeyboardInterrupt
        true(going, span)
        return float(len(going))

    with monkeypatch.context() as patch:
        patch.setattr(course, "advance", dying)
        patch.setattr(course, "SECONDS_OF_A_GROUP", 0.5)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert calls[:5] == [16, 8, 4, 2, 1]
    assert 0 < len(written(tmp_path)) < 64
    exact(run(tmp_path).table, whole, check_exact=True)


def test_members_stay_together_where_half_of_them_take_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    true, calls = course.advance, []

    def counted(going: Any, span: Any) -> float:
        calls.append(len(going))
        true(going, span)
        return 1.0

    monkeypatch.setattr(course, "advance", counted)
    monkeypatch.setattr(course, "SECONDS_OF_A_GROUP", 0.5)
    run()
    assert calls == [16, 8, 8, *[16] * 8] * 4


def test_a_member_that_is_stopped_is_written_before_the_others_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = build(1.0, 6)
    middle = float(np.median([net.initial_state(seed)["W.1"].norm() for seed in range(4)]))

    def stop(curve: dict[str, list[float]], share: float) -> str | None:
        return "enough" if curve["size"][0] > middle else None

    size = {"size": lambda state: float(state["W.1"].norm())}
    given: dict[str, Any] = {"seeds": 4, "solver": EULER, "store": tmp_path, "n_jobs": 1, "metrics": size}
    true, calls = course.advance, []

    def dying(going: Any, span: Any) -> float:
        calls.append(len(going))
        if len(going) < 4:
            raise KeyboardInterrupt
        return true(going, span)

    monkeypatch.setattr(course, "advance", dying)
    with pytest.raises(KeyboardInterrupt):
        ct.sweep(build, {"rate": [1.0], "units": [6]}, SHOWN, stop=stop, **given)
    assert calls == [4, 2]
    assert len(written(tmp_path)) == 2


def murderous(units: int, flag: str) -> ct.Network:
    """A network whose first run takes its process with it."""

    class Fatal(ct.Rate):
        def flow(self, variables: Any, drive: Any) -> Any:
            if not Path(flag).exists():
                Path(flag).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().flow(variables, drive)

    rule = ct.rules.ContrastiveHebbian()
    return ct.Network([2, units], n_classes=2, neuron=Fatal(), signal=ct.TargetStream(), rule=rule)


@unix
@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    grid = {"units": [3, 4, 5, 6], "flag": [str(tmp_path / "flag")]}
    given: dict[str, Any] = {"seeds": 2, "test": DATA, "solver": EULER, "store": tmp_path / "runs"}
    table = ct.sweep(murderous, grid, SHOWN, n_jobs=2, **given).table
    assert (tmp_path / "flag").exists()
    assert table["status"].tolist() == ["completed"] * 8


# ---------------------------------------------------------------------------------- disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds 256 kB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_full_is_told_and_the_rest_is_done_later(small_disk: Path, whole: pd.DataFrame) -> None:
    store = small_disk / "runs"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(180_000))
    with pytest.raises(StoreError, match=r"cannot be written to .*No space left.*make room"):
        run(store)
    done = written(store)
    assert 0 < len(done) < 64
    assert not list(store.glob(".*.part"))
    ballast.unlink()
    with pytest.raises(StoreError, match="No space left"):  # 64 runs take more than 256 kB
        run(store)
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    exact(run(store).table, whole, check_exact=True)
    assert {key: written(store)[key] for key in done} == done


def test_no_space_in_the_middle_of_writing_leaves_nothing_behind(
    tmp_path: Path, whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, left = Path.write_text, [30]

    def write(self: Path, text: str, *args: Any, **kwargs: Any) -> int:
        if self.name == "run.json":
            left[0] -= 1
            if left[0] < 0:
                true(self, text[:50])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return true(self, text, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write)
        with pytest.raises(StoreError, match="No space left") as error:
            run(tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert len(written(tmp_path)) == 30
    assert not list(tmp_path.glob(".*.part"))
    exact(run(tmp_path).table, whole, check_exact=True)


def test_a_store_that_may_only_be_read_is_read_but_not_added_to(small_disk: Path) -> None:
    store = small_disk / "runs"
    one: dict[str, Any] = {"test": DATA, "solver": EULER, "store": store, "n_jobs": 1}
    first = ct.sweep(build, {"rate": [1.0], "units": [3]}, SHOWN, **one)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    exact(ct.sweep(build, {"rate": [1.0], "units": [3]}, SHOWN, **one).table, first.table)
    assert Store(store).running() == []
    with pytest.raises(StoreError, match=r"cannot be written to .*Read-only file system"):
        ct.sweep(build, {"rate": [1.0], "units": [3, 4]}, SHOWN, **one)


# ---------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("damage", ["cut short", "emptied", "changed", "file removed"])
def test_a_damaged_run_is_told_and_done_again(tmp_path: Path, whole: pd.DataFrame, damage: str) -> None:
    keys = run(tmp_path).keys
    file = tmp_path / keys[5] / "run.json"
    text = file.read_text()
    if damage == "file removed":
        file.unlink()
        exact(run(tmp_path).table, whole, check_exact=True)
        return
    file.write_text(
        {"cut short": text[: len(text) // 2], "emptied": "", "changed": text.replace("completed", "complied")}[damage]
    )
    with pytest.warns(UserWarning, match=rf"{keys[5]}/run.json is damaged: .*; the run is done again"):
        exact(run(tmp_path).table, whole, check_exact=True)
    exact(run(tmp_path).table, whole, check_exact=True)


def test_other_folders_and_newer_formats_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "runs")
    head = tmp_path / "runs" / "store.json"
    head.write_text(json.dumps({"format": "ctsigprop-runs", "version": 2}))
    with pytest.raises(StoreError, match="has format version 2, this ctsigprop reads up to 1: upgrade it"):
        run(tmp_path / "runs")
    head.write_text(json.dumps({"format": "something", "version": 1}))
    with pytest.raises(StoreError, match="is of something else"):
        run(tmp_path / "runs")
    head.write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        run(tmp_path / "runs")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    for other in ("mine", "mine/thesis.tex"):
        with pytest.raises(StoreError, match="is not a store of runs"):
            run(tmp_path / other)


def test_a_run_of_a_newer_format_is_not_thrown_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    store.write("k", Record({}, 0, "completed", ""))
    file = tmp_path / "k" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 2}))
    with pytest.raises(StoreError, match="has format version 2"):
        store.read("k")


def test_a_record_comes_back_bit_by_bit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    values = [0.1 + 0.2, 1e-310, float("nan"), float("inf"), -0.0, np.pi]
    record = Record(
        {"rate": 0.1, "name": "a|b"}, 3, "diverged", "é", {"accuracy": values}, {"steps": 4}, "time", 1.5, "at"
    )
    store.write("k", record)
    back = store.read("k")
    assert np.array(back.curve["accuracy"]).tobytes() == np.array(values).tobytes()
    assert repr(back) == repr(record)


def test_a_claim_is_held_by_one_and_ends_with_its_block(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    with store.claim("k") as mine, Store(tmp_path).claim("k") as theirs:
        assert mine
        assert not theirs
        assert store.running() == ["k"]
    with store.claim("k") as mine:
        assert mine
    assert store.running() == []
