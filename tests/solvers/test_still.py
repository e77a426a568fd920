"""What stays is used once, and to the same result."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

import ctsigprop as ct
from ctsigprop.dynamics.vector_field import Field
from ctsigprop.solvers.base import Counts, Solver
from ctsigprop.solvers.factored.invariants import CachedWeight, same
from ctsigprop.solvers.factored.stage_weight import StagedWeight
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.stretch import Stretch

SOLVERS: dict[str, Callable[[], Solver]] = {
    "heun": lambda: ct.solvers.FactoredHeun(dt=0.2),
    "rk4": lambda: ct.solvers.FactoredRK4(dt=0.2),
    "bosh3": lambda: ct.solvers.FactoredBosh3(rtol=1e-4, atol=1e-5),
    "dopri5": lambda: ct.solvers.FactoredDopri5(rtol=1e-6, atol=1e-7),
    "tsit5": lambda: ct.solvers.FactoredTsit5(rtol=1e-6, atol=1e-7),
}


class Silent:
    """A monitor that keeps nothing but the samples' states."""

    def __init__(self) -> None:
        self.states: list[Mapping[str, Tensor]] = []

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        self.states.append(state)

    def progress(self, t: float) -> None:
        pass


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(decay: float) -> tuple[ct.Network, ct.Presentations, HybridState]:
    rule = ct.rules.ContrastiveHebbian(rate=2.0, decay=decay)
    net = ct.Network([6, 8, 7], 3, neuron=ct.Rate(activation="softplus"), signal=ct.TargetStream(), rule=rule)
    x = random(5, 6, seed=1).abs()
    state = net.initial_state(0, 5)
    activities = {n: v.double() for n, v in state.items() if n not in net.weight_shapes}
    activities["x.1"] = random(5, 6, seed=2).abs()  # a trace that has come from another input
    weights = {n: state[n].double() for n in net.weight_shapes}
    return net, ct.Presentations(x, torch.arange(5) % 3, 5, duration=1.0), HybridState(activities, weights)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_trace_that_goes_to_what_stays_needs_two_factors_and_gives_the_same_states(
    solver: str, decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, stimulus, state = problem(decay)
    (frame,) = stimulus.frames(0.0, 1.0)
    used = []
    plain = StagedWeight.push

    def push(self: StagedWeight, update: object, goal: object = None) -> None:
        plain(self, update, goal)  # type: ignore[arg-type]
        used.append(self.goal is not None)

    monkeypatch.setattr(StagedWeight, "push", push)
    ends = []
    for said in (True, False):
        used.clear()
        field = Field(net, frame)
        told = field if said else lambda t, a, w, field=field: field(t, a, w)  # what it says of itself is hidden
        monitor, counts = Silent(), Counts()
        with torch.inference_mode():
            end = SOLVERS[solver]().advance(told, state, Stretch((0.0, 1.0), 0.0, [0.33, 1.0]), monitor, counts)
        assert any(used) is said
        ends.append(([*monitor.states, dict(end.items())], counts.rhs_evaluations))
    assert ends[0][1] == ends[1][1]
    for mine, theirs in zip(ends[0][0], ends[1][0], strict=True):
        for (name, a), (_, b) in zip(mine.items(), theirs.items(), strict=True):
            assert float((a - b).norm()) <= 1e-12 * float(b.norm()), name


def test_a_product_with_an_input_that_stays_is_formed_once_and_handed_out_as_a_copy() -> None:
    x, other, matrix = random(2, 4), random(2, 4, seed=1), random(3, 4, seed=2)
    weight = CachedWeight(matrix, (x,))
    first = weight.drive(x)
    torch.testing.assert_close(first, x @ matrix.mT)
    first.zero_()
    matrix_before = weight.matrix
    weight.matrix = torch.zeros_like(matrix)
    assert torch.equal(weight.drive(x), x @ matrix.mT)  # not formed again, and not written over by the caller
    weight.matrix = matrix_before
    other_before = weight.drive(other)
    other.mul_(2.0)
    assert torch.equal(weight.drive(other), 2 * other_before)  # what moves is


def test_the_same_memory_is_recognised_through_a_view() -> None:
    x = random(4, 6)
    assert same(x, x[..., :4, :])
    assert not same(x, x[:3])
    assert not same(x, x.clone())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("nothing", True),
        ("poisson", False),
        ("no traces", False),
    ],
)
def test_a_field_says_so_only_of_what_stays(spoil: str, said: bool) -> None:
    rule = ct.rules.ContrastiveHebbian(traces=spoil != "no traces")
    net = ct.Network(
        [6, 8], 3, neuron=ct.LIF() if spoil == "poisson" else ct.Rate(), signal=ct.TargetStream(), rule=rule
    )
    encoder = ct.Poisson(rate=0.1, dt=0.1) if spoil == "poisson" else None
    stimulus = ct.Presentations(torch.rand(5, 6), torch.arange(5) % 3, 5, duration=1.0, encoder=encoder)
    invariants = Field(net, next(iter(stimulus.frames(0.0, 1.0)))).invariants
    assert bool(invariants is not None and invariants.traces) is said
