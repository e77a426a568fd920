"""The type of a learning signal."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import Checked
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.field import Weight

Sizes = tuple[int, ...]
"""Layer sizes (inputs, units of layer 1, ..., units of the top layer)."""


class Signal(metaclass=Checked):
    """How the target reaches every layer: the rows, tensors and equations that a signal adds to a network.

    Subclasses are frozen dataclasses. Layers count from 1; `gains` and `outputs` have layer 1 at index 0.
    """

    gain_inside: bool = False
    """Whether the deltas hold phi' already."""

    def check(self, sizes: Sizes, n_classes: int) -> None:
        """Raise ValueError if this signal does not fit the network; by default every network fits."""
        return

    def rows(self, batch: int, n_context: int) -> int:
        """Number of target rows next to a batch; none by default."""
        return 0

    def context(self, target: Float[Tensor, "*batch samples c"]) -> Float[Tensor, "*batch targets c"] | None:
        """The context that drives the target rows of layer 1 through S; none by default."""
        return None

    def label(
        self, target: Float[Tensor, "*batch samples c"], present: Float[Tensor, "*batch samples 1"]
    ) -> Float[Tensor, "*batch samples k"]:
        """The label carried to each layer with the activity; each row sums to the presence of its sample."""
        return target * present

    def label_width(self, batch: int, n_context: int) -> int:
        """Columns of `label`."""
        return n_context

    @abstractmethod
    def weights(self, sizes: Sizes, n_context: int) -> dict[str, tuple[int, int]]:
        """Shape (post, pre) of each weight matrix that the signal adds, by name."""

    def activities(self, sizes: Sizes, batch: int) -> dict[str, tuple[int, int]]:
        """Shape (rows, n) of each activity that the signal adds, by name; none by default."""
        return {}

    @abstractmethod
    def delta(
        self,
        index: int,
        output: Float[Tensor, "*batch rows n"],
        label: Float[Tensor, "*batch samples k"],
        activities: Mapping[str, Tensor],
    ) -> Float[Tensor, "*batch rows n"]:
        """The learning signal of layer `index`, one row for each row of its activity, averaged over samples."""

    @abstractmethod
    def top_error(
        self, output: Float[Tensor, "*batch rows n"], label: Float[Tensor, "*batch samples k"]
    ) -> Float[Tensor, "*batch rows n"]:
        """Minus the gradient, in the top layer's output, of the loss that an end-to-end method would descend."""

    def flow(
        self,
        outputs: Sequence[Tensor],
        gains: Sequence[Tensor],
        label: Tensor,
        activities: Mapping[str, Tensor],
        weights: Mapping[str, Weight],
    ) -> dict[str, Tensor]:
        """Time derivative of each of the signal's activities."""
        return {}

    def adjust(self, index: int, update: Update | DenseUpdate) -> tuple[Update | DenseUpdate, dict[str, Update]]:
        """The update of W in layer `index`, and the matching updates of the signal's own weights."""
        return update, {}

    @abstractmethod
    def similarity(
        self, h: Float[Tensor, "*batch samples n"], z: Float[Tensor, "*batch targets n"] | None
    ) -> Float[Tensor, "*batch samples k"]:
        """How well each sample of the top layer (or any layer with a target stream) fits each target."""
