"""Stores at an address: the same runs in the same layout, resumed, damaged and refused as in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

import ctsigprop as ct
from ctsigprop.batch import RemoteStore, Store, StoreError
from tests.batch.sweeping import DATA, EULER, SHOWN, build

exact = pd.testing.assert_frame_equal
GRID = {"rate": [1.0, 2.0], "units": [3, 4]}


def run(store: str, **options: Any) -> ct.Runs:
    given = {"seeds": 2, "test": DATA, "solver": EULER, "n_jobs": 1, **options}
    return ct.sweep(build, GRID, SHOWN, store=store, **given)


@pytest.fixture(params=["memory", "file"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path}/runs"
        return
    yield f"memory://{tmp_path.name}/runs"
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def test_a_sweep_at_an_address_is_that_in_a_folder_and_is_resumed(
    address: str, tmp_path: Path, monkeypatch: Any
) -> None:
    wanted = run(str(tmp_path / "folder"))
    stored = run(address)
    exact(stored.table, wanted.table, check_exact=True)
    exact(ct.Runs.load(address).table, wanted.table, check_exact=True)
    store = RemoteStore(address)
    assert store.keys() == sorted(wanted.keys)
    store.put(f"{wanted.keys[3]}/run.json", "cut short")
    store.system.rm(f"{store.root}/{wanted.keys[5]}/run.json")
    done: list[str] = []
    true = ct.batch.schedule.run_group  # type: ignore[attr-defined]

    def noting(jobs: Any) -> Any:
        done.extend(job.key for job in jobs)
        return true(jobs)

    monkeypatch.setattr("ctsigprop.batch.schedule.run_group", noting)
    with pytest.warns(UserWarning, match=f"{wanted.keys[3]}/run.json is damaged"):
        exact(run(address).table, wanted.table, check_exact=True)
    assert sorted(done) == sorted([wanted.keys[3], wanted.keys[5]])


def test_both_kinds_of_store_read_each_other(tmp_path: Path) -> None:
    wanted = run(f"file://{tmp_path}/runs", keep=True)
    exact(ct.Runs.load(tmp_path / "runs").table, wanted.table, check_exact=True)
    assert Store(tmp_path / "runs").keys() == sorted(wanted.keys)
    sol = ct.load(tmp_path / "runs" / wanted.keys[0] / "solution")
    assert build(1.0, 3).score(sol.final, DATA.x_test, DATA.y_test) == wanted.table["accuracy"].iloc[0]


def test_newer_formats_and_unknown_addresses_are_refused(address: str) -> None:
    store = RemoteStore(address)
    store.put("store.json", json.dumps({"format": "ctsigprop-runs", "version": 7}))
    with pytest.raises(StoreError, match="has format version 7"):
        run(address)
    with pytest.raises(StoreError, match="cannot be reached: Protocol not known: nowhere"):
        run("nowhere://x/runs")
