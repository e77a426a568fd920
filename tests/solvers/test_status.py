"""How a run ends: each status, with the state and the records that a stopped run keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import ctsigprop as ct
from ctsigprop.solvers.base import Counts
from ctsigprop.solvers.stretch import Stretch

Coupled: TypeAlias = Callable[[str], tuple[ct.Network, ct.Presentations, ct.State, dict[str, NDArray[np.float64]]]]
Weights: TypeAlias = Mapping[str, ct.solvers.Weight]
Rhs: TypeAlias = Callable[[float, Tensor], Tensor]

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
ADAPTIVE = ["dopri5", "dopri8", "bosh3", "factored_dopri5", "factored_tsit5", "factored_bosh3"]
NAMED: dict[str, Any] = {"ids": lambda solver: type(solver).__name__}
FIXED = ["euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams"]


class Listener:
    """A monitor that keeps what it is told."""

    def __init__(self) -> None:
        self.samples: dict[float, float] = {}

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        self.samples[t] = float(state["v"])

    def progress(self, t: float) -> None:
        self.reached = t


def make(name: str, **settings: Any) -> ct.solvers.Solver:
    kind: Any = ct.solvers.get(name)
    return kind(**settings)  # type: ignore[no-any-return]


def run(
    solver: ct.solvers.Solver, rhs: Rhs, stop: float, times: list[float], listener: Listener
) -> ct.solvers.HybridState:
    """V(0) = 1, dv/dt = rhs(t, v), by the solvers' own interface."""

    def field(t: float, activities: Mapping[str, Tensor], weights: Weights) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"v": rhs(t, activities["v"])}, {}

    start = ct.solvers.HybridState({"v": torch.ones(1, dtype=torch.float64)}, {})
    return solver.advance(field, start, Stretch((0.0, stop), 0.0, times), listener, Counts())


def blow_up(t: float, v: Tensor) -> Tensor:
    """v = 1 / (1 - t)."""
    return v.square()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_finite_time_blow_up_ends_an_adaptive_run_just_before_it(name: str) -> None:
    with pytest.raises(ct.solvers.SolverStopped) as stopped:
        run(make(name, rtol=1e-4, atol=1e-6), blow_up, 2.0, [], Listener())
    assert stopped.value.status in (ct.Status.DIVERGED, ct.Status.STEP_UNDERFLOW)
    assert stopped.value.t == pytest.approx(1.0, abs=1e-3)
    v = float(stopped.value.state.activities["v"])
    assert np.isfinite(v)
    assert v > 1e3
    assert "v" in stopped.value.detail
    assert f"t={stopped.value.t:g}" in stopped.value.detail


def test_a_finite_time_blow_up_ends_a_scipy_run() -> None:
    with pytest.raises(ct.solvers.SolverStopped) as stopped:
        run(ct.solvers.SciPy(solver="RK45"), blow_up, 2.0, [], Listener())
    assert stopped.value.status in (ct.Status.DIVERGED, ct.Status.STEP_UNDERFLOW)
    assert np.isfinite(float(stopped.value.state.activities["v"]))


@pytest.mark.parametrize("name", [*FIXED, "factored_euler", "factored_heun", "factored_rk4"])
def test_a_fixed_step_run_that_overflows_keeps_the_last_finite_state(name: str) -> None:
    listener = Listener()
    grid = [0.25 * k for k in range(1, 41)]
    with pytest.raises(ct.solvers.SolverStopped) as stopped:
        run(make(name, dt=0.25), blow_up, 10.0, grid, listener)
    assert stopped.value.status is ct.Status.DIVERGED
    kept, last = float(stopped.value.state.activities["v"]), stopped.value.t
    assert np.isfinite(kept)
    assert 0 < last < 10
    assert list(listener.samples) == [t for t in grid if t <= last]
    assert listener.samples[last] == kept
    assert "v" in stopped.value.detail


