"""Activities that stay constant under one field, so that their products are computed only once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

from jaxtyping import Float
from torch import Tensor

Goal = tuple[Tensor, float]
"""Where a trace goes and its time constant: (u, tau) of tau dx/dt = u - x."""


@dataclass(frozen=True, slots=True)
class FrameInvariants:
    """What a field may say of itself, as its attribute `invariants`, to spare its solver work.

    Parameters
    ----------
    inputs : tensors that drive weights and stay as they are
    traces : the activities that follow one of them, by name
    """

    inputs: tuple[Tensor, ...] = ()
    traces: Mapping[str, Goal] = field(default_factory=dict)

    def goal(self, pre: Tensor, activities: Mapping[str, Tensor]) -> Goal | None:
        """Where `pre` goes, if it is one of the traces."""
        for name, goal in self.traces.items():
            if same(pre, activities[name]):
                return goal
        return None


@runtime_checkable
class InvariantField(Protocol):
    """A vector field that says what does not move while it holds."""

    @property
    def invariants(self) -> FrameInvariants | None:
        """The inputs that stay, and the traces that follow them; None where there is nothing to say."""
        ...


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are one and the same piece of memory."""
    return a is b or (a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride())


@final
class CachedWeight:
    """A weight matrix that is used again and again: its product with an input that stays is computed once."""

    __slots__ = ("inputs", "matrix", "products")

    def __init__(self, matrix: Float[Tensor, "*batch post pre"], inputs: tuple[Tensor, ...] = ()) -> None:
        self.matrix, self.inputs = matrix, inputs
        self.products: dict[int, Tensor] = {}

    def drive(self, pre: Float[Tensor, "*batch rows pre"]) -> Float[Tensor, "*batch rows post"]:
        """Pre W^T, in memory that is the caller's own."""
        if not any(pre is constant for constant in self.inputs):
            return pre @ self.matrix.mT
        if id(pre) not in self.products:
            self.products[id(pre)] = pre @ self.matrix.mT
        return self.products[id(pre)].clone()

    def feedback(self, post: Float[Tensor, "*batch rows post"]) -> Float[Tensor, "*batch rows pre"]:
        """Post W."""
        return post @ self.matrix

    def dense(self) -> Float[Tensor, "*batch post pre"]:
        """W itself."""
        return self.matrix
