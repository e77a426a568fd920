"""Steps within tolerances, in compiled modules for the adaptive methods (see `drivers`).

The control is that of `ctsigprop.solvers.factored.step_control`, each member's its own.
"""

from __future__ import annotations

import math

import numpy as np

from ctsigprop.execution.numba.fixed_loop import NEAR, T, between, combine, hold, put, show, slope


def tolerance_norm(values, m, other, first, groups, rtol, atol, each):
    """Norms over the tensors of the state in units of their tolerance, into `each`, and the largest one.

    groups : rows (first, last, is a weight) within the state. Activities count as root mean square of each element
    over its own tolerance, at the larger of |m| and |other|; weights as one Frobenius norm over that of the matrix m.
    """
    worst = 0.0
    for g in range(len(groups)):
        a, b, heavy = groups[g, 0], groups[g, 1], groups[g, 2]
        total = 0.0
        if heavy == 1:
            size = 0.0
            block, state = values[a:b], m[first + a : first + b]
            for i in range(len(block)):
                value, weight = float(block[i]), float(state[i])
                total += value * value
                size += weight * weight
            unit = atol[1] * math.sqrt(b - a) + rtol[1] * math.sqrt(size)
            norm = math.sqrt(total) / unit
        else:
            block, state, end = values[a:b], m[first + a : first + b], other[a:b]
            for i in range(len(block)):
                here, there = abs(float(state[i])), abs(float(end[i]))
                value = float(block[i]) / (atol[0] + rtol[0] * (here if here > there else there))
                total += value * value
            norm = math.sqrt(total / max(1, b - a))
        each[g] = norm
        if not norm <= worst:
            worst = norm
        if worst != worst:
            return math.inf
    return worst


def first_length(m, v, first, last, before, keep, wrong, tolerances, method, longest):
    """A first step from the size of the state, of its slope and of the slope's change along a step of Euler."""
    rtol, atol, groups = tolerances
    order, constant, trusted = method
    n = last - first
    size, change = np.empty(len(groups)), np.empty(len(groups))
    put(before, m[first:last])
    slope(v, m)
    put(keep[0], m[last : last + n])
    d0 = tolerance_norm(before, m, before, first, groups, rtol, atol, size)
    d1 = tolerance_norm(keep[0], m, before, first, groups, rtol, atol, size)
    h0 = min(longest, 1e-6 if d1 < 1e-5 else 0.01 * max(d0, 1.0 / rtol[0]) / d1)
    if not h0 > 0.0:
        return 0.0
    for i in range(n):
        m[first + i] = before[i] + T(h0) * keep[0, i]
    slope(v, m)
    for i in range(n):
        wrong[i] = m[last + i] - keep[0, i]
    put(m[first:last], before)
    d2 = tolerance_norm(wrong, m, before, first, groups, rtol, atol, change) / h0
    if not d2 < math.inf:
        return h0
    if max(d1, d2) <= 1e-15:
        return min(longest, max(1e-6, 1e-3 * h0))
    rate = np.sum(change) / h0 / np.sum(size) if d1 > 0.0 else 1.0 / h0
    growth = 0.0
    for g in range(len(groups)):
        of_group = rate if size[g] == 0.0 else min(rate, change[g] / h0 / size[g])
        growth = max(growth, change[g] / h0 * of_group ** (order - 2))
    h1 = trusted * (constant * growth) ** (-1.0 / order) if growth > 0.0 else longest
    return min(h1, 1.0 / rate if rate > 0.0 else longest, longest)


def attempt(m, v, h, first, last, before, keep, wrong, a, error):
    """A step of length h from `before`, its first slope known, and an estimate of its error in `wrong`."""
    n = last - first
    stages = len(a)
    for k in range(1, stages):
        combine(m, first, before, h, a[k], keep, k)
        slope(v, m)
        put(keep[k], m[last : last + n])
    wrong[:] = T(0.0)
    combine(wrong, 0, wrong, h, error, keep, stages)


def overflowing(before, slopes):
    """Whether a state or its slope is near the largest number, or none."""
    near = T(0.0)
    for i in range(len(before)):
        near = max(near, abs(before[i]), abs(slopes[i]))
        if before[i] != before[i] or slopes[i] != slopes[i]:
            return True
    return near > T(1e-6) * np.finfo(before.dtype).max


def run_adaptive(
    memory, first, last, shown, places, frames, method, samples, ends, bounds, error, start_of, tolerances
):
    """All members through all frames, each in steps of its own, the last one of a frame ending with it.

    start_of : order, error constant and trusted share of `first_step`
    """
    order = start_of[0]
    variant, start, stop = frames
    a, quartic = method
    times, due, taken = samples
    done, status, bad, most = ends
    rtol, atol, groups = tolerances
    n = last - first
    keep = np.empty((len(a), n), memory.dtype)
    before, wrong, each = np.empty(n, memory.dtype), np.empty(n, memory.dtype), np.empty(len(groups))
    for e in range(len(memory)):
        m = memory[e]
        for f in range(len(variant)):
            if status[e] != 0:
                break
            v, t, end, position = variant[f], start[f], stop[f], due[f, 0]
            show(m, shown[e % len(shown), f], places)
            dt = first_length(m, v, first, last, before, keep, wrong, tolerances, start_of, end - t)
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
                put(before, m[first:last])
                attempt(m, v, T(h), first, last, before, keep, wrong, a, error)
                done[e, 2] += len(a) - 1
                ratio = tolerance_norm(wrong, m, before, first, groups, rtol, atol, each)
                if ratio <= 1.0:
                    hold(m, first, bounds, e)
                    while position < due[f, 1] and (times[position] <= t1 or t1 == end):
                        theta = (times[position] - t) / h
                        if theta > 1.0 - NEAR:
                            put(taken[e, position], m[first:last])
                        else:
                            between(taken[e, position], theta, T(h), before, keep, a[len(a) - 1], quartic)
                            hold(taken[e, position], 0, bounds, e)
                        position += 1
                    b = 0.2 / order if ratio > 0.3 else 0.0
                    grown = 10.0 if ratio == 0.0 else 0.9 * ratio ** (0.75 * b - 1.0 / order) * last_ratio**b
                    dt = h * min(1.0 if held else 10.0, max(0.2, grown))
                    last_ratio, held, t = max(ratio, 0.3), False, t1
                    put(keep[0], keep[len(a) - 1])
                    done[e, 0] = t
                    done[e, 1] += 1
                    continue
                put(m[first:last], before)
                done[e, 3] += 1
                dt, held = h * (max(0.2, 0.9 * ratio ** (-1.0 / order)) if ratio < math.inf else 0.2), True
                if not ratio < math.inf and overflowing(before, keep[0]):
                    status[e] = 1
                    put(bad[e], keep[0])
                    break
