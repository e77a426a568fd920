"""Factored solvers against the dense ones, SciPy, and the algebra written out with dense matrices."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers import HybridState, SolverStopped, Status, Weight, tableaus
from ctsigprop.solvers.base import Counts, Solver
from ctsigprop.solvers.factored.invariants import CachedWeight
from ctsigprop.solvers.factored.methods import FactoredAdaptive, FactoredFixed
from ctsigprop.solvers.factored.norm import by_blocks, by_gram, frobenius
from ctsigprop.solvers.factored.stage_weight import StagedWeight
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.tableaus import Tableau

FLOAT64 = torch.float64
FIXED = {ct.solvers.FactoredEuler: ct.solvers.Euler, ct.solvers.FactoredHeun: ct.solvers.Heun2}
FIXED |= {ct.solvers.FactoredRK4: ct.solvers.RK4}
ADAPTIVE = [ct.solvers.FactoredBosh3, ct.solvers.FactoredDopri5, ct.solvers.FactoredTsit5]
TABLEAUS = {"heun": tableaus.HEUN, "rk4": tableaus.RK4}
TABLEAUS |= {"bosh3": tableaus.BOSH3, "dopri5": tableaus.DOPRI5, "tsit5": tableaus.TSIT5}
RULES = {
    "contrastive": ct.rules.ContrastiveHebbian(rate=2.0),
    "contrastive_decay": ct.rules.ContrastiveHebbian(rate=2.0, decay=0.2),
    "oja": ct.rules.Oja(rate=0.3),
    "hebb": ct.rules.Hebb(rate=0.3),
}
Run = tuple[HybridState, Counts, "Tape"]
Tensors = HybridState | Mapping[str, Tensor]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)


@dataclass
class Tape:
    """A monitor that keeps copies of what it is given."""

    samples: list[tuple[float, dict[str, Tensor]]] = field(default_factory=list)
    done: float = 0.0

    def sample(self, t: float, state: Mapping[str, Tensor]) -> None:
        self.samples.append((t, {name: value.clone() for name, value in state.items()}))

    def progress(self, t: float) -> None:
        self.done = t


@dataclass
class Toy:
    """Two populations that learn while a signal drives them, one with a decay per unit, one with a number for decay.

    `V` has no update before the time `gate`. Remembers the times at which it was asked.
    """

    gate: float = -1.0
    asked: list[float] = field(default_factory=list)

    def __call__(
        self, t: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]
    ) -> tuple[dict[str, Tensor], dict[str, Update | DenseUpdate]]:
        self.asked.append(t)
        r, q = activities["r"], activities["q"]
        drive = torch.tanh(weights["W"].drive(activities["x"] * math.cos(t)))
        rates = {"r": drive - r, "q": weights["V"].drive(r) - q + 0.1 * weights["V"].feedback(q)[..., :3]}
        updates: dict[str, Update | DenseUpdate] = {"W": Update(0.2 * r, activities["x"], (r * r).mean(-2))}
        if t > self.gate:
            updates["V"] = Update(0.1 * (q - 1), r, 0.4)
        return rates, updates


def toy_state(*batch: int, seed: int = 0) -> HybridState:
    shapes = {"x": (5, 6), "r": (5, 4), "q": (5, 3)}
    activities = {name: random(*batch, *shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}
    weights = {"W": random(*batch, 4, 6, seed=seed + 5), "V": 0.5 * random(*batch, 3, 4, seed=seed + 6)}
    return HybridState(activities, weights)


def advance(
    solver: Solver, field: object, state: HybridState, span: tuple[float, float], times: Sequence[float] = ()
) -> Run:
    counts, tape = Counts(), Tape()
    with torch.inference_mode():
        end = solver.advance(field, state, Stretch(span, span[0], times), tape, counts)  # type: ignore[arg-type]
    return end, counts, tape


def made(method: Any, dt: float = 0.3, rtol: float = 1e-5, max_steps: int | None = None) -> Solver:
    """A solver of this class, with a step or with tolerances."""
    settings = {"dt": dt} if "dt" in method.__dataclass_fields__ else {"rtol": rtol, "atol": rtol / 10}
    solver: Solver = method(**settings, max_steps=max_steps)
    return solver


def distance(a: Tensors, b: Tensors) -> float:
    """Largest relative distance of two states, tensor by tensor."""
    return max(float((x - y).norm() / y.norm()) for (_, x), (_, y) in zip(a.items(), b.items(), strict=True))


def same_bits(a: Tensors, b: Tensors) -> bool:
    return all(torch.equal(x, y) for (_, x), (_, y) in zip(a.items(), b.items(), strict=True))


@cache
def exact(
    span: tuple[float, float], times: tuple[float, ...]
) -> tuple[HybridState, list[tuple[float, dict[str, Tensor]]]]:
    """The toy system by SciPy's DOP853."""
    solver = ct.solvers.SciPy(solver="DOP853", rtol=1e-12, atol=1e-14)
    end, _, tape = advance(solver, Toy(), toy_state(), span, times)
    return end, tape.samples


