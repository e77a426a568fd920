"""What a solver integrates: a vector field over activities (dense) and weights (in factor form)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.update import DenseUpdate, Update


@runtime_checkable
class Weight(Protocol):
    """A weight matrix W (..., post, pre) that can be used without being formed."""

    def drive(self, pre: Float[Tensor, "*batch rows pre"]) -> Float[Tensor, "*batch rows post"]:
        """Pre W^T."""
        ...

    def feedback(self, post: Float[Tensor, "*batch rows post"]) -> Float[Tensor, "*batch rows pre"]:
        """Post W, for signals that transport weights."""
        ...

    def dense(self) -> Float[Tensor, "*batch post pre"]:
        """W itself."""
        ...


@dataclass(frozen=True, slots=True)
class DenseWeight:
    """A weight matrix held as a tensor."""

    matrix: Float[Tensor, "*batch post pre"]

    def drive(self, pre: Float[Tensor, "*batch rows pre"]) -> Float[Tensor, "*batch rows post"]:
        return pre @ self.matrix.mT

    def feedback(self, post: Float[Tensor, "*batch rows post"]) -> Float[Tensor, "*batch rows pre"]:
        return post @ self.matrix

    def dense(self) -> Float[Tensor, "*batch post pre"]:
        return self.matrix


@runtime_checkable
class VectorField(Protocol):
    """The right-hand side. A name missing from what it returns has derivative zero."""

    def __call__(
        self, t: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Update | DenseUpdate]]:
        """(derivative of each activity, update of each weight) at time t."""
        ...


@runtime_checkable
class InPlace(Protocol):
    """Steps of Euler in memory of their own. A field may offer one as its attribute `in_place`."""

    current: HybridState
    """The state at hand; it changes with every step."""

    def load(self, state: HybridState) -> None:
        """Go on from `state`."""
        ...

    def step(self, t: float, dt: float) -> bool:
        """One step; False where the state, which is looked at now and then, is not finite."""
        ...

    def verify(self) -> bool:
        """Whether the state is finite."""
        ...

    def rewind(self) -> tuple[int, float, str]:
        """Go back to the last finite state: (number of steps given up, its time, what was not finite after it)."""
        ...


@dataclass(frozen=True, slots=True)
class HybridState:
    """Activities (any dense ODE variable: activity, trace, threshold, bias) and weights, each by name."""

    activities: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors with their names, activities first."""
        yield from self.activities.items()
        yield from self.weights.items()
