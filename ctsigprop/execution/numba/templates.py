"""Each tensor operation, element by element, as code of the compiled kernel."""

from __future__ import annotations

import math

from ctsigprop.trace.aten import aten

POINTWISE = {
    aten.add.Tensor: "({0} + {1})",
    aten.sub.Tensor: "({0} - {1})",
    aten.mul.Tensor: "({0} * {1})",
    aten.div.Tensor: "({0} / {1})",
    aten.add.Scalar: "({0} + {1})",
    aten.sub.Scalar: "({0} - {1})",
    aten.mul.Scalar: "({0} * {1})",
    aten.div.Scalar: "({0} / {1})",
    aten.rsub.Scalar: "({1} - {0})",
    aten.rsub.Tensor: "({1} - {0})",
    aten.neg.default: "(-{0})",
    aten.abs.default: "abs({0})",
    aten.reciprocal.default: "(T(1.0) / {0})",
    aten.pow.Tensor_Scalar: "power({0}, {1})",
    aten.relu.default: "relu({0})",
    aten.sigmoid.default: "sigmoid({0})",
    aten.softplus.default: "softplus({0})",
    aten.tanh.default: "tanh({0})",
    aten.exp.default: "exp({0})",
    aten.expm1.default: "expm1({0})",
    aten.floor.default: "np.floor({0})",
    aten.log.default: "log({0})",
    aten.sqrt.default: "sqrt({0})",
    aten.sin.default: "sin({0})",
    aten.cos.default: "cos({0})",
    aten.clamp_min.default: "greater({0}, {1})",
    aten.clamp_max.default: "smaller({0}, {1})",
    aten.maximum.default: "greater({0}, {1})",
    aten.minimum.default: "smaller({0}, {1})",
    aten.where.self: "({1} if {0} else {2})",
    aten.masked_fill.Scalar: "({2} if {1} else {0})",
    aten.lerp.Scalar: "between({0}, {1}, {2})",
}
"""Numbers: code of one element of the result, the operands in braces."""
LOGICAL = {
    aten.gt.Scalar: "({0} > {1})",
    aten.ge.Scalar: "({0} >= {1})",
    aten.lt.Scalar: "({0} < {1})",
    aten.le.Scalar: "({0} <= {1})",
    aten.eq.Scalar: "({0} == {1})",
    aten.ne.Scalar: "({0} != {1})",
    aten.gt.Tensor: "({0} > {1})",
    aten.ge.Tensor: "({0} >= {1})",
    aten.lt.Tensor: "({0} < {1})",
    aten.le.Tensor: "({0} <= {1})",
    aten.eq.Tensor: "({0} == {1})",
    aten.logical_and.default: "({0} and {1})",
    aten.logical_or.default: "({0} or {1})",
    aten.logical_not.default: "(not {0})",
    aten.bitwise_and.Tensor: "({0} and {1})",
    aten.bitwise_or.Tensor: "({0} or {1})",
    aten.bitwise_not.default: "(not {0})",
}
"""True or false, likewise; what works on bits, for what is true or false alone."""
WITH_VALUE = {aten.addcmul.default: "({0} + {3} * {1} * {2})", aten.addcdiv.default: "({0} + {3} * {1} / {2})"}
"""With the keyword `value` as the last operand."""
SUMS = {
    aten.sum.dim_IntList: ("T(0.0)", "{0} + {1}", "{0}"),
    aten.mean.dim: ("T(0.0)", "{0} + {1}", "{0} / T({2})"),
    aten.amax.default: ("T(-math.inf)", "greater({0}, {1})", "{0}"),
    aten.amin.default: ("T(math.inf)", "smaller({0}, {1})", "{0}"),
    aten.linalg_vector_norm.default: ("T(0.0)", "{0} + square({1})", "sqrt({0})"),
}
"""Reductions over dimensions: where they start, how they take in a number, and what becomes of the result, {2} the
count of numbers."""
DEFAULTS = {aten.sum.default: aten.sum.dim_IntList, aten.mean.default: aten.mean.dim}
"""The same over everything."""


def literal(value: float) -> str:
    """A number as code."""
    if math.isfinite(value):
        return f"T({float(value)!r})"
    return "T(math.nan)" if math.isnan(value) else f"T({'-' if value < 0 else ''}math.inf)"
