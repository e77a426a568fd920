"""The interface to a solver: a vector field over activities (dense) and weights (in factor form)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.update import DenseUpdate, Update


@runtime_checkable
class Weight(Protocol):
    """A weight matrix W (..., post, pre) that can be used without computing its entries."""

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


Changes = tuple[Mapping[str, Tensor], Mapping[str, Update | DenseUpdate]]
"""New values of activities, and updates of weights, each by name; what is missing stays as it is."""


@runtime_checkable
class Jumping(Protocol):
    """A field with a state that jumps at the ends of steps."""

    def jump(
        self,
        span: tuple[float, float],
        activities: Mapping[str, Tensor],
        weights: Mapping[str, Weight],
        slack: float = 0.0,
    ) -> Changes:
        """The jumps at the end of `span`: from units with a margin of at least -slack, and from outside input after
        its start and up to its end. An update applies at once, W + post^T pre - diag(decay) W.
        """
        ...


@runtime_checkable
class JumpingField(Jumping, Protocol):
    """A vector field with a state that also jumps: when a margin reaches 0, and at times known in advance."""

    def __call__(
        self, t: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Update | DenseUpdate]]:
        """(derivative of each activity, update of each weight) at time t, between jumps."""
        ...

    def margin(self, activities: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The largest margin: negative between jumps. When it reaches 0, a jump is due."""
        ...

    def next_jump(self, t: float) -> float:
        """The first time after t at which a jump comes from outside; infinity if there is none."""
        ...


Bounds = Mapping[str, tuple[float, float]]
"""Least and largest value of weight matrices, by name."""


@runtime_checkable
class BoundedField(Protocol):
    """A vector field some of whose weights have bounds, within which every step must end."""

    @property
    def bounds(self) -> Bounds:
        """Of each weight matrix that has any."""
        ...


def bounds_of(field: object) -> Bounds:
    """The bounds of a field's weights, none where it says nothing of them."""
    return field.bounds if isinstance(field, BoundedField) else {}


@runtime_checkable
class PacedField(Protocol):
    """A vector field that says how fast it is."""

    @property
    def time_scale(self) -> float:
        """Its shortest time constant, in units of time, > 0."""
        ...


@runtime_checkable
class CountingField(Protocol):
    """A vector field with variables that count time down, such as what is left of a refractory time."""

    def counted(self, activities: Mapping[str, Tensor], dt: float) -> Mapping[str, Tensor]:
        """These variables after a time dt, a whole number of steps of dt where they are that up to rounding."""
        ...


@runtime_checkable
class ExactField(Protocol):
    """A vector field that can take its own step, in closed form for given input and fixed weights."""

    def exact(self, t: float, dt: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]) -> Changes:
        """(activities after a time dt, update of each weight at time t)."""


@runtime_checkable
class Stepper(Protocol):
    """Steps in memory of their own; `InPlace` and `JumpsInPlace` say of what kind."""

    current: HybridState
    """The state at hand; it changes with every step."""

    def load(self, state: HybridState) -> None:
        """Go on from `state`."""
        ...


@runtime_checkable
class InPlace(Protocol):
    """Steps of Euler in memory of their own."""

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


@runtime_checkable
class JumpsInPlace(Protocol):
    """Steps of flow and jump in memory of their own."""

    current: HybridState
    """The state at hand; it changes with every step."""

    def load(self, state: HybridState) -> None:
        """Go on from `state`."""
        ...

    def keep(self) -> HybridState:
        """The state at hand, in memory of its own until the next time."""
        ...

    def step(self, t0: float, t1: float, dt: float) -> None:
        """One step from t0 to t1, of length dt, and the jump at its end."""
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
