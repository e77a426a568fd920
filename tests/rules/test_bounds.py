"""Bounds of weights hold whatever moves them: every solver and path, soft and hard, steps that are far too long."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.rules import Bounded, Hebb
from ctsigprop.rules.base import Rule

S = ct.solvers
LOW, HIGH = -0.1, 0.7
X = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
FIXED = [S.Euler, S.Midpoint, S.Heun2, S.Heun3, S.RK4, S.ExplicitAdams, S.ImplicitAdams]
ADAPTIVE = [S.Dopri5, S.Dopri8, S.Bosh3, S.Fehlberg2, S.AdaptiveHeun]
PLAIN: list[S.Solver] = [
    *(method(dt=0.1) for method in FIXED),
    *(method(rtol=1e-3, atol=1e-4) for method in ADAPTIVE),
    *(S.SciPy(solver=name, rtol=1e-3, atol=1e-4) for name in ("RK45", "LSODA")),
    *(S.Hybrid(dt=0.1, flow=flow) for flow in ("exponential", "euler", "midpoint", "rk4")),
    S.EventDriven(rtol=1e-3, atol=1e-4),
]
COMPILED: list[tuple[S.Solver, str]] = [
    (S.RK4(dt=0.1, compile=True), "soft"),
    (S.Dopri5(rtol=1e-3, atol=1e-4, compile=True), "hard"),
]
kinds = pytest.mark.parametrize("kind", ["soft", "hard"])


def network(rule: Rule | None, activation: str = "sigmoid") -> ct.Network:
    return ct.Network([4, 3], neuron=ct.Rate(activation=activation), rule=rule, bias=False)


def bounded(kind: str, rate: float = 50.0) -> Rule:
    """Both signs of D: potentiation by what is above the mean, depression by the rest."""
    rule = ct.rules.PostsynapticGatedHebb(rate=rate, theta=0.5)
    return Bounded(rule, LOW, HIGH, kind)  # type: ignore[arg-type]


def within(values: Any, low: float = LOW, high: float = HIGH) -> bool:
    tensor = torch.as_tensor(values)
    return bool((tensor >= low).all() and (tensor <= high).all())


@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")  # of ImplicitAdams, in such steps
@pytest.mark.parametrize(
    ("solver", "kind"), [*((solver, kind) for solver in PLAIN for kind in ("soft", "hard")), *COMPILED], ids=repr
)
def test_weights_stay_within_at_every_time_that_is_looked_at(solver: S.Solver, kind: str) -> None:
    stim = ct.Presentations(X, None, 4, duration=1.0, seed=0)
    probe = ct.Probe("weights", every=0.03)
    net = network(bounded(kind))
    sol = ct.simulate(net, stim, solver, probes=[probe], seed=1)
    assert sol.status is ct.Status.COMPLETED
    assert within(sol.final["W.1"])
    assert within(sol.dataset["weights"].values)
    assert not torch.equal(sol.final["W.1"], net.initial_state(1)["W.1"])


def projected(w: np.ndarray, kind: str, rate: float, steps: int, dt: float, high: float = HIGH) -> np.ndarray:
    """Euler's steps of a linear unit under Hebb, each brought back within the bounds, by hand."""
    x, r, w = X.double().numpy(), np.zeros((8, 3)), w.copy()
    for _ in range(steps):
        change = rate * r.T @ x / 8
        room = (high - w, w - LOW) if kind == "soft" else (w < high, w > LOW)
        r, w = r + dt * (x @ w.T - r), np.clip(w + dt * change * np.where(change > 0, *room), LOW, high)
    return w


PATHS: dict[str, dict[str, Any]] = {
    "plain": {"solver": S.Euler(dt=0.1)},
    "side by side": {"solver": S.Euler(dt=0.1), "ensemble": 2},
    "batched": {"solver": S.RK4(dt=0.1), "ensemble": 2},
}


