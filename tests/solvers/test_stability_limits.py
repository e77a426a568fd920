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
    for names, cells in re.findall(r"^\| ((?:`[a-z]\w*`(?:, )?)+) \| (.*) \|$", PAGE, re.M)
]
NAMES = ct.solvers.available()
CLASSES: dict[str, Any] = {name: ct.solvers.get(name) for name in NAMES}
SAID = {name: cells for names, cells in ROWS for name in re.findall(r"`(\w+)`", names) if name in NAMES}
FIXED = [name for name in NAMES if "dt" in inspect.signature(CLASSES[name]).parameters]
ONE_STEP = [name for name in FIXED if name not in ("explicit_adams", "implicit_adams", "multirate", "hybrid")]
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


@pytest.mark.filterwarnings("ignore")  # that a step is too long may be told
@pytest.mark.parametrize("name", ONE_STEP)
def test_one_step_methods_decay_up_to_the_limit_and_grow_above(name: str) -> None:
    limit = float(SAID[name][2])
    shrunk, _ = decay(CLASSES[name](dt=0.998 * limit * TAU), 400 * limit * TAU)
    grown, _ = decay(CLASSES[name](dt=1.002 * limit * TAU), 400 * limit * TAU)
    assert shrunk < 0.5
    assert grown > 2.0


@pytest.mark.filterwarnings("ignore")
def test_multirate_takes_steps_of_its_activities_up_to_the_limit_of_heun() -> None:
    assert SAID["multirate"][2].startswith("2 `micro`")
    for micro in (3, 10):
        length = 2 * micro * TAU
        assert decay(ct.solvers.Multirate(dt=0.99 * length, micro=micro), 40 * length)[0] < 0.5
        assert decay(ct.solvers.Multirate(dt=1.01 * length, micro=micro), 40 * length)[0] > 2.0


def test_the_flow_of_hybrid_is_exact_whatever_the_step() -> None:
    assert SAID["hybrid"][2].startswith("none")
    assert decay(ct.solvers.Hybrid(dt=3 * TAU), 12 * TAU)[0] == pytest.approx(np.exp(-12), rel=1e-9)


def largest_root(now: list[float], slopes: list[float], z: float) -> float:
    """Largest |root| of a multistep method on y' = -y with steps of z: sum_j (now_j + z slopes_j) y_{n-j} = 0."""
    return float(max(abs(np.roots(np.array(now) + z * np.array(slopes)))))


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("explicit_adams", [0.0, 55 / 24, -59 / 24, 37 / 24, -9 / 24]),  # Hairer et al., table III.1.1, k = 4
        ("implicit_adams", [251 / 720, 646 / 720, -264 / 720, 106 / 720, -19 / 720]),  # table III.1.2, k = 4
    ],
)
def test_limits_of_adams_methods_are_those_of_their_characteristic_roots(name: str, slopes: list[float]) -> None:
    limit = float(SAID[name][2])
    assert largest_root([1.0, -1.0, 0.0, 0.0, 0.0], slopes, 0.999 * limit) < 1.0
    assert largest_root([1.0, -1.0, 0.0, 0.0, 0.0], slopes, 1.001 * limit) > 1.0


@pytest.mark.parametrize("name", sorted(SAID))
def test_evaluations_per_step_are_those_that_the_page_says(name: str) -> None:
    said = {"multirate": "21", "implicit_adams": "4"}.get(name, SAID[name][1])
    make = CLASSES[name]
    _, stats = decay(make(dt=TAU / 10) if name in FIXED else make(), 30 * TAU)
    steps = stats["steps"] + stats["rejected_steps"]
    assert stats["rhs_evaluations"] / steps == pytest.approx(float(said), rel=0.1)
    assert make.order == int(SAID[name][0])
