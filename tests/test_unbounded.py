"""A rule without bounds grows until a number overflows: the run ends, says where, and keeps what was good."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import ctsigprop as ct

pytestmark = pytest.mark.slow  # thousands of evaluations: at full speed, without shape checks
SOLVERS = {
    "euler": ct.solvers.Euler(dt=0.1),
    "rk4": ct.solvers.RK4(dt=0.1),
    "dopri5": ct.solvers.Dopri5(),
    "factored_euler": ct.solvers.FactoredEuler(dt=0.1),
    "factored_dopri5": ct.solvers.FactoredDopri5(max_steps=600),  # it takes some 200
}


def grow(solver: ct.solvers.Solver, rule: ct.rules.Rule) -> ct.Solution:
    """Two layers of two linear units under an input that never ends; float32 overflows at 3e38."""
    network = ct.Network([2, 2, 2], neuron=ct.Rate(activation="linear"), rule=rule, bias=False)
    start = network.initial_state(0, 1)
    start = start.replace({name: value.abs() for name, value in start.items()})
    stimulus = ct.Presentations(np.ones((1, 2), dtype=np.float32), None, 1, duration=50.0, epochs=4)
    probes = [ct.Probe("weights", every=0.5), ct.Probe("rates", every=0.5)]
    return ct.simulate(network, stimulus, solver, state=start, probes=probes)


@pytest.mark.parametrize("name", SOLVERS)
def test_plain_hebb_ends_as_diverged_and_says_where_and_when(name: str) -> None:
    sol = grow(SOLVERS[name], ct.rules.Hebb(rate=1.0))
    assert sol.status is ct.Status.DIVERGED
    assert not sol.status.ok
    found = re.search(r"\b[Wr]\.[12]\b.* t=([\d.e+]+\d)|t=([\d.e+]+\d)\b.* [Wr]\.[12]\b", sol.message)
    assert found, sol.message
    assert float(found[1] or found[2]) == pytest.approx(sol.final.t, rel=1e-4)
    assert 0.0 < sol.final.t < 200.0


@pytest.mark.parametrize("name", SOLVERS)
def test_what_was_recorded_until_then_is_finite(name: str) -> None:
    sol = grow(SOLVERS[name], ct.rules.Hebb(rate=1.0))
    clock = sol.dataset["time"].values
    assert 2 <= len(clock) <= sol.final.t / 0.5 + 1
    np.testing.assert_allclose(clock, 0.5 * np.arange(len(clock)))
    assert clock[-1] > sol.final.t - 1.0  # all that there was to record
    for record in ("weights", "rates"):
        assert np.isfinite(sol.dataset[record].values).all()
    assert all(bool(torch.isfinite(value).all()) for value in sol.final.values())
    assert float(sol.dataset["weights"].isel(time=-1).max()) > 10 * float(sol.dataset["weights"].isel(time=0).max())


@pytest.mark.parametrize(
    "rule",
    [
        ct.rules.Covariance(rate=1.0, tau_mean=1000.0),
        ct.rules.PresynapticGatedHebb(rate=1.0, theta=0.0),
        ct.rules.PostsynapticGatedHebb(rate=1.0),
        ct.rules.Hebb(rate=1.0, decay=0.5),
        -1.0 * ct.rules.WeightDecay(rate=1.0),
        ct.rules.ThreeFactor(ct.rules.Hebb(rate=1.0), modulator=2.0),
    ],
    ids=repr,
)
def test_what_is_said_to_be_unbounded_leaves_all_bounds(rule: ct.rules.Rule) -> None:
    assert grow(ct.solvers.Dopri5(max_steps=3000), rule).status is ct.Status.DIVERGED


@pytest.mark.parametrize("guard", [ct.rules.Oja(rate=1.0), ct.rules.Bounded(ct.rules.Hebb(rate=1.0))], ids=repr)
def test_a_bounded_rule_in_the_same_place_completes(guard: ct.rules.Rule) -> None:
    sol = grow(ct.solvers.Dopri5(), guard)
    assert sol.status is ct.Status.COMPLETED
    assert float(sol.dataset["weights"].max()) < 10.0


def test_a_step_too_long_for_a_stiff_decay_is_told_as_well() -> None:
    """Euler beyond its limit of stability, dt x rate > 2, oscillates without bound: the method's fault, told alike."""
    sol = grow(ct.solvers.Euler(dt=0.5), ct.rules.WeightDecay(rate=10.0))
    assert sol.status is ct.Status.DIVERGED
    assert re.search(r"[Wr]\.[12] became non-finite after t=", sol.message)
