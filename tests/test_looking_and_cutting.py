"""Looking at a run does not change it, cutting it does not change it, however fast weights are against activities.

The truth is the same equations written by hand in NumPy and integrated by SciPy's DOP853. What is compared is the
change of the weights, not the weights, which hardly move where learning is slow.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import ctsigprop as ct
from ctsigprop.solvers.reference import integrate as reference
from ctsigprop.solvers.reference.methods import Adaptive, Fixed

pytestmark = pytest.mark.usefixtures("tiny_unchecked")

Array = NDArray[np.float64]
Solver = ct.solvers.Solver
PACES = [1e-4, 1e-2, 1.0, 1e2]
DURATION, FRAMES, ROWS, SIZES = 0.4, 2, 5, (4, 5, 3)
STOP = DURATION * FRAMES
TOLERANCES: list[dict[str, Any]] = [{"rtol": rtol, "atol": 1e-3 * rtol} for rtol in (1e-6, 1e-5, 1e-4)]
FINE, COARSE, LOOSE = TOLERANCES
ADAPTIVE: list[Solver] = [
    ct.solvers.Dopri5(**FINE),
    ct.solvers.Dopri8(**FINE),
    ct.solvers.Bosh3(**COARSE),
    ct.solvers.Fehlberg2(**LOOSE),
    ct.solvers.AdaptiveHeun(**LOOSE),
    ct.solvers.EventDriven(**FINE),
    ct.solvers.FactoredDopri5(**FINE),
    ct.solvers.FactoredTsit5(**FINE),
    ct.solvers.FactoredBosh3(**COARSE),
    ct.solvers.SciPy(solver="RK45", **FINE),
    ct.solvers.SciPy(solver="LSODA", **FINE),
]
DT = 0.02
FIXED: list[Solver] = [
    *(kind(dt=DT) for kind in (ct.solvers.Midpoint, ct.solvers.Heun2, ct.solvers.Heun3, ct.solvers.RK4)),
    *(kind(dt=DT) for kind in (ct.solvers.Euler, ct.solvers.ExplicitAdams, ct.solvers.ImplicitAdams)),
    *(kind(dt=DT) for kind in (ct.solvers.FactoredEuler, ct.solvers.FactoredHeun, ct.solvers.FactoredRK4)),
    ct.solvers.Multirate(dt=DT, micro=2),
    ct.solvers.Hybrid(dt=DT),
    ct.solvers.Hybrid(dt=DT, flow="rk4"),
]
TORCHDIFFEQ = [solver for solver in [*ADAPTIVE, *FIXED] if isinstance(solver, Adaptive | Fixed)]
COMPILED: list[Solver] = [
    ct.solvers.Euler(dt=DT, compile=True),
    ct.solvers.RK4(dt=DT, compile=True),
    ct.solvers.Dopri5(**COARSE, compile=True),
    ct.solvers.FactoredDopri5(**COARSE, compile=True),
]
LOOKS = [
    ct.Probe("weights", every=0.0137),
    ct.Probe("rates", log_spaced=9),
    ct.Probe(lambda state: state["W.1"].norm(), every=0.0071, name="norm"),
]


def label(solver: Any) -> str:
    details = [str(getattr(solver, name)) for name in ("solver", "flow") if hasattr(solver, name)]
    return "-".join([type(solver).__name__, *details, *(["compiled"] if getattr(solver, "compile", False) else [])])


def inputs() -> Array:
    return np.random.default_rng(3).uniform(-1.0, 1.0, (FRAMES * ROWS, SIZES[0]))


def system(pace: float, dtype: torch.dtype) -> tuple[ct.Network, ct.Presentations, ct.State]:
    network = ct.Network(SIZES, neuron=ct.Rate(activation="tanh"), rule=ct.rules.Oja(rate=pace), bias=False)
    stimulus = ct.Presentations(torch.from_numpy(inputs()).to(dtype), None, ROWS, DURATION, shuffle=False)
    state = network.initial_state(1, ROWS, dtype)
    random = np.random.default_rng(4)
    rates = {name: random.uniform(-0.5, 0.5, tuple(state[name].shape)) for name in ("r.1", "r.2")}
    return network, stimulus, state.replace({name: torch.from_numpy(r).to(dtype) for name, r in rates.items()})


@cache
def truth(pace: float) -> tuple[Any, Array, Array]:
    """(weights of both layers at a time, those at the start, those at the end), by DOP853."""
    *_, start = system(pace, torch.float64)
    names = ("r.1", "r.2", "W.1", "W.2")
    shapes = [start[name].shape for name in names]
    cuts = np.cumsum([np.prod(shape) for shape in shapes])[:-1]

    def slope(_: float, y: Array, x: Array) -> Array:
        r1, r2, w1, w2 = (part.reshape(shape) for part, shape in zip(np.split(y, cuts), shapes, strict=True))
        change = [pace * (r.T @ pre / ROWS - (r**2).mean(0)[:, None] * w) for r, pre, w in ((r1, x, w1), (r2, r1, w2))]
        return np.concatenate([part.ravel() for part in (np.tanh(x @ w1.T) - r1, np.tanh(r1 @ w2.T) - r2, *change)])

    y = np.concatenate([start[name].numpy().ravel() for name in names])
    curves = []
    for k in range(FRAMES):
        x = inputs()[k * ROWS : (k + 1) * ROWS]
        span = (k * DURATION, (k + 1) * DURATION)
        run = solve_ivp(slope, span, y, "DOP853", rtol=1e-11, atol=1e-13, args=(x,), dense_output=True)
        curves.append(run.sol)
        y = run.y[:, -1]

    def weights_at(t: float) -> Array:
        return np.asarray(curves[min(int(t / DURATION), FRAMES - 1)](t))[cuts[1] :]

    return weights_at, weights_at(0.0), weights_at(STOP)


def weights(state: ct.State) -> Array:
    return np.concatenate([state[name].double().numpy().ravel() for name in ("W.1", "W.2")])


def bar(solver: Any, pace: float, dtype: torch.dtype, steps: int) -> float:
    """Error allowed, as a share of what the weights change: the method's, and that of rounding in every step."""
    _, start, end = truth(pace)
    rounding = torch.finfo(dtype).eps * float(np.linalg.norm(start) / np.linalg.norm(end - start))
    method = 5e-3 if solver.order >= 2 or not hasattr(solver, "dt") else 5e-2
    return method * (5 if pace > 1 else 1) + (10 + steps) * rounding


