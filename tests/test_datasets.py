"""Data sets: shapes, scale, splits that are disjoint and stratified, and MNIST files that are whole or refused."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import ctsigprop as ct
from ctsigprop.datasets import MNIST_FILES, Dataset

MAKERS: dict[str, Callable[..., Dataset]] = {
    "digits": ct.datasets.digits,
    "gaussian_clusters": ct.datasets.gaussian_clusters,
    "two_moons": ct.datasets.two_moons,
}
SIZES = {"digits": (1797, 64, 10), "gaussian_clusters": (1000, 20, 4), "two_moons": (1000, 2, 2)}


@pytest.mark.parametrize("name", MAKERS)
def test_shapes_and_types(name: str) -> None:
    data = MAKERS[name]()
    samples, features, classes = SIZES[name]
    test = round(0.2 * samples)
    assert abs(len(data.x_test) - test) <= 1
    assert len(data.x_train) + len(data.x_test) == samples
    assert data.x_train.shape[1] == data.x_test.shape[1] == features
    assert data.y_train.shape == (len(data.x_train),)
    assert data.y_test.shape == (len(data.x_test),)
    assert data.x_train.dtype == data.x_test.dtype == torch.float32
    assert data.y_train.dtype == data.y_test.dtype == torch.int64
    assert set(data.y_train.tolist()) == set(data.y_test.tolist()) == set(range(classes))
    assert f"{features} features, {classes} classes" in repr(data)


@pytest.mark.parametrize("name", MAKERS)
def test_the_split_is_stratified(name: str) -> None:
    data = MAKERS[name]()
    train, test = (torch.bincount(y) / len(y) for y in (data.y_train, data.y_test))
    assert (train - test).abs().max() < 1 / len(data.y_test) + 1e-6


@pytest.mark.parametrize("name", MAKERS)
def test_the_seed_decides_everything(name: str) -> None:
    first, again, other = (MAKERS[name](seed=seed) for seed in (3, 3, 4))
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(first, part), getattr(again, part))
    assert not torch.equal(first.x_train, other.x_train)


@pytest.mark.parametrize("name", ["gaussian_clusters", "two_moons"])
def test_no_sample_is_in_both_parts(name: str) -> None:
    data = MAKERS[name]()
    rows = {tuple(row) for row in torch.cat([data.x_train, data.x_test]).tolist()}
    assert len(rows) == SIZES[name][0]


def test_digits_are_all_of_scikit_learns_between_0_and_1_each_once() -> None:
    data = ct.datasets.digits()
    x = torch.cat([data.x_train, data.x_test]).numpy()
    y = torch.cat([data.y_train, data.y_test]).numpy()
    assert (x.min(), x.max()) == (0.0, 1.0)
    original, labels = load_digits(return_X_y=True)
    mine, theirs = (np.column_stack([a, b]) for a, b in ((x * 16, y), (original, labels)))
    np.testing.assert_array_equal(mine[np.lexsort(mine.T)], theirs[np.lexsort(theirs.T)])


def test_clusters_are_as_wide_as_asked_and_of_the_size_asked() -> None:
    data = ct.datasets.gaussian_clusters(n=4000, n_features=5, n_classes=3, spread=0.5, seed=1)
    x, y = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    assert x.shape == (4000, 5)
    for k in range(3):
        assert x[y == k].std(0).mean() == pytest.approx(0.5, rel=0.05)


def test_two_moons_without_noise_are_two_half_circles() -> None:
    data = ct.datasets.two_moons(n=100, noise=0.0)
    x, y = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    centre = torch.where(y.unsqueeze(-1) == 0, torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close((x - centre).norm(dim=1), torch.ones(100), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 0}, r"gaussian_clusters\(n=\) .*>= 1, got 0"),
        ({"n_classes": 0}, r"gaussian_clusters\(n_classes=\) .*>= 1, got 0"),
        ({"n_features": 0}, r"gaussian_clusters\(n_features=\) .*>= 1, got 0"),
        ({"spread": 0.0}, r"gaussian_clusters\(spread=\) .*> 0, got 0"),
        ({"n": 5}, r"gaussian_clusters\(n=\)"),
        ({"seed": -1}, r"seed"),
    ],
)
def test_clusters_that_cannot_be_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ct.datasets.gaussian_clusters(**given)


@pytest.mark.parametrize(
    ("given", "words"), [({"n": 9}, r"two_moons\(n=\) .*>= 10"), ({"noise": -0.1}, r"two_moons\(noise=\) .*>= 0")]
)
def test_moons_that_cannot_be_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ct.datasets.two_moons(**given)


def idx(values: np.ndarray) -> bytes:
    """Y. LeCun's format: two zero bytes, 8 for unsigned bytes, the number of dimensions, their sizes, the values."""
    return struct.pack(f">BBBB{values.ndim}i", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write(folder: Path, packed: bool) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = dict(
        zip(
            MNIST_FILES,
            (
                random.integers(0, 256, (7, 4, 5), dtype=np.uint8),
                random.integers(0, 10, 7, dtype=np.uint8),
                random.integers(0, 256, (3, 4, 5), dtype=np.uint8),
                random.integers(0, 10, 3, dtype=np.uint8),
            ),
            strict=True,
        )
    )
    folder.mkdir(exist_ok=True)
    for name, values in arrays.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
        else:
            (folder / name).write_bytes(idx(values))
    return arrays


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inner", ["", "mnist"])
def test_hand_made_idx_files_are_read(tmp_path: Path, packed: bool, inner: str) -> None:
    arrays = write(tmp_path / inner, packed)
    for root in (tmp_path, str(tmp_path)):
        data = ct.datasets.mnist(root)
        for images, labels, x, y in (
            (*MNIST_FILES[:2], data.x_train, data.y_train),
            (*MNIST_FILES[2:], data.x_test, data.y_test),
        ):
            expected = arrays[images].reshape(len(arrays[images]), 20).astype(np.float32) / 255
            np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)
            assert y.tolist() == arrays[labels].tolist()
            assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("name", MNIST_FILES)
