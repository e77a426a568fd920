"""Fixed-step methods: their order on the whole coupled system, where their steps begin and end, what is read off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import ctsigprop as ct
from ctsigprop.solvers.base import Counts
from ctsigprop.solvers.stretch import Stretch

Array: TypeAlias = NDArray[np.float64]
Coupled: TypeAlias = Callable[[str], tuple[ct.Network, ct.Presentations, ct.State, dict[str, Array]]]

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
METHODS = ["euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams"]
FACTORED = ["factored_euler", "factored_heun", "factored_rk4"]
ITERATED = pytest.param("implicit_adams", marks=pytest.mark.slow)
ONE_STEP = [*METHODS[:5], *FACTORED]
ADAPTIVE = ["dopri5", "dopri8", "bosh3", "factored_dopri5", "factored_tsit5", "factored_bosh3"]
ALL: list[Any] = [
    *(pytest.param(lambda dt, name=name: make(name, dt), id=name) for name in [*METHODS, *FACTORED]),
    *(pytest.param(lambda dt, name=name: ct.solvers.get(name)(), id=name) for name in ADAPTIVE),
    pytest.param(lambda dt: ct.solvers.SciPy(solver="RK45"), id="scipy"),
]
STEPS = {  # per presentation, where the leading term of the error stands out
    "euler": np.array([32.0, 48.0, 72.0]),
    "factored_euler": np.array([32.0, 48.0, 72.0]),
    **dict.fromkeys([*METHODS[1:], *FACTORED[1:]], np.array([16.0, 24.0, 36.0])),
    "explicit_adams": np.array([36.0, 54.0, 81.0]),
}
MIDDLES = np.array([16.0, 48.0])
READ_AT = [0.4375, 1.3125, 2.3125, 3.4375]
"""In the middle of a step at each number of steps in MIDDLES, so that the interpolation errs in the same way."""
SWITCHES = [0.5, 1.1]
LEVELS = [1.0, -2.0, 0.5]


def make(method: str, dt: float) -> Any:
    kind: Any = ct.solvers.get(method)
    return kind(dt=dt)


def slope_of(errors: Sequence[float], steps: Array) -> float:
    """Slope of log(error) over log(dt)."""
    return float(np.polyfit(np.log(1 / steps), np.log(errors), 1)[0])


def weight_errors(method: str, steps: Array, system: Coupled, stops: Sequence[float] = ()) -> list[float]:
    """Error of the weights for each number of steps per presentation, in runs stopped and resumed at `stops`."""
    network, stimulus, start, expected = system("orders")
    errors = []
    for count in steps:
        state = start
        for span in pairwise([0.0, *stops, stimulus.duration_total]):
            solver = make(method, stimulus.duration / float(count))
            state = ct.simulate(network, stimulus, solver, state=state, t_span=span).final
        errors.append(max(float(np.linalg.norm(state[k].numpy() - expected[k])) for k in network.weight_shapes))
    return errors


@pytest.mark.parametrize("method", [*METHODS[:-1], ITERATED, *FACTORED])
def test_a_fixed_step_method_has_its_textbook_order(method: str, tiny_coupled: Coupled) -> None:
    slope = slope_of(weight_errors(method, STEPS[method], tiny_coupled), STEPS[method])
    assert abs(slope - make(method, 1.0).order) <= 0.3


@pytest.mark.parametrize("method", [*METHODS[:-1], ITERATED, *FACTORED])
def test_the_order_holds_where_dt_does_not_divide_the_presentation(method: str, tiny_coupled: Coupled) -> None:
    steps = STEPS[method] + 0.4
    slope = slope_of(weight_errors(method, steps, tiny_coupled), steps)
    assert abs(slope - make(method, 1.0).order) <= 0.3


@pytest.mark.parametrize("method", ["heun2", "explicit_adams", "factored_heun"])
def test_the_order_holds_in_a_run_resumed_between_two_steps(method: str, tiny_coupled: Coupled) -> None:
    steps = np.array([54.0, 81.0, 120.0])
    errors = weight_errors(method, steps, tiny_coupled, stops=[0.517, 2.843])
    assert slope_of(errors, steps) >= make(method, 1.0).order - 0.3


class Listener:
    """A monitor that keeps what it is told."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.values: list[Tensor] = []

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        self.times.append(t)
        self.values.append(state["v"].clone())

    def progress(self, t: float) -> None:
        self.reached = t


@pytest.mark.parametrize("method", ONE_STEP)
def test_one_step_on_the_linear_equation_is_the_taylor_polynomial_of_its_order(method: str) -> None:
    rates = torch.tensor([-1.5, -0.3, 0.2, 0.9], dtype=torch.float64)

    def field(t: float, activities: Any, weights: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"v": rates * activities["v"]}, {}

    solver, state = make(method, 0.8), ct.solvers.HybridState({"v": torch.ones_like(rates)}, {})
    end = solver.advance(field, state, Stretch((0.0, 0.8), 0.0), Listener(), Counts())
    taylor = sum((0.8 * rates) ** k / math.factorial(k) for k in range(solver.order + 1))
    torch.testing.assert_close(end.activities["v"], taylor, rtol=1e-13, atol=0)