def error(pace: float, final: Array, at: float = STOP) -> float:
    weights_at, start, end = truth(pace)
    return float(np.linalg.norm(final - weights_at(at)) / np.linalg.norm(end - start))


def check_run(solver: Solver, pace: float, dtype: torch.dtype, cuts: list[float]) -> None:
    network, stimulus, start = system(pace, dtype)
    whole = ct.simulate(network, stimulus, solver, state=start)
    allowed = bar(solver, pace, dtype, whole.stats["steps"])
    assert error(pace, weights(whole.final)) <= allowed
    looked = ct.simulate(network, stimulus, solver, state=start, probes=LOOKS)
    if isinstance(solver, ct.solvers.SciPy):  # whose own polynomials round by how many times are asked for
        np.testing.assert_allclose(weights(looked.final), weights(whole.final), rtol=1e-13)
    else:
        assert looked.final.equal(whole.final)
    moved = np.linalg.norm(truth(pace)[2] - truth(pace)[1])
    norm = looked.dataset["norm"]
    assert len(norm) == 1 + int(STOP / 0.0071)
    for t, sample in zip(norm["time_norm"].values, norm.values, strict=True):
        expected = np.linalg.norm(truth(pace)[0](t)[: SIZES[0] * SIZES[1]])
        assert abs(sample - expected) <= 2 * allowed * moved + 20 * torch.finfo(dtype).eps * expected, t
    state = start
    for a, b in zip([0.0, *cuts], [*cuts, STOP], strict=True):
        state = ct.simulate(network, stimulus, solver, state=state, t_span=(a, b)).final
    assert error(pace, weights(state)) <= allowed
    if set(cuts) <= {k * DURATION for k in range(FRAMES)}:
        assert state.equal(whole.final)


@pytest.mark.parametrize(
    ("dtype", "pace"), [*((torch.float32, pace) for pace in (1e-4, 1e2)), *((torch.float64, pace) for pace in PACES)]
)
@pytest.mark.parametrize("solver", [*ADAPTIVE, *FIXED], ids=label)
def test_a_run_is_the_same_looked_at_and_cut(solver: Solver, pace: float, dtype: torch.dtype) -> None:
    check_run(solver, pace, dtype, [0.05, 0.12, 0.2, 0.203, 0.41, 0.7, 0.79])


@pytest.mark.parametrize("solver", [*ADAPTIVE, *FIXED], ids=label)
def test_a_run_cut_where_the_stimulus_switches_ends_with_the_same_bits(solver: Solver) -> None:
    check_run(solver, 1e-2, torch.float64, [DURATION])