def network(rule: str, activation: str = "softplus") -> tuple[ct.Network, ct.Presentations]:
    supervised = rule.startswith("contrastive")
    x, y = random(7, 5, seed=3).abs(), torch.arange(7) % 3
    net = ct.Network(
        [5, 7, 6],
        n_classes=3 if supervised else None,
        neuron=ct.Rate(activation=activation),
        signal=ct.TargetStream() if supervised else None,
        rule=RULES[rule],
    )
    return net, ct.Presentations(x, y if supervised else None, 4, duration=1.0, seed=1)


@cache
def by_dop853(rule: str) -> ct.State:
    return ct.simulate(*network(rule), ct.solvers.SciPy(solver="DOP853", rtol=1e-9, atol=1e-10)).final


# The same method as the dense one


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", FIXED, ids=lambda method: method.__name__)
def test_fixed_step_runs_equal_those_of_the_dense_method(method: type[FactoredFixed], rule: str) -> None:
    net, stimulus = network(rule)
    probes = [ct.Probe("weights", every=0.17)]
    ours = ct.simulate(net, stimulus, method(dt=0.3), probes=probes)
    theirs = ct.simulate(net, stimulus, FIXED[method](dt=0.3), probes=probes)
    assert ours.stats["steps"] == theirs.stats["steps"] == 8
    for name in theirs.final:
        assert float((ours.final[name] - theirs.final[name]).norm()) <= 1e-12 * float(theirs.final[name].norm()), name
    error = abs(ours.dataset.weights - theirs.dataset.weights).max() / abs(theirs.dataset.weights).max()
    assert float(error) < 1e-12


@pytest.mark.parametrize("method", FIXED, ids=lambda method: method.__name__)
def test_a_fixed_step_costs_as_many_evaluations_as_it_has_stages(method: type[FactoredFixed]) -> None:
    _, counts, _ = advance(method(dt=0.25), Toy(), toy_state(), (0.0, 1.1))
    assert counts == Counts(steps=5, rhs_evaluations=5 * {1: 1, 2: 2, 4: 4}[method.order])


@pytest.mark.parametrize("method", FIXED, ids=lambda method: method.__name__)
def test_plasticity_may_begin_between_the_stages_of_a_step(method: type[FactoredFixed]) -> None:
    ours, theirs = (advance(m(dt=0.4), Toy(gate=0.5), toy_state(), (0.0, 1.6))[0] for m in (method, FIXED[method]))
    assert distance(ours, theirs) < 1e-12


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
def test_adaptive_methods_find_the_moment_at_which_plasticity_begins(method: type[FactoredAdaptive]) -> None:
    dop853 = ct.solvers.SciPy(solver="DOP853", rtol=1e-10, atol=1e-12)
    start, _, _ = advance(dop853, Toy(gate=0.5), toy_state(), (0.0, 0.5))
    truth, _, _ = advance(dop853, Toy(), start, (0.5, 1.6))
    end, _, _ = advance(method(rtol=1e-5, atol=1e-6), Toy(gate=0.5), toy_state(), (0.0, 1.6))
    assert distance(end, truth) < 1e-3


