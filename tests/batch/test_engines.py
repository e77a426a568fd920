"""Engines: a Dask cluster does the same runs as one process, also when one of its workers is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ctsigprop as ct
from ctsigprop.batch import engine as engine_module
from ctsigprop.batch.engine import SchedulerLost
from tests.batch.sweeping import DATA, EULER, SHOWN, run

distributed = pytest.importorskip("distributed")
exact = pd.testing.assert_frame_equal
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two worker processes with one thread each."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return run().table


def test_a_cluster_finds_what_one_process_finds_given_as_client_or_address(
    client: Any, tmp_path: Path, whole: pd.DataFrame
) -> None:
    ways: dict[int, dict[str, Any]] = {
        2: {"store": tmp_path / "a", "engine": client},
        1: {"engine": client.scheduler.address},
    }
    for seeds, given in ways.items():
        alone = whole[whole["seed"] < seeds].reset_index(drop=True)
        assert len(alone) == 16 * seeds
        exact(run(seeds=seeds, **given).table, alone, check_exact=True)


def fatal(units: int, flag: str) -> ct.Network:
    """A network whose first run takes its worker with it."""

    class Fatal(ct.Rate):
        def flow(self, variables: Any, drive: Any) -> Any:
            if not Path(flag).exists():
                Path(flag).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().flow(variables, drive)

    rule = ct.rules.ContrastiveHebbian()
    return ct.Network([2, units], n_classes=2, neuron=Fatal(), signal=ct.TargetStream(), rule=rule)


def test_a_worker_that_is_killed_costs_nothing_but_time(client: Any, tmp_path: Path) -> None:
    given: dict[str, Any] = {"seeds": 4, "test": DATA, "solver": EULER}
    grid = {"units": [3, 4, 5, 6], "flag": [str(tmp_path / "flag")]}
    found = ct.sweep(fatal, grid, SHOWN, engine=client, store=tmp_path / "runs", **given).table
    assert (tmp_path / "flag").exists()
    exact(found, ct.sweep(fatal, grid, SHOWN, n_jobs=1, **given).table, check_exact=True)


@pytest.mark.parametrize(
    ("engine", "error", "said"),
    [
        (3, TypeError, "engine must be 'local', the address of a Dask scheduler or a Client, got 3"),
        ("scheduler:8786", ValueError, "an address such as 'tcp://host:8786'"),
    ],
)
def test_engines_that_are_none_are_refused(engine: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        run(engine=engine)


SCHEDULER = """
import sys, time
import distributed

cluster = distributed.LocalCluster(
    n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None, silence_logs=50
)
print(cluster.scheduler_address, flush=True)
time.sleep(60)
"""


@pytest.fixture
def scheduler() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A scheduler with one worker, in a process of their own, and its address."""
    process = subprocess.Popen([sys.executable, "-c", SCHEDULER], stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise RuntimeError("no output")
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_scheduler_that_dies_is_told_in_one_sentence_and_the_rest_is_done_later(
    scheduler: Any, tmp_path: Path, whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, address = scheduler
    store = tmp_path / "runs"
    monkeypatch.setattr(engine_module, "PATIENCE", 2)

    def kill() -> None:
        while not list(store.glob("*/run.json")):
            time.sleep(0.01)
        process.kill()

    threading.Thread(target=kill).start()
    said = r"the Dask scheduler tcp://.* cannot be used: it has ended.*; [1-9]\d* of 64 runs are done and whole in "
    with pytest.raises(SchedulerLost, match=said) as error:
        run(store, engine=address)
    assert "\n" not in str(error.value)
    with pytest.raises(SchedulerLost, match="it does not answer"):
        run(store, engine=address)
    exact(run(store).table, whole, check_exact=True)
