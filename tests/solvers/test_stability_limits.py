"""The page about solvers gives the limits of stability and the costs that the solvers have."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct

PAGE = (Path(__file__).parents[2] / "docs" / "concepts" / "solvers.md").read_text()
ROWS = [
    (names, [cell.strip() for cell in cells.split("|")])
    for names, cells in re.findall(r"^\| ((?:`[a-z]\w*`(?:, )?)+) \| (.* \| .*) \|$", PAGE, re.M)
]
NAMES = ct.solvers.available()
CLASSES: dict[str, Any] = {name: ct.solvers.get(name) for name in NAMES}
SAID = {name: cells for names, cells in ROWS for name in re.findall(r"`(\w+)`", names) if name in NAMES}
FIXED = [name for name in NAMES if "dt" in inspect.signature(CLASSES[name]).parameters]
TAU = 2.0
"""Not 1, so that a limit in units of tau and one in units of time differ."""


def decay(solver: ct.solvers.Solver, duration: float) -> tuple[float, dict[str, float]]:
    """What is left of an activity of 1 that nothing drives, and what the run has cost."""
    net = ct.Network([1, 1], neuron=ct.Rate(tau=TAU, activation="linear"), rule=None, bias=False)
    start = net.initial_state(dtype=torch.float64).replace({"r.1": torch.ones(1, 1, dtype=torch.float64)})
    silence = ct.Presentations(torch.zeros(1, 1, dtype=torch.float64), None, 1, duration=duration)
    sol = ct.simulate(net, silence, solver, state=start)
    return abs(float(sol.final["r.1"])), sol.stats


def test_the_page_names_every_method_with_a_step_of_its_own() -> None:
    assert set(FIXED) <= SAID.keys()
    assert all(len(SAID[name]) == 3 for name in FIXED)


@pytest.mark.parametrize("name", [name for name in FIXED if name not in ("hybrid", "multirate")])
def test_the_page_gives_the_limit_that_a_method_names(name: str) -> None:
    """That a decay begins to grow there is shown in test_steps.py."""
    limit: float = CLASSES[name](dt=1.0).stable_step(TAU)
    assert float(SAID[name][2]) == pytest.approx(limit / TAU, rel=1e-3)


@pytest.mark.parametrize("micro", [3, 10])
def test_the_page_gives_the_limit_of_multirate(micro: int) -> None:
    assert SAID["multirate"][2].startswith("2 `micro`")
    assert ct.solvers.Multirate(dt=1.0, micro=micro).stable_step(TAU) == 2 * micro * TAU


def test_the_flow_of_hybrid_is_exact_whatever_the_step() -> None:
    assert SAID["hybrid"][2].startswith("none")
    assert decay(ct.solvers.Hybrid(dt=3 * TAU), 12 * TAU)[0] == pytest.approx(np.exp(-12), rel=1e-9)


@pytest.mark.parametrize("name", sorted(SAID))
def test_evaluations_per_step_are_those_that_the_page_says(name: str) -> None:
    said = {"multirate": "21", "implicit_adams": "4"}.get(name, SAID[name][1])
    make = CLASSES[name]
    _, stats = decay(make(dt=TAU / 10) if name in FIXED else make(), 30 * TAU)
    steps = stats["steps"] + stats["rejected_steps"]
    assert stats["rhs_evaluations"] / steps == pytest.approx(float(said), rel=0.1)
    assert make.order == int(SAID[name][0])