@pytest.mark.parametrize("method", FIXED, ids=lambda method: method.__name__)
def test_a_batch_of_systems_equals_each_of_them(method: type[FactoredFixed]) -> None:
    singles = [toy_state(seed=seed) for seed in (0, 10)]
    stacked = HybridState(
        {name: torch.stack([s.activities[name] for s in singles]) for name in singles[0].activities},
        {name: torch.stack([s.weights[name] for s in singles]) for name in singles[0].weights},
    )
    together, _, _ = advance(method(dt=0.3), Toy(), stacked, (0.0, 1.0))
    for k, single in enumerate(singles):
        alone, _, _ = advance(method(dt=0.3), Toy(), single, (0.0, 1.0))
        part = HybridState(*({n: v[k] for n, v in p.items()} for p in (together.activities, together.weights)))
        assert distance(part, alone) < 1e-13


@given(
    name=st.sampled_from(list(TABLEAUS)),
    kinds=st.lists(st.sampled_from(["number", "vector", "none"]), min_size=7, max_size=7),
    seed=st.integers(0, 1000),
)
def test_stage_weights_equal_the_dense_recursion(name: str, kinds: list[str], seed: int) -> None:
    table, dt = TABLEAUS[name], 0.7
    base = random(3, 4, seed=seed)
    weight = StagedWeight(table.slots)
    weight.begin(CachedWeight(base))
    slopes: list[Tensor] = []
    now = base
    for i in range(table.stages):
        if i:
            staged = weight.stage(table.a[i], dt)
            now = base + dt * sum((a * k for a, k in zip(table.a[i], slopes, strict=True)), torch.zeros(3, 4))
            for mine, theirs in (
                (staged.dense(), now),
                (staged.drive(random(2, 4)), random(2, 4) @ now.mT),
                (staged.feedback(random(2, 3)), random(2, 3) @ now),
            ):
                torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
        decays: dict[str, float | Tensor] = {"number": 0.3 + i, "vector": random(3, seed=seed + i), "none": 0.0}
        decay = decays[kinds[i]]
        update = Update(random(2, 3, seed=seed + 9 * i), random(2, 4, seed=seed + 7 * i), decay)
        weight.push(None if kinds[i] == "none" and i % 2 else update)
        slopes.append(torch.zeros(3, 4, dtype=FLOAT64) if kinds[i] == "none" and i % 2 else update.derivative(now))


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_a_rule_that_is_nothing_but_decay_needs_no_factors(method: type[Solver]) -> None:
    def decaying(t: float, activities: object, weights: object) -> tuple[dict[str, Tensor], dict[str, Update]]:
        return {}, {"W": Update(random(0, 4), random(0, 6), torch.arange(4, dtype=FLOAT64) / 4)}

    solver = made(method, dt=0.01, rtol=1e-6)
    start = toy_state()
    end, _, _ = advance(solver, decaying, start, (0.0, 1.0))
    expected = start.weights["W"] * torch.exp(-torch.arange(4, dtype=FLOAT64) / 4).unsqueeze(-1)
    torch.testing.assert_close(
        end.weights["W"], expected, rtol=1e-2 if method is ct.solvers.FactoredEuler else 1e-5, atol=0.0
    )


# The coefficients


Tree = tuple["Tree", ...]


def trees(nodes: int) -> list[Tree]:
    """All rooted trees with so many nodes, each the sorted tuple of its branches."""
    if nodes == 1:
        return [()]
    found = {tuple(sorted((*tree, ()))) for tree in trees(nodes - 1)}
    for tree in trees(nodes - 1):
        for i, branch in enumerate(tree):
            for taller in trees(size(branch) + 1):
                found.add(tuple(sorted((*tree[:i], taller, *tree[i + 1 :]))))
    return sorted(found)


def size(tree: Tree) -> int:
    return 1 + sum(size(branch) for branch in tree)


def density(tree: Tree) -> int:
    return size(tree) * math.prod(density(branch) for branch in tree)


def stage_values(table: Tableau, tree: Tree) -> list[float]:
    """Elementary weight of a tree at each stage (Hairer et al., section II.2)."""
    branches = [stage_values(table, branch) for branch in tree]
    return [math.prod(sum(a * v[j] for j, a in enumerate(row)) for v in branches) for row in table.a]