def test_the_kept_state_is_the_one_before_the_overflow() -> None:
    with pytest.raises(ct.solvers.SolverStopped) as stopped:
        run(make("euler", dt=0.5), lambda t, v: v.square() + 1, 100.0, [], Listener())
    steps, v = 0, 1.0
    while np.isfinite(ahead := v + 0.5 * (v * v + 1) if v < 1e154 else np.inf):
        v, steps = ahead, steps + 1
    assert stopped.value.t == 0.5 * steps
    assert float(stopped.value.state.activities["v"]) == pytest.approx(v, rel=1e-12)


@pytest.mark.parametrize(
    "solver", [*map(make, ADAPTIVE), make("rk4", dt=0.1), make("euler", dt=0.1), make("factored_rk4", dt=0.1)], **NAMED
)
def test_a_derivative_that_becomes_nan_ends_the_run(solver: ct.solvers.Solver) -> None:
    def rhs(t: float, v: Tensor) -> Tensor:
        return torch.full_like(v, np.nan) if t > 0.55 else -v

    with pytest.raises(ct.solvers.SolverStopped) as stopped:
        run(solver, rhs, 2.0, [], Listener())
    assert stopped.value.status in (ct.Status.DIVERGED, ct.Status.STEP_UNDERFLOW)
    assert stopped.value.t <= 0.61
    assert float(stopped.value.state.activities["v"]) == pytest.approx(np.exp(-stopped.value.t), rel=0.05)


def runaway() -> tuple[ct.Network, ct.Presentations]:
    """Plain Hebb without decay, far too fast."""
    network = ct.Network([3, 4, 2], rule=ct.rules.Hebb(rate=50.0))
    return network, ct.Presentations(torch.ones(4, 3), batch_size=2, duration=5.0, epochs=40)


@pytest.mark.parametrize(
    "solver", [make("euler", dt=0.5), make("rk4", dt=0.5), make("dopri5", rtol=1e-2, atol=1e-3)], **NAMED
)
def test_hebb_without_decay_ends_as_diverged_with_layer_and_time(solver: ct.solvers.Solver) -> None:
    network, stimulus = runaway()
    sol = ct.simulate(network, stimulus, solver, probes=[ct.Probe("weights", every=0.5)])
    assert sol.status is ct.Status.DIVERGED
    assert not sol.status.ok
    assert str(ct.Status.DIVERGED) in sol.message
    assert 0 < sol.final.t < stimulus.duration_total
    assert any(f"{name}.{layer}" in sol.message for name in "rbW" for layer in (1, 2))
    assert f"t={sol.final.t:g}" in sol.message
    assert all(bool(torch.isfinite(value).all()) for value in sol.final.values())
    recorded = sol.dataset["weights"].sel(layer=1).values[:, :4, :3]
    assert len(recorded) == 1 + int(sol.final.t / 0.5)
    assert np.isfinite(recorded).all()


