"""The memory for the results of recorded operations, and its layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

COLUMNS = 16
"""Matrices of fewer columns, and of at least twice as many rows, are slim."""


def slim(shape: Sequence[int]) -> bool:
    """Whether matrices of an ensemble, (members, rows, columns), lie better column by column: products then have many
    columns, not few, and sums along short rows become sums of long columns. Such products take a third of the time.
    """
    return len(shape) == 3 and 1 < shape[2] < COLUMNS and shape[1] >= 2 * shape[2]


def laid_out(value: Tensor) -> Tensor:
    """A copy of a tensor of an ensemble, slim matrices column by column."""
    return value.mT.contiguous().mT if slim(value.shape) else value.clone()


class BufferPool:
    """Buffers by shape and type, used again once nothing reads them any more.

    Parameters
    ----------
    ensemble : slim matrices lie column by column; default False
    """

    def __init__(self, ensemble: bool = False) -> None:
        self.ensemble = ensemble
        self.free: dict[tuple[tuple[int, ...], torch.dtype], list[Tensor]] = {}
        self.every: list[Tensor] = []

    def take(self, like: Tensor) -> Tensor:
        """A buffer of a shape."""
        kept = self.free.setdefault((tuple(like.shape), like.dtype), [])
        if kept:
            return kept.pop()
        buffer = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        self.every.append(laid_out(buffer) if self.ensemble and slim(buffer.shape) else buffer)
        return self.every[-1]

    def give(self, buffer: Tensor) -> None:
        """A buffer that nothing reads any more."""
        self.free.setdefault((tuple(buffer.shape), buffer.dtype), []).append(buffer)

    def give_all(self) -> None:
        """All buffers, for what comes at another time."""
        self.free.clear()
        for buffer in self.every:
            self.give(buffer)
