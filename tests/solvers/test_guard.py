"""The guard of a run: limits, numbers that are not finite, samples that are due, and the state that it stops with."""

from __future__ import annotations

import math

import pytest
import torch

from ctsigprop.solvers import HybridState, SolverStopped, Status
from ctsigprop.solvers.base import Counts
from ctsigprop.solvers.guard import Guard, total
from ctsigprop.solvers.spiking.hybrid import Unheard
from ctsigprop.solvers.stretch import Stretch


def state(value: float) -> HybridState:
    return HybridState({"v": torch.full((3,), value)}, {"W": torch.ones(2, 3)})


def guard(max_steps: int | None = None) -> Guard:
    return Guard(Stretch((1.0, 2.0), 0.0, [1.2, 1.5, 2.0]), state(1.0), Unheard(), Counts(), max_steps)


def test_each_sample_is_due_once() -> None:
    watched = guard()
    assert [list(watched.due(t)) for t in (1.1, 1.5, 1.5, 2.0)] == [[], [1.2, 1.5], [], [2.0]]


def test_a_run_stops_at_its_limit_with_the_last_good_state() -> None:
    watched, good = guard(max_steps=2), state(2.0)
    watched.check_limit()
    watched.counts.steps = 2
    watched.keep(1.5, lambda: good)
    with pytest.raises(SolverStopped, match=r"max_steps=2 was reached at t=1\.5\.") as stopped:
        watched.check_limit()
    assert stopped.value.status is Status.MAX_STEPS
    assert stopped.value.state is good


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named_and_a_sum_that_overflows_is_no_such_thing(value: float) -> None:
    watched, large = guard(), state(3e38)
    assert not math.isfinite(total(large))
    watched.check_finite(total(large), lambda: large)
    with pytest.raises(SolverStopped, match=r"v became non-finite after t=1\.") as stopped:
        watched.check_finite(value, lambda: state(value))
    assert stopped.value.status is Status.DIVERGED
    assert stopped.value.t == 1.0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError(), Status.FAILED),
        (KeyboardInterrupt(), Status.INTERRUPTED),
        (OSError(), Status.STORE_FAILED),
    ],
)
def test_what_is_raised_ends_the_run_and_is_its_cause(error: BaseException, status: Status) -> None:
    with pytest.raises(SolverStopped, match=r"It stood at t=1\.") as stopped, guard().breaking_off():
        raise error
    assert stopped.value.status is status
    assert stopped.value.__cause__ is error
