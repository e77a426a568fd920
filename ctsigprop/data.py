"""Samples and labels as tensors, checked at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_inputs(name: str, values: Any, width: int | None = None) -> Tensor:
    """A tensor or array of samples as a finite float tensor (samples, features); integers become float32.

    Raises
    ------
    TypeError : not numbers, or a float type other than float32 and float64
    ValueError : not two-dimensional, empty, of another width, or not finite (with row and column)
    """
    tensor = as_tensor(name, "a tensor or array of numbers", values)
    if not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool:
        tensor = tensor.to(torch.float32)
    if tensor.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {tensor.dtype}")
    if tensor.dim() != 2:
        flat = ": give each sample as one row, reshape(len(x), -1)" if tensor.dim() > 2 else ""
        raise ValueError(f"{name} must have two dimensions (samples, features), got shape {tuple(tensor.shape)}{flat}")
    if tensor.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(tensor.shape)}")
    if width is not None and tensor.shape[1] != width:
        raise ValueError(f"{name} must have {width} features, got shape {tuple(tensor.shape)}")
    bad = torch.nonzero(~torch.isfinite(tensor))
    if len(bad):
        row, column = bad[0].tolist()
        raise ValueError(f"{name} must be finite, got {tensor[row, column].item()} in row {row}, column {column}")
    return tensor


def as_tensor(name: str, what: str, values: Any) -> Tensor:
    """`values` as a tensor: a tensor's own memory, of anything else a copy that later changes do not reach.

    Raises
    ------
    TypeError : no numbers, or a ragged list
    """
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be {what}, got {type(values).__name__}: {error}") from None


def as_targets(name: str, values: Any, samples: int, n_classes: int | None = None) -> Tensor:
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


def check_labels(name: str, values: Any, n_classes: int | None = None) -> Tensor:
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
        allowed = f"0 ... {n_classes - 1}" if n_classes is not None else ">= 0"
        raise ValueError(f"{name} must be in {allowed}, got {int(labels[bad[0]])} for sample {int(bad[0])}")
    return labels