def order_defect(table: Tableau, b: Sequence[float], order: int, theta: float = 1.0) -> float:
    """Largest violation of the conditions for y(t + theta dt) being right to this order."""
    found = [tree for nodes in range(1, order + 1) for tree in trees(nodes)]
    values = [sum(x * v for x, v in zip(b, stage_values(table, tree), strict=True)) for tree in found]
    return max(abs(v - theta ** size(tree) / density(tree)) for v, tree in zip(values, found, strict=True))


def test_there_are_as_many_rooted_trees_as_there_should_be() -> None:
    assert [len(trees(nodes)) for nodes in range(1, 6)] == [1, 1, 2, 4, 9]


@pytest.mark.parametrize("name", TABLEAUS)
def test_coefficients_meet_the_order_conditions_of_their_order_and_no_more(name: str) -> None:
    table = TABLEAUS[name]
    b = (*table.b, 0.0)
    assert [sum(row) for row in table.a] == pytest.approx(table.c, abs=1e-13)
    assert order_defect(table, b, table.order) < 1e-13
    if table.error is not None:
        b_hat = [x - e for x, e in zip(b, table.error, strict=True)]
        assert order_defect(table, b_hat, table.order - 1) < 1e-13
        assert order_defect(table, b_hat, table.order) > 1e-5


