"""Samples and labels as tensors, checked on entry."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ctsigprop.rules.checks import number, pair
from ctsigprop.solvers.times import as_time


@runtime_checkable
class Sparse(Protocol):
    """A sparse matrix or array of SciPy's."""

    def toarray(self) -> np.ndarray: ...

    @property
    def nnz(self) -> int: ...


def as_inputs(name: str, values: object, width: int | None = None) -> Tensor:
    """A tensor or array of samples as a finite float tensor (samples, features); integers become float32.

    Raises
    ------
    TypeError : not numbers, sparse, or a float type other than float32 and float64
    ValueError : not two-dimensional, empty, of another width, masked, or not finite (with row and column)
    """
    tensor = as_tensor(name, "a tensor or array of numbers", values)
    check_unscaled(name, tensor)
    tensor = as_floats(name, tensor)
    if width is not None and tensor.shape[1] != width:
        raise ValueError(f"{name} must have {width} features, got shape {tuple(tensor.shape)}")
    check_finite(name, tensor)
    return tensor


def as_floats(name: str, tensor: Tensor) -> Tensor:
    """A tensor of samples (samples, features) as float32 or float64, whatever its values are."""
    if not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool:
        tensor = tensor.to(torch.float32)
    if tensor.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {tensor.dtype}")
    if tensor.dim() != 2:
        flat = ": give each sample as one row, reshape(len(x), -1)" if tensor.dim() > 2 else ""
        raise ValueError(f"{name} must have two dimensions (samples, features), got shape {tuple(tensor.shape)}{flat}")
    if tensor.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(tensor.shape)}")
    return tensor


def check_finite(name: str, tensor: Tensor, rows: Tensor | None = None) -> None:
    """Raise ValueError where a value is not finite; `rows` are the numbers of its rows, by default from 0 on."""
    bad = torch.nonzero(~torch.isfinite(tensor))
    if len(bad):
        row, column = bad[0].tolist()
        told = row if rows is None else int(rows[row])
        raise ValueError(f"{name} must be finite, got {tensor[row, column].item()} in row {told}, column {column}")


def check_unscaled(name: str, tensor: Tensor) -> None:
    """Warn of bytes as they come out of image files, which are taken as they are."""
    if tensor.dtype == torch.uint8 and tensor.numel() and int(tensor.max()) > 1:
        warnings.warn(
            f"{name} is uint8, up to {int(tensor.max())}, and is taken as it is, unscaled: divide images by 255, or "
            f"give {name} as float32 if these values are meant",
            stacklevel=6,
        )


def as_tensor(name: str, what: str, values: object) -> Tensor:
    """`values` as a tensor: a tensor's own memory, of anything else a copy that later changes do not reach.

    Raises
    ------
    TypeError : no numbers, a ragged list, text, a DataLoader, a sparse tensor or matrix
    ValueError : an array with masked values
    """
    if isinstance(values, Mapped):
        values = values.array
    if isinstance(values, Tensor):
        if values.layout is not torch.strided:
            raise TypeError(f"{name} must be dense, got a tensor of layout {values.layout}: give {name}.to_dense()")
        return values.detach()
    kind = type(values).__name__
    if isinstance(values, Dataset | DataLoader):
        raise TypeError(
            f"{name} must be {what}, got a {kind}: give x and y as two tensors, such as "
            "x, y = map(torch.cat, zip(*loader)) of a DataLoader of pairs, and batch_size= to ct.Presentations"
        )
    if isinstance(values, Sparse):
        raise TypeError(f"{name} must be dense, got a sparse {kind}: give {name}.toarray()")
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} must have a value everywhere, got a {kind} with masked ones: give {name}.filled(0.0)")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be {what}, got {kind}: {error}") from None
    if array.dtype.kind in "USO" and array.size and all(isinstance(value, str | bytes) for value in array.flat):
        raise TypeError(
            f"{name} must be {what}, got text such as {str(array.flat[0])!r}: number the names, "
            f"names, {name} = np.unique({name}, return_inverse=True)"
        )
    try:
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    except (TypeError, ValueError):
        told = f"an array of {array.dtype}" if array.ndim else "no array"
        raise TypeError(f"{name} must be {what}, got {kind}, {told}") from None


