"""Feedback signals for comparison: errors that return from the output layer through separate units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import number
from ctsigprop.rules.contrasts import softmax_error
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.signals.base import Signal, Sizes
from ctsigprop.solvers.field import Weight


@dataclass(frozen=True)
class Feedback(Signal, ABC):
    """Error units with their own dynamics: tau_e de_l/dt = -e_l + s_l * phi'_l, one row per sample.

    At the output layer s is minus the gradient of the loss in the outputs. Below, each subclass defines how the error
    is fed back. The output layer is the top layer. It needs one unit per class.

    Parameters
    ----------
    tau_e : float, time constant of the error units, in units of time, > 0; default 1
    loss : "cross_entropy" (default), of the softmax of the outputs; or "squared", half the squared distance

    Raises
    ------
    ValueError, TypeError : a time constant out of its range, an unknown loss
    """

    tau_e: float = 1.0
    loss: Literal["cross_entropy", "squared"] = "cross_entropy"
    gain_inside = True

    def __post_init__(self) -> None:
        number(f"{type(self).__name__}(tau_e=)", self.tau_e, above=0)
        if self.loss not in ("cross_entropy", "squared"):
            raise ValueError(f"{type(self).__name__}(loss=) must be 'cross_entropy' or 'squared', got {self.loss!r}")

    @abstractmethod
    def feedback(
        self, index: int, errors: Sequence[Float[Tensor, "*batch samples n"]], weights: Mapping[str, Weight]
    ) -> Float[Tensor, "*batch samples n"]:
        """S of hidden layer `index` from the errors of all layers (layer 1 at position 0)."""

    def check(self, sizes: Sizes, n_classes: int) -> None:
        if sizes[-1] != n_classes:
            raise ValueError(
                f"{type(self).__name__} needs an output layer: the top layer must have n_classes={n_classes} units, "
                f"got {sizes[-1]}"
            )

    def activities(self, sizes: Sizes, batch: int) -> dict[str, tuple[int, int]]:
        return {f"e.{i}": (batch, n) for i, n in enumerate(sizes[1:], start=1)}

    def delta(
        self,
        index: int,
        output: Float[Tensor, "*batch rows n"],
        label: Float[Tensor, "*batch samples k"],
        activities: Mapping[str, Tensor],
    ) -> Float[Tensor, "*batch rows n"]:
        return activities[f"e.{index}"]

    def flow(
        self,
        outputs: Sequence[Tensor],
        gains: Sequence[Tensor],
        label: Tensor,
        activities: Mapping[str, Tensor],
        weights: Mapping[str, Weight],
    ) -> dict[str, Tensor]:
        top = len(outputs)
        errors = [activities[f"e.{index}"] for index in range(1, top + 1)]
        slopes = {}
        for index in range(1, top + 1):
            source = self.top_error(outputs[-1], label) if index == top else self.feedback(index, errors, weights)
            slopes[f"e.{index}"] = (source * gains[index - 1]).sub_(errors[index - 1]).mul_(1 / self.tau_e)
        return slopes

    def top_error(
        self, output: Float[Tensor, "*batch rows n"], label: Float[Tensor, "*batch samples k"]
    ) -> Float[Tensor, "*batch rows n"]:
        """Minus the gradient of the mean loss in the outputs."""
        if self.loss == "cross_entropy":
            return softmax_error(output, label)
        return torch.addcmul(label, label.sum(-1, keepdim=True), output, value=-1).div_(label.shape[-2])

    def similarity(
        self, h: Float[Tensor, "*batch samples n"], z: Float[Tensor, "*batch targets n"] | None
    ) -> Float[Tensor, "*batch samples k"]:
        return h


@dataclass(frozen=True)
class Backprop(Feedback):
    """Backpropagation in continuous time: s_l = e_{l+1} W_{l+1}, weight transport included.

    If errors and activities are much faster than the weights, e is minus the gradient of the loss in the drives.

    References
    ----------
    D. E. Rumelhart, G. E. Hinton, R. J. Williams, Nature 323, 1986; error units in time as in J. C. R. Whittington
    and R. Bogacz, Trends Cogn. Sci. 23, 2019.
    """

    def weights(self, sizes: Sizes, n_context: int) -> dict[str, tuple[int, int]]:
        return {}

    def feedback(
        self, index: int, errors: Sequence[Float[Tensor, "*batch samples n"]], weights: Mapping[str, Weight]
    ) -> Float[Tensor, "*batch samples n"]:
        return weights[f"W.{index + 1}"].feedback(errors[index])


def layerwise(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """Feedback weights of the shape of W from layer 2 on."""
    return {f"B.{i}": (sizes[i], sizes[i - 1]) for i in range(2, len(sizes))}


@dataclass(frozen=True)
class FeedbackAlignment(Feedback):
    """Feedback alignment: s_l = e_{l+1} B_{l+1}, B fixed and random, of the shape of W.

    References
    ----------
    T. P. Lillicrap, D. Cownden, D. B. Tweed, C. J. Akerman, Nature Commun. 7, 2016, 13276.
    """

    def weights(self, sizes: Sizes, n_context: int) -> dict[str, tuple[int, int]]:
        return layerwise(sizes)

    def feedback(
        self, index: int, errors: Sequence[Float[Tensor, "*batch samples n"]], weights: Mapping[str, Weight]
    ) -> Float[Tensor, "*batch samples n"]:
        return weights[f"B.{index + 1}"].feedback(errors[index])


@dataclass(frozen=True)
class DirectFeedbackAlignment(Feedback):
    """Direct feedback alignment: s_l = e_top B_l, B fixed and random, straight from the output (top, layer l).

    References
    ----------
    A. Nokland, "Direct feedback alignment provides learning in deep neural networks", NIPS 2016, arXiv 1609.01596.
    """

    def weights(self, sizes: Sizes, n_context: int) -> dict[str, tuple[int, int]]:
        return {f"B.{i}": (sizes[-1], sizes[i]) for i in range(1, len(sizes) - 1)}

    def feedback(
        self, index: int, errors: Sequence[Float[Tensor, "*batch samples n"]], weights: Mapping[str, Weight]
    ) -> Float[Tensor, "*batch samples n"]:
        return weights[f"B.{index}"].feedback(errors[-1])


@dataclass(frozen=True)
class KolenPollack(Feedback):
    """Kolen-Pollack: feedback alignment in which B learns by the same update as W, both with the same decay.

    dB/dt = D - decay B and dW/dt = D - decay W with the rule's own D, so W - B decays to 0 for any D. B is part
    of the ODE state.

    Parameters
    ----------
    decay : float, decay rate of W (from layer 2 on) and B, in 1 / time, > 0; default 0.01

    References
    ----------
    J. F. Kolen and J. B. Pollack, "Backpropagation without weight transport", ICNN 1994; M. Akrout et al., "Deep
    learning without weight transport", NeurIPS 2019, arXiv 1904.05391, eqs. 16 and 17.
    """

    decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        number("KolenPollack(decay=)", self.decay, above=0)

    def weights(self, sizes: Sizes, n_context: int) -> dict[str, tuple[int, int]]:
        return layerwise(sizes)

    def feedback(
        self, index: int, errors: Sequence[Float[Tensor, "*batch samples n"]], weights: Mapping[str, Weight]
    ) -> Float[Tensor, "*batch samples n"]:
        return weights[f"B.{index + 1}"].feedback(errors[index])

    def adjust(self, index: int, update: Update | DenseUpdate) -> tuple[Update | DenseUpdate, dict[str, Update]]:
        if index == 1:
            return update, {}
        if not isinstance(update, Update):
            raise TypeError(
                "KolenPollack gives B the update of W, so the rule must return an Update, got a DenseUpdate"
            )
        both = Update(update.post, update.pre, update.decay + self.decay)
        return both, {f"B.{index}": both}
