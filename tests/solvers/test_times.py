"""When two times are one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctsigprop.solvers.times import (
    as_time,
    as_times,
    share_of_step,
    slack,
    smallest_interval,
    steps_covering,
    steps_until,
)

SCALES = [1e-12, 1e-9, 1e-3, 1.0, 60.0, 1e6, 1e12]


@pytest.mark.parametrize("unit", SCALES)
@pytest.mark.parametrize("k", [0, 1, 3, 7, 1000, 123_457])
def test_a_time_on_the_grid_is_its_grid_point_whatever_the_unit(unit: float, k: int) -> None:
    dt = 0.1 * unit
    for t in (k * dt, k * 0.1 * unit, math.nextafter(k * dt, math.inf), math.nextafter(k * dt, -math.inf)):
        assert steps_until(t, 0.0, dt) == steps_covering(t, 0.0, dt) == k
    for far in (0.999, 0.001):
        assert steps_until((k + far) * dt, 0.0, dt) == k
        assert steps_covering((k + far) * dt, 0.0, dt) == k + 1


@pytest.mark.parametrize("unit", SCALES)
def test_far_from_the_origin_rounding_counts_and_neighbours_stay_apart(unit: float) -> None:
    dt, t = 5e-4 * unit, 1e6 * unit
    assert 0 < slack(dt, t) < dt / 2
    assert steps_until(t + dt, t, dt) == 1 == steps_covering(t + dt, t, dt)
    assert steps_until(t + 1.4 * dt, t, dt) == 1


@given(st.floats(1e-9, 1e9), st.floats(0.0, 1e9))
def test_slack_is_a_small_part_of_the_spacing(spacing: float, t: float) -> None:
    assert 0 < slack(spacing, t) <= spacing / 4
    assert slack(spacing, t) == pytest.approx(slack(8 * spacing, 8 * t) / 8)


def test_the_ends_of_a_step_are_exact() -> None:
    assert share_of_step(0.3, 0.2, 0.1 + 0.2) == 1.0
    assert share_of_step(0.1 + 0.2, 0.3, 0.4) == 0.0
    assert share_of_step(2.25e-9, 2e-9, 3e-9) == pytest.approx(0.25)


def test_the_smallest_interval() -> None:
    assert smallest_interval([0.0, 1.0, 1.5, 4.0], 9.0) == 0.5
    assert smallest_interval([1.0], 9.0) == smallest_interval([], 9.0) == 9.0


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_float32_times_are_the_decimals_that_they_stand_for(unit: float) -> None:
    meant = np.arange(1, 200) * 0.1
    given = (meant * unit).astype(np.float32)
    np.testing.assert_allclose(as_times(given), meant * unit, rtol=1e-15)
    np.testing.assert_allclose(as_times(np.nextafter(given, np.float32(np.inf))), meant * unit, rtol=1e-15)
    np.testing.assert_allclose(as_times(torch.from_numpy(given)), meant * unit, rtol=1e-15)
    assert as_time(np.float32(0.1)) == 0.1
    assert as_times(torch.linspace(0, 0.7, 8)).tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_other_times_keep_their_bits() -> None:
    exact = [1 / 3, 0.1 + 0.2, 1e-300, 0.0]
    assert as_times(exact).tolist() == exact
    assert as_times([1, 2]).tolist() == [1.0, 2.0]
    odd = np.array([1 / 3, 16_777_215.0, 1.2345678, -0.0, np.inf], np.float32)
    np.testing.assert_array_equal(as_times(odd), odd.astype(float))


@given(st.floats(width=32, allow_nan=False))
def test_reading_never_moves_a_time_by_more_than_its_own_rounding(value: float) -> None:
    assert abs(as_time(np.float32(value)) - value) <= 4 * float(np.finfo(np.float32).eps) * abs(value) or math.isinf(
        value
    )