@pytest.mark.parametrize("name", [*FIXED[:5], "factored_euler", "factored_heun", "factored_rk4"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_max_steps_of_a_fixed_method_keeps_the_steps_taken(name: str, limit: int, tiny_coupled: Coupled) -> None:
    network, stimulus, start, _ = tiny_coupled("contrastive")  # 2 presentations of 3 steps each
    sol = ct.simulate(network, stimulus, make(name, dt=0.25, max_steps=limit), state=start)
    assert sol.status is ct.Status.MAX_STEPS
    assert sol.stats["steps"] == limit
    assert sol.final.t == 0.25 * limit
    until = ct.simulate(network, stimulus, make(name, dt=0.25), state=start, t_span=(0.0, sol.final.t))
    assert sol.final.equal(until.final)


@pytest.mark.parametrize("name", ["dopri5", "factored_dopri5"])
@pytest.mark.parametrize("limit", [1, 4, 9])
def test_max_steps_of_an_adaptive_method_keeps_the_steps_taken(name: str, limit: int, tiny_coupled: Coupled) -> None:
    network, stimulus, start, _ = tiny_coupled("contrastive")
    solver = make(name, rtol=1e-7, atol=1e-9, max_steps=limit)
    sol = ct.simulate(network, stimulus, solver, state=start)
    assert sol.status is ct.Status.MAX_STEPS
    assert sol.stats["steps"] == limit
    assert 0 < sol.final.t < stimulus.duration_total
    tighter = ct.solvers.Dopri5(rtol=1e-9, atol=1e-11)
    until = ct.simulate(network, stimulus, tighter, state=start, t_span=(0.0, sol.final.t))
    for key in network.weight_shapes:
        torch.testing.assert_close(sol.final[key], until.final[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "solver",
    [
        *(make(name, dt=0.25, max_steps=5) for name in ("euler", "rk4", "factored_euler", "factored_rk4")),
        *(make(name, max_steps=5) for name in ("dopri5", "factored_dopri5")),
    ],
    **NAMED,
)
def test_max_steps_keeps_what_the_probes_had_recorded(solver: ct.solvers.Solver, tiny_coupled: Coupled) -> None:
    network, stimulus, start, _ = tiny_coupled("contrastive")
    sol = ct.simulate(network, stimulus, solver, state=start, probes=[ct.Probe("weights", every=0.125)])
    assert sol.status is ct.Status.MAX_STEPS
    assert sol.final.t > 0.25
    due = [0.125 * k for k in range(100) if 0.125 * k <= sol.final.t]
    assert sol.dataset["time"].values.tolist() == due


def test_max_steps_of_scipy_keeps_the_presentations_done(tiny_coupled: Coupled) -> None:
    network, stimulus, start, _ = tiny_coupled("contrastive")
    unlimited = ct.simulate(network, stimulus, ct.solvers.SciPy(solver="RK45"), state=start)
    limit = unlimited.stats["rhs_evaluations"] - 5
    sol = ct.simulate(network, stimulus, ct.solvers.SciPy(solver="RK45", max_steps=limit), state=start)
    assert sol.status is ct.Status.MAX_STEPS
    assert sol.stats["rhs_evaluations"] == limit
    assert sol.final.t == stimulus.duration
    until = ct.simulate(
        network, stimulus, ct.solvers.SciPy(solver="RK45"), state=start, t_span=(0.0, stimulus.duration)
    )
    assert sol.final.equal(until.final)


@pytest.mark.parametrize(
    "solver", [make("euler", dt=0.25), make("dopri5", rtol=1e-4), make("factored_tsit5", rtol=1e-4)], **NAMED
)
def test_max_steps_that_suffice_change_nothing(solver: Any, tiny_coupled: Coupled) -> None:
    network, stimulus, start, _ = tiny_coupled("contrastive")
    free = ct.simulate(network, stimulus, solver, state=start)
    limited = type(solver)(**{**vars(solver), "max_steps": free.stats["steps"]})
    sol = ct.simulate(network, stimulus, limited, state=start)
    assert sol.status is ct.Status.COMPLETED
    assert sol.final.equal(free.final)


class Impatient:
    """A neuron in front of which somebody presses Ctrl-C at its n-th evaluation."""

    tau = 1.0

    def __init__(self, at: int) -> None:
        self.left = at

    def variables(self) -> dict[str, float]:
        return {"r": 0.0}

    def flow(self, variables: Mapping[str, Tensor], drive: Tensor) -> dict[str, Tensor]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return {"r": torch.tanh(drive) - variables["r"]}

    def output(self, variables: Mapping[str, Tensor]) -> Tensor:
        return variables["r"]

    def gain(self, variables: Mapping[str, Tensor], drive: Tensor) -> Tensor:
        return 1 - torch.tanh(drive).square()


STOPPABLE = [
    *(make(name, dt=0.25) for name in ("euler", "rk4", "factored_euler", "factored_rk4")),
    *map(make, ("dopri5", "factored_dopri5", "factored_tsit5")),
]


def interruptible(at: int) -> tuple[ct.Network, ct.Presentations]:
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    network = ct.Network([3, 2], neuron=Impatient(at), rule=ct.rules.Hebb(rate=0.1, decay=1.0))
    return network, ct.Presentations(x, batch_size=2, duration=4.0, shuffle=False)


@pytest.mark.usefixtures("at_a_prompt")
@pytest.mark.parametrize("solver", STOPPABLE, **NAMED)
def test_ctrl_c_inside_the_right_hand_side_keeps_the_steps_taken(solver: ct.solvers.Solver) -> None:
    network, stimulus = interruptible(at=24)
    sol = ct.simulate(network, stimulus, solver)
    assert sol.status is ct.Status.INTERRUPTED
    assert 0 < sol.final.t < stimulus.duration_total
    network, _ = interruptible(at=-1)
    until = ct.simulate(network, stimulus, solver, t_span=(0.0, sol.final.t))
    for key, value in until.final.items():
        torch.testing.assert_close(sol.final[key], value, rtol=1e-4, atol=1e-5)
    assert f"t={sol.final.t:g}" in sol.message


@pytest.mark.usefixtures("at_a_prompt")
def test_ctrl_c_inside_scipy_keeps_the_presentations_done() -> None:
    network, stimulus = interruptible(at=-1)
    solver = ct.solvers.SciPy(solver="RK45")
    whole = ct.simulate(network, stimulus, solver)
    half = ct.simulate(network, stimulus, solver, t_span=(0.0, stimulus.duration))
    network, _ = interruptible(at=whole.stats["rhs_evaluations"] - 3)
    sol = ct.simulate(network, stimulus, solver)
    assert sol.status is ct.Status.INTERRUPTED
    assert sol.final.equal(half.final)


@pytest.mark.usefixtures("at_a_prompt")
@pytest.mark.parametrize("solver", STOPPABLE, **NAMED)
def test_ctrl_c_inside_a_probe_keeps_state_and_records(solver: ct.solvers.Solver) -> None:
    network, stimulus = interruptible(at=-1)
    seen: list[float] = []

    def slow_score(state: ct.State) -> float:
        if len(seen) == 11:
            raise KeyboardInterrupt
        seen.append(state.t)
        return float(state["W.1"].sum())

    sol = ct.simulate(network, stimulus, solver, probes=[ct.Probe(slow_score, every=0.5)])
    assert sol.status is ct.Status.INTERRUPTED
    assert sol.dataset["slow_score"].sizes["time"] == 11
    assert sol.final.t >= sol.dataset["time"].values[-1]  # what was recorded lies behind the state that is kept
    until = ct.simulate(network, stimulus, solver, t_span=(0.0, sol.final.t))
    torch.testing.assert_close(sol.final["W.1"], until.final["W.1"], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("at_a_prompt")
@pytest.mark.parametrize("solver", STOPPABLE, **NAMED)
def test_ctrl_c_keeps_what_the_probes_had_recorded(solver: ct.solvers.Solver) -> None:
    network, stimulus = interruptible(at=24)
    sol = ct.simulate(network, stimulus, solver, probes=[ct.Probe("weights", every=0.25)])
    assert sol.status is ct.Status.INTERRUPTED
    due = [0.25 * k for k in range(1000) if 0.25 * k <= sol.final.t]
    assert sol.dataset["time"].values.tolist() == due


def test_a_completed_run_says_so(tiny_coupled: Coupled) -> None:
    network, stimulus, start, _ = tiny_coupled("contrastive")
    sol = ct.simulate(network, stimulus, ct.solvers.Euler(dt=0.25), state=start)
    assert sol.status is ct.Status.COMPLETED
    assert sol.status.ok
    assert sol.message == str(ct.Status.COMPLETED)
    assert sol.final.t == stimulus.duration_total
    assert (sol.stats["steps"], sol.stats["rhs_evaluations"], sol.stats["rejected_steps"]) == (6, 6, 0)