@kinds
@pytest.mark.parametrize("path", PATHS)
def test_a_step_that_would_pass_a_bound_ends_on_it(path: str, kind: str) -> None:
    net = network(Bounded(Hebb(rate=30.0), LOW, HIGH, kind), "linear")  # type: ignore[arg-type]
    start = net.initial_state(2, rows=8, dtype=torch.float64)
    stim = ct.Presentations(X.double(), None, 8, duration=3.0, shuffle=False)
    sol = ct.simulate(net, stim, state=start, **PATHS[path])
    finals = [member.final["W.1"] for member in sol] if "ensemble" in PATHS[path] else [sol.final["W.1"]]
    assert all(within(final) for final in finals)
    if path != "batched":
        wanted = projected(start["W.1"].numpy(), kind, 30.0, 30, 0.1)
        assert any(np.any(wanted == bound) for bound in (LOW, HIGH))
        for final in finals:
            np.testing.assert_allclose(final.numpy(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [S.Euler(dt=0.1), S.Euler(dt=0.1, compile=True)], ids=repr)
def test_members_keep_bounds_of_their_own(solver: S.Solver) -> None:
    limits = [0.3, 0.6, 0.9]
    nets = [network(Bounded(Hebb(rate=30.0), LOW, high, "hard"), "linear") for high in limits]
    stim = ct.Presentations(X.double(), None, 8, duration=3.0, shuffle=False)
    starts = [net.initial_state(2, rows=8, dtype=torch.float64) for net in nets]
    members = ct.simulate(nets, stim, solver, ensemble=3, state=starts)
    for member, start, high in zip(members, starts, limits, strict=True):
        wanted = projected(start["W.1"].numpy(), "hard", 30.0, 30, 0.1, high)
        np.testing.assert_allclose(member.final["W.1"].numpy(), wanted, rtol=0, atol=1e-12)
        assert within(member.final["W.1"], LOW, high)
        assert float(member.final["W.1"].max()) == high


@pytest.mark.parametrize(("compile", "kind"), [(False, "soft"), (False, "hard"), (True, "hard")])
def test_spikes_leave_weights_within(compile: bool, kind: Literal["soft", "hard"]) -> None:
    rule = Bounded(ct.rules.STDP(rate=3.0), 0.0, 0.7, kind)
    net = ct.Network([4, 3], neuron=ct.LIF(), rule=rule, bias=False)
    stim = ct.Presentations(X, None, 4, duration=30.0, encoder=ct.Poisson(rate=5.0))
    probe = ct.Probe("weights", every=0.25)
    sol = ct.simulate(net, stim, S.Hybrid(dt=0.1, compile=compile), probes=[probe], seed=1)
    assert within(sol.dataset["weights"].values, 0.0, 0.7)
    assert float(sol.final["n.1"].sum()) > 0
    assert not torch.equal(sol.final["W.1"], net.initial_state(1)["W.1"])


def test_in_place_steps_of_spikes_keep_the_bits_of_the_plain_ones() -> None:
    """A run of 256 steps or more is recorded; shorter parts of it are not."""
    rule = Bounded(ct.rules.STDP(rate=3.0), 0.0, 0.7)
    net = ct.Network([4, 3], neuron=ct.LIF(), rule=rule, bias=False)
    stim = ct.Presentations(X, None, 4, duration=15.0, encoder=ct.Poisson(rate=5.0))
    solver = S.Hybrid(dt=0.1)
    whole = ct.simulate(net, stim, solver, seed=1).final
    state = None
    for start in range(0, 30, 10):
        span = (float(start), start + 10.0)
        state = ct.simulate(net, stim, solver, state=state, seed=1, t_span=span).final
    assert state is not None
    assert torch.equal(state["W.1"], whole["W.1"])
    assert within(whole["W.1"], 0.0, 0.7)


def test_drawn_weights_are_clipped_and_given_ones_outside_are_refused() -> None:
    net, free = network(Bounded(Hebb())), network(Hebb())
    drawn = net.initial_state(3)["W.1"]
    torch.testing.assert_close(drawn, free.initial_state(3)["W.1"].clamp(0.0, 1.0), rtol=0, atol=0)
    assert float(free.initial_state(3)["W.1"].min()) < 0
    stim = ct.Presentations(X, None, 4)
    words = r"W.1 of the state must lie within 0 ... 1, the bounds of its rule, got -.*state\['W.1'\].clamp\(0, 1\)"
    with pytest.raises(ValueError, match=words):
        ct.simulate(net, stim, S.Euler(dt=0.5), state=free.initial_state(3))


def test_a_target_generator_that_learns_has_the_bounds_of_its_rule() -> None:
    rule = Bounded(ct.rules.ContrastiveHebbian(rate=50.0), -0.2, 0.2)
    stim = ct.Presentations(X, [0, 1] * 4, 4, duration=1.0)
    for generator, held in (("learned", True), ("fixed", False)):
        signal = ct.TargetStream(generator=generator)  # type: ignore[arg-type]
        net = ct.Network([4, 6, 3], 2, signal=signal, rule=[rule, ct.rules.ContrastiveHebbian()])
        final = ct.simulate(net, stim, S.Euler(dt=0.5), seed=0).final
        assert within(final["W.1"], -0.2, 0.2)
        assert within(final["S"], -0.2, 0.2) is held


@pytest.mark.parametrize(
    ("rule", "bounds"),
    [
        (2.0 * Bounded(Hebb(rate=5.0)), (0.0, 1.0)),
        (Bounded(Hebb(rate=5.0)) + ct.rules.AntiHebb(rate=50.0), (0.0, 1.0)),
        (Bounded(Hebb(rate=5.0)) + Bounded(ct.rules.AntiHebb(rate=50.0), -1.0, 0.5), (0.0, 0.5)),
        (ct.rules.ThreeFactor(Bounded(Hebb(rate=5.0)), modulator=lambda t: -10 * math.cos(t)), (0.0, 1.0)),
        (ct.rules.ThreeFactor(Bounded(Hebb(rate=50.0)), tau_e=2.0), (0.0, 1.0)),
        (Bounded(Bounded(Hebb(rate=50.0)), -1.0, 0.5), (0.0, 0.5)),
    ],
    ids=["multiple", "sum", "two bounds", "modulated", "eligibility", "nested"],
)
def test_what_is_made_of_a_bounded_rule_keeps_its_bounds(rule: Rule, bounds: tuple[float, float]) -> None:
    net = network(rule, "linear")
    assert net.bounds == {"W.1": bounds}
    sol = ct.simulate(net, ct.Presentations(X, None, 8, duration=6.0), S.Euler(dt=0.5), seed=1)
    assert within(sol.final["W.1"], *bounds)


def test_bounds_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot keep bounds that exclude each other"):
        Bounded(Hebb(), 0.0, 1.0) + Bounded(Hebb(), 2.0, 3.0)
