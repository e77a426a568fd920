"""The beginning of every generated module: functions of one number, written so that loops over them are vectorised.

A call of the C library for each number would take most of a step's time. Here `exp` is 2^n exp(r) with |r| <= ln 2 / 2
(W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980), its polynomial and the series of the
others long enough for the last bit or two of each precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

TERMS = {"float32": (8, 8, 7), "float64": (14, 17, 15)}
"""Terms of the series of exp at |r| <= 0.35, of atanh at 1/3 and of tanh at 0.35."""
PARTS = {
    "float32": (0.693359375, -2.12194440e-4, -87.0, 88.7, 23, 127),
    "float64": (0.6931471803691238, 1.9082149292705877e-10, -708.0, 709.7, 52, 1023),
}
"""ln 2 in two parts, of which the first has few bits; where exp is 0 and infinite; bits and bias of the exponent."""

HEADER = '''"""Generated: the right-hand side of one network, and the loops that integrate it."""

import math

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

from ctsigprop.execution.numba.machine_code import kept
from ctsigprop.execution.numba.small_matmul import tiles, turned

T = np.{kind}
BLOCK, CHECK, NEAR = {block}, {check}, {near}
inside = njit(fastmath={{"reassoc", "contract", "nsz", "arcp"}}, error_model="numpy", nogil=True, forceinline=True)
compiled = njit(fastmath={{"reassoc", "contract", "nsz", "arcp"}}, error_model="numpy", nogil=True)


def fast(function):
    return kept(compiled(function))


@inside
def relu(u):
    return T(0.0) if u < T(0.0) else u


if config.DISABLE_JIT:

    def power_of_two(n):
        return T(2.0) ** n

    def hidden(n):
        return n

else:

    @intrinsic
    def as_float(context, bits):
        kind = types.{kind}

        def code(target, builder, signature, args):
            return builder.bitcast(args[0], target.get_value_type(kind))

        return kind(bits), code

    @intrinsic
    def one(context):
        def code(target, builder, signature, args):
            kind = target.get_value_type(types.intp)
            return builder.asm(ir.FunctionType(kind, [kind]), "", "=r,0", [kind(1)], False)

        return types.intp(), code

    @inside
    def hidden(n):  # the compiler does not see that it is always n
        return n if one() == 1 else n - 1

    @inside
    def power_of_two(n):
        return as_float(np.{integer}((np.{integer}(np.int32(n)) + np.{integer}({bias})) << np.{integer}({bits})))


exactly = njit(fastmath={{"contract", "nsz"}}, error_model="numpy", nogil=True, forceinline=True)


@exactly
def exp(u):
    v = T({low}) if u < T({low}) else (T({high}) if u > T({high}) else u)
    n = np.floor(v * T({log2e}) + T(0.5))
    r = (v - n * T({first})) - n * T({second})
    half = np.floor(n * T(0.5))  # in two factors, each of which has an exponent of its own
    value = {exp_series} * power_of_two(half) * power_of_two(n - half)
    return T(0.0) if u < T({low}) else (T(math.inf) if u > T({high}) else value)


@inside
def expm1(u):
    near = u * {expm1_series}
    return near if abs(u) < T(0.35) else exp(u) - T(1.0)


@inside
def log1p_of_share(y):
    s = y / (T(2.0) + y)
    q = s * s
    return T(2.0) * s * {atanh_series}


@inside
def log(u):
    return T(math.log(u))


@inside
def tanh(u):
    q = u * u if u * u < T(0.1225) else T(0.1225)
    t = exp(T(-2.0) * abs(u))
    far = (T(1.0) - t) / (T(1.0) + t)
    near = u * {tanh_series}
    signed = -far if u < T(0.0) else far
    return near if u * u < T(0.1225) else signed


@inside
def sqrt(u):
    return T(math.sqrt(u))


@inside
def sin(u):
    return T(math.sin(u))


@inside
def cos(u):
    return T(math.cos(u))


@inside
def sigmoid(u):
    return T(1.0) / (T(1.0) + exp(-u))


@inside
def softplus(u):
    value = (u if u > T(0.0) else T(0.0)) + log1p_of_share(exp(-abs(u)))
    return u if u > T(20.0) else value


@inside
def square(u):
    return u * u


@inside
def power(u, n):
    return u * u if n == T(2.0) else T(u**n)


@inside
def greater(u, v):
    return v if u < v else u


@inside
def smaller(u, v):
    return v if u > v else u


@inside
def between(u, v, share):
    return u + share * (v - u)
'''
"""The beginning of every generated module; numbers that are not finite stay so, which tells a run that diverges."""


def header(kind: str, block: int, check: int, near: float) -> str:
    """The beginning of a module of numbers of a kind, "float32" or "float64"."""
    of_exp, of_atanh, of_tanh = TERMS[kind]
    first, second, low, high, bits, bias = PARTS[kind]
    return HEADER.format(
        kind=kind,
        integer="int32" if kind == "float32" else "int64",
        block=block,
        check=check,
        near=near,
        first=repr(first),
        second=repr(second),
        low=repr(low),
        high=repr(high),
        log2e=repr(math.log2(math.e)),
        bits=bits,
        bias=bias,
        exp_series=series("r", [1 / math.factorial(k) for k in range(of_exp)]),
        expm1_series=series("u", [1 / math.factorial(k + 1) for k in range(of_exp)]),
        atanh_series=series("q", [1 / (2 * k + 1) for k in range(of_atanh)]),
        tanh_series=series("q", tanh_coefficients(of_tanh)),
    )


def series(variable: str, coefficients: Sequence[float]) -> str:
    """The code of a polynomial, by Horner's rule."""
    code = f"T({coefficients[-1]!r})"
    for value in reversed(coefficients[:-1]):
        code = f"({code} * {variable} + T({value!r}))"
    return code


def tanh_coefficients(terms: int) -> list[float]:
    """Those of u, u^3, ...: tanh' = 1 - tanh^2 gives each from the ones before."""
    coefficients = [Fraction(1)]
    for k in range(1, terms):
        coefficients.append(
            -sum((coefficients[i] * coefficients[k - 1 - i] for i in range(k)), Fraction(0)) / (2 * k + 1)
        )
    return [float(value) for value in coefficients]
