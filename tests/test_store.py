"""A store is written while the run goes on: whole chunks, readable at any moment, intact after a kill at any moment."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import ctsigprop as ct

STEPS = 40
COMMON = """
import os, random, signal, sys, time
import numpy as np, torch
import ctsigprop as ct
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it

def run(path, steps, pause=0.0):
    net = ct.Network([5, 6, 3], 3, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    x = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    probes = [
        ct.Probe("weights", every=1.0),
        ct.Probe("rates", every=0.5, select={"row": [0]}),
        ct.Probe(lambda state: time.sleep(pause) or state["W.1"].norm(), every=1.0, name="size"),
    ]
    stimulus = ct.Presentations(x, np.arange(4) % 3, 4, epochs=steps)
    return ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.5), probes=probes, seed=2, store=path)
"""
KILLS = """
folder, steps = sys.argv[1], int(sys.argv[2])
def child(name):
    pid = os.fork()
    if not pid:
        try:
            run(os.path.join(folder, name), steps)
        finally:
            os._exit(0)
    return pid
run(None, 2)
began = time.perf_counter()
os.waitpid(child("whole"), 0)
took = time.perf_counter() - began
random.seed(1)
for k in range(20):
    pid = child(f"killed_{k}")
    time.sleep(took * (k + random.random()) / 20)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def script(text: str, *args: str) -> subprocess.Popen[str]:
    """A Python process that has `run` and executes the text."""
    root = str(Path(ct.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMON + textwrap.dedent(text), *args]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def simulated(path: Path | None, **settings: Any) -> ct.Solution:
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    net = ct.Network([4, 5, 3], 3, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    probes = [
        ct.Probe("weights", every=0.5),
        ct.Probe("rates", times=[0.5, 2.5]),
        ct.Probe("weights", every=0.5, select={"synapse": ct.Sample(3)}, name="some"),
        ct.Probe(lambda state: state["W.1"].norm(), every=0.5, name="size"),
        ct.Probe(lambda state: xr.DataArray([state.t, 1.0], dims="layer", coords={"layer": [1, 2]}), 1.0, name="array"),
    ]
    given: dict[str, Any] = {"solver": ct.solvers.Euler(dt=0.5), "probes": probes, **settings}
    sol: ct.Solution = ct.simulate(net, ct.Presentations(x, np.arange(6) % 3, 2, epochs=3), store=path, **given)
    return sol


def test_a_store_holds_what_memory_would(tmp_path: Path) -> None:
    memory, disk = simulated(None), simulated(tmp_path / "deep" / "run.zarr")
    xr.testing.assert_identical(disk.dataset.load(), memory.dataset)
    back = ct.load(tmp_path / "deep" / "run.zarr")
    xr.testing.assert_identical(back.dataset.load(), memory.dataset)
    assert back.final.equal(memory.final)
    assert (back.status, back.message) == (memory.status, memory.message)
    assert back.stats == disk.stats
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["run.zarr"]


def test_a_store_has_the_layout_of_a_saved_solution(tmp_path: Path) -> None:
    simulated(None).save(tmp_path / "saved")
    simulated(tmp_path / "stored")
    found = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("saved", "stored")]
    assert found[0] == found[1] == ["dataset.zarr", "final.zarr", "manifest.json"]
    saved, stored = (
        xr.open_zarr(tmp_path / name / "dataset.zarr", consolidated=False).load() for name in ("saved", "stored")
    )
    xr.testing.assert_identical(saved, stored)


@pytest.mark.parametrize("solver", [ct.solvers.Euler(dt=0.5, max_steps=7), ct.solvers.Euler(dt=0.5, max_steps=1)])
def test_a_store_of_a_run_that_stops_early_keeps_what_it_has(tmp_path: Path, solver: ct.solvers.Solver) -> None:
    memory, disk = (simulated(path, solver=solver) for path in (None, tmp_path / "run"))
    assert disk.status is ct.Status.MAX_STEPS
    xr.testing.assert_identical(disk.dataset.load(), memory.dataset)
    xr.testing.assert_identical(ct.load(tmp_path / "run").dataset.load(), memory.dataset)


def test_an_existing_path_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError, match="run exists: choose another path, or remove it first"):
        simulated(tmp_path / "run")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_a_recording_that_the_disk_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 100}))
    with pytest.raises(OSError, match=r"recording would take .* and 100 bytes are free"):
        simulated(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], bool]], None]:
    """Makes the disk full for files whose path is chosen by a function."""
    true = os.replace

    def fill(chosen: Callable[[str], bool]) -> None:
        def replace(source: Any, target: Any, **settings: Any) -> None:
            if chosen(str(target)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            true(source, target, **settings)

        monkeypatch.setattr(os, "replace", replace)

    return fill


def chunks_after(count: int, name: str) -> Callable[[str], bool]:
    """Chosen are chunks of a record from one on."""
    return lambda path: f"/{name}/c/" in path and int(path.split(f"/{name}/c/")[1].split("/")[0]) >= count


COARSE = ct.solvers.Dopri5(rtol=1e-2, atol=1e-2)
SOLVERS = {
    "in torchdiffeq": ct.solvers.RK4(dt=0.25),
    "in place": ct.solvers.Euler(dt=0.25),
    "factored": ct.solvers.FactoredRK4(dt=0.25),
    "adaptive": COARSE,
}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_a_disk_that_is_full_hands_back_the_solution_so_far(
    tmp_path: Path, solver: ct.solvers.Solver, full: Any
) -> None:
    place, whole = tmp_path / "run.zarr", simulated(None, solver=solver)
    full(chunks_after(9, "weights"))
    with pytest.raises(
        OSError, match=rf"the store {place} cannot be written to \(No space left.*weights up to t=4"
    ) as e:
        simulated(place, solver=solver)
    assert e.value.errno == errno.ENOSPC
    sol = e.value.solution  # type: ignore[attr-defined]
    assert sol.status is ct.Status.STORE_FAILED
    assert sol.final.t >= 4.25  # the last step before the sample that had no room
    until = simulated(None, solver=solver, t_span=(0.0, sol.final.t))
    for name in ("W.1", "W.2"):
        torch.testing.assert_close(sol.final[name], until.final[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(sol.dataset.weights, whole.dataset.weights.sel(time=slice(0, 4)))
    back = ct.load(place)  # the final state still found room
    assert (back.status, back.final.t) == (ct.Status.STORE_FAILED, sol.final.t)
    xr.testing.assert_identical(back.dataset.load(), sol.dataset.load())


@pytest.mark.parametrize("file", ["final.zarr", "manifest.json", "weights/c/50"])
def test_a_disk_that_is_full_in_the_end_does_not_lose_the_final_state(tmp_path: Path, file: str, full: Any) -> None:
    net = ct.Network([4, 2], rule=ct.rules.Oja(), bias=False)
    stimulus = ct.Presentations(np.ones((1, 4)), None, 1, duration=100.0)
    given: dict[str, Any] = {"solver": ct.solvers.Euler(dt=1.0), "probes": [ct.Probe("weights", every=1.0)]}
    whole = ct.simulate(net, stimulus, **given)
    full(lambda path: f"/{file}" in path)
    with pytest.raises(OSError, match=r"No space left on device\); it holds weights up to t=") as error:
        ct.simulate(net, stimulus, **given, store=tmp_path / "run")
    sol = error.value.solution  # type: ignore[attr-defined]
    assert sol.final.equal(whole.final)
    count = 100 if file == "weights/c/50" else 101  # two samples to a chunk
    xr.testing.assert_equal(sol.dataset.load(), whole.dataset.isel(time=slice(0, count)))
    back = ct.load(tmp_path / "run")
    assert back.dataset.equals(sol.dataset)
    assert (back.status is ct.Status.STORE_FAILED) == (file == "weights/c/50") == back.final.equal(whole.final)


def test_of_an_ensemble_too(tmp_path: Path, full: Any) -> None:
    whole: Any = simulated(None, solver=COARSE, ensemble=3)
    full(lambda path: "/run/1/" in path and chunks_after(4, "weights")(path))
    with pytest.raises(OSError, match=r"run/1 cannot be written to") as error:
        simulated(tmp_path / "run", solver=COARSE, ensemble=3)
    members = error.value.solution  # type: ignore[attr-defined]
    assert members[0].status.ok
    assert members[0].final.equal(whole[0].final)
    ends = [member.final.t for member in members]
    assert ends[0] == 9.0
    assert 2.0 <= ends[1] < 9.0
    assert ends[2] == 0.0
    assert ct.load(tmp_path / "run" / "0").status.ok


def test_a_place_that_may_only_be_read_is_not_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def readonly(path: Any, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 0}))
    monkeypatch.setattr(Path, "mkdir", readonly)
    with pytest.raises(OSError, match=rf"{tmp_path} cannot be written to \(Read-only file system\): choose another"):
        simulated(tmp_path / "run")


def test_the_predicted_bytes_are_those_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All arrays of the store, coordinates too, uncompressed."""
    net = ct.Network([20, 30, 10], 3, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    probes = [
        ct.Probe("weights", every=1.0, select={"synapse": ct.Sample(100)}),
        ct.Probe("rates", every=0.5),
        ct.Probe("weights", every=8.0, name="all"),
    ]
    stimulus = ct.Presentations(np.ones((4, 20), np.float32), [0, 1, 2, 0], 2, epochs=100)
    ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), probes=probes, store=tmp_path / "run", progress=True)
    told = capsys.readouterr().err.splitlines()[0].split()
    predicted = float(told[1]) * {"kB": 1e3, "MB": 1e6}[told[2]]
    arrays: Any = dict(zarr.open_group(str(tmp_path / "run" / "dataset.zarr"), mode="r").arrays())
    written = sum(array[...].nbytes for array in arrays.values())
    assert all(np.isfinite(arrays[name][-1, 0, 0]).all() for name in ("weights", "rates"))
    assert predicted == pytest.approx(written, rel=0.05)


def test_memory_holds_one_chunk_of_each_record_and_disk_the_rest(tmp_path: Path) -> None:
    """What is written is on disk before the run ends, and what is not yet written is small."""
    seen: list[int] = []

    def on_disk(state: ct.State) -> float:
        if (tmp_path / "run").exists():
            found = ct.load(tmp_path / "run")
            assert found.status is ct.Status.UNFINISHED
            seen.append(found.dataset.sizes["time"])
        return state.t

    net = ct.Network([4, 2], rule=ct.rules.Oja(), bias=False)
    stimulus = ct.Presentations(np.ones((1, 4)), None, 1, duration=640.0)
    probes = [ct.Probe("weights", every=1.0), ct.Probe(on_disk, every=50.0)]
    sol = ct.simulate(net, stimulus, ct.solvers.Euler(dt=1.0), probes=probes, store=tmp_path / "run")
    chunk = 11  # 641 samples in at least 64 chunks
    assert seen == [(50 * k + 1) // chunk * chunk for k in range(1, 13)]
    assert sol.dataset.sizes["time"] == 641


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its runs")
def test_a_store_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    """Twenty runs, each killed somewhere between its first moment and its last."""
    process = script(KILLS, str(tmp_path), str(STEPS))
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0, errors
    whole = ct.load(tmp_path / "whole")
    assert whole.status.ok
    full = whole.dataset.load()
    partial = 0
    for k in range(20):
        path = tmp_path / f"killed_{k}"
        if not path.exists():
            continue
        found = ct.load(path)
        data = found.dataset.load()
        partial += not found.status.ok
        assert found.status in (ct.Status.UNFINISHED, ct.Status.COMPLETED)
        for name, record in data.items():
            count = record.sizes[str(record.dims[0])]
            if found.status is ct.Status.UNFINISHED:
                chunk = 2 if name == "rates" else 1  # 81 and 41 samples in some 64 chunks
                assert count % chunk == 0 or count == len(full[name])
            np.testing.assert_array_equal(record.values, full[name].values[:count])
        assert data.attrs["configuration_hash"] == full.attrs["configuration_hash"]
    assert partial >= 3


def waits_for(happens: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 60
    while not happens():
        if process.poll() is not None or time.monotonic() > limit:
            raise AssertionError(process.communicate(timeout=5)[1])
        time.sleep(0.05)


def test_another_process_reads_whole_chunks_while_the_run_goes_on_and_ctrl_c_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = script("run(sys.argv[1], 5000, 0.002); print('ended')", str(path))
    try:
        waits_for(path.exists, process)
        chunk = json.loads((path / "dataset.zarr" / "weights" / "zarr.json").read_text())["chunk_grid"]
        length = chunk["configuration"]["chunk_shape"][0]
        waits_for(lambda: ct.load(path).dataset.sizes["time"] > 0, process)
        early = ct.load(path)
        assert early.status is ct.Status.UNFINISHED
        assert f"recorded up to t={early.final.t:g}" in early.message
        assert early.dataset.sizes["time"] % length == 0
        values = early.dataset["weights"].values
        waits_for(lambda: ct.load(path).dataset.sizes["time"] > len(values), process)
        np.testing.assert_array_equal(ct.load(path).dataset["weights"].values[: len(values)], values)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT, errors
    assert "ended" not in out
    assert errors.rstrip().endswith("KeyboardInterrupt")
    late = ct.load(path)
    assert late.status is ct.Status.INTERRUPTED
    assert late.final["W.1"].shape == (6, 5)
    np.testing.assert_array_equal(late.dataset["weights"].values[: len(values)], values)
    sizes = np.linalg.norm(late.dataset["weights"].sel(layer=1).values[:, :6, :5], axis=(1, 2))
    np.testing.assert_allclose(late.dataset["size"], sizes, rtol=1e-5)


def test_an_error_on_the_way_leaves_what_was_recorded(tmp_path: Path) -> None:
    def fails(state: ct.State) -> float:
        return 1.0 / (state.t - 2.0)

    probes = [ct.Probe("weights", every=0.5), ct.Probe(fails, every=0.5)]
    with pytest.raises(ct.SimulationError, match=r"probe 'fails' raised an error at t=2: ZeroDivisionError") as raised:
        simulated(tmp_path / "run", probes=probes)
    found, handed = ct.load(tmp_path / "run"), raised.value.solution
    assert isinstance(handed, ct.Solution)
    assert found.status is handed.status is ct.Status.FAILED
    assert "ZeroDivisionError: float division by zero" in found.message
    assert found.dataset["time"].values.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert found.final.equal(handed.final)


def test_every_member_of_an_ensemble_has_its_own_store(tmp_path: Path) -> None:
    net = ct.Network([4, 5, 3], 3, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    shown, probes = ct.Presentations(x, np.arange(6) % 3, 2), [ct.Probe("weights", every=0.5)]
    solver = ct.solvers.Euler(dt=0.5)
    members = ct.simulate(net, shown, solver, probes=probes, seed=4, ensemble=3, store=tmp_path / "runs")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["0", "1", "2"]
    for k, member in enumerate(members):
        alone = ct.simulate(net, shown, solver, probes=probes, seed=4 + k).dataset
        back = ct.load(tmp_path / "runs" / str(k)).dataset.load()
        np.testing.assert_allclose(back["weights"], alone["weights"], rtol=1e-5, atol=1e-6)
        for name in ("configuration_hash", "seed"):
            assert back.attrs[name] == alone.attrs[name] == member.dataset.attrs[name]


def test_a_file_that_a_kill_left_half_written_is_no_hindrance(tmp_path: Path) -> None:
    process = script("run(sys.argv[1], 200, 0.001)", str(tmp_path / "run"))
    waits_for((tmp_path / "run").exists, process)
    process.kill()
    process.communicate(timeout=30)
    for name in ("dataset.zarr/zarr.0123.partial", "dataset.zarr/weights/c/0/.partial", ".progress.json.partial"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("{")
    assert ct.load(tmp_path / "run").status is ct.Status.UNFINISHED
