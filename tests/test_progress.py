"""Progress bars: on a terminal, in a log file, and by default; and what is said of slow runs."""

from __future__ import annotations

import io
import itertools
import re
import sys
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.batch import Record
from ctsigprop.batch.job import Job
from ctsigprop.batch.measures import as_measures
from ctsigprop.batch.slowness import Slowness
from ctsigprop.display.progress import Progress, bar_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that goes on by half a second whenever tqdm looks at it."""
    clock = itertools.count()
    monkeypatch.setattr("tqdm.std.time", lambda: 0.5 * next(clock))
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)
    return clock


@pytest.mark.usefixtures("minutes")
def test_a_log_file_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    bar = Progress(0.0, 1000.0, shown=True, unit="tau")
    for k in range(1001):
        bar.reached(float(k))
    bar.close()
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    passed = [re.search(r"\[(\d+):(\d+)<", line) for line in lines]
    seconds = [60 * int(found[1]) + int(found[2]) for found in passed if found]
    assert len(seconds) == len(lines)
    assert len(lines) >= 5
    assert all(b - a >= 60 for a, b in itertools.pairwise(seconds[:-1]))
    assert lines[-1].startswith("100%")
    assert "1000/1000 tau simulated" in lines[-1]


def test_a_bar_is_seen_on_a_terminal_by_default_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, shown, seen in (
        (Terminal(), None, True),
        (io.StringIO(), None, False),
        (Terminal(), False, False),
        (io.StringIO(), True, True),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with bar_of(3, shown, unit="run") as bar:
            bar.update()
        assert bool(stream.getvalue()) is seen


def batch(**given: Any) -> ct.Runs:
    x, y = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 2
    net = ct.Network([4, 3], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    test = (torch.rand(8, 4, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 2)
    solver = ct.solvers.Euler(dt=1.0)
    return ct.compare({"a": net, "b": net}, ct.Presentations(x, y, 8), seeds=2, test=test, solver=solver, **given)


def test_compare_shows_its_progress_on_a_terminal_and_is_silent_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, given, seen in (
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"progress": False}, False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        batch(**given)
        assert ("4/4" in stream.getvalue()) is seen


def slow(solver: ct.solvers.Solver, seconds: float, evaluations: int) -> tuple[Slowness, Record]:
    stimulus = ct.Presentations(np.ones((8, 3), np.float32), None, 4, epochs=5)
    job = Job({"rate": 4.0}, 3, None, stimulus, solver, None, as_measures({"size": lambda state: 0.0}), 1.0, key="k")
    curve = {"shown": [0.0, 10.0], "size": [0.0, 0.0], "seconds": [0.0, seconds]}
    return Slowness({"k": job}), Record({"rate": 4.0}, 3, "completed", "", curve, {"rhs_evaluations": evaluations})


def test_a_slow_run_is_told_once_with_what_it_spent_its_time_on() -> None:
    told, record = slow(ct.solvers.FactoredDopri5(), 15.2, 10_700)
    line = told.line("k", record)
    assert line is not None
    assert "rate=4.0, seed 3 took 15.2 s: 10700 evaluations by FactoredDopri5(" in line
    assert "for 10 presentations. A fixed step, such as solver=ct.solvers.Euler(dt=...)" in line
    assert told.line("k", record) is None
    for quick in (slow(ct.solvers.FactoredDopri5(), 0.2, 10_700),):
        assert quick[0].line("k", quick[1]) is None
    told, record = slow(ct.solvers.Euler(dt=1.0), 15.2, 10)
    assert "A fixed step" not in str(told.line("k", record))
