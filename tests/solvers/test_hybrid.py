"""Flow and jump: the grid solver and the event-driven one, on a recurrent network written as a bare vector field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torchdiffeq
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules.update import Update
from ctsigprop.solvers import EventDriven, Hybrid, HybridState, Weight
from ctsigprop.solvers.base import Counts, Solver
from ctsigprop.solvers.spiking.flows import FLOWS
from ctsigprop.solvers.stretch import Stretch

N, TAU, TAU_SYN, STOP = 20, 20.0, 5.0, 200.0


class Recurrent:
    """20 LIF neurons with synaptic currents, all to all, in ms: tau dv/dt = -v + i + drive, tau_syn di/dt = -i.

    Written here from the equations, it takes nothing from the library. The weights learn a little between spikes,
    dW/dt = i^T v / 10^5, and a spike of unit k adds 0.001 to all weights onto it.
    """

    def __init__(self) -> None:
        random = np.random.default_rng(8)
        self.drive = torch.from_numpy(random.uniform(1.1, 1.6, (1, N)))
        self.W = torch.from_numpy(random.normal(0.0, 0.1, (N, N)))
        self.heard: list[tuple[float, int]] = []

    def start(self) -> HybridState:
        v = torch.from_numpy(np.random.default_rng(4).uniform(0.0, 0.9, (1, N)))
        return HybridState({"v": v, "i": torch.zeros(1, N, dtype=torch.float64)}, {"W": self.W.clone()})

    def __call__(
        self, t: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]
    ) -> tuple[dict[str, Tensor], dict[str, Update]]:
        v, i = activities["v"], activities["i"]
        return {"v": (i + self.drive - v) / TAU, "i": -i / TAU_SYN}, {"W": Update(v / 1e5, i)}

    def margin(self, activities: Mapping[str, Tensor]) -> Tensor:
        return (activities["v"] - 1.0).amax()

    def next_jump(self, t: float) -> float:
        return math.inf

    def jump(
        self,
        span: tuple[float, float],
        activities: Mapping[str, Tensor],
        weights: Mapping[str, Weight],
        slack: float = 0.0,
    ) -> tuple[dict[str, Tensor], dict[str, Update]]:
        fires = activities["v"] >= 1.0 - slack
        spikes = fires.double()
        self.heard += [(span[1], k) for k in fires[0].nonzero().flatten().tolist()]
        jumped = {"v": activities["v"].masked_fill(fires, 0.0), "i": activities["i"] + weights["W"].drive(spikes)}
        return jumped, {"W": Update(1e-3 * spikes, torch.ones_like(spikes))}


class Quiet:
    def sample(self, t: float, state: Mapping[str, Tensor]) -> None: ...

    def progress(self, t: float) -> None: ...


class Ear(Quiet):
    def __init__(self) -> None:
        self.kept: list[tuple[float, Tensor, Tensor]] = []

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        self.kept.append((t, state["v"].clone(), state["W"].clone()))


def trains(solver: Solver) -> tuple[list[list[float]], HybridState]:
    """Spike times of each unit, and the end."""
    field = Recurrent()
    end = solver.advance(field, field.start(), Stretch((0.0, STOP), 0.0), Quiet(), Counts())
    return [[t for t, unit in field.heard if unit == k] for k in range(N)], end


@cache
def exact() -> tuple[list[list[float]], HybridState]:
    return trains(EventDriven(rtol=1e-9, atol=1e-11))


def lateness(found: list[list[float]]) -> float:
    """The mean distance of spike times from the exact ones; infinite where a count differs."""
    expected = exact()[0]
    if [len(train) for train in found] != [len(train) for train in expected]:
        return math.inf
    return float(np.abs(np.concatenate(found) - np.concatenate(expected)).mean())


def test_the_event_driven_solver_agrees_with_a_hand_written_one() -> None:
    """SciPy's DOP853 with its own event location, restarted at every spike."""
    from scipy.integrate import solve_ivp

    field = Recurrent()
    drive, W = field.drive.numpy()[0], field.W.numpy().copy()
    v, i = field.start().activities["v"].numpy()[0], np.zeros(N)
    heard: list[list[float]] = [[] for _ in range(N)]
    t = 0.0

    def slope(_: float, y: np.ndarray) -> np.ndarray:
        v, i = y[:N], y[N : 2 * N]
        return np.concatenate([(i + drive - v) / TAU, -i / TAU_SYN, np.outer(v, i).ravel() / 1e5])

    def crossing(_: float, y: np.ndarray) -> float:
        return float(y[:N].max() - 1.0)

    crossing.terminal, crossing.direction = True, 1  # type: ignore[attr-defined]
    while t < 60.0:
        y = np.concatenate([v, i, W.ravel()])
        run = solve_ivp(slope, (t, 60.0), y, "DOP853", rtol=1e-11, atol=1e-12, events=crossing, max_step=1.0)
        t, y = float(run.t[-1]), run.y[:, -1]
        v, i, W = y[:N].copy(), y[N : 2 * N].copy(), y[2 * N :].reshape(N, N).copy()
        if run.status == 1:
            k = int(v.argmax())
            heard[k].append(t)
            v[k], i = 0.0, i + W[:, k]
            W[k] += 1e-3
    found, _ = exact()
    for one, two in zip(found, heard, strict=True):
        np.testing.assert_allclose([s for s in one if s < 60.0], two, rtol=0, atol=1e-7)
    assert sum(map(len, heard)) > 20


