"""The length of a first step: near to what the tolerance allows, whatever the units, and hardly ever rejected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules.update import Update
from ctsigprop.solvers import HybridState, Weight, tableaus
from ctsigprop.solvers.base import Counts
from ctsigprop.solvers.factored.methods import FactoredAdaptive
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.tableaus import Tableau
from ctsigprop.stimuli.validation import as_inputs

FLOAT64 = torch.float64
ADAPTIVE = [ct.solvers.FactoredBosh3, ct.solvers.FactoredDopri5, ct.solvers.FactoredTsit5]
TABLEAUS = {"bosh3": tableaus.BOSH3, "dopri5": tableaus.DOPRI5, "tsit5": tableaus.TSIT5}


def error_of_decay(table: Tableau, z: float) -> float:
    """The error estimate of one step of y' = lambda y, y = 1, by the stages themselves; z = lambda dt."""
    slopes: list[float] = []
    for row in table.a:
        slopes.append(z * (1.0 + sum(a * k for a, k in zip(row, slopes, strict=True))))
    assert table.error is not None
    return abs(sum(e * k for e, k in zip(table.error, slopes, strict=True)))


@pytest.mark.parametrize("name", TABLEAUS)
def test_the_error_constant_is_that_of_the_linear_equation(name: str) -> None:
    table = TABLEAUS[name]
    for z in (-0.02, 0.02):
        assert error_of_decay(table, z) / abs(z) ** table.order == pytest.approx(table.error_constant, rel=0.05)


def test_a_method_without_an_error_estimate_has_no_error_constant() -> None:
    with pytest.raises(ValueError, match="no error estimate"):
        _ = tableaus.RK4.error_constant


@dataclass
class Relaxation:
    """dy/dt = rate (goal - y), beside a weight that does not move."""

    rate: float
    goal: Tensor

    def __call__(
        self, t: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]
    ) -> tuple[dict[str, Tensor], dict[str, Update]]:
        del t, weights
        return {"y": self.rate * (self.goal - activities["y"])}, {}


class Ends:
    """A monitor that keeps the ends of steps."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        del t, state

    def progress(self, t: float) -> None:
        self.ends.append(t)


def first_of(method: type[FactoredAdaptive], field: Any, y: Tensor, span: float, rtol: float) -> tuple[float, Counts]:
    """The first accepted step of a run, and what the whole run took."""
    state = HybridState({"y": y}, {"W": torch.ones(2, 2, dtype=y.dtype)})
    ends, counts = Ends(), Counts()
    method(rtol=rtol, atol=rtol / 10).advance(field, state, Stretch((0.0, span), 0.0), ends, counts)
    return ends.ends[0], counts


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
@given(rate=st.floats(-3.0, 3.0), size=st.floats(-3.0, 3.0), digits=st.floats(3.0, 8.0), rest=st.booleans())
def test_the_first_step_of_a_relaxation_is_near_the_longest_within_tolerance(
    method: type[FactoredAdaptive], rate: float, size: float, digits: float, rest: bool
) -> None:
    """At any time constant and any tolerance, from rest and from elsewhere."""
    speed, height, rtol = 10.0**rate, 10.0**size, 10.0**-digits
    y = torch.full((4,), 0.0 if rest else 0.5 * height, dtype=FLOAT64)
    goal = torch.full((4,), height, dtype=FLOAT64)
    step, counts = first_of(method, Relaxation(speed, goal), y, 100.0 / speed, rtol)

    def longest(at_end: bool) -> float:
        """The longest step whose error is within tolerance; or, on the safe side, at the size that y has at the start
        and whichever the sign of the rate, as the terms of higher order may cancel for one of them.
        """
        change = height - float(y[0])
        found = 0.0
        for z in (1.04 ** (k - 200) for k in range(220)):
            end = height - change * math.exp(-z) if at_end else 0.0
            within = rtol / 10 + rtol * max(end, float(y[0]))
            errors = [error_of_decay(method.tableau, -z), 0.0 if at_end else error_of_decay(method.tableau, z)]
            found = z / speed if max(errors) * change <= within else found
        return found

    assert step <= 1.04 * longest(at_end=True)
    assert step >= 0.5 * min(longest(at_end=False), 1.0 / speed)
    assert counts.rejected_steps <= counts.steps / 4


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
def test_a_system_at_rest_is_left_in_a_few_steps(method: type[FactoredAdaptive]) -> None:
    goal = torch.ones(4, dtype=FLOAT64)
    _, counts = first_of(method, Relaxation(1.0, goal), goal, 10.0, 1e-6)
    assert counts.steps < 12


def shown(activation: str) -> tuple[ct.Network, ct.Presentations]:
    random = torch.Generator().manual_seed(0)
    x = torch.rand(64, 20, generator=random, dtype=FLOAT64)
    network = ct.Network(
        [20, 30, 30],
        n_classes=5,
        neuron=ct.Rate(activation=activation),
        signal=ct.TargetStream(),
        rule=ct.rules.ContrastiveHebbian(rate=1.0),
    )
    return network, ct.Presentations(x, torch.randint(0, 5, (64,), generator=random), 16, duration=1.0, seed=0)


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
def test_steps_after_a_switch_are_not_wasted(method: type[FactoredAdaptive], dtype: torch.dtype) -> None:
    """Steps of one presentation are of much the same length: none is spent on finding out how long they may be."""
    network, stimulus = shown("softplus")
    state = ct.State({name: value.to(dtype) for name, value in network.initial_state(0, 16).items()})
    stimulus = ct.Presentations(as_inputs("x", stimulus.x).to(dtype), stimulus.y, 16, duration=1.0, seed=0)
    probe = ct.Probe(lambda state: state["W.1"][0, 0], every=1.0, name="w")
    sol = ct.simulate(network, stimulus, method(rtol=1e-4, atol=1e-5), state=state, probes=[probe])
    stages = method.tableau.stages - 1
    assert sol.stats["rejected_steps"] <= 1
    assert sol.stats["rhs_evaluations"] == 4 * 2 + stages * (sol.stats["steps"] + sol.stats["rejected_steps"])
    assert sol.stats["steps"] <= (44 if method.order == 3 else 12)