@pytest.mark.parametrize("name", TABLEAUS)
@pytest.mark.parametrize("theta", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_interpolant_meets_the_order_conditions(name: str, theta: float) -> None:
    table = TABLEAUS[name]
    assert order_defect(table, table.between(theta), min(table.order, 3 if table.quartic is None else 4), theta) < 1e-13


# Accuracy and cost


TOLERANCES = [1e-4, 1e-5, 1e-6, 1e-8, 1e-9]


@cache
def precision(method: type[Solver], rtol: float) -> tuple[float, Counts]:
    """Error at the end of the toy system, and what it took."""
    end, counts, _ = advance(made(method, rtol=rtol), Toy(), toy_state(), (0.0, 2.0))
    return distance(end, exact((0.0, 2.0), ())[0]), counts


@pytest.mark.parametrize(
    ("method", "dense"),
    [
        (ct.solvers.FactoredBosh3, ct.solvers.Bosh3),
        (ct.solvers.FactoredDopri5, ct.solvers.Dopri5),
        (ct.solvers.FactoredTsit5, ct.solvers.Dopri5),
    ],
    ids=["bosh3", "dopri5", "tsit5"],
)
def test_error_follows_the_tolerance_and_costs_no_more_than_the_dense_method(
    method: type[FactoredAdaptive], dense: type[Solver]
) -> None:
    tolerances = TOLERANCES[:3] if method.order == 3 else TOLERANCES
    ours, theirs = ([precision(m, rtol) for rtol in tolerances] for m in (method, dense))
    for rtol, (error, _), (reference, _) in zip(tolerances, ours, theirs, strict=True):
        assert error < 10 * rtol
        assert error < 2 * reference
    assert math.log(ours[0][0] / ours[-1][0]) == pytest.approx(math.log(tolerances[0] / tolerances[-1]), rel=0.3)
    logs = [[math.log(c.rhs_evaluations) + math.log(e) / method.order for e, c in runs] for runs in (ours, theirs)]
    assert sum(logs[0]) < sum(logs[1])  # the evaluations that the same error would take, over all tolerances


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
def test_networks_agree_with_dop853(method: type[FactoredAdaptive], rule: str) -> None:
    net, stimulus = network(rule)
    rtol = 1e-4 if method.order == 3 else 1e-5
    sol = ct.simulate(net, stimulus, method(rtol=rtol, atol=rtol / 10))
    for name, truth in by_dop853(rule).items():
        assert float((sol.final[name] - truth).norm()) < 10 * rtol * float(truth.norm()), name


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
def test_the_last_stage_of_a_step_is_the_first_of_the_next(method: type[FactoredAdaptive]) -> None:
    _, counts, _ = advance(method(), Toy(), toy_state(), (0.0, 2.0))
    per_step = method.tableau.stages - 1
    assert counts.rhs_evaluations == 2 + per_step * (counts.steps + counts.rejected_steps)


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
def test_samples_are_accurate_and_change_nothing(method: type[FactoredAdaptive]) -> None:
    times = tuple(0.05 * k for k in range(1, 41))
    solver = method(rtol=1e-5, atol=1e-6)
    plain, counts, _ = advance(solver, Toy(), toy_state(), (0.0, 2.0))
    end, sampled, tape = advance(solver, Toy(), toy_state(), (0.0, 2.0), times)
    assert (counts, same_bits(plain, end)) == (sampled, True)
    assert [t for t, _ in tape.samples] == list(times)
    for (_, state), (_, truth) in zip(tape.samples, exact((0.0, 2.0), times)[1], strict=True):
        assert distance(state, truth) < 1e-4
    assert same_bits(tape.samples[-1][1], end)


@pytest.mark.parametrize("method", FIXED, ids=lambda method: method.__name__)
def test_samples_do_not_change_the_steps_of_a_fixed_method(method: type[FactoredFixed]) -> None:
    plain, _, _ = advance(method(dt=0.3), Toy(), toy_state(), (0.0, 2.0))
    end, _, tape = advance(method(dt=0.3), Toy(), toy_state(), (0.0, 2.0), (0.1, 0.2, 0.3, 0.9, 1.95, 2.0))
    assert same_bits(plain, end)
    assert same_bits(tape.samples[-1][1], end)


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_steps_end_on_the_end_of_the_span_and_never_beyond_it(method: type[Solver]) -> None:
    toy, span = Toy(), (0.1, 0.1 + 0.7)
    solver = made(method, dt=0.3)
    _, _, tape = advance(solver, toy, toy_state(), span)
    assert tape.done == span[1] >= max(toy.asked)
    if method in ADAPTIVE:
        assert toy.asked[-1] == span[1]


def test_weights_have_tolerances_of_their_own() -> None:
    loose = ct.solvers.FactoredDopri5(rtol=1e-3, atol=1e-3)
    strict = ct.solvers.FactoredDopri5(rtol=1e-3, atol=1e-3, rtol_weights=1e-9, atol_weights=1e-11)
    truth = exact((0.0, 2.0), ())[0].weights["W"]
    errors = [
        float((advance(s, Toy(), toy_state(), (0.0, 2.0))[0].weights["W"] - truth).norm()) for s in (loose, strict)
    ]
    assert errors[1] < 1e-4 * errors[0]


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_single_precision_agrees_with_double(method: type[Solver]) -> None:
    solver = made(method, dt=0.2, rtol=1e-4)
    start = toy_state()
    single = HybridState(*({n: v.float() for n, v in p.items()} for p in (start.activities, start.weights)))
    a, b = (advance(solver, Toy(), s, (0.0, 2.0))[0] for s in (single, start))
    assert all(value.dtype == torch.float32 for _, value in a.items())
    assert distance(a, b) < 1e-4


# The norm of the weights' error


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 90), st.integers(1, 90)),
    scale=st.sampled_from(["zero", "number", "vector"]),
    seed=st.integers(0, 1000),
)
def test_the_norm_from_factors_equals_the_dense_norm(shape: tuple[int, int, int], scale: str, seed: int) -> None:
    rows, n_post, n_pre = shape
    post, pre, base = random(rows, n_post, seed=seed), random(rows, n_pre, seed=seed + 1), random(n_post, n_pre)
    scales: dict[str, float | Tensor] = {"zero": 0.0, "number": -0.3, "vector": random(n_post, seed=seed + 2)}
    by = scales[scale]
    dense = post.mT @ pre + (by.unsqueeze(-1) if isinstance(by, Tensor) else by) * base
    assert frobenius(post, pre, base, by) == pytest.approx(float(dense.norm()), rel=1e-9)


def test_the_norm_from_gram_matrices_equals_the_dense_norm() -> None:
    post, pre = random(6, 80), random(6, 90, seed=1)
    assert by_gram(post, pre) == pytest.approx(float((post.mT @ pre).norm()), rel=1e-12)
    single = by_gram(post.float(), pre.float())
    assert single == pytest.approx(float((post.mT @ pre).norm()), rel=1e-6)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
def test_the_norm_survives_cancellation_between_stages(gap: float) -> None:
    a, b = random(2, 80), random(2, 90, seed=1)
    post, pre = torch.cat([a, -a]), torch.cat([b, b + gap * random(2, 90, seed=2)])
    assert frobenius(post, pre, torch.zeros(80, 90, dtype=FLOAT64), 0.0) == pytest.approx(
        gap * float((a.mT @ random(2, 90, seed=2)).norm()), rel=1e-5
    )


