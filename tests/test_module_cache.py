"""The cache of compiled modules: damaged or changed files are written anew, and never executed."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ctsigprop.execution.numba import module_cache
from ctsigprop.execution.numba.module_cache import MACHINE_CODE, load

SOURCE = "answer = 6 * 7\n"
unix = pytest.mark.skipif(sys.platform == "win32", reason="needs permissions of Unix")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CTSIGPROP_CACHE", str(folder))
    forget()
    yield folder
    forget()


def forget() -> None:
    """As if this process had just started."""
    module_cache.trusted.cache_clear()
    for name in [name for name in sys.modules if name.startswith("ctsigprop_")]:
        del sys.modules[name]


def again(source: str) -> ModuleType:
    """The module as the next process gets it."""
    forget()
    return load(source)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut short": lambda file: file.write_text(SOURCE[:8]),
    "emptied": lambda file: file.write_text(""),
    "garbled": lambda file: file.write_bytes(b"\xff\x00garbled"),
    "changed": lambda file: file.write_text(SOURCE.replace("7", "8")),
    "changed, of the same age": lambda file: same_age(file, SOURCE.replace("7", "8")),
    "removed": lambda file: file.unlink(),
    "replaced by a link": lambda file: linked(file),
    "replaced by a pipe": lambda file: piped(file),
}


def same_age(file: Path, text: str) -> None:
    before = file.stat()
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(file: Path) -> None:
    other = file.with_name("other.py")
    other.write_text("answer = 0\n")
    file.unlink()
    file.symlink_to(other)


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@unix
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_written_anew_and_what_stood_there_is_not_executed(place: Path, damage: str) -> None:
    file = Path(str(load(SOURCE).__file__))
    assert (file.parent, file.read_text()) == (place, SOURCE)
    DAMAGES[damage](file)
    assert again(SOURCE).answer == 42
    assert file.read_text() == SOURCE
    assert not file.is_symlink()
    assert not list(place.glob(".*.part"))


def test_a_folder_in_the_place_of_a_module_does_not_stop_it(place: Path) -> None:
    file = Path(str(load(SOURCE).__file__))
    file.unlink()
    file.mkdir()
    assert again(SOURCE).answer == 42


def test_a_module_that_fails_is_not_taken_for_one_that_is_there(place: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load("answer = 1 / 0\n")


@unix
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused_with_a_warning_told_once(place: Path, mode: int) -> None:
    place.mkdir()
    place.chmod(mode)
    with pytest.warns(UserWarning, match=rf"not kept in {place}, as others may write to cache .*chmod -R go-w"):
        assert load(SOURCE).answer == 42
    assert load("answer = 1\n").answer == 1
    assert not list(place.glob("*.py"))


@unix
def test_so_is_one_whose_machine_code_others_may_replace(place: Path) -> None:
    load(SOURCE)
    (place / MACHINE_CODE).chmod(0o777)
    with pytest.warns(UserWarning, match=f"others may write to {MACHINE_CODE}"):
        assert again(SOURCE).answer == 42


@unix
def test_so_is_one_of_another_user(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(SOURCE)
    monkeypatch.setattr(os, "getuid", lambda: place.stat().st_uid + 1)
    with pytest.warns(UserWarning, match="cache belongs to another user"):
        assert again(SOURCE).answer == 42


@unix
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_the_folder_that_is_made_is_the_user_s_alone(place: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert Path(str(load(SOURCE).__file__)).parent == place
    finally:
        os.umask(before)
    assert [folder.stat().st_mode & 0o777 for folder in (place, place / MACHINE_CODE)] == [0o700, 0o700]


def test_a_place_that_cannot_be_written_to_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file where a folder should be")
    monkeypatch.setenv("CTSIGPROP_CACHE", str(taken))
    assert again(SOURCE).answer == 42
    forget()


def test_a_full_disk_is_done_without(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert load(SOURCE).answer == 42
    assert not list(place.glob("*.py"))
    assert not list(place.glob(".*.part"))


# ---------------------------------------------------------------------------------- machine code

NUMBA = """
import numpy as np
from numba import njit
from ctsigprop.execution.numba.machine_code import kept

@kept
@njit
def double(x):
    return x + x
"""


def compiled_double() -> Any:
    """The function as the next process gets it, compiled for float64; how often its machine code was on disk."""
    double = again(NUMBA).double
    assert double(np.float64(1.5)) == 3.0
    return sum(double.stats.cache_hits.values())


def flipped(file: Path, where: float) -> None:
    data = bytearray(file.read_bytes())
    data[int(where * (len(data) - 1))] ^= 0x10
    file.write_bytes(data)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_machine_code_is_compiled_anew(place: Path, suffix: str) -> None:
    pytest.importorskip("numba", reason="numba, which compiles, is not installed")
    assert compiled_double() == 0
    assert compiled_double() == 1
    (file,) = (place / MACHINE_CODE).glob(f"*.{suffix}")
    whole = file.read_bytes()
    for damage in (b"", b"garbled", whole[:-1], whole[: len(whole) // 2], whole + b"x"):
        file.write_bytes(damage)
        assert compiled_double() == 0
        assert compiled_double() == 1
    for where in (0.0, 0.3, 0.6, 1.0):
        flipped(file, where)
        assert compiled_double() == 0
    assert compiled_double() == 1


def test_machine_code_that_cannot_be_written_does_not_end_a_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_code = pytest.importorskip("ctsigprop.execution.numba.machine_code", exc_type=ImportError)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine_code.CheckedFiles, "_put", full)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled_double() == 0
        assert compiled_double() == 0
