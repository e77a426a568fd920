"""Data sets, split and scaled, as float32 tensors."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits, make_moons
from sklearn.model_selection import train_test_split
from torch import Tensor

from ctsigprop.files.paths import local
from ctsigprop.rules.checks import number, whole

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True)
class Dataset:
    """Training and test samples (samples, features) with labels (samples,)."""

    x_train: Float[Tensor, "train features"]
    y_train: Int[Tensor, " train"]
    x_test: Float[Tensor, "test features"]
    y_test: Int[Tensor, " test"]

    def __repr__(self) -> str:
        features, classes = self.x_train.shape[1], int(self.y_train.max()) + 1
        return f"Dataset({len(self.x_train)} + {len(self.x_test)} samples, {features} features, {classes} classes)"


def split(x: np.ndarray, y: np.ndarray, seed: int, test_share: float) -> Dataset:
    """A stratified split, as tensors."""
    arrays = train_test_split(x, y, test_size=test_share, random_state=seed, stratify=y)
    x_train, x_test = (torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for array in arrays[:2])
    y_train, y_test = (torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)) for array in arrays[2:])
    return Dataset(x_train, y_train, x_test, y_test)


def digits(seed: int = 0) -> Dataset:
    """scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, scaled to 0 ... 1, a fifth of them for testing.

    Parameters
    ----------
    seed : int, decides the split; default 0
    """
    whole("seed", seed, 0)
    x, y = load_digits(return_X_y=True)
    return split(x / 16.0, y, seed, 0.2)


def mnist(root: str | Path) -> Dataset:
    """MNIST from the four IDX files in a folder, gzip-compressed or not, scaled to 0 ... 1.

    Parameters
    ----------
    root : folder that holds the files, or a folder `mnist` with them

    Raises
    ------
    FileNotFoundError : a file is absent; the message has the expected names
    ValueError : a file with another header, or cut short
    """
    folder = local("root", root)
    folder = folder / "mnist" if (folder / "mnist").is_dir() else folder
    images = [read_idx(folder, MNIST_FILES[i], 3) for i in (0, 2)]
    labels = [read_idx(folder, MNIST_FILES[i], 1) for i in (1, 3)]
    for image, label, name in zip(images, labels, ("train", "t10k"), strict=True):
        if len(image) != len(label):
            raise ValueError(f"{folder}: {name} has {len(image)} images and {len(label)} labels")
    x_train, x_test = (torch.from_numpy(image.reshape(len(image), -1).astype(np.float32) / 255) for image in images)
    y_train, y_test = (torch.from_numpy(label.astype(np.int64)) for label in labels)
    return Dataset(x_train, y_train, x_test, y_test)


def read_idx(folder: Path, name: str, dims: int) -> np.ndarray:
    """One IDX file of unsigned bytes (Y. LeCun's format): magic 0 0 8 dims, sizes as big-endian int32, values."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not plain.is_file() and not packed.is_file():
        expected = ", ".join(f"{file}[.gz]" for file in MNIST_FILES)
        raise FileNotFoundError(f"{folder} has no {name}[.gz]; MNIST needs the IDX files {expected}")
    source = plain if plain.is_file() else packed
    try:
        raw = source.read_bytes() if source is plain else gzip.decompress(source.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{source} cannot be read: {error}") from None
    if len(raw) < 4 + 4 * dims or raw[:4] != bytes([0, 0, 8, dims]):
        raise ValueError(
            f"{source} is not an IDX file of bytes with {dims} dimensions: it begins with {raw[:4].hex(' ')}"
        )
    shape = np.frombuffer(raw, dtype=">i4", count=dims, offset=4)
    body = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dims)
    if body.size != int(np.prod(shape)):
        raise ValueError(f"{source} is cut short: {body.size} values instead of {' x '.join(map(str, shape))}")
    return body.reshape(shape)


def gaussian_clusters(
    n: int = 1000, n_features: int = 20, n_classes: int = 4, spread: float = 1.0, seed: int = 0
) -> Dataset:
    """Isotropic Gaussian clusters around centres drawn from a standard normal times 3, a fifth for testing.

    Parameters
    ----------
    n : int, samples
    n_features, n_classes : int, inputs of each sample, and number of clusters
    spread : float, standard deviation of each cluster, > 0
    seed : int, decides centres, samples and split
    """
    for name, value in (("n", n), ("n_features", n_features), ("n_classes", n_classes)):
        whole(f"gaussian_clusters({name}=)", value, 1)
    if n < 5 * n_classes:
        raise ValueError(
            f"gaussian_clusters(n=) must be at least 5 n_classes = {5 * n_classes}, for a test sample of each class, "
            f"got {n}"
        )
    whole("seed", seed, 0)
    number("gaussian_clusters(spread=)", spread, above=0)
    random = np.random.default_rng(seed)
    centres = 3.0 * random.standard_normal((n_classes, n_features))
    y = np.arange(n) % n_classes
    return split(centres[y] + spread * random.standard_normal((n, n_features)), y, seed, 0.2)


def two_moons(n: int = 1000, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Two interleaved half circles in the plane (scikit-learn's), a fifth for testing.

    Parameters
    ----------
    n : int, samples
    noise : float, standard deviation of the noise, >= 0
    seed : int, decides noise and split
    """
    whole("two_moons(n=)", n, 10)
    whole("seed", seed, 0)
    number("two_moons(noise=)", noise, least=0)
    x, y = make_moons(n, noise=noise, random_state=seed)
    return split(x, y, seed, 0.2)
