"""Fixtures that several test files share."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

from tests.oracle import SETTINGS, AdaptiveRate, Arrays, Coupled, coupled, stepped

hypothesis.settings.register_profile("ctsigprop", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("ctsigprop")
torch.set_num_threads(1)


@pytest.fixture
def at_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook or an interpreter, where Ctrl-C ends a run and gives back what it has."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)


@pytest.fixture
def without_a_screen() -> Iterator[None]:
    """Figures are drawn into memory, and closed in the end."""
    mpl.use("Agg")
    with mpl.rc_context():
        yield
    plt.close("all")


@pytest.fixture(scope="session")
def old_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores that version 1 of the format wrote, before there were checksums, and what they hold."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).parent / "fixtures" / "stores_version_1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def tiny_coupled() -> Callable[[str], Coupled]:
    """A name of SETTINGS -> (network, stimulus, initial state, what DOP853 finds at the end)."""
    return coupled


@pytest.fixture(scope="session")
def tiny_euler() -> Callable[[str, float], Arrays]:
    """A name of SETTINGS and dt -> what Euler steps taken by hand find at the end."""
    return stepped


@pytest.fixture(scope="session")
def tiny_names() -> list[str]:
    """All names that `tiny_coupled` knows."""
    return list(SETTINGS)


@pytest.fixture
def tiny_unchecked() -> Iterator[None]:
    """No shapes are checked: in a long run the checks cost ten times the arithmetic, and short tests make them all."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def tiny_neuron() -> AdaptiveRate:
    """A user's own two-variable neuron with torch parameters."""
    return AdaptiveRate()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiled modules of one test are not those of another, which may have been made without a compiler."""
    monkeypatch.setenv("CTSIGPROP_CACHE", str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("ctsigprop_")]:
        del sys.modules[name]


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated source runs as plain Python."""
    numba = pytest.importorskip("numba", reason="numba, which compiles, is not installed")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
