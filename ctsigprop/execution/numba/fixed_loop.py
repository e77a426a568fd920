"""Loops over steps, a part of every compiled module: plain Python here, machine code there.

`slope(v, m)` writes the derivative of the state in `m` behind it, v the variant of the right-hand side. Every member
of an ensemble has its own row of `memory`; its steps are taken one after another, then those of the next member, so
that a member's weights stay in the processor's cache.
`arguments` describes their arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ctsigprop.execution.numba.arguments import Workspace
from ctsigprop.solvers.times import SHARE

BLOCK = 2048
"""Numbers of a state that are put together at once."""
CHECK = 64
NEAR = SHARE
T = np.float64


def slope(v: int, m: Any) -> None:
    """Stands for the generated function."""
    raise NotImplementedError


def step(*_: Any) -> None:
    """Stands for `advance`: the one below, or a generated step of Euler in place."""
    raise NotImplementedError


def read(*_: Any) -> None:
    """Stands for `read_line` or `read_curve`."""
    raise NotImplementedError


def put(to, source):
    """Copy numbers; an assignment would check their count, and to compile its messages takes seconds."""
    for i in range(len(to)):
        to[i] = source[i]


def finite(state):
    """Whether the state is a number everywhere."""
    total = T(0.0)
    for i in range(len(state)):
        total += state[i] * T(0.0)
    return total == T(0.0)


def show(m, shown, places):
    """Copy the inputs of a frame into memory."""
    for k in range(len(places)):
        for i in range(places[k, 2]):
            m[places[k, 0] + i] = shown[places[k, 1] + i]


def hold(state, bounds, e):
    """Put weights of member e that left their bounds back onto them."""
    places, values = bounds
    for k in range(len(places)):
        low, high = values[e, k, 0], values[e, k, 1]
        weights = state[places[k, 0] : places[k, 1]]
        for i in range(len(weights)):
            if weights[i] < low:
                weights[i] = low
            elif weights[i] > high:
                weights[i] = high


def interpolate(out, theta, h, work, method):
    """The state at the share theta of the step just taken, from both ends and their slopes."""
    before, keep = work.before, work.keep
    b, quartic = method.a[len(keep) - 1], method.quartic
    end = T(theta * theta * (3.0 - 2.0 * theta))
    bump = T(theta * theta * (1.0 - theta) * (1.0 - theta))
    left = T(theta * (1.0 - theta) * (1.0 - theta))
    right = T(theta * theta * (theta - 1.0))
    stages = len(keep)
    for i in range(len(before)):
        total = left * keep[0, i] + right * keep[stages - 1, i]
        for k in range(stages):
            total += (end * b[k] + bump * quartic[k]) * keep[k, i]
        out[i] = before[i] + h * total


def combine(out, base, h, coefficients, keep, k):
    """Out = base + h (the first k slopes times their coefficients), a block at a time, that caches hold.

    It is written in slices, whose indices are never negative: only then are loops vectorised.
    """
    n = keep.shape[1]
    for begin in range(0, n, BLOCK):
        end = min(n, begin + BLOCK)
        block, start = out[begin:end], base[begin:end]
        for i in range(len(block)):
            block[i] = start[i]
        for j in range(k):
            c = h * coefficients[j]
            if c != T(0.0):
                slopes = keep[j, begin:end]
                for i in range(len(block)):
                    block[i] += c * slopes[i]


def advance(v, h, work, a):
    """One step of length h from the state at hand; `keep`[k] becomes the slope at stage k."""
    m, state, rate, before, keep = work
    stages = len(a)
    put(before, state)
    for k in range(stages):
        if k > 0:
            combine(state, before, h, a[k], keep, k)
        if k < stages - 1:
            slope(v, m)
            put(keep[k], rate)


def length(f, s, frames):
    """(where step s of a frame begins, its length)."""
    start, short, dt = frames.start[f], frames.short[f], frames.dt
    head = 1 if short[0] > 0.0 else 0
    if head == 1 and s == 0:
        return start, short[0]
    begin = start + short[0]
    if s < head + frames.whole[f]:
        return begin + (s - head) * dt, dt
    return begin + frames.whole[f] * dt, short[1]


def read_line(out, theta, h, v, work, method):
    """The state at the share theta of a step of Euler: on the line between its ends."""
    before, state = work.before, work.state
    for i in range(len(before)):
        out[i] = before[i] + T(theta) * (state[i] - before[i])


def read_curve(out, theta, h, v, work, method):
    """The state at the share theta of the step just taken, from both ends and their slopes."""
    slope(v, work.memory)
    put(work.keep[len(work.keep) - 1], work.slope)
    interpolate(out, theta, h, work, method)


def run_fixed(members, frames, method, samples, ends):
    """All members through all frames in steps of dt."""
    memory, first, last, bounds = members
    variant, shown, places, _, short, whole, _ = frames
    times, due, taken = samples
    done, status, bad, most = ends
    a = method.a
    n = last - first
    before = np.empty(n, memory.dtype)
    good = np.empty(n, memory.dtype)
    keep = np.empty((len(a), n), memory.dtype)
    for e in range(len(memory)):
        m = memory[e]
        state = m[first:last]
        work = Workspace(m, state, m[last : last + n], before, keep)
        for f in range(len(variant)):
            if status[e] != 0:
                break
            v = variant[f]
            show(m, shown[e % len(shown), f], places)
            total = whole[f] + (1 if short[f, 0] > 0.0 else 0) + (1 if short[f, 1] > 0.0 else 0)
            s, position, careful = 0, due[f, 0], -1
            while s < total:
                if s % CHECK == 0 and careful < s:
                    put(good, state)
                    restart, again = s, position
                if done[e, 1] >= most:
                    status[e] = 3
                    break
                t, h = length(f, s, frames)
                if careful >= s or (position < due[f, 1] and times[position] < t + h * (1.0 - NEAR)):
                    put(before, state)
                step(v, T(h), work, a)
                hold(state, bounds, e)
                done[e, 1] += 1
                done[e, 2] += len(a) - 1
                check = careful >= s or (s + 1) % CHECK == 0 or s + 1 == total
                if check and not finite(state):
                    if careful < s:  # once more from the last good state, looking after every step
                        done[e, 1] -= s + 1 - restart
                        done[e, 2] -= (s + 1 - restart) * (len(a) - 1)
                        careful, s, position = s, restart, again
                        put(state, good)
                        continue
                    put(bad[e], state)
                    put(state, before)
                    done[e, 0] = t
                    status[e] = 1
                    break
                while position < due[f, 1] and (times[position] <= t + h * (1.0 + NEAR) or s + 1 == total):
                    theta = (times[position] - t) / h
                    if theta > 1.0 - NEAR:
                        put(taken[e, position], state)
                    else:
                        read(taken[e, position], theta, T(h), v, work, method)
                        hold(taken[e, position], bounds, e)
                    position += 1
                done[e, 0] = t + h
                s += 1
