"""What the loops of a compiled module work on, in bundles of arrays and numbers that numba takes as arguments.

Machine code knows their fields by place: a module's source names the text of this file, so that it is compiled anew
where that changes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Members(NamedTuple):
    """The members of an ensemble.

    memory : (members, size); state at first:last, slopes at last:last + n
    first, last : where the state begins and ends
    bounds : rows (first, last) of weights within the state, and (members, rows, 2), their least and largest value
    """

    memory: np.ndarray
    first: int
    last: int
    bounds: tuple[np.ndarray, np.ndarray]


class FixedFrames(NamedTuple):
    """Frames that are walked in steps of one length.

    variant : of the right-hand side, of each frame
    shown : inputs of each frame side by side (1 or members, frames, width)
    places : rows (offset in memory, offset in shown, size) of the inputs
    start : when each begins
    short : (frames, 2), lengths of a first and a last step that are not whole, or 0
    whole : number of whole steps
    dt : their length
    """

    variant: np.ndarray
    shown: np.ndarray
    places: np.ndarray
    start: np.ndarray
    short: np.ndarray
    whole: np.ndarray
    dt: float


class AdaptiveFrames(NamedTuple):
    """Frames whose steps have lengths of their own: as `FixedFrames`, and when each ends."""

    variant: np.ndarray
    shown: np.ndarray
    places: np.ndarray
    start: np.ndarray
    stop: np.ndarray


class Coefficients(NamedTuple):
    """Those of a Runge-Kutta method: a (stages, stages), and what its estimate of the error and its interpolating
    polynomial take of each slope.
    """

    a: np.ndarray
    error: np.ndarray
    quartic: np.ndarray


class Control(NamedTuple):
    """How long the steps of an adaptive method are.

    rtol, atol : tolerances (activities, weights)
    groups : rows (first, last, is a weight) of the tensors within the state
    order, constant, trusted : order, error constant and trusted share of `first_step`
    """

    rtol: np.ndarray
    atol: np.ndarray
    groups: np.ndarray
    order: float
    constant: float
    trusted: float


class Samples(NamedTuple):
    """When states are sampled: `due` (frames, 2), range of the times in each frame; `taken` (members, samples, n)."""

    times: np.ndarray
    due: np.ndarray
    taken: np.ndarray


class Ends(NamedTuple):
    """How each member ended, or stands.

    done : (members, 4), last good time, steps, evaluations, rejections
    status : (members,), 0 good, 1 not finite, 2 too short a step, 3 too many steps
    bad : (members, n), the first state that was not finite
    most : steps allowed
    """

    done: np.ndarray
    status: np.ndarray
    bad: np.ndarray
    most: int


class Workspace(NamedTuple):
    """One member's memory, its state and slope there, the state before a step, and the slope at each of its stages."""

    memory: np.ndarray
    state: np.ndarray
    slope: np.ndarray
    before: np.ndarray
    keep: np.ndarray
