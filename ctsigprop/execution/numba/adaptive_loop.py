"""Steps within tolerances, in compiled modules for the adaptive methods (see `drivers`).

The step control is that of `ctsigprop.solvers.factored.step_control`, separate for each member.
"""

from __future__ import annotations

import math

import numpy as np

from ctsigprop.execution.numba.arguments import Workspace
from ctsigprop.execution.numba.fixed_loop import NEAR, T, combine, hold, interpolate, put, show, slope


def tolerance_norm(values, state, other, control, each):
    """Norms over the tensors of the state in units of their tolerance, into `each`, and the largest one.

    Activities count as root mean square of each element over its own tolerance, at the larger of |state| and |other|;
    weights as one Frobenius norm over that of the matrix in `state`.
    """
    rtol, atol, groups = control.rtol, control.atol, control.groups
    worst = 0.0
    for g in range(len(groups)):
        a, b, heavy = groups[g, 0], groups[g, 1], groups[g, 2]
        total = 0.0
        if heavy == 1:
            size = 0.0
            block, weights = values[a:b], state[a:b]
            for i in range(len(block)):
                value, weight = float(block[i]), float(weights[i])
                total += value * value
                size += weight * weight
            unit = atol[1] * math.sqrt(b - a) + rtol[1] * math.sqrt(size)
            norm = math.sqrt(total) / unit
        else:
            block, begin, end = values[a:b], state[a:b], other[a:b]
            for i in range(len(block)):
                here, there = abs(float(begin[i])), abs(float(end[i]))
                value = float(block[i]) / (atol[0] + rtol[0] * (here if here > there else there))
                total += value * value
            norm = math.sqrt(total / max(1, b - a))
        each[g] = norm
        if not norm <= worst:
            worst = norm
        if worst != worst:
            return math.inf
    return worst


def first_length(v, work, wrong, control, longest):
    """A first step from the size of the state, of its slope and of the slope's change along a step of Euler."""
    m, state, change_rate, before, keep = work
    n, groups, order = len(before), len(control.groups), control.order
    size, change = np.empty(groups), np.empty(groups)
    put(before, state)
    slope(v, m)
    put(keep[0], change_rate)
    d0 = tolerance_norm(before, state, before, control, size)
    d1 = tolerance_norm(keep[0], state, before, control, size)
    h0 = min(longest, 1e-6 if d1 < 1e-5 else 0.01 * max(d0, 1.0 / control.rtol[0]) / d1)
    if not h0 > 0.0:
        return 0.0
    for i in range(n):
        state[i] = before[i] + T(h0) * keep[0, i]
    slope(v, m)
    for i in range(n):
        wrong[i] = change_rate[i] - keep[0, i]
    put(state, before)
    d2 = tolerance_norm(wrong, state, before, control, change) / h0
    if not d2 < math.inf:
        return h0
    if max(d1, d2) <= 1e-15:
        return min(longest, max(1e-6, 1e-3 * h0))
    rate = np.sum(change) / h0 / np.sum(size) if d1 > 0.0 else 1.0 / h0
    growth = 0.0
    for g in range(groups):
        of_group = rate if size[g] == 0.0 else min(rate, change[g] / h0 / size[g])
        growth = max(growth, change[g] / h0 * of_group ** (order - 2))
    h1 = control.trusted * (control.constant * growth) ** (-1.0 / order) if growth > 0.0 else longest
    return min(h1, 1.0 / rate if rate > 0.0 else longest, longest)


def attempt(v, h, work, wrong, method):
    """A step of length h from `before`, its first slope known, and an estimate of its error in `wrong`."""
    m, state, rate, before, keep = work
    stages = len(keep)
    for k in range(1, stages):
        combine(state, before, h, method.a[k], keep, k)
        slope(v, m)
        put(keep[k], rate)
    wrong[:] = T(0.0)
    combine(wrong, wrong, h, method.error, keep, stages)


def overflowing(before, slopes):
    """Whether a state or its slope is near the largest number, or none."""
    near = T(0.0)
    for i in range(len(before)):
        near = max(near, abs(before[i]), abs(slopes[i]))
        if before[i] != before[i] or slopes[i] != slopes[i]:
            return True
    return near > T(1e-6) * np.finfo(before.dtype).max


def run_adaptive(members, frames, method, control, samples, ends):
    """All members through all frames, each in steps of its own, the last one of a frame ending with it."""
    memory, first, last, bounds = members
    variant, shown, places, start, stop = frames
    times, due, taken = samples
    done, status, bad, most = ends
    order, stages = control.order, len(method.a)
    n = last - first
    keep = np.empty((stages, n), memory.dtype)
    before, wrong, each = np.empty(n, memory.dtype), np.empty(n, memory.dtype), np.empty(len(control.groups))
    for e in range(len(memory)):
        m = memory[e]
        state = m[first:last]
        work = Workspace(m, state, m[last : last + n], before, keep)
        for f in range(len(variant)):
            if status[e] != 0:
                break
            v, t, end, position = variant[f], start[f], stop[f], due[f, 0]
            show(m, shown[e % len(shown), f], places)
            dt = first_length(v, work, wrong, control, end - t)
            done[e, 2] += 2
            last_ratio, held = 1.0, False
            while t < end:
                left = end - t
                t1 = end if left <= 1.01 * dt else t + (left / 2.0 if left < 2.0 * dt else dt)
                if done[e, 1] >= most or not t1 - t > 4.0 * 2.3e-16 * max(abs(t), abs(t1)):
                    status[e] = 3 if done[e, 1] >= most else 2
                    put(bad[e], keep[0])
                    break
                h = t1 - t
                put(before, state)
                attempt(v, T(h), work, wrong, method)
                done[e, 2] += stages - 1
                ratio = tolerance_norm(wrong, state, before, control, each)
                if ratio <= 1.0:
                    hold(state, bounds, e)
                    while position < due[f, 1] and (times[position] <= t1 or t1 == end):
                        theta = (times[position] - t) / h
                        if theta > 1.0 - NEAR:
                            put(taken[e, position], state)
                        else:
                            interpolate(taken[e, position], theta, T(h), work, method)
                            hold(taken[e, position], bounds, e)
                        position += 1
                    b = 0.2 / order if ratio > 0.3 else 0.0
                    grown = 10.0 if ratio == 0.0 else 0.9 * ratio ** (0.75 * b - 1.0 / order) * last_ratio**b
                    dt = h * min(1.0 if held else 10.0, max(0.2, grown))
                    last_ratio, held, t = max(ratio, 0.3), False, t1
                    put(keep[0], keep[stages - 1])
                    done[e, 0] = t
                    done[e, 1] += 1
                    continue
                put(state, before)
                done[e, 3] += 1
                dt, held = h * (max(0.2, 0.9 * ratio ** (-1.0 / order)) if ratio < math.inf else 0.2), True
                if not ratio < math.inf and overflowing(before, keep[0]):
                    status[e] = 1
                    put(bad[e], keep[0])
                    break