def test_the_norm_is_taken_over_all_blocks_of_a_large_matrix() -> None:
    post, pre, base = random(3, 1500), random(3, 1000, seed=1), random(1500, 1000, seed=2)
    by = random(1500, seed=3)
    dense = torch.addcmul(post.mT @ pre, by.unsqueeze(-1), base)
    assert by_blocks(post, pre, base, by) == pytest.approx(float(dense.norm()), rel=1e-12)


# What must not happen


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_neither_the_state_given_nor_one_returned_is_written_to(method: type[Solver]) -> None:
    solver = made(method, dt=0.3)
    states, copies = [toy_state()], [toy_state()]
    for span in pairwise((0.0, 1.0, 2.0, 3.0)):
        end, _, _ = advance(solver, Toy(), states[-1], span)
        states.append(end)
        copies.append(HybridState(*({n: v.clone() for n, v in p.items()} for p in (end.activities, end.weights))))
    assert all(same_bits(state, copy) for state, copy in zip(states, copies, strict=True))
    assert not same_bits(states[-2], states[-1])


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_what_the_field_does_not_mention_stays_as_it_is(method: type[Solver]) -> None:
    solver = made(method, dt=0.3)
    start = toy_state()
    end, _, _ = advance(solver, lambda t, activities, weights: ({"r": -activities["r"]}, {}), start, (0.0, 1.0))
    assert all(torch.equal(end.activities[name], start.activities[name]) for name in ("x", "q"))
    assert all(torch.equal(end.weights[name], start.weights[name]) for name in start.weights)
    assert not torch.equal(end.activities["r"], start.activities["r"])


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_an_update_without_factors_is_refused_with_the_solver_that_takes_it(method: type[Solver]) -> None:
    solver = made(method, dt=0.3)

    def field(t: float, activities: object, weights: Mapping[str, Weight]) -> tuple[dict[str, Tensor], object]:
        return {}, {"W": DenseUpdate(-weights["W"].dense())}

    cause = stopped(solver, field, (0.0, 1.0)).__cause__
    assert isinstance(cause, TypeError)
    assert re.search(r"W returns a DenseUpdate.*use solver=ct\.solvers\.\w+\(", str(cause))
    named = str(cause).rpartition("ct.solvers.")[2].partition("(")[0]
    dense = getattr(ct.solvers, named)
    advance(dense(dt=0.3) if method in FIXED else dense(), field, toy_state(), (0.0, 1.0))


def test_updates_that_change_their_rows_are_refused() -> None:
    def field(t: float, activities: object, weights: object) -> tuple[dict[str, Tensor], dict[str, Update]]:
        rows = 2 if t == 0.0 else 3
        return {}, {"W": Update(random(rows, 4), random(rows, 6))}

    end = stopped(ct.solvers.FactoredHeun(dt=0.5), field, (0.0, 1.0))
    assert end.status is Status.FAILED
    assert isinstance(end.__cause__, ValueError)
    assert "same rows all along: 2, then 3" in str(end.__cause__)


# How a run ends early


def stopped(solver: Solver, field: Callable[..., object], span: tuple[float, float] = (0.0, 2.0)) -> SolverStopped:
    with pytest.raises(SolverStopped) as end:
        advance(solver, field, toy_state(), span)
    assert all(bool(torch.isfinite(value).all()) for _, value in end.value.state.items())
    return end.value


