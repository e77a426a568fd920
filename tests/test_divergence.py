"""A run that diverges says so at the right time, whoever carries it out, and keeps nothing that is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct

Solver = ct.solvers.Solver
DT = 0.1
TORCHDIFFEQ: list[Solver] = [
    *(kind(dt=DT) for kind in (ct.solvers.Euler, ct.solvers.Midpoint, ct.solvers.Heun2, ct.solvers.RK4)),
    *(kind(dt=DT) for kind in (ct.solvers.Heun3, ct.solvers.ExplicitAdams, ct.solvers.ImplicitAdams)),
    *(kind() for kind in (ct.solvers.Dopri5, ct.solvers.Dopri8, ct.solvers.Bosh3, ct.solvers.EventDriven)),
    *(kind(rtol=1e-3, atol=1e-3) for kind in (ct.solvers.Fehlberg2, ct.solvers.AdaptiveHeun)),
    *(ct.solvers.SciPy(solver=name, rtol=1e-4) for name in ("RK45", "DOP853", "LSODA", "BDF")),
]
OURS: list[Solver] = [
    *(kind(dt=DT) for kind in (ct.solvers.FactoredEuler, ct.solvers.FactoredHeun, ct.solvers.FactoredRK4)),
    *(kind() for kind in (ct.solvers.FactoredDopri5, ct.solvers.FactoredTsit5, ct.solvers.FactoredBosh3)),
    ct.solvers.Multirate(dt=DT, micro=2),
    *(ct.solvers.Hybrid(dt=DT, flow=flow) for flow in ("exponential", "euler", "midpoint", "rk4")),
]
COMPILED: list[Solver] = [ct.solvers.Euler(dt=DT, compile=True), ct.solvers.FactoredDopri5(compile=True)]
EVERY = 0.5
GROWN = 1e18


def label(solver: Any) -> str:
    return "-".join(
        [type(solver).__name__, *(str(getattr(solver, k)) for k in ("solver", "flow") if hasattr(solver, k))]
    )


def run(solver: Solver, duration: float) -> ct.Solution:
    """Hebb without decay, far too fast, in float32, from weights that have grown for a while."""
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    network = ct.Network([6, 6], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=5.0), bias=False)
    stimulus = ct.Presentations(x.repeat(int(100 / duration), 1), None, 4, duration=duration, shuffle=False)
    state = network.initial_state(0, 4)
    weights = GROWN * state["W.1"]
    state = state.replace({"W.1": weights, "r.1": x @ weights.T})
    return ct.simulate(network, stimulus, solver, probes=[ct.Probe("weights", every=EVERY)], state=state)


def truth() -> float:
    """When the largest weight passes what float32 holds, by the growth of the linear system's leading eigenvector."""
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).double().numpy()
    inputs = np.linalg.eigvalsh(x.T @ x / 4)[-1]
    growth = (-1 + np.sqrt(1 + 4 * 5.0 * inputs)) / 2  # tau r' = -r + x W^T, W' = 5 <r x>: s (s + 1) = 5 lambda
    return float(np.log(np.finfo(np.float32).max / GROWN) / growth)


def check(sol: ct.Solution) -> None:
    assert sol.status is ct.Status.DIVERGED
    assert f"t={sol.final.t:g}" in sol.message
    assert any(name in sol.message for name in ("r.1", "W.1"))
    assert sol.final.t == pytest.approx(truth(), rel=0.2)
    assert all(bool(torch.isfinite(value).all()) for value in sol.final.values())
    recorded = sol.dataset["weights"]
    assert np.isfinite(recorded.values).all()
    assert float(recorded["time"][-1]) <= sol.final.t
    assert float(recorded["time"][-1]) > sol.final.t - 4 * EVERY


@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")  # torchdiffeq's own warning
@pytest.mark.usefixtures("tiny_unchecked")
@pytest.mark.parametrize("duration", [1.0, 100.0])
@pytest.mark.parametrize("solver", [*TORCHDIFFEQ, *OURS], ids=label)
def test_explosive_weights_end_a_run_when_they_overflow(solver: Solver, duration: float) -> None:
    check(run(solver, duration))


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy's, as nothing is compiled
@pytest.mark.usefixtures("interpreted", "own_cache")
@pytest.mark.parametrize("solver", COMPILED, ids=label)
def test_explosive_weights_end_a_compiled_run_when_they_overflow(solver: Solver) -> None:
    check(run(solver, 100.0))


STIMULI = {
    "x": lambda t: torch.full((4, 6), float("nan") if t > 3.1 else 1.0),
    "context": lambda t: torch.full((4, 2), float("inf") if t > 3.1 else 1.0),
    "gate": lambda t: float("nan") if t > 3.1 else 1.0,
}


@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")  # torchdiffeq's own warning
@pytest.mark.parametrize("what", STIMULI)
@pytest.mark.parametrize("solver", [*TORCHDIFFEQ, *OURS], ids=label)
def test_a_stimulus_that_stops_being_a_number_is_named(solver: Solver, what: str) -> None:
    functions: dict[str, Any] = {"x": lambda t: torch.ones(4, 6), what: STIMULI[what]}
    stimulus = ct.Stimulus.from_function(duration=8.0, **functions)
    signal = ct.TargetStream(per="sample") if what == "context" else None
    rule = ct.rules.ContrastiveHebbian() if what == "context" else ct.rules.Oja(rate=0.1)
    network = ct.Network([6, 3], n_classes=2 if signal else None, signal=signal, rule=rule)
    with pytest.raises(ct.SimulationError, match=rf"stimulus raised .*{what}\(\S+\) must be (a )?finite") as raised:
        ct.simulate(network, stimulus, solver, probes=[ct.Probe("weights", every=0.5)])
    sol = raised.value.solution
    assert isinstance(sol, ct.Solution)
    assert sol.final.t <= 3.1 + DT
    assert all(bool(torch.isfinite(value).all()) for value in sol.final.values())
    assert np.isfinite(sol.dataset["weights"].values[:, :, :3]).all()
    if not isinstance(solver, ct.solvers.SciPy):  # which tell nothing while they run
        assert len(sol.dataset["weights"]) == 1 + int((sol.final.t + 1e-9) / 0.5)
