"""Fixed steps: which are stable, and what is said of those that are not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import ctsigprop as ct
from ctsigprop.solvers.base import Counts
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.table import SOLVERS

pytestmark = pytest.mark.filterwarnings("ignore:Functional iteration did not converge")  # torchdiffeq's own warning
TAU = 0.7
FIXED = sorted(name for name, kind in SOLVERS.items() if "dt" in getattr(kind, "__dataclass_fields__", {}))


class Deaf:
    def sample(self, t: float, state: Mapping[str, Tensor]) -> None: ...

    def progress(self, t: float) -> None: ...


def decay(t: float, activities: Mapping[str, Tensor], weights: Mapping[str, Any]) -> tuple[dict[str, Tensor], Any]:
    return {"v": -activities["v"] / TAU}, {}


def solver_of(name: str, dt: float) -> Any:
    kind: Any = SOLVERS[name]
    return kind(dt=dt, flow="rk4") if name == "hybrid" else kind(dt=dt)


@pytest.mark.parametrize("name", FIXED)
def test_the_limit_of_stability_is_where_a_decay_begins_to_grow(name: str) -> None:
    limit = solver_of(name, 1.0).stable_step(TAU)
    start = ct.solvers.HybridState({"v": torch.ones(1, dtype=torch.float64)}, {})

    def size(share: float, steps: int) -> float:
        solver = solver_of(name, share * limit)
        end = solver.advance(decay, start, Stretch((0.0, steps * solver.dt), 0.0), Deaf(), Counts())
        return abs(float(end.activities["v"]))

    assert size(0.99, 250) < size(0.99, 125)
    assert size(1.01, 250) > size(1.01, 125)


def linear(tau: float = 1.0) -> tuple[ct.Network, ct.State]:
    network = ct.Network([1, 1], neuron=ct.Rate(tau=tau, activation="linear"), bias=False)
    state = network.initial_state(0, 1, torch.float64)
    return network, state.replace({"W.1": torch.ones(1, 1, dtype=torch.float64)})


def shown(duration: float) -> ct.Presentations:
    return ct.Presentations(torch.ones(1, 1, dtype=torch.float64), None, 1, duration=duration)


def test_euler_with_a_step_of_three_tau_is_told_to_be_unstable() -> None:
    network, state = linear()
    with pytest.warns(UserWarning, match=r"Euler\(dt=3\) is unstable for tau=1 of layer 1.*largest stable step is 2"):
        sol = ct.simulate(network, shown(60.0), ct.solvers.Euler(dt=3.0), state=state)
    assert sol.final["r.1"].item() == pytest.approx(1 - (1 - 3.0) ** 20)  # as Euler has it: the truth is 1


@pytest.mark.parametrize("name", [name for name in FIXED if name != "hybrid"])
@pytest.mark.parametrize("tau", [1e-3, 1.0, 20.0])
def test_every_fixed_step_beyond_its_limit_warns_and_one_within_it_does_not(name: str, tau: float) -> None:
    network, state = linear(tau)
    limit = solver_of(name, 1.0).stable_step(tau)
    ct.simulate(network, shown(10 * limit), solver_of(name, 0.99 * limit), state=state)
    with pytest.warns(UserWarning, match=f"unstable for tau={tau:g}"):
        ct.simulate(network, shown(10 * limit), solver_of(name, 1.01 * limit), state=state)


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        (ct.rules.BCM(tau_theta=0.1), "tau_theta=0.1"),
        (ct.rules.Hebb() + ct.rules.Scaling(tau_mean=0.2), "tau_mean=0.2"),
        (ct.rules.ThreeFactor(ct.rules.Hebb(), 1.0, tau_e=0.15), "tau_e=0.15"),
        (0.5 * ct.rules.Covariance(tau_mean=0.1), "tau_mean=0.1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("solver", [ct.solvers.Euler(dt=0.5), ct.solvers.Hybrid(dt=0.5)], ids=["euler", "hybrid"])
def test_time_constants_of_rules_count(rule: ct.rules.Rule, what: str, solver: ct.solvers.Solver) -> None:
    network = ct.Network([1, 1], neuron=ct.Rate(activation="linear"), rule=rule)
    with pytest.warns(UserWarning, match=f"{what} of the rule of layer 1"):
        ct.simulate(network, shown(1.0), solver)


def test_the_exact_flow_is_stable_with_any_step() -> None:
    network, state = linear()
    sol = ct.simulate(network, shown(60.0), ct.solvers.Hybrid(dt=3.0), state=state)
    assert sol.final["r.1"].item() == pytest.approx(1 - math.exp(-60))


def test_spike_traces_take_exact_steps_and_do_not_count() -> None:
    network = ct.Network([1, 1], neuron=ct.LIF(), rule=ct.rules.STDP(tau_plus=0.02, tau_minus=0.02))
    x = torch.ones(1, 1)
    ct.simulate(network, ct.Presentations(x, None, 1, 1.0, encoder=ct.Poisson(1.0)), ct.solvers.Hybrid(dt=0.1))


@pytest.mark.parametrize("gate", [None, (0.25, 1.0)])
def test_a_step_longer_than_anything_shown_is_told(gate: tuple[float, float] | None) -> None:
    network, _ = linear()
    x = torch.ones(4, 1, dtype=torch.float64)
    stimulus = ct.Presentations(x, None, 1, duration=1.0, gate=gate)
    longest = 1.0 if gate is None else 0.75
    with pytest.warns(UserWarning, match=f"longer than anything that the stimulus shows without a switch, {longest:g}"):
        ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.5))
    ct.simulate(network, stimulus, ct.solvers.Euler(dt=longest))


def test_switches_of_a_function_of_time_bound_its_stretches() -> None:
    network, _ = linear()
    stimulus = ct.Stimulus.from_function(lambda t: torch.ones(1, 1), duration=3.0, switches=(0.5, 1.8))
    with pytest.warns(UserWarning, match="without a switch, 1.3"):
        ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.4))
    ct.simulate(network, stimulus, ct.solvers.Euler(dt=1.3))


@pytest.mark.parametrize("name", FIXED)
def test_a_step_too_short_to_move_time_is_refused(name: str) -> None:
    network, _ = linear()
    with pytest.raises(ValueError, match=r"\(dt=\) must be at least .* got 1e-30"):
        ct.simulate(network, shown(1.0), SOLVERS[name](dt=1e-30, max_steps=10))  # type: ignore[call-arg]


def test_auto_asks_of_a_kinked_activation_what_it_can_meet() -> None:
    x = torch.rand(64, 12, generator=torch.Generator().manual_seed(0))
    y = torch.arange(64) % 4
    evaluations, ends = {}, {}
    for name, solver in (("auto", "auto"), ("tight", ct.solvers.FactoredDopri5(rtol=1e-6, atol=1e-7))):
        network = ct.Network(
            [12, 16], n_classes=4, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=4.0)
        )
        sol = ct.simulate(network, ct.Presentations(x, y, 32, shuffle=False), solver)
        evaluations[name], ends[name] = sol.stats["rhs_evaluations"], sol.final["W.1"]
    start = network.initial_state(0)["W.1"]
    assert evaluations["auto"] < 0.2 * evaluations["tight"]
    assert (ends["auto"] - ends["tight"]).norm() < 0.03 * (ends["tight"] - start).norm()
