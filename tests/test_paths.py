"""Every path of the program is understood in one way, and what could not be begun or was killed leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from typer.testing import CliRunner

import ctsigprop as ct
from ctsigprop.batch import Store
from ctsigprop.cli import app
from ctsigprop.files.paths import local, machine, part_of, placed

EULER = ct.solvers.Euler(dt=0.5)
TOML = """
seeds = 1
data = { name = "two_moons", n = 20 }
presentations = { batch_size = 16, epochs = 1 }
network = { hidden = [2] }
solver = { name = "euler", dt = 1.0 }
[compare.rules.one]
"""


def network(rate: float = 1.0) -> ct.Network:
    return ct.Network([2, 3], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=rate))


def shown() -> ct.Presentations:
    return ct.Presentations(np.eye(2, dtype=np.float32), [0, 1], 2)


def simulated(store: Any = None, **settings: Any) -> Any:
    given: dict[str, Any] = {"probes": [ct.Probe("weights", every=0.5)], "store": store, **settings}
    return ct.simulate(network(), shown(), EULER, **given)


def compared(store: Any) -> Any:
    return ct.compare({"a": network()}, shown(), seeds=1, test=(np.eye(2, dtype=np.float32), [0, 1]), store=store)


def size(state: ct.State) -> float:
    return float(state["W.1"].norm())


def swept(store: Any) -> Any:
    given: dict[str, Any] = {"seeds": 1, "n_jobs": 1, "solver": EULER, "metrics": {"size": size}}
    return ct.sweep(network, {"rate": [1.0]}, shown(), store=store, **given)


def command(*words: str) -> None:
    mpl.use("Agg")
    result = CliRunner().invoke(app, words, env={"TERM": "dumb", "NO_COLOR": "1"})
    if result.exit_code not in (0, 1):
        raise ValueError(result.output)


def written(path: str) -> str:
    """An experiment under a path with "~", written where it leads to."""
    Path(path).expanduser().with_suffix(".toml").write_text(TOML)
    return f"{path}.toml"


DOORS: dict[str, Callable[[str], Any]] = {
    "simulate": simulated,
    "ensemble": lambda path: simulated(path, ensemble=2),
    "save": lambda path: simulated().save(path),
    "animate": lambda path: ct.animate(simulated(), f"{path}.gif", frames=1),
    "sweep": swept,
    "run": lambda path: command("run", written(path), "--store", path),
    "compare": lambda path: command("compare", written(path), "--store", path, "--out", f"{path}-out"),
    "demo": lambda path: command("demo", "--epochs", "1", "--out", path),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of our own, and an empty working directory beside it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize("door", DOORS)
def test_a_tilde_is_the_home_folder_at_every_door(home: Path, door: str) -> None:
    DOORS[door]("~/run")
    assert any(path.name.startswith("run") for path in home.iterdir())
    assert list(Path.cwd().iterdir()) == []


def test_what_is_read_knows_the_home_folder_too(home: Path) -> None:
    simulated().save("~/sol")
    assert ct.load("~/sol").final.t == 1.0
    swept("~/runs")
    assert len(ct.Runs.load("~/runs").runs) == 1
    command("status", "~/runs")
    command("plot", "~/runs", "--out", "~/deep/p.png", "--x", "rate")
    assert (home / "deep" / "p.png").exists()
    with pytest.raises(FileNotFoundError, match=f"{home} has no train-images"):
        ct.datasets.mnist("~")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("address", ["s3://bucket/run", "gs://bucket/run", "memory://run", "file:///tmp/run"])
@pytest.mark.parametrize("door", ["simulate", "ensemble", "save", "animate", "run", "demo"])
def test_an_address_where_a_path_is_wanted_is_refused_and_leaves_nothing(home: Path, door: str, address: str) -> None:
    (home / "x.toml").write_text(TOML)
    act = {**DOORS, "run": lambda path: command("run", str(home / "x.toml"), "--store", path)}[door]
    with pytest.raises(ValueError, match=r"must be a path on\s+(│\s+│\s+)?this computer"):
        act(address)
    assert list(Path.cwd().iterdir()) == []


def test_a_sweep_takes_an_address_as_text_and_not_as_a_path() -> None:
    with pytest.raises(ValueError, match="may be an address, given as text"):
        swept(Path("s3://bucket/runs"))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("", ValueError, "store must be a path, got ''"),
        ("a\0b", ValueError, "store must be a path, got 'a"),
        (3, TypeError, "store must be a path, got 3"),
        (b"run", TypeError, "store must be a path, got b'run'"),
        ("~nobody-of-that-name/run", ValueError, "no home folder is known"),
        ("x" * 256, ValueError, "a name in a path has at most 255 bytes, got 256"),
        ("ö" * 128, ValueError, "a name in a path has at most 255 bytes, got 256"),
    ],
)
def test_what_is_no_path_is_told_by_name(value: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        local("store", value)


@pytest.mark.parametrize("name", ["x" * 241, "x" * 255, "ö" * 127])
def test_names_are_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    simulated(tmp_path / "a" / name)
    assert simulated().save(tmp_path / "b" / name).name == name
    assert ct.load(tmp_path / "a" / name).status.ok
    assert [path.name for path in (tmp_path / "a").iterdir()] == [name]


def test_a_store_stays_where_it_is_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def move(state: ct.State) -> float:
        os.chdir(tmp_path / "elsewhere")
        return state.t

    simulated("run", probes=[ct.Probe(move, every=0.5)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "run"]
    os.chdir(tmp_path)
    sol = ct.load("run")
    os.chdir(tmp_path / "elsewhere")
    assert sol.dataset["move"].values.tolist() == [0.0, 0.5, 1.0]


# ------------------------------------------------------------------------------ starts that fail


@pytest.mark.parametrize("ensemble", [None, 3])
def test_a_run_that_fails_at_its_start_leaves_no_store(tmp_path: Path, ensemble: int | None) -> None:
    class Wrong(ct.rules.Hebb):
        def update(self, local: ct.rules.Local) -> Any:
            raise RuntimeError("not yet")

    net = ct.Network([2, 3], rule=Wrong())
    stimulus = ct.Presentations(np.eye(2, dtype=np.float32), None, 2)
    probes = [ct.Probe("weights", every=0.5)]
    given: dict[str, Any] = {"probes": probes, "store": tmp_path / "new" / "run", "ensemble": ensemble}
    with pytest.raises(RuntimeError, match="not yet"):
        ct.simulate(net, stimulus, EULER, **given)
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_whose_last_store_cannot_be_made_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "runs" / "2").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="2 exists"):
        simulated(tmp_path / "runs", ensemble=3)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["2"]


def test_a_disk_that_is_full_at_the_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        for act in (lambda: simulated().save(tmp_path / "a" / "b"), lambda: simulated(tmp_path / "a" / "b")):
            with pytest.raises(OSError, match="No space left"):
                act()
        with pytest.raises(ct.batch.StoreError, match="No space left"):
            swept(tmp_path / "a" / "runs")
    assert list(tmp_path.iterdir()) == []
    swept(tmp_path / "a" / "runs")


def test_a_folder_above_stays_where_somebody_else_uses_it(tmp_path: Path) -> None:
    def fails() -> None:
        with placed(tmp_path / "new" / "run") as part:
            part.mkdir()
            (tmp_path / "new" / "theirs").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["theirs"]


# ------------------------------------------------------------------------------ what the killed leave


def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


def test_parts_of_killed_processes_go_with_the_next_start_and_others_stay(tmp_path: Path) -> None:
    gone, alive, other = (
        tmp_path / f".run.{host}-{pid}-0123abcd.part"
        for host, pid in ((machine(), dead()), (machine(), os.getpid()), ("000000", 1))
    )
    old, mine = tmp_path / ".run.0123abcd.part", tmp_path / ".my.part"
    for folder in (gone, alive, other, old, mine):
        (folder / "dataset.zarr").mkdir(parents=True)
    os.utime(old, (0, 0))
    simulated(tmp_path / "next")
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, other.name, mine.name, "next"}
    os.utime(other, (0, 0))
    simulated().save(tmp_path / "more")
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, mine.name, "next", "more"}


def test_a_killed_sweep_leaves_nothing_after_the_next_start(tmp_path: Path) -> None:
    table = swept(tmp_path / "runs").table
    key = next(iter(Store(tmp_path / "runs").keys()))
    leaves = [
        *(tmp_path / "runs" / "locks" / f"{name}.lock" for name in (key, "f" * 20)),
        *(
            tmp_path / "runs" / folder / f".{name}.{machine()}-{dead()}-0123abcd.part"
            for folder, name in ((".", "store.json"), ("plans", "x.json"), (".", "writable"))
        ),
    ]
    for file in leaves:
        file.write_text("")
    half = tmp_path / "runs" / f".{key}.{machine()}-{dead()}-0123abcd.part"
    half.mkdir()
    with Store(tmp_path / "runs").claim("held"):
        assert swept(tmp_path / "runs").table.equals(table)
        assert [file for file in (*leaves, half) if file.exists()] == []
        assert Store(tmp_path / "runs").running() == ["held"]
    assert list((tmp_path / "runs" / "locks").iterdir()) == []


def test_a_sweep_that_was_killed_while_it_made_its_store_can_be_started(tmp_path: Path) -> None:
    for name in ("plans", "locks"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    part_of(tmp_path / "runs" / "store.json").write_text("{")
    assert len(swept(tmp_path / "runs").table) == 1
