"""Contrasts: how a layer computes a learning signal from its own two streams, and from nothing else.

Each takes the input stream h (..., samples, n), the target stream z (..., targets, n) and the labels y
(..., samples, targets) as they arrived at this layer. Row i of y sums to the presence of sample i: 1, or
less while it is still arriving, or 0 for an empty row, so that an empty row teaches nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import Checked, number

Stream = Float[Tensor, "*batch samples n"]
Targets = Float[Tensor, "*batch targets n"]
Match = Float[Tensor, "*batch samples targets"]
Rivals = Float[Tensor, "*batch 1 targets"]


class Contrast(metaclass=Checked):
    """A local loss between two streams, given by its negative gradient."""

    @abstractmethod
    def similarity(self, h: Stream, z: Targets) -> Match:
        """How similar each sample is to each target. The prediction is the target with the largest value."""

    @abstractmethod
    def drives(self, h: Stream, z: Targets, y: Match, rivals: Rivals | None = None) -> tuple[Stream, Targets]:
        """(delta_h, delta_z): minus the gradient of the loss, averaged over samples, in h and in z.

        `rivals` (..., 1, targets) is the weight of each target in the softmax: 1, or less for a row that is still
        arriving, 0 for an empty row; None means all 1.
        """


def softmax_error(logits: Match, y: Match, rivals: Rivals | None = None) -> Match:
    """Minus the gradient of the mean cross-entropy -<sum_j y_j log p_j> in the logits, p_j ~ rivals_j exp(logit_j)."""
    presence = y.sum(-1, keepdim=True)
    if rivals is not None:
        logits = logits + rivals.clamp_min(torch.finfo(logits.dtype).tiny).log()
    return torch.softmax(logits, -1).mul_(presence).neg_().add_(y).div_(y.shape[-2])


@dataclass(frozen=True)
class SoftmaxCosine(Contrast):
    """Cross-entropy of softmax(beta u v^T), u = h / (|h| + kappa), v = z / (|z| + kappa).

    With e = beta (y - p) / samples:  delta_h = P_u(e v) / (|h| + kappa) and delta_z = P_v(e^T u) / (|z| + kappa).
    The exact derivative of u keeps kappa: P_u(g) = g - u (h/|h| . g).

    Parameters
    ----------
    beta : float, inverse temperature, > 0; default 10, good for ten classes and some hundred units
    kappa : float, floor of the norms in units of activity, > 0; default 1. Near 0 the contrast is singular at
        rest and adaptive solvers take many more steps.

    References
    ----------
    A. Kohan et al., arXiv 2204.01723 (contrast of h_i and t_i); the cosine form after T. Chen et al.,
    "A Simple Framework for Contrastive Learning", ICML 2020, eq. 1.
    """

    beta: float = 10.0
    kappa: float = 1.0

    def __post_init__(self) -> None:
        number("SoftmaxCosine(beta=)", self.beta, above=0)
        number("SoftmaxCosine(kappa=)", self.kappa, above=0)

    def similarity(self, h: Stream, z: Targets) -> Match:
        return unit(h, self.kappa)[0] @ unit(z, self.kappa)[0].mT

    def drives(self, h: Stream, z: Targets, y: Match, rivals: Rivals | None = None) -> tuple[Stream, Targets]:
        u, norm_h = unit(h, self.kappa)
        v, norm_z = unit(z, self.kappa)
        error = softmax_error((u @ v.mT).mul_(self.beta), y, rivals).mul_(self.beta)
        return (
            through_unit(error @ v, u, norm_h, self.kappa),
            through_unit(error.mT @ u, v, norm_z, self.kappa),
        )


def unit(
    a: Float[Tensor, "*batch rows n"], kappa: float
) -> tuple[Float[Tensor, "*batch rows n"], Float[Tensor, "*batch rows 1"]]:
    """(a / (|a| + kappa), |a|), row by row."""
    norm = torch.linalg.vector_norm(a, dim=-1, keepdim=True)
    return a / (norm + kappa), norm


def through_unit(
    g: Float[Tensor, "*batch rows n"],
    u: Float[Tensor, "*batch rows n"],
    norm: Float[Tensor, "*batch rows 1"],
    kappa: float,
) -> Float[Tensor, "*batch rows n"]:
    """Pull a gradient g in u = a / (|a| + kappa) back to a. A row at rest has u = 0, so its ratio does not matter."""
    size = norm + kappa
    along = (g * u).sum(-1, keepdim=True).mul_(size / norm.clamp_min(1e-30))
    return torch.addcmul(g, u, along, value=-1).div_(size)


@dataclass(frozen=True)
class DotProduct(Contrast):
    """Cross-entropy of softmax(beta h z^T), without any normalisation.

    With e = beta (y - p) / samples:  delta_h = e z and delta_z = e^T h.

    Parameters
    ----------
    beta : float, inverse temperature in 1 / activity^2, > 0; default 0.1 (activities are not normalised)

    References
    ----------
    A. Kohan et al., arXiv 2204.01723, the logits h t^T of the discrete-time form.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        number("DotProduct(beta=)", self.beta, above=0)

    def similarity(self, h: Stream, z: Targets) -> Match:
        return h @ z.mT

    def drives(self, h: Stream, z: Targets, y: Match, rivals: Rivals | None = None) -> tuple[Stream, Targets]:
        error = softmax_error((h @ z.mT).mul_(self.beta), y, rivals).mul_(self.beta)
        return error @ z, error.mT @ h


@dataclass(frozen=True)
class Difference(Contrast):
    """Pair difference, the delta form: each sample is pulled to its own target; other targets do not count.

    Minus the gradient of <|v_y - u|^2> / 2 in h, with u = h / (|h| + kappa) and v likewise: delta_h =
    P_u(y v - presence u) / (|h| + kappa) / samples. The target stream does not learn (delta_z = 0): with the same
    sign, both streams would collapse to a point. With kappa=None activities are not normalised, delta_h =
    (y z - presence h) / samples. That is right for a first layer. In higher layers both streams share the weights, so
    a target larger than the activity grows with every step; only a strong weight decay keeps it finite.

    Parameters
    ----------
    kappa : float, floor of the norms in units of activity, > 0; or None for the plain difference; default 1

    References
    ----------
    A. Kohan et al., arXiv 2204.01723; B. Widrow and M. E. Hoff, "Adaptive switching circuits", 1960 (delta rule).
    """

    kappa: float | None = 1.0

    def __post_init__(self) -> None:
        if self.kappa is not None:
            number("Difference(kappa=)", self.kappa, above=0)

    def similarity(self, h: Stream, z: Targets) -> Match:
        if self.kappa is not None:
            h, z = unit(h, self.kappa)[0], unit(z, self.kappa)[0]
        return h @ z.mT - 0.5 * (z * z).sum(-1).unsqueeze(-2)

    def drives(self, h: Stream, z: Targets, y: Match, rivals: Rivals | None = None) -> tuple[Stream, Targets]:
        presence = y.sum(-1, keepdim=True)
        if self.kappa is None:
            return torch.addcmul(y @ z, presence, h, value=-1).div_(y.shape[-2]), torch.zeros_like(z)
        u, norm = unit(h, self.kappa)
        pull = torch.addcmul(y @ unit(z, self.kappa)[0], presence, u, value=-1).div_(y.shape[-2])
        return through_unit(pull, u, norm, self.kappa), torch.zeros_like(z)