class Mapped:
    """Samples in a file, `np.load(path, mmap_mode="r")`: rows are read when they are asked for, and checked then."""

    device = torch.device("cpu")

    def __init__(self, name: str, array: np.memmap) -> None:
        self.name, self.array = name, array
        first = as_tensor(name, "an array of numbers", array[:1])
        check_unscaled(name, first)
        self.dtype = as_floats(name, first).dtype
        self.shape = array.shape

    def __len__(self) -> int:
        return int(self.shape[0])

    def is_floating_point(self) -> bool:
        """Rows come as floats whatever the file holds."""
        return True

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The rows of an index of any shape, (..., features), or of a slice."""
        if isinstance(index, slice):
            index = torch.arange(len(self))[index]
        rows = index.reshape(-1)
        tensor = as_floats(self.name, as_tensor(self.name, "an array of numbers", self.array[rows.numpy()]))
        check_finite(self.name, tensor, rows)
        return tensor.reshape(*index.shape, -1)

    @property
    def identity(self) -> str:
        """What stands for the values without reading them: the file, its size and time of last change, and the part."""
        whole = self.array
        while isinstance(whole.base, np.memmap):
            whole = whole.base
        stat = Path(str(self.array.filename)).stat()
        begin = self.array.ctypes.data - whole.ctypes.data + whole.offset
        extent = (begin, self.array.shape, self.array.strides, str(self.array.dtype))
        return f"{self.array.filename} {stat.st_size} {stat.st_mtime_ns} {extent}"


def as_samples(name: str, values: object, width: int | None = None) -> Tensor | Mapped:
    """As `as_inputs`; a memory map stays in its file."""
    if isinstance(values, np.memmap) and values.filename is not None and len(values):
        mapped = Mapped(name, values)
        if width is not None and mapped.shape[1] != width:
            raise ValueError(f"{name} must have {width} features, got shape {mapped.shape}")
        return mapped
    return as_inputs(name, values, width)


def as_shown_targets(name: str, values: object, samples: int) -> Tensor | Mapped:
    """As `as_targets`; context vectors in a memory map stay in their file."""
    if not isinstance(values, np.memmap) or values.filename is None or values.ndim != 2:
        return as_targets(name, values, samples)
    if len(values) != samples:
        raise ValueError(f"{name} must have one entry for each of the {samples} samples, got {len(values)}")
    return Mapped(name, values)


def as_device(wanted: object) -> torch.device:
    """A device of this machine.

    Raises
    ------
    TypeError, ValueError : no device, or one that is not there, with those that are
    """
    if not isinstance(wanted, str | torch.device):
        raise TypeError(f"device must be a name such as 'cpu' or a torch.device, got {wanted!r}")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise ValueError(f"device must be one of this machine, {' or '.join(there)}, got {str(wanted)!r}") from None
    return device


def as_targets(name: str, values: object, samples: int, n_classes: int | None = None) -> Tensor:
    """Class labels as int64 (samples,), or context vectors as a finite float tensor (samples, width).

    Raises
    ------
    TypeError : labels that are not integers
    ValueError : another number of samples, labels out of range, contexts of another width or not finite
    """
    tensor = as_tensor(name, "integer class labels or context vectors", values)
    if tensor.dim() != 2:
        tensor = check_labels(name, tensor, n_classes)
    elif n_classes is not None and tensor.shape[1] != n_classes:
        raise ValueError(f"{name} must have {n_classes} values, as n_classes says, got shape {tuple(tensor.shape)}")
    else:
        tensor = as_inputs(name, tensor)
    if len(tensor) != samples:
        raise ValueError(f"{name} must have one entry for each of the {samples} samples, got {len(tensor)}")
    return tensor


def check_labels(name: str, values: object, n_classes: int | None = None) -> Tensor:
    """Integer labels as an int64 tensor (samples,) on the CPU, each in 0 ... n_classes - 1.

    Raises
    ------
    TypeError : labels that are not integers
    ValueError : not one-dimensional, or out of range (with the sample)
    """
    tensor = as_tensor(name, "integer class labels", values)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be integer class labels, got {tensor.dtype}; use y.astype(int) or y.long()")
    if tensor.dim() != 1:
        raise ValueError(f"{name} must have one dimension (samples,), got shape {tuple(tensor.shape)}")
    labels = tensor.cpu().to(torch.int64)
    above = labels >= n_classes if n_classes is not None else torch.zeros_like(labels, dtype=torch.bool)
    bad = torch.nonzero((labels < 0) | above)
    if len(bad):
        allowed = f"in 0 ... {n_classes - 1}, as n_classes={n_classes} says" if n_classes is not None else ">= 0"
        raise ValueError(f"{name} must be {allowed}, got {int(labels[bad[0]])} for sample {int(bad[0])}")
    return labels


def interval(name: str, value: object, what: str) -> tuple[float, float]:
    """Two times, the first one at least 0 and the second one later; `what` says what may be given.

    Raises
    ------
    ValueError, TypeError : no pair of numbers, or out of order
    """
    first, last = pair(name, value, what)
    number(f"{name} start", first, least=0)
    number(f"{name} stop", last, above=first)
    return as_time(first), as_time(last)
