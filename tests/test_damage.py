"""A store that was changed by a single bit, or made up by a stranger, loads as it was or raises one error."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.files.unreadable import sealed
from ctsigprop.results import format as storage
from tests.mutations import mutated

COUNT = 78
unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")


def simulated(store: Path | None = None, stops: bool = False) -> ct.Solution:
    def size(state: ct.State) -> torch.Tensor:
        if stops and state.t > 2.0:
            raise SystemExit  # as if the process were killed: no status is written
        norm: torch.Tensor = state["W.1"].norm()
        return norm

    net = ct.Network([2, 3], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    x = np.array([[0.5, -1.0], [1.5, 0.25]], np.float32)
    probes = [ct.Probe("weights", every=1.0), ct.Probe(size, every=0.5, name="size")]
    stimulus = ct.Presentations(x, [0, 1], 2, epochs=3)
    return ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.5), probes=probes, seed=3, store=store)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, old_stores: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stores")
    simulated().save(folder / "saved")
    simulated(folder / "stored")
    with pytest.raises(SystemExit):
        simulated(folder / "unfinished", stops=True)
    return {name: folder / name for name in ("saved", "stored", "unfinished")} | {"old": old_stores / "stored"}


def loaded(store: Path) -> ct.Solution:
    sol = ct.load(store)
    sol.dataset.load()
    return sol


def loaded_or_refused(store: Path, what: str) -> ct.Solution | None:
    """The solution, or None where it was refused by the one error, which names the store."""
    try:
        return loaded(store)
    except ct.Unreadable as error:
        message = str(error)
    assert str(store) in message, what
    return None


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
        sol = loaded_or_refused(copy, what)
        refused += sol is None
        assert sol is None or same(sol, whole), f"{what} (seed {seed}) was not seen"
    assert refused > COUNT / 2


@unix
def test_a_mutated_store_without_checksums_loads_or_raises_the_one_error(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    for seed in range(COUNT):
        copy = tmp_path / str(seed) / "store"
        what = mutated(stores["old"], copy, seed)
        loaded_or_refused(copy, what)


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


# ------------------------------------------------------------------------------ made up by a stranger


def resealed(store: Path, name: str, text: str) -> None:
    """Change a metadata file, and the manifest with it, as one would who knows the format."""
    (store / name).write_text(text)
    head = json.loads((store / "manifest.json").read_text())
    head["files"][name] = len(text.encode())
    head["checks"][name] = storage.checksum(store / name)
    (store / "manifest.json").write_text(sealed({key: value for key, value in head.items() if key != "digest"}))


@pytest.mark.parametrize("array", ["final.zarr/W.1", "dataset.zarr/time", "dataset.zarr/weights"])
@pytest.mark.parametrize("chunked", [True, False])
def test_what_is_declared_is_checked_before_memory_is_taken(
    stores: dict[str, Path], tmp_path: Path, array: str, chunked: bool
) -> None:
    """10**11 values, in one chunk or in as many chunks as there are values."""
    store = shutil.copytree(stores["saved"], tmp_path / "store")
    meta = json.loads((store / array / "zarr.json").read_text())
    meta["shape"][0] = 10**11
    meta["chunk_grid"]["configuration"]["chunk_shape"][0] = 1 if chunked else 10**11
    resealed(store, f"{array}/zarr.json", json.dumps(meta))
    with pytest.raises(ct.Unreadable, match=array):
        loaded(store)


def test_a_codec_that_does_more_than_compress_is_refused(tmp_path: Path, stores: dict[str, Path]) -> None:
    """An array of pickles in zarr's format 2: to read it would be to run it."""
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    store = shutil.copytree(stores["saved"], tmp_path / "store")
    shutil.rmtree(store / "dataset.zarr" / "size")
    (store / "dataset.zarr" / "size").mkdir()
    described = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C", "fill_value": None}
    files = {
        ".zarray": json.dumps({**described, "filters": [{"id": "pickle", "protocol": 4}], "compressor": None}).encode(),
        ".zattrs": b'{"_ARRAY_DIMENSIONS": ["x"]}',
        "0": pickle.dumps(np.array([Bomb()], object)),
    }
    head = json.loads((store / "manifest.json").read_text())
    for part in ("files", "checks"):
        head[part] = {name: value for name, value in head[part].items() if "zarr/size/" not in name}
    for name, content in files.items():
        (store / "dataset.zarr" / "size" / name).write_bytes(content)
        head["files"][f"dataset.zarr/size/{name}"] = len(content)
        head["checks"][f"dataset.zarr/size/{name}"] = storage.checksum(store / "dataset.zarr" / "size" / name)
    del head["digest"]
    (store / "manifest.json").write_text(sealed(head))
    with pytest.raises(ct.Unreadable, match="the codec 'pickle' is not among those that are read"):
        loaded(store)
    assert not ran.exists()