def explosive(t: float, activities: Mapping[str, Tensor], weights: object) -> tuple[dict[str, Tensor], object]:
    """R and W grow without bound in finite time."""
    return {"r": activities["r"].abs() ** 3}, {"W": Update(activities["r"] ** 2, activities["x"])}


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_a_run_that_diverges_says_what_did_and_keeps_the_last_good_state(method: type[Solver]) -> None:
    solver = made(method, dt=0.3)
    end = stopped(solver, explosive, (0.0, 40.0))
    assert end.status is Status.DIVERGED
    assert "r became non-finite" in end.detail or "W became non-finite" in end.detail or "|d/dt|" in end.detail
    assert 0.0 < end.t < 40.0


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
def test_a_derivative_that_is_not_finite_at_the_start_is_named(method: type[FactoredAdaptive]) -> None:
    end = stopped(method(), lambda t, activities, weights: ({"q": activities["q"] / 0.0}, {}))
    assert (end.status, end.t) == (Status.DIVERGED, 0.0)
    assert "d(q)/dt is non-finite at t=0" in end.detail


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
def test_tolerances_that_no_step_can_meet_end_the_run(method: type[FactoredAdaptive]) -> None:
    sign = [1.0]

    def erratic(t: float, activities: Mapping[str, Tensor], weights: object) -> tuple[dict[str, Tensor], object]:
        sign[0] = -sign[0]
        return {"r": torch.full_like(activities["r"], 1e9 * sign[0])}, {}

    end = stopped(method(rtol=1e-12, atol=1e-12), erratic, (1.0, 2.0))
    assert end.status is Status.STEP_UNDERFLOW
    assert "is r, |d/dt| = 1e+09" in end.detail


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_the_limit_of_steps_holds_for_a_whole_run(method: type[Solver]) -> None:
    solver = made(method, dt=0.1, rtol=1e-7, max_steps=3)
    counts = Counts(steps=1)
    with pytest.raises(SolverStopped) as end:
        solver.advance(Toy(), toy_state(), Stretch((0.0, 2.0), 0.0), Tape(), counts)
    assert (end.value.status, counts.steps) == (Status.MAX_STEPS, 3)
    assert "max_steps=3 was reached" in end.value.detail
    if method in FIXED:
        assert end.value.t == pytest.approx(0.2)


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE], ids=lambda method: method.__name__)
def test_an_interrupted_run_keeps_the_last_good_state(method: type[Solver]) -> None:
    solver = made(method, dt=0.1)
    toy = Toy()

    def impatient(t: float, *rest: Mapping[str, Tensor]) -> object:
        if len(toy.asked) == 15:
            raise KeyboardInterrupt
        return toy(t, *rest)  # type: ignore[arg-type]

    end = stopped(solver, impatient)
    assert end.status is Status.INTERRUPTED
    assert end.t > 0.0
    again, _, _ = advance(solver, Toy(), end.state, (end.t, 2.0))
    assert distance(again, advance(solver, Toy(), toy_state(), (0.0, 2.0))[0]) < 1e-3


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: method.__name__)
@pytest.mark.parametrize("name", ["rtol", "atol", "rtol_weights", "atol_weights", "max_steps"])
def test_settings_out_of_range_are_refused_by_name(method: type[FactoredAdaptive], name: str) -> None:
    with pytest.raises(ValueError, match=rf"{method.__name__}\({name}=\) must be"):
        method(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("method", FIXED, ids=lambda method: method.__name__)
def test_a_step_out_of_range_is_refused(method: type[FactoredFixed]) -> None:
    with pytest.raises(ValueError, match=rf"{method.__name__}\(dt=\) must be"):
        method(dt=-1.0)


def test_every_factored_method_has_its_name() -> None:
    names = {name for name in ct.solvers.available() if name.startswith("factored_")}
    assert {ct.solvers.get(name) for name in names} == {*FIXED, *ADAPTIVE}
    assert all(ct.solvers.get(name).__name__.lower() == name.replace("_", "") for name in names)


@pytest.mark.parametrize("scale", [0.0, -0.3, "vector"])
def test_the_estimated_norm_of_a_large_change_is_near_its_norm(scale: Any) -> None:
    """To within four standard deviations, sqrt(2 / 64) / 2 of the norm each."""
    base = random(600, 500, seed=9)
    by = random(600, seed=3) if scale == "vector" else scale
    for seed in range(5):
        post, pre = random(300, 600, seed=seed), random(300, 500, seed=seed + 50)
        dense = post.mT @ pre + (by.unsqueeze(-1) if isinstance(by, Tensor) else by) * base
        found = frobenius(post, pre, base, by)
        assert found == frobenius(post, pre, base, by)
        assert found != by_blocks(post, pre, base, by)
        assert found == pytest.approx(float(dense.norm()), rel=4 * math.sqrt(2 / 64) / 2)
