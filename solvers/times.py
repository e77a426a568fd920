"""When two times are one. Every comparison of times in the program goes through here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

SHARE = 1e-9
"""Share of the spacing at hand within which two times are one."""
ROUNDING = 8 * 2.0**-52
"""Share of a time that a few operations in float64 may have changed it by."""


def slack(spacing: float, *times: float, rounding: float = ROUNDING) -> float:
    """How far apart two times may be and still be one.

    That is a billionth of the spacing at hand, or the rounding of `times` where that is more, and at most a quarter of
    the spacing. Nothing in it depends on the unit of time.

    Parameters
    ----------
    spacing : float, a step, or the interval between samples, spikes or presentations, > 0
    times : the times that are compared
    rounding : float, share of themselves by which they may be off; default some last places of float64
    """
    return min(max(SHARE * spacing, rounding * max(map(abs, times), default=0.0)), spacing / 4)


def steps_until(t: float, origin: float, dt: float) -> int:
    """How many whole steps of dt lie between origin and t: the number of the last grid point up to t."""
    return math.floor((t - origin + slack(dt, t, origin)) / dt)


def steps_covering(t: float, origin: float, dt: float) -> int:
    """How many steps of dt it takes from origin to t: the number of the first grid point from t on."""
    return math.ceil((t - origin - slack(dt, t, origin)) / dt)


def share_of_step(time: float, t: float, t1: float) -> float:
    """Where a time lies in the step from t to t1: exactly 0 or 1 at the ends of it."""
    near = slack(t1 - t, t1)
    if time >= t1 - near:
        return 1.0
    return 0.0 if time <= t + near else (time - t) / (t1 - t)


def smallest_interval(times: Sequence[float], otherwise: float) -> float:
    """The shortest interval between neighbours of increasing times; `otherwise` where there are fewer than two."""
    return min((b - a for a, b in pairwise(times)), default=otherwise)


def rounding_of(values: Any) -> float:
    """Share of themselves by which times of this type may be off."""
    kind = np.asarray(values).dtype
    return max(ROUNDING, 4 * float(np.finfo(kind).eps)) if kind.kind == "f" else ROUNDING


def as_times(values: Any) -> np.ndarray:
    """Times as float64.

    Numbers of less precision stand for short decimals: 0.3 in float32 is 0.30000001192, and 0.3 is meant. Each becomes
    the decimal of six digits (three in float16) that is within two of its own last places, or stays as it is.

    Raises
    ------
    TypeError, ValueError : values that are no numbers
    """
    given = np.asarray(values)
    exact = given.astype(float)
    if given.dtype.kind != "f" or given.dtype.itemsize >= exact.dtype.itemsize:
        return exact
    about = np.finfo(given.dtype)
    finite = np.where(np.isfinite(exact), exact, 0.0)
    size = np.where(finite != 0, np.abs(finite), 1.0)
    power = about.precision - 1 - np.floor(np.log10(size))
    up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
    short = np.round(finite * up / down) * down / up
    return np.where(np.isfinite(exact) & (np.abs(short - finite) <= 2 * float(about.eps) * size), short, exact)


def as_time(value: Any) -> float:
    """One time as a float, as `as_times` reads it."""
    return float(as_times(value))
