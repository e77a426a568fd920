"""How a probe reduces a matrix before it records it: norm, singular values, or a low-rank projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import Checked, lookup, whole

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Norm(metaclass=Checked):
    """Frobenius norm of everything selected: one number per layer."""

    name: ClassVar[str] = "norm"
    dims: ClassVar[tuple[str, ...]] = ()

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return ()

    def of(self, size: tuple[int, ...]) -> Function:
        """The function of a value of this size."""
        return lambda value: torch.linalg.vector_norm(value)


@dataclass(frozen=True)
class SingularValues(metaclass=Checked):
    """Singular values of a layer's matrix, the largest first; its rows are for example units.

    Parameters
    ----------
    count : int or None, how many of the largest; default None, all of them
    """

    name: ClassVar[str] = "singular_values"
    dims: ClassVar[tuple[str, ...]] = ("mode",)
    count: int | None = None

    def __post_init__(self) -> None:
        if self.count is not None:
            whole("SingularValues(count=)", self.count, 1)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return (min(self.count or min(size), *size),)

    def of(self, size: tuple[int, ...]) -> Function:
        """The function of a matrix of this size."""
        return lambda value: torch.linalg.svdvals(value)[: self.count]


@dataclass(frozen=True)
class Projection(metaclass=Checked):
    """Low-rank projection A^T W B, A (post, rank) and B (pre, rank) random with orthonormal columns.

    On average over draws, distances between projections equal distances between the matrices, up to a constant factor
    (Johnson and Lindenstrauss, Contemp. Math. 26, 1984), so the shape of a trajectory is kept.

    Parameters
    ----------
    rank : int, at most the size of the smaller side
    seed : int, sets A and B; default 0

    Raises
    ------
    ValueError : a rank below 1, or above the size of a side
    """

    name: ClassVar[str] = "projection"
    dims: ClassVar[tuple[str, ...]] = ("mode", "mode_pre")
    rank: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        whole("Projection(rank=)", self.rank, 1)
        whole("Projection(seed=)", self.seed, 0)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        if self.rank > min(size):
            raise ValueError(f"Projection(rank=) must be at most {min(size)}, got {self.rank}")
        return (self.rank, self.rank)

    def of(self, size: tuple[int, ...]) -> Function:
        """The function of a matrix of this size."""
        left, right = (basis(n, self.rank, self.seed + k) for k, n in enumerate(size))
        return lambda value: left.to(value).mT @ value @ right.to(value)


def basis(n: int, rank: int, seed: int) -> Float[Tensor, "n rank"]:
    """Random orthonormal columns, the same for the same arguments."""
    random = torch.Generator().manual_seed(seed)
    columns: Tensor = torch.linalg.qr(torch.randn(n, rank, generator=random, dtype=torch.float64))[0]
    return columns


Reduction = Norm | SingularValues | Projection
REDUCTIONS: dict[str, type[Norm] | type[SingularValues] | type[Projection]] = {
    "norm": Norm,
    "projection": Projection,
    "singular_values": SingularValues,
}


def resolve(given: object, dims: tuple[str, ...], place: str) -> Reduction | None:
    """The reduction with this name, or the instance itself, checked against the dimensions of what it reduces.

    Raises
    ------
    TypeError : the argument is neither a name nor a reduction
    ValueError : an unknown name, or a reduction that needs a matrix and gets none
    """
    if given is None:
        return None
    reduction = lookup("reduction of Probe(reduce=)", given, REDUCTIONS)() if isinstance(given, str) else given
    if not isinstance(reduction, Norm | SingularValues | Projection):
        raise TypeError(f"Probe(reduce=) must be one of {', '.join(REDUCTIONS)} or a ct.Projection, got {given!r}")
    if not dims or (not isinstance(reduction, Norm) and len(dims) != 2):
        raise ValueError(f"Probe(reduce=) of {place}: {reduction.name} needs a matrix, got dimensions {dims}")
    return reduction