@pytest.mark.parametrize("flow", ["euler", "midpoint"])
def test_spike_trains_on_the_grid_converge_to_the_event_driven_ones_with_order_1(flow: Any) -> None:
    errors = [lateness(trains(Hybrid(dt=dt, flow=flow))[0]) for dt in (0.1, 0.05, 0.025)]
    assert sum(map(len, exact()[0])) > 100
    assert errors[0] < 0.5
    order = math.log2(errors[0] / errors[2]) / 2
    assert 0.7 < order < 1.6, errors


def test_so_do_the_weights() -> None:
    """They learn between spikes and jump at them."""
    expected = exact()[1].weights["W"]
    start = Recurrent().W
    errors = [float((trains(Hybrid(dt=dt, flow="midpoint"))[1].weights["W"] - expected).norm()) for dt in (0.2, 0.05)]
    assert errors[1] < 0.05 * float((expected - start).norm())
    assert errors[0] > 1.8 * errors[1]


@pytest.mark.parametrize("solver", [Hybrid(dt=0.1, flow="midpoint"), EventDriven(rtol=1e-5, atol=1e-7)], ids=repr)
def test_samples_are_taken_after_the_jump_and_between_grid_points_without_touching(solver: Solver) -> None:
    field, ear = Recurrent(), Ear()
    times = [0.05, 7.0, 7.03, 31.4, 40.0]
    watched = solver.advance(field, field.start(), Stretch((0.0, 40.0), 0.0, times), ear, Counts())
    field = Recurrent()
    alone = solver.advance(field, field.start(), Stretch((0.0, 40.0), 0.0), Quiet(), Counts())
    assert [t for t, _, _ in ear.kept] == times
    tight = 0.0 if isinstance(solver, Hybrid) else 1e-3  # an adaptive step is chosen anew at each sample
    for name, value in watched.items():
        torch.testing.assert_close(value, dict(alone.items())[name], rtol=tight, atol=tight)
    assert torch.equal(ear.kept[-1][1], watched.activities["v"])
    assert torch.equal(ear.kept[-1][2], watched.weights["W"])
    for t, v, W in ear.kept[:-1]:
        field = Recurrent()
        there = solver.advance(field, field.start(), Stretch((0.0, t), 0.0), Quiet(), Counts())
        torch.testing.assert_close(v, there.activities["v"], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(W, there.weights["W"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("flow", ["euler", "rk4"])
def test_a_run_cut_on_its_grid_is_the_whole_run(flow: Any) -> None:
    solver = Hybrid(dt=0.25, flow=flow)
    field = Recurrent()
    whole = solver.advance(field, field.start(), Stretch((0.0, 50.0), 0.0), Quiet(), Counts())
    field = Recurrent()
    half = solver.advance(field, field.start(), Stretch((0.0, 20.25), 0.0), Quiet(), Counts())
    rest = solver.advance(field, half, Stretch((20.25, 50.0), 0.0), Quiet(), Counts())
    for name, value in rest.items():
        torch.testing.assert_close(value, dict(whole.items())[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", [Hybrid(dt=0.1, flow="euler"), EventDriven()], ids=repr)
def test_the_state_that_is_given_stays_as_it_is(solver: Solver) -> None:
    field = Recurrent()
    start = field.start()
    before = {name: value.clone() for name, value in start.items()}
    solver.advance(field, start, Stretch((0.0, 30.0), 0.0), Quiet(), Counts())
    assert field.heard
    assert all(torch.equal(value, before[name]) for name, value in start.items())


def test_a_field_without_an_exact_step_is_refused_by_name() -> None:
    field = Recurrent()
    with pytest.raises(TypeError, match="needs a field with an exact step, got Recurrent"):
        Hybrid(dt=0.1).advance(field, field.start(), Stretch((0.0, 1.0), 0.0), Quiet(), Counts())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dt": 0.0}, r"Hybrid\(dt=\) must be a finite number > 0, got 0"),
        ({"dt": 0.1, "flow": "heun"}, r"Hybrid\(flow=\) must be one of exponential, euler, midpoint, rk4, got 'heun'"),
        ({"dt": 0.1, "max_steps": 0}, r"Hybrid\(max_steps=\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hybrid(**settings)


def test_spikes_that_cause_each_other_without_end_are_told() -> None:
    """An integrate-and-fire unit that its own spike lifts above threshold again."""

    class Endless(Recurrent):
        def jump(self, *args: Any, **kwargs: Any) -> Any:
            jumped, updates = super().jump(*args, **kwargs)
            return {**jumped, "v": args[1]["v"] + 0.1}, updates

    field = Endless()
    with pytest.raises(ct.solvers.SolverStopped, match="spikes cause each other without end"):
        EventDriven().advance(field, field.start(), Stretch((0.0, 100.0), 0.0), Quiet(), Counts())


@pytest.mark.parametrize("method", FLOWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_between_jumps_is_that_of_torchdiffeq_to_the_bit(method: str, dtype: torch.dtype) -> None:
    def rhs(t: Tensor, y: Tensor) -> Tensor:
        return torch.sin(y * t) - y

    y = torch.linspace(-1, 2, 31, dtype=dtype)
    clock = torch.tensor([0.3, 0.47], dtype=dtype)
    there = torchdiffeq.odeint(rhs, y, clock, method=method)[-1]
    assert torch.equal(y + FLOWS[method](rhs, clock[0], clock[1], y), there)
