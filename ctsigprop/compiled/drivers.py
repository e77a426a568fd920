"""Loops over steps, as they stand in every compiled module: plain Python here, machine code there.

`slope(v, m)` writes the derivative of the state in `m` behind it and `step(v, m, dt)` takes a step of Euler, v the
variant of the right-hand side. Every member of an ensemble has its own row of `memory`; its steps are taken one after
another, then those of the next member, so that a member's weights stay in the processor's cache.

memory : (members, size); state at first:last, slopes at last:last + n
shown, places : inputs of each frame side by side (frames, width), and rows (offset in memory, offset in shown, size)
variant, start, stop : of each frame; `short` : (frames, 2), lengths of a first and a last step that are not whole, or 0
whole, dt : number of whole steps of each frame, and their length
times : of the samples, `due` : (frames, 2) range of those in each frame; taken : (members, samples, n) their states
done : (members, 4) last good time, steps, evaluations, rejections; status : (members,) 0 good, 1 not finite,
2 too short a step, 3 too many steps; bad : (members, n) the first state that was not finite
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

CHECK = 64
NEAR = 1e-9
T = np.float64


def slope(v: int, m: Any) -> None:
    """Stands for the generated function."""
    raise NotImplementedError


def step(v: int, m: Any, dt: Any) -> None:
    """Stands for the generated function."""
    raise NotImplementedError


def finite(m, first, last):
    """Whether the state is a number everywhere."""
    total = m[first] * T(0.0)
    for i in range(first, last):
        total += m[i] * T(0.0)
    return total == T(0.0)


def show(m, shown, places):
    """Copy the inputs of a frame into memory."""
    for k in range(len(places)):
        for i in range(places[k, 2]):
            m[places[k, 0] + i] = shown[places[k, 1] + i]


def advance(m, v, h, a, last, before, keep):
    """One step of length h by the method with coefficients a; `keep`[k] becomes the slope at stage k."""
    first = last - len(before)
    n = len(before)
    stages = len(a)
    for k in range(stages - 1):
        if k > 0:
            for i in range(n):
                total = T(0.0)
                for j in range(k):
                    total += a[k, j] * keep[j, i]
                m[first + i] = before[i] + h * total
        slope(v, m)
        for i in range(n):
            keep[k, i] = m[last + i]
    for i in range(n):
        total = T(0.0)
        for j in range(stages - 1):
            total += a[stages - 1, j] * keep[j, i]
        m[first + i] = before[i] + h * total


def between(out, theta, h, m, first, before, keep, b, quartic):
    """The state at the share theta of the step just taken, from both ends and their slopes."""
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


def run_euler(
    memory,
    first,
    last,
    shown,
    places,
    variant,
    start,
    short,
    whole,
    dt,
    times,
    due,
    taken,
    done,
    status,
    bad,
    most,
):
    """All members through all frames in steps of dt, by forward Euler in place."""
    n = last - first
    before = np.empty(n, memory.dtype)
    good = np.empty(n, memory.dtype)
    for e in range(len(memory)):
        if status[e] != 0:
            continue
        m = memory[e]
        for f in range(len(variant)):
            v = variant[f]
            show(m, shown[f], places)
            count = whole[f]
            head = 1 if short[f, 0] > 0.0 else 0
            total = head + count + (1 if short[f, 1] > 0.0 else 0)
            s = 0
            position = due[f, 0]
            careful = -1
            while s < total:
                if s % CHECK == 0 and careful < s:
                    good[:] = m[first:last]
                    restart = s
                    again = position
                if done[e, 1] >= most:
                    status[e] = 3
                    break
                if head == 1 and s == 0:
                    h = short[f, 0]
                    t = start[f]
                elif s < head + count:
                    h = dt
                    t = start[f] + short[f, 0] + (s - head) * dt
                else:
                    h = short[f, 1]
                    t = start[f] + short[f, 0] + count * dt
                inner = position < due[f, 1] and times[position] < t + h * (1.0 - NEAR)
                if inner or careful >= s:
                    before[:] = m[first:last]
                step(v, m, T(h))
                done[e, 1] += 1
                done[e, 2] += 1
                check = careful >= s or (s + 1) % CHECK == 0 or s + 1 == total
                if check and not finite(m, first, last):
                    if careful < s:  # once more from the last good state, looking after every step
                        done[e, 1] -= s + 1 - restart
                        done[e, 2] -= s + 1 - restart
                        careful = s
                        m[first:last] = good
                        s = restart
                        position = again
                        continue
                    bad[e] = m[first:last]
                    m[first:last] = before
                    done[e, 0] = t
                    status[e] = 1
                    break
                while position < due[f, 1] and (times[position] <= t + h * (1.0 + NEAR) or s + 1 == total):
                    theta = (times[position] - t) / h
                    if theta > 1.0 - NEAR:
                        taken[e, position] = m[first:last]
                    else:
                        for i in range(n):
                            taken[e, position, i] = before[i] + T(theta) * (m[first + i] - before[i])
                    position += 1
                done[e, 0] = t + h
                s += 1
            if status[e] != 0:
                break


def run_fixed(
    memory,
    first,
    last,
    shown,
    places,
    variant,
    start,
    short,
    whole,
    dt,
    a,
    quartic,
    times,
    due,
    taken,
    done,
    status,
    bad,
    most,
):
    """All members through all frames in steps of dt, by a Runge-Kutta method."""
    n = last - first
    stages = len(a)
    before = np.empty(n, memory.dtype)
    good = np.empty(n, memory.dtype)
    keep = np.empty((stages, n), memory.dtype)
    for e in range(len(memory)):
        if status[e] != 0:
            continue
        m = memory[e]
        for f in range(len(variant)):
            v = variant[f]
            show(m, shown[f], places)
            count = whole[f]
            head = 1 if short[f, 0] > 0.0 else 0
            total = head + count + (1 if short[f, 1] > 0.0 else 0)
            s = 0
            position = due[f, 0]
            careful = -1
            while s < total:
                if s % CHECK == 0 and careful < s:
                    good[:] = m[first:last]
                    restart = s
                    again = position
                if done[e, 1] >= most:
                    status[e] = 3
                    break
                if head == 1 and s == 0:
                    h = short[f, 0]
                    t = start[f]
                elif s < head + count:
                    h = dt
                    t = start[f] + short[f, 0] + (s - head) * dt
                else:
                    h = short[f, 1]
                    t = start[f] + short[f, 0] + count * dt
                inner = position < due[f, 1] and times[position] < t + h * (1.0 - NEAR)
                before[:] = m[first:last]
                advance(m, v, T(h), a, last, before, keep)
                done[e, 1] += 1
                done[e, 2] += stages - 1
                check = careful >= s or (s + 1) % CHECK == 0 or s + 1 == total
                if check and not finite(m, first, last):
                    if careful < s:  # once more from the last good state, looking after every step
                        done[e, 1] -= s + 1 - restart
                        done[e, 2] -= (s + 1 - restart) * (stages - 1)
                        careful = s
                        m[first:last] = good
                        s = restart
                        position = again
                        continue
                    bad[e] = m[first:last]
                    m[first:last] = before
                    done[e, 0] = t
                    status[e] = 1
                    break
                if inner:
                    slope(v, m)
                    for i in range(n):
                        keep[stages - 1, i] = m[last + i]
                while position < due[f, 1] and (times[position] <= t + h * (1.0 + NEAR) or s + 1 == total):
                    theta = (times[position] - t) / h
                    if theta > 1.0 - NEAR:
                        taken[e, position] = m[first:last]
                    else:
                        between(taken[e, position], theta, T(h), m, first, before, keep, a[stages - 1], quartic)
                    position += 1
                done[e, 0] = t + h
                s += 1
            if status[e] != 0:
                break


def tolerance_norm(values, m, other, first, groups, rtol, atol, of_error):
    """Largest norm over the tensors of the state in units of their tolerance.

    groups : rows (first, last, is a weight) within the state. Activities count as root mean square of each element
    over its own tolerance, at the larger of |m| and |other|; weights as one Frobenius norm over that of the matrix m.
    """
    worst = 0.0
    for g in range(len(groups)):
        a, b, heavy = groups[g, 0], groups[g, 1], groups[g, 2]
        total = 0.0
        if heavy == 1:
            size = 0.0
            for i in range(a, b):
                value = float(values[i])
                total += value * value
                place = float(m[first + i])
                size += place * place
            unit = atol[1] * math.sqrt(b - a) + rtol[1] * math.sqrt(size)
            found = math.sqrt(total) / unit
        else:
            for i in range(a, b):
                scale = atol[0] + rtol[0] * max(abs(float(m[first + i])), abs(float(other[i])))
                value = float(values[i]) / scale
                total += value * value
            found = math.sqrt(total / max(1, b - a))
        if not found <= worst:
            worst = found
        if worst != worst:
            return math.inf
    return worst


def run_adaptive(
    memory,
    first,
    last,
    shown,
    places,
    variant,
    start,
    stop,
    a,
    error,
    quartic,
    order,
    rtol,
    atol,
    groups,
    times,
    due,
    taken,
    done,
    status,
    bad,
    most,
):
    """All members through all frames, each in steps of its own, the last one of a frame ending with it."""
    n = last - first
    stages = len(a)
    before = np.empty(n, memory.dtype)
    keep = np.empty((stages, n), memory.dtype)
    wrong = np.empty(n, memory.dtype)
    for e in range(len(memory)):
        if status[e] != 0:
            continue
        m = memory[e]
        for f in range(len(variant)):
            v = variant[f]
            show(m, shown[f], places)
            t = start[f]
            end = stop[f]
            position = due[f, 0]
            slope(v, m)
            before[:] = m[first:last]
            keep[0] = m[last : last + n]
            done[e, 2] += 2
            d0 = tolerance_norm(before, m, before, first, groups, rtol, atol, 0)
            d1 = tolerance_norm(keep[0], m, before, first, groups, rtol, atol, 0)
            h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
            h0 = min(end - t, h0)
            dt = h0
            if h0 > 0.0:
                for i in range(n):
                    m[first + i] = before[i] + T(h0) * keep[0, i]
                slope(v, m)
                for i in range(n):
                    wrong[i] = m[last + i] - keep[0, i]
                m[first:last] = before
                d2 = tolerance_norm(wrong, m, before, first, groups, rtol, atol, 0) / h0
                worst = max(d1, d2)
                if worst < math.inf:
                    h1 = max(1e-6, 1e-3 * h0) if worst <= 1e-15 else (0.01 / worst) ** (1.0 / order)
                    dt = min(100.0 * h0, h1, end - t)
            last_ratio = 1.0
            held = False
            while t < end:
                if done[e, 1] >= most:
                    status[e] = 3
                    break
                left = end - t
                t1 = end if left <= 1.01 * dt else t + (left / 2.0 if left < 2.0 * dt else dt)
                if not t1 - t > 4.0 * 2.3e-16 * max(abs(t), abs(t1)):
                    status[e] = 2
                    bad[e] = keep[0]
                    break
                h = t1 - t
                before[:] = m[first:last]
                for k in range(1, stages):
                    for i in range(n):
                        total = T(0.0)
                        for j in range(k):
                            total += a[k, j] * keep[j, i]
                        m[first + i] = before[i] + T(h) * total
                    slope(v, m)
                    for i in range(n):
                        keep[k, i] = m[last + i]
                done[e, 2] += stages - 1
                for i in range(n):
                    total = T(0.0)
                    for k in range(stages):
                        total += error[k] * keep[k, i]
                    wrong[i] = T(h) * total
                ratio = tolerance_norm(wrong, m, before, first, groups, rtol, atol, 1)
                if ratio <= 1.0:
                    while position < due[f, 1] and (times[position] <= t1 or t1 == end):
                        theta = (times[position] - t) / h
                        if theta > 1.0 - NEAR:
                            taken[e, position] = m[first:last]
                        else:
                            between(taken[e, position], theta, T(h), m, first, before, keep, a[stages - 1], quartic)
                        position += 1
                    b = 0.2 / order if ratio > 0.3 else 0.0
                    grown = 10.0 if ratio == 0.0 else 0.9 * ratio ** (0.75 * b - 1.0 / order) * last_ratio**b
                    dt = h * min(1.0 if held else 10.0, max(0.2, grown))
                    last_ratio = max(ratio, 0.3)
                    held = False
                    t = t1
                    keep[0] = keep[stages - 1]
                    done[e, 0] = t
                    done[e, 1] += 1
                else:
                    m[first:last] = before
                    done[e, 3] += 1
                    if ratio < math.inf:
                        dt = h * max(0.2, 0.9 * ratio ** (-1.0 / order))
                    else:
                        dt = h * 0.2
                        near = T(0.0)
                        for i in range(n):
                            near = max(near, abs(before[i]), abs(keep[0, i]))
                        if near > T(1e-6) * np.finfo(memory.dtype).max or near != near:
                            status[e] = 1
                            bad[e] = keep[0]
                            break
                    held = True
            if status[e] != 0:
                break


FOR_EULER = (finite, show, run_euler)
FOR_RUNGE_KUTTA = (finite, show, advance, between, run_fixed, tolerance_norm, run_adaptive)
"""The loops that a module needs, each after those that it calls."""