@unix
@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "dataset.zarr/../../secret", ""])
def test_a_manifest_cannot_name_what_is_outside(stores: dict[str, Path], tmp_path: Path, name: str) -> None:
    store = shutil.copytree(stores["saved"], tmp_path / "store")
    head = json.loads((store / "manifest.json").read_text())
    head["files"][name] = 7
    del head["digest"]
    (store / "manifest.json").write_text(sealed(head))
    with pytest.raises(ct.Unreadable, match="is not the name of a file in it"):
        loaded(store)


@unix
def test_a_folder_that_is_a_link_is_refused_and_a_store_behind_a_link_is_not(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    store = shutil.copytree(stores["saved"], tmp_path / "store")
    (tmp_path / "link").symlink_to(store)
    assert same(loaded(tmp_path / "link"), loaded(store))
    (store / "dataset.zarr").rename(tmp_path / "elsewhere")
    (store / "dataset.zarr").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ct.Unreadable, match=r"store/dataset\.zarr is"):
        ct.load(store)


@pytest.mark.parametrize("name", ["dataset.zarr/.DS_Store", "final.zarr/Thumbs.db", "notes.txt"])
def test_what_a_file_manager_or_a_person_leaves_does_no_harm(
    stores: dict[str, Path], tmp_path: Path, name: str
) -> None:
    store = shutil.copytree(stores["saved"], tmp_path / "store")
    (store / name).write_text("mine")
    assert same(loaded(store), loaded(stores["saved"]))


def test_damage_is_told_when_a_damaged_part_is_read_and_not_before(stores: dict[str, Path], tmp_path: Path) -> None:
    store = shutil.copytree(stores["stored"], tmp_path / "store")
    victim = sorted((store / "dataset.zarr" / "size" / "c").iterdir())[2]
    content = bytearray(victim.read_bytes())
    content[10] ^= 1
    victim.write_bytes(content)
    sol = ct.load(store)
    whole = loaded(stores["stored"]).dataset
    np.testing.assert_array_equal(sol.dataset["weights"], whole["weights"])
    np.testing.assert_array_equal(sol.dataset["size"][:2], whole["size"][:2])
    with pytest.raises(ct.Unreadable, match=str(victim)):
        sol.dataset["size"].load()


# ------------------------------------------------------------------------------ stores of the last version


@pytest.mark.parametrize("name", ["saved", "stored"])
def test_a_store_of_the_first_format_loads(old_stores: Path, name: str) -> None:
    expected = json.loads((old_stores / "expected.json").read_text())
    sol = loaded(old_stores / name)
    assert {key: value.tolist() for key, value in sol.final.items()} == expected["final"]
    assert {key: value.values.tolist() for key, value in sol.dataset.data_vars.items()} == expected["records"]
    assert {key: value.values.tolist() for key, value in sol.dataset.coords.items()} == expected["clocks"]
    assert (sol.final.t, sol.message, sol.status) == (expected["t"], expected["message"], ct.Status.COMPLETED)


def test_an_unfinished_store_of_the_first_format_loads(old_stores: Path) -> None:
    expected = json.loads((old_stores / "expected.json").read_text())["records"]
    sol = loaded(old_stores / "unfinished")
    assert sol.status is ct.Status.UNFINISHED
    assert sol.dataset["weights"].values.tolist() == expected["weights"][:3]  # at 0, 1 and 2, where a probe raised
    assert sol.dataset["size"].values.tolist() == expected["size"][:5]


def test_a_store_of_the_first_format_can_be_saved_in_this_one(old_stores: Path, tmp_path: Path) -> None:
    sol = loaded(old_stores / "saved")
    back = loaded(sol.save(tmp_path / "new"))
    assert same(back, sol)
    assert "checks" in json.loads((tmp_path / "new" / "manifest.json").read_text())
