"""Rules of a pre and a post factor, alone and with homeostatic terms, against their equations integrated by DOP853."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import ctsigprop as ct
from ctsigprop.rules import Rule
from ctsigprop.rules.table import RULES

pytestmark = pytest.mark.slow  # thousands of evaluations: at full speed, without shape checks
Array: TypeAlias = NDArray[np.float64]
Derivatives: TypeAlias = tuple[Array, Array, dict[str, Array]]
Compare: TypeAlias = Callable[..., dict[str, float]]
BAR = 1e-6


def hebb(s: Any, rate: float, decay: float = 0.0) -> Derivatives:
    dW, db = s.outer(s.h, s.x)
    return rate * (dW - decay * s.W), rate * (db - decay * s.b), {}


def anti_hebb(s: Any) -> Derivatives:
    dW, db = s.outer(s.h, s.x)
    return -0.3 * (dW + 0.2 * s.W), -0.3 * (db + 0.2 * s.b), {}


def oja(s: Any) -> Derivatives:
    dW, db = s.outer(s.h, s.x)
    square = s.mean(s.h**2)
    return 0.3 * (dW - square[:, None] * s.W), 0.3 * (db - square * s.b), {}


def oja_subspace(s: Any) -> Derivatives:
    dW, db = s.outer(s.h, s.x)
    lateral, _ = s.outer(s.h, s.h)
    return 0.3 * (dW - lateral @ s.W), 0.3 * (db - lateral @ s.b), {}


def bcm(s: Any) -> Derivatives:
    theta = s.v["theta"]
    dW, db = s.outer(s.h * (s.h - theta), s.x)
    return 0.3 * dW, 0.3 * db, {"theta": (s.mean(s.h**2) - theta) / 2.0}


def covariance(s: Any) -> Derivatives:
    m_post, m_pre = s.v["m_post"], s.v["m_pre"]
    dW, db = s.outer(s.h - m_post, s.x - m_pre)
    return 0.3 * dW, 0.3 * db, {"m_post": (s.mean(s.h) - m_post) / 2.0, "m_pre": (s.mean(s.x) - m_pre) / 2.0}


def differential_hebb(s: Any) -> Derivatives:
    dW, db = s.outer(s.dh, s.dx)
    return 0.5 * (dW - 0.2 * s.W), 0.5 * (db - 0.2 * s.b), {}


def presynaptic_gated(s: Any) -> Derivatives:
    dW, db = s.outer(s.h - 0.4, s.x)
    return 0.3 * dW, 0.3 * db, {}


def postsynaptic_gated(s: Any) -> Derivatives:
    dW, _ = s.outer(s.h, s.x - 0.4)
    return 0.3 * dW, 0.3 * s.mean(s.h), {}


def softly_bounded(s: Any) -> Derivatives:
    dW, db, _ = hebb(s, 0.3)
    room = np.where(dW > 0, 1.2 - s.W, s.W + 0.2)
    return 0.5 * room * dW, 0.5 * db, {}


def weight_decay(s: Any) -> Derivatives:
    return -0.2 * s.W, -0.2 * s.b, {}


def scaling(s: Any) -> Derivatives:
    a = s.v["activity"]
    up = 0.4 * (0.3 - a)
    return up[:, None] * s.W, up * s.b, {"activity": (s.mean(s.h) - a) / 2.0}


def plus(*parts: Callable[[Any], Derivatives]) -> Callable[[Any], Derivatives]:
    def added(s: Any) -> Derivatives:
        found = [part(s) for part in parts]
        variables = {name: slope for *_, more in found for name, slope in more.items()}
        return sum(f[0] for f in found), sum(f[1] for f in found), variables  # type: ignore[return-value]

    return added


def plain(s: Any) -> Derivatives:
    return hebb(s, 0.3)


SCALING = ct.rules.Scaling(rate=0.4, target=0.3, tau_mean=2.0)
CASES: dict[str, tuple[Callable[[bool], Rule], Callable[[Any], Derivatives], dict[str, Any]]] = {
    "anti_hebb": (lambda t: ct.rules.AntiHebb(rate=0.3, decay=0.2, traces=t), anti_hebb, {}),
    "bcm": (lambda t: ct.rules.BCM(rate=0.3, tau_theta=2.0, traces=t), bcm, {}),
    "bounded": (
        lambda t: ct.rules.Bounded(ct.rules.Hebb(rate=0.3, traces=t), w_min=-0.2, w_max=1.2, rate=0.5),
        softly_bounded,
        {"weights": (0.0, 1.0)},
    ),
    "covariance": (lambda t: ct.rules.Covariance(rate=0.3, tau_mean=2.0, traces=t), covariance, {}),
    "custom": (lambda t: ct.rules.Custom(rate=0.3, traces=t), plain, {}),
    "differential_hebb": (lambda t: ct.rules.DifferentialHebb(rate=0.5, decay=0.2), differential_hebb, {}),
    "hebb": (lambda t: ct.rules.Hebb(rate=0.3, decay=0.2, traces=t), lambda s: hebb(s, 0.3, 0.2), {}),
    "oja": (lambda t: ct.rules.Oja(rate=0.3, traces=t), oja, {}),
    "oja_subspace": (lambda t: ct.rules.OjaSubspace(rate=0.3, traces=t), oja_subspace, {}),
    "postsynaptic_gated_hebb": (
        lambda t: ct.rules.PostsynapticGatedHebb(rate=0.3, theta=0.4, traces=t),
        postsynaptic_gated,
        {},
    ),
    "presynaptic_gated_hebb": (
        lambda t: ct.rules.PresynapticGatedHebb(rate=0.3, theta=0.4, traces=t),
        presynaptic_gated,
        {},
    ),
    "scaling": (lambda t: SCALING, scaling, {}),
    "weight_decay": (lambda t: ct.rules.WeightDecay(rate=0.2), weight_decay, {}),
    "hebb + weight_decay": (
        lambda t: ct.rules.Hebb(rate=0.3, traces=t) + ct.rules.WeightDecay(rate=0.2),
        plus(plain, weight_decay),
        {},
    ),
    "hebb + scaling": (lambda t: ct.rules.Hebb(rate=0.3, traces=t) + SCALING, plus(plain, scaling), {}),
    "oja + scaling": (lambda t: ct.rules.Oja(rate=0.3, traces=t) + SCALING, plus(oja, scaling), {}),
    "covariance + bcm": (
        lambda t: (
            ct.rules.Covariance(rate=0.3, tau_mean=2.0, traces=t) + ct.rules.BCM(rate=0.3, tau_theta=2.0, traces=t)
        ),
        plus(covariance, bcm),
        {},
    ),
    "bounded sum": (
        lambda t: ct.rules.Bounded(
            ct.rules.Hebb(rate=0.2, traces=t) + 0.1 * ct.rules.Hebb(rate=1.0, traces=t), -0.2, 1.2, rate=0.5
        ),
        softly_bounded,
        {"weights": (0.0, 1.0)},
    ),
}
"""Name of each case: the rule, given whether it has traces; its equation; and how its weights start."""


OTHERS = {"contrastive_hebbian", "stdp", "surrogate", "three_factor", "triplet_stdp", "voltage"}


def test_every_two_factor_rule_is_compared() -> None:
    assert set(RULES) - set(CASES) == OTHERS  # these have files of their own


@pytest.mark.parametrize("traces", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_rule_follows_its_equation(name: str, traces: bool, errors_of_rule: Compare) -> None:
    build, equation, settings = CASES[name]
    errors = errors_of_rule(build(traces), equation, **settings)
    assert max(errors.values()) <= BAR, errors


@pytest.mark.parametrize("name", ["anti_hebb", "covariance", "differential_hebb", "presynaptic_gated_hebb", "scaling"])
def test_a_rule_follows_its_equation_where_activity_has_both_signs(name: str, errors_of_rule: Compare) -> None:
    build, equation, settings = CASES[name]
    errors = errors_of_rule(build(True), equation, activation="tanh", **settings)
    assert max(errors.values()) <= BAR, errors


def softplus(u: Array) -> Array:
    return np.asarray(np.logaddexp(0.0, u))


def stopped_at_bounds(W: Array, x: Array, rate: float, duration: float) -> tuple[Array, Array]:
    """Weights and activities under Hebb, each weight held from the moment at which it meets -0.5 or 1.

    What holds a weight is that its derivative leads out of the bounds; here it never turns back.
    """
    n_post, n_pre, samples = *W.shape, len(x)
    held = np.zeros_like(W, dtype=bool)

    def slope(_: float, flat: Array) -> Array:
        w, r = flat[: W.size].reshape(W.shape), flat[W.size :].reshape(samples, n_post)
        D = rate * r.T @ x / samples
        assert np.all(D[held] * (w[held] - 0.25) > 0)
        return np.concatenate([np.where(held, 0.0, D).ravel(), (softplus(x @ w.T) - r).ravel()])

    def meets(k: int) -> Callable[[float, Array], float]:
        def distance(_: float, flat: Array) -> float:
            return 1.0 if held.ravel()[k] else float((1.0 - flat[k]) * (flat[k] + 0.5))

        distance.terminal = True  # type: ignore[attr-defined]
        return distance

    t, flat = 0.0, np.concatenate([W.ravel(), np.zeros(samples * n_post)])
    while t < duration:
        events = [meets(k) for k in range(W.size)]
        run = solve_ivp(slope, (t, duration), flat, "DOP853", rtol=1e-11, atol=1e-13, events=events)
        assert run.success
        t, flat = run.t[-1], run.y[:, -1]
        for k, times in enumerate(run.t_events):
            if len(times):
                held.ravel()[k] = True
                flat[k] = np.round(2 * flat[k]) / 2
    assert held.any()
    assert not held.all()
    assert set(flat[: W.size][held.ravel()]) == {-0.5, 1.0}
    return flat[: W.size].reshape(n_post, n_pre), flat[W.size :].reshape(samples, n_post)


def test_hard_bounds_stop_each_weight_where_it_meets_them() -> None:
    random = np.random.default_rng(2)
    x, W = random.standard_normal((3, 4)) + np.array([2.0, -2.0, 0.4, -0.4]), random.uniform(-0.3, 0.6, (2, 4))
    expected, activity = stopped_at_bounds(W, x, 0.2, 4.0)
    rule = ct.rules.Bounded(ct.rules.Hebb(rate=0.1), w_min=-0.5, w_max=1.0, kind="hard", rate=2.0)
    network = ct.Network([4, 2], neuron=ct.Rate(activation="softplus"), rule=rule, bias=False)
    state = network.initial_state(0, 3, torch.float64).replace({"W.1": torch.from_numpy(W)})
    stimulus = ct.Presentations(x, None, 3, 4.0, shuffle=False)
    sol = ct.simulate(network, stimulus, ct.solvers.Dopri5(rtol=1e-9, atol=1e-11), state=state)
    assert np.linalg.norm(sol.final["W.1"].numpy() - expected) <= BAR * np.linalg.norm(expected - W)
    assert np.linalg.norm(sol.final["r.1"].numpy() - activity) <= BAR * np.linalg.norm(activity)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_at_a_bound_only_changes_that_lead_away_from_it_are_left(kind: Any) -> None:
    """At a bound potentiation stops and depression does not, at the other bound the other way round."""
    change = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    at = torch.tensor([[0.0, 1.0, 0.25], [0.0, 1.0, 0.25]])
    rule = ct.rules.Bounded(ct.rules.Custom(lambda local: ct.rules.DenseUpdate(change), rate=1.0), kind=kind)
    local = ct.rules.Local(torch.ones(1, 2), torch.ones(1, 3), torch.ones(1, 1), weight=at)
    found = rule.update(local).change
    free = {"soft": torch.tensor([[1.0, 0.0, 0.75], [0.0, -1.0, -0.25]]), "hard": change * (at != (change > 0))}[kind]
    torch.testing.assert_close(found, free)