def jumping(seen: list[float]) -> tuple[ct.Network, ct.Stimulus]:
    """One linear unit driven by LEVELS, one after the other; `seen` gets the times at which the input is asked for."""

    def x(t: float) -> Tensor:
        seen.append(t)
        return torch.tensor([[LEVELS[sum(t >= switch for switch in SWITCHES)]]], dtype=torch.float64)

    network = ct.Network([1, 1], neuron=ct.Rate(activation="linear"), bias=False)
    return network, ct.Stimulus.from_function(x, duration=1.7, switches=SWITCHES)


@pytest.mark.parametrize("solver", ALL)
def test_no_step_straddles_a_switch_of_the_stimulus(solver: Callable[[float], ct.solvers.Solver]) -> None:
    seen: list[float] = []
    network, stimulus = jumping(seen)
    seen.clear()
    ct.simulate(network, stimulus, solver(0.3))
    stretch = [sum(t >= switch for switch in SWITCHES) for t in seen]
    assert stretch == sorted(stretch)  # never back across a switch, as after a rejected step
    firsts = [seen[stretch.index(k)] for k in range(3)]
    assert firsts == [0.0, *SWITCHES]  # a step that straddled one would go on from behind it


def test_a_step_is_shortened_to_end_at_a_switch() -> None:
    network, stimulus = jumping([])
    sol = ct.simulate(network, stimulus, ct.solvers.Euler(dt=0.3))
    weight, r = float(sol.final["W.1"]), 0.0
    for level, steps in zip(LEVELS, [(0.3, 0.2), (0.3, 0.3), (0.3, 0.3)], strict=True):
        for dt in steps:
            r += dt * (weight * level - r)
    assert float(sol.final["r.1"]) == pytest.approx(r, rel=1e-12)
    assert sol.stats["steps"] == 6


@pytest.fixture(scope="module")
def exact(tiny_coupled: Coupled) -> list[Array]:
    """W.1 at the times READ_AT, from runs that end at each of them."""
    network, stimulus, state, _ = tiny_coupled("orders")
    found = []
    for span in pairwise([0.0, *READ_AT]):
        tight = ct.solvers.Dopri8(rtol=1e-9, atol=1e-11)
        state = ct.simulate(network, stimulus, tight, state=state, t_span=span).final
        found.append(state["W.1"].numpy())
    return found


@pytest.mark.parametrize("method", ["euler", "factored_euler"])
def test_a_float32_run_asks_for_its_input_at_exact_times_however_late(method: str) -> None:
    seen: list[float] = []

    def x(t: float) -> Tensor:
        seen.append(t)
        return torch.tensor([[math.sin(t)]])

    stimulus = ct.Stimulus.from_function(x, duration=1e5)
    network = ct.Network([1, 1], bias=False)
    seen.clear()
    start = 80_000.0
    sol = ct.simulate(network, stimulus, make(method, 0.01), t_span=(start, start + 1.0))
    assert sol.stats["steps"] == 100
    np.testing.assert_allclose(seen, start + 0.01 * np.arange(100), rtol=0, atol=1e-6)


def read_errors(solver: ct.solvers.Solver, system: Coupled, exact: list[Array]) -> list[float]:
    """Errors of W.1 as a probe reads it at the times READ_AT."""
    network, stimulus, start, _ = system("orders")
    probe = ct.Probe("weights", times=READ_AT, layers=[1])
    sol = ct.simulate(network, stimulus, solver, state=start, probes=[probe], t_span=(0.0, READ_AT[-1]))
    read = sol.dataset["weights"].values[:, 0]
    return [float(np.linalg.norm(a - b)) for a, b in zip(read, exact, strict=True)]


@pytest.mark.parametrize("method", ["euler", "heun3", "rk4", "factored_euler", "factored_rk4"])
def test_a_probe_between_grid_points_keeps_the_order(method: str, tiny_coupled: Coupled, exact: list[Array]) -> None:
    errors = [max(read_errors(make(method, 2.0 / n), tiny_coupled, exact)) for n in MIDDLES.tolist()]
    assert abs(slope_of(errors, MIDDLES) - make(method, 1.0).order) <= 0.3


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_probe_between_adaptive_steps_is_as_good_as_the_steps(
    method: str, tiny_coupled: Coupled, exact: list[Array]
) -> None:
    kind: Any = ct.solvers.get(method)
    assert max(read_errors(kind(rtol=1e-5, atol=1e-7), tiny_coupled, exact)) <= 1e-3
