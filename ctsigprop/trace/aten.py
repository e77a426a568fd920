"""Properties of torch's operations that a graph needs: views, fills, comparisons."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

aten = torch.ops.aten

SAME = {
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
}
"""Operations that give their first argument."""
VIEWS = {
    aten.transpose.int,
    aten.t.default,
    aten.permute.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.default,
    aten.squeeze.dims,
    aten.expand.default,
    aten.slice.Tensor,
    aten.select.int,
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    *SAME,
}
"""Operations that compute nothing: the same elements in another arrangement."""
FILLS: dict[Any, float | int] = {
    aten.zeros_like.default: 0.0,
    aten.ones_like.default: 1.0,
    aten.zeros.default: 0.0,
    aten.ones.default: 1.0,
    aten.new_zeros.default: 0.0,
    aten.new_ones.default: 1.0,
}
"""Tensors of one number."""
FILLS_WITH = {aten.full.default: 1, aten.full_like.default: 1, aten.new_full.default: 2, aten.scalar_tensor.default: 0}
"""Tensors of a given number, and the place of it among the arguments."""
COMPARISONS = {getattr(aten, name).Scalar for name in ("gt", "ge", "lt", "le", "eq", "ne")}
"""Comparisons with a number. In a graph their result may be of floating point, 1 for true and 0 for false."""


def is_view(node: Node) -> bool:
    """Whether a node computes nothing."""
    return node.target in VIEWS


def is_fill(node: Node) -> bool:
    """Whether a node is a tensor of one number."""
    return node.target in FILLS or node.target in FILLS_WITH
