"""Signal propagation: the target travels forward through the network's own weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import lookup
from ctsigprop.rules.contrasts import Contrast
from ctsigprop.rules.table import CONTRASTS
from ctsigprop.signals.base import Signal, Sizes


@dataclass(frozen=True)
class TargetStream(Signal):
    """Signal propagation: the target enters at the first layer and travels through the same weights as the input.

    The target rows of layer 1 are driven by phi(S c), where S is the target generator and c the context. In higher
    layers they share every weight with the input rows. Each layer computes its signal from its own two streams.

    Parameters
    ----------
    per : "class" (default), one target row per class, c its one-hot vector, constant in time; or
        "sample", one target row per sample, c the sample's one-hot label or any context vector
    generator : "learned" (default), S follows the first layer's rule; or "fixed", S keeps its initial value
    contrast : "cosine" (default, `SoftmaxCosine()`), "dot", "difference", or a `Contrast` with its constants
    match : with per="sample", the target rows that are right for a sample: "one" (default), its own; "all", all rows
        with the context that fits its own best; or an integer k, the k that fit best, its own first. With
        contrast="dot" this is the batch-wise input-target loss of the discrete-time form

    Raises
    ------
    ValueError, TypeError : an unknown choice

    References
    ----------
    A. Kohan, E. A. Rietman, H. T. Siegelmann, "Signal Propagation: The Framework for Learning and Inference
    in a Forward Pass", IEEE TNNLS 2023, arXiv 2204.01723: t1 = f(S1 c), [h_i, t_i] = f(W_i [h_{i-1}, t_{i-1}]).
    """

    per: Literal["class", "sample"] = "class"
    generator: Literal["learned", "fixed"] = "learned"
    contrast: Any = "cosine"
    match: Literal["one", "all"] | int = "one"

    def __post_init__(self) -> None:
        if self.per not in ("class", "sample"):
            raise ValueError(f"TargetStream(per=) must be 'class' or 'sample', got {self.per!r}")
        if self.generator not in ("learned", "fixed"):
            raise ValueError(f"TargetStream(generator=) must be 'learned' or 'fixed', got {self.generator!r}")
        if isinstance(self.contrast, str):
            object.__setattr__(self, "contrast", lookup("contrast", self.contrast, CONTRASTS)())
        if not isinstance(self.contrast, Contrast):
            raise TypeError(
                f"TargetStream(contrast=) must be one of {', '.join(CONTRASTS)} or a Contrast, got {self.contrast!r}"
            )
        whole = isinstance(self.match, int) and not isinstance(self.match, bool) and self.match >= 1
        if self.match not in ("one", "all") and not whole:
            raise ValueError(f"TargetStream(match=) must be 'one', 'all' or an integer >= 1, got {self.match!r}")
        if self.match != "one" and self.per_class:
            raise ValueError(f"TargetStream(match={self.match!r}) needs per='sample': a class has one target row")

    @property
    def per_class(self) -> bool:
        """Whether there is one target row per class."""
        return self.per == "class"

    def rows(self, batch: int, n_context: int) -> int:
        return n_context if self.per_class else batch

    def context(self, target: Float[Tensor, "*batch samples c"]) -> Float[Tensor, "*batch targets c"]:
        if not self.per_class:
            return target
        classes = target.shape[-1]
        return torch.eye(classes, dtype=target.dtype, device=target.device).expand(*target.shape[:-2], -1, -1)

    def label(
        self, target: Float[Tensor, "*batch samples c"], present: Float[Tensor, "*batch samples 1"]
    ) -> Float[Tensor, "*batch samples k"]:
        """The one-hot label; with per="sample", the share of each target row among the right ones for a sample."""
        return target * present if self.per_class else matches(target, present, self.match)

    def label_width(self, batch: int, n_context: int) -> int:
        return n_context if self.per_class else batch

    def weights(self, sizes: Sizes, n_context: int) -> dict[str, tuple[int, int]]:
        return {"S": (sizes[1], n_context)}

    def delta(
        self,
        index: int,
        output: Float[Tensor, "*batch rows n"],
        label: Float[Tensor, "*batch samples k"],
        activities: Mapping[str, Tensor],
    ) -> Float[Tensor, "*batch rows n"]:
        """The learning signal, from the layer's own two streams and nothing else."""
        return self.top_error(output, label)

    def top_error(
        self, output: Float[Tensor, "*batch rows n"], label: Float[Tensor, "*batch samples k"]
    ) -> Float[Tensor, "*batch rows n"]:
        """Minus the gradient of the top layer's own contrast."""
        samples = label.shape[-2]
        h, z = output[..., :samples, :], output[..., samples:, :]
        rivals = None if self.per_class else label.sum(-1).unsqueeze(-2)  # the target of an empty row is no rival
        return torch.cat(self.contrast.drives(h, z, label, rivals), -2)

    def similarity(
        self, h: Float[Tensor, "*batch samples n"], z: Float[Tensor, "*batch targets n"] | None
    ) -> Float[Tensor, "*batch samples k"]:
        if z is None:
            raise ValueError("similarity compares with the target stream, got none")
        match: Tensor = self.contrast.similarity(h, z)
        return match


def matches(
    target: Float[Tensor, "*batch samples c"], present: Float[Tensor, "*batch samples 1"], match: str | int
) -> Float[Tensor, "*batch samples samples"]:
    """Which target rows are right for each sample, each row of shares summing to the presence of its sample."""
    diagonal = torch.eye(target.shape[-2], dtype=target.dtype, device=target.device)
    if match == "one":
        return diagonal * present
    fit = (target @ target.mT).masked_fill(present.mT == 0, -torch.inf)
    if match == "all":
        right = (fit >= fit.amax(-1, keepdim=True) - 1e-6).to(target.dtype)
    else:
        best = fit.masked_fill(diagonal > 0, torch.inf).topk(min(int(match), fit.shape[-1]), dim=-1).indices
        right = torch.zeros_like(fit).scatter_(-1, best, 1.0) * present.mT
    return right / right.sum(-1, keepdim=True).clamp_min(1.0) * present