def test_an_absent_file_is_named_with_all_that_are_expected(tmp_path: Path, name: str) -> None:
    write(tmp_path, packed=False)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        ct.datasets.mnist(tmp_path)
    message = str(caught.value)
    assert f"{tmp_path} has no {name}[.gz]" in message
    assert all(f"{expected}[.gz]" in message for expected in MNIST_FILES)


def test_an_absent_folder_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent has no train-images"):
        ct.datasets.mnist(tmp_path / "absent")


@pytest.mark.parametrize("name", MNIST_FILES)
@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"\x00\x00\x09" + raw[3:],
        lambda raw: raw[:3] + b"\x02" + raw[4:],
        lambda raw: b"<html>404 not found</html>",
        lambda raw: b"",
        lambda raw: raw[:6],
    ],
)
def test_a_file_with_another_header_is_refused(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    write(tmp_path, packed=False)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(ValueError, match=f"{name} is not an IDX file of bytes with [13] dimensions"):
        ct.datasets.mnist(tmp_path)


@pytest.mark.parametrize("name", MNIST_FILES)
@pytest.mark.parametrize("change", [b"", b"\x00\x00"])
def test_a_file_cut_short_or_too_long_is_refused(tmp_path: Path, name: str, change: bytes) -> None:
    write(tmp_path, packed=False)
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(raw + change if change else raw[:-1])
    with pytest.raises(ValueError, match=rf"{name} .*\d+ values instead of"):
        ct.datasets.mnist(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "bits", "not gzip"])
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    write(tmp_path, packed=True)
    victim = tmp_path / f"{MNIST_FILES[0]}.gz"
    raw = victim.read_bytes()
    middle = len(raw) // 2
    spoilt = {
        "cut": raw[:-5],
        "bits": raw[:10] + b"\xff" * 20 + raw[30:],
        "not gzip": b"plain" + raw[5:middle],
    }
    victim.write_bytes(spoilt[damage])
    with pytest.raises(ValueError, match=rf"{MNIST_FILES[0]}.gz cannot be read"):
        ct.datasets.mnist(tmp_path)


def test_images_and_labels_of_different_number_are_refused(tmp_path: Path) -> None:
    write(tmp_path, packed=False)
    (tmp_path / MNIST_FILES[1]).write_bytes(idx(np.zeros(6, dtype=np.uint8)))
    with pytest.raises(ValueError, match="train has 7 images and 6 labels"):
        ct.datasets.mnist(tmp_path)


@pytest.mark.skipif("CTSIGPROP_DATA" not in os.environ, reason="CTSIGPROP_DATA names no folder with MNIST")
def test_the_real_mnist() -> None:
    data = ct.datasets.mnist(os.environ["CTSIGPROP_DATA"])
    assert data.x_train.shape == (60_000, 784)
    assert data.x_test.shape == (10_000, 784)
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert (float(x.min()), float(x.max())) == (0.0, 1.0)
        assert set(y.tolist()) == set(range(10))
    assert data.y_train[:5].tolist() == [5, 0, 4, 1, 9]  # as shown on every page about MNIST
