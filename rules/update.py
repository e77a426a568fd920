"""The output of a rule for one population of synapses: a post factor, a pre factor and a decay."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Decay = float | Float[Tensor, "*batch post"]
Factor = float | Tensor
"""A number, or one for each member of an ensemble, (..., 1)."""


@dataclass(frozen=True, slots=True)
class Update:
    """The weight derivative in factor form, dW/dt = post^T pre - diag(decay) W.

    A rule that returns this type is local by construction: it cannot refer to another synapse.

    Parameters
    ----------
    post : Tensor (..., rows, post), postsynaptic factor, including the rule's rate
    pre : Tensor (..., rows, pre), presynaptic factor
    decay : float or Tensor (..., post), decay rate of each postsynaptic unit's weights, in 1 / time
    """

    post: Float[Tensor, "*batch rows post"]
    pre: Float[Tensor, "*batch rows pre"]
    decay: Decay = 0.0

    def derivative(
        self,
        weight: Float[Tensor, "*batch post pre"],
        out: Float[Tensor, "*batch post pre"] | None = None,
    ) -> Float[Tensor, "*batch post pre"]:
        """dW/dt as a dense matrix (..., post, pre), written into `out` if it is given."""
        change = torch.matmul(self.post.mT, self.pre, out=out)
        if isinstance(self.decay, Tensor):
            return change.addcmul_(self.decay.unsqueeze(-1), weight, value=-1)
        return change.sub_(weight, alpha=self.decay) if self.decay else change

    def bias_derivative(self, bias: Float[Tensor, "*batch post"]) -> Float[Tensor, "*batch post"]:
        """db/dt (..., post): a bias is the synapse from a unit with constant activity 1."""
        return self.post.sum(-2) - self.decay * bias

    def scaled(self, factor: Factor) -> Update:
        """The same update at `factor` times its rate."""
        return Update(self.post * over_rows(factor), self.pre, self.decay * factor)


@dataclass(frozen=True, slots=True)
class DenseUpdate:
    """The weight derivative of a rule without factor form, one value per synapse.

    Parameters
    ----------
    change : Tensor (..., post, pre), dW/dt
    bias : Tensor (..., post) or None, db/dt; None keeps the biases fixed
    """

    change: Float[Tensor, "*batch post pre"]
    bias: Float[Tensor, "*batch post"] | None = None

    def derivative(
        self,
        weight: Float[Tensor, "*batch post pre"],
        out: Float[Tensor, "*batch post pre"] | None = None,
    ) -> Float[Tensor, "*batch post pre"]:
        """dW/dt unchanged, copied into `out` if it is given."""
        return self.change if out is None else out.copy_(self.change)

    def bias_derivative(self, bias: Float[Tensor, "*batch post"]) -> Float[Tensor, "*batch post"]:
        """db/dt (..., post), zero if the rule gives no bias term."""
        return torch.zeros_like(bias) if self.bias is None else self.bias

    def scaled(self, factor: Factor) -> DenseUpdate:
        """The same update at `factor` times its rate."""
        return DenseUpdate(self.change * over_rows(factor), None if self.bias is None else self.bias * factor)


def over_rows(factor: Factor) -> float | Tensor:
    """A factor of a vector (..., n) as one of a matrix (..., rows, n)."""
    return factor.unsqueeze(-1) if isinstance(factor, Tensor) and factor.dim() else factor