@pytest.mark.parametrize("pace", [1e-4, 1e2])
@pytest.mark.parametrize("solver", COMPILED, ids=label)
@pytest.mark.usefixtures("interpreted", "own_cache")
def test_a_compiled_run_is_the_same_looked_at_and_cut(solver: Solver, pace: float) -> None:
    check_run(solver, pace, torch.float64, [0.05, 0.203, 0.7])


@pytest.mark.parametrize("solver", TORCHDIFFEQ, ids=label)
def test_samples_that_do_not_fit_in_memory_at_once_change_nothing(
    solver: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, stimulus, start = system(1.0, torch.float64)
    probes = [ct.Probe("weights", every=0.0137)]
    at_once = ct.simulate(network, stimulus, solver, state=start, probes=probes)
    size = sum(value.numel() for value in start.values()) * 8
    monkeypatch.setattr(reference, "SAMPLE_BYTES", 4 * size)
    in_parts = ct.simulate(network, stimulus, solver, state=start, probes=probes)
    assert in_parts.final.equal(at_once.final)
    assert in_parts.stats["steps"] == at_once.stats["steps"]
    expected, change = at_once.dataset["weights"].values, at_once.dataset["weights"].diff("time").values
    adaptive = isinstance(solver, Adaptive)
    bar = 0.1 * np.nanmax(np.abs(change)) if adaptive else 0.0
    np.testing.assert_allclose(in_parts.dataset["weights"].values, expected, rtol=1e-13, atol=bar)


def spiking() -> tuple[ct.Network, ct.Presentations]:
    """A network that learns by pairs of spikes, with spikes to learn from."""
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    network = ct.Network([4, 8, 5], neuron=ct.LIF(), rule=ct.rules.STDP(), bias=False)
    return network, ct.Presentations(x, None, 3, duration=4.0, shuffle=False, encoder=ct.Poisson(4.0, seed=1))


LOOKS_AT_SPIKES = [ct.Probe("weights", every=0.0137), ct.Probe(lambda state: state["v.1"].sum(), every=0.31, name="v")]


@pytest.mark.parametrize("path", ["plain", "in place", "compiled", "rk4"])
def test_a_spiking_run_on_its_grid_is_the_same_looked_at_and_cut(path: str, request: pytest.FixtureRequest) -> None:
    if path == "compiled":
        request.getfixturevalue("interpreted")
        request.getfixturevalue("own_cache")
    execution: Any = {"plain": "plain", "in place": "inplace"}.get(path, "auto")
    solver = ct.solvers.Hybrid(dt=0.05, compile=path == "compiled", flow="rk4" if path == "rk4" else "exponential")
    network, stimulus = spiking()
    start = network.initial_state(0, stimulus.rows, stimulus.dtype)
    whole = ct.simulate(network, stimulus, solver, execution=execution, state=start)
    assert not whole.final["W.1"].equal(start["W.1"])
    assert not whole.final["W.2"].equal(start["W.2"])
    looked = ct.simulate(network, stimulus, solver, execution=execution, state=start, probes=LOOKS_AT_SPIKES)
    assert looked.final.equal(whole.final)
    state = start
    for span in ((0.0, 0.35), (0.35, 4.0), (4.0, 6.05), (6.05, 8.0)):
        state = ct.simulate(network, stimulus, solver, execution=execution, state=state, t_span=span).final
    for name, value in whole.final.items():
        torch.testing.assert_close(state[name], value, rtol=1e-10, atol=1e-12)


def test_a_spiking_run_from_event_to_event_is_the_same_looked_at_and_cut() -> None:
    solver = ct.solvers.EventDriven()
    network, stimulus = spiking()
    start = network.initial_state(0, stimulus.rows, stimulus.dtype)
    whole = ct.simulate(network, stimulus, solver, state=start, t_span=(0.0, 2.0))
    looked = ct.simulate(network, stimulus, solver, state=start, t_span=(0.0, 2.0), probes=LOOKS_AT_SPIKES)
    assert looked.final.equal(whole.final)
    fine = ct.simulate(
        network, stimulus, ct.solvers.Hybrid(dt=2e-3), state=start, t_span=(0.0, 2.0), probes=LOOKS_AT_SPIKES
    )
    ours, theirs = (sol.dataset["weights"].values for sol in (looked, fine))
    change = np.nanmax(np.abs(theirs - theirs[0]))
    assert np.nanmean(np.abs(ours - theirs)) <= 0.05 * change
    state = start
    for span in ((0.0, 0.123), (0.123, 1.5), (1.5, 2.0)):
        state = ct.simulate(network, stimulus, solver, state=state, t_span=span).final
    for name, value in whole.final.items():
        torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6)
