"""A store that was changed by a single bit, or made up by a stranger, loads as it was or raises one error."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import ctsigprop as ct
from tests.mutations import mutated

torch.set_num_threads(1)
FIXTURE = Path(__file__).parent / "fixtures" / "stores_version_1.tar.xz"
COUNT = 78
unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")


def simulated(store: Path | None = None, stops: bool = False) -> ct.Solution:
    def size(state: ct.State) -> torch.Tensor:
        if stops and state.t > 2.0:
            raise ZeroDivisionError
        return state["W.1"].norm()

    net = ct.Network([2, 3], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    x = np.array([[0.5, -1.0], [1.5, 0.25]], np.float32)
    probes = [ct.Probe("weights", every=1.0), ct.Probe(size, every=0.5, name="size")]
    stimulus = ct.Presentations(x, [0, 1], 2, epochs=3)
    return ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.5), probes=probes, seed=3, store=store)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores that version 1 of the format wrote, before there were checksums, and what they hold."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, old: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stores")
    simulated().save(folder / "saved")
    simulated(folder / "stored")
    with pytest.raises(ZeroDivisionError):
        simulated(folder / "unfinished", stops=True)
    return {name: folder / name for name in ("saved", "stored", "unfinished")} | {"old": old / "stored"}


def loaded(store: Path) -> ct.Solution:
    sol = ct.load(store)
    sol.dataset.load()
    return sol


def same(a: ct.Solution, b: ct.Solution) -> bool:
    told = [(sol.status, sol.message, sol.stats, sol.final.t) for sol in (a, b)]
    return told[0] == told[1] and a.final.equal(b.final) and bool(a.dataset.identical(b.dataset))


# ------------------------------------------------------------------------------ anything at all


@unix
@pytest.mark.parametrize("name", ["saved", "stored", "unfinished"])
def test_a_mutated_store_loads_as_it_was_or_raises_the_one_error(
    stores: dict[str, Path], tmp_path: Path, name: str
) -> None:
    whole = loaded(stores[name])
    refused = 0
    for seed in range(COUNT):
        copy = tmp_path / str(seed) / "store"
        what = mutated(stores[name], copy, seed)
        try:
            sol = loaded(copy)
        except ct.Unreadable as error:
            refused += 1
            assert str(copy) in str(error), what
        else:
            assert same(sol, whole), f"{what} (seed {seed}) was not seen"
    assert refused > COUNT / 2


@unix
def test_a_mutated_store_without_checksums_loads_or_raises_the_one_error(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    for seed in range(COUNT):
        copy = tmp_path / str(seed) / "store"
        what = mutated(stores["old"], copy, seed)
        try:
            loaded(copy)
        except ct.Unreadable as error:
            assert str(copy) in str(error), what


@pytest.mark.parametrize("name", ["saved", "stored"])
def test_every_bit_of_every_chunk_counts(stores: dict[str, Path], tmp_path: Path, name: str) -> None:
    """One bit of each chunk, whichever array it is of; the error names the file."""
    store = shutil.copytree(stores[name], tmp_path / "store")
    chunks = [file for file in sorted(store.rglob("*")) if file.is_file() and "c" in file.relative_to(store).parts]
    assert len(chunks) > 10
    for k, file in enumerate(chunks):
        whole = file.read_bytes()
        file.write_bytes(bytes([*whole[: k % len(whole)], whole[k % len(whole)] ^ 4, *whole[k % len(whole) + 1 :]]))
        with pytest.raises(ct.Unreadable, match=str(file.relative_to(store))):
            loaded(store)
        file.write_bytes(whole)
    assert same(loaded(store), loaded(stores[name]))
