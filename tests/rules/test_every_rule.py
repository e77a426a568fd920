"""What holds for every rule in the table, and for sums and multiples of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules import Local, Reward, Rule, ThreeFactor
from ctsigprop.rules.table import RULES
from tests.networks import needs_spikes

ROWS, PRE, POST, CLASSES = 6, 4, 5, 3
SPIKES = ("post_spikes", "pre_spikes")
TRACES = ("x_plus", "x_slow", "y_minus", "y_slow")
SIDE = {"pre": PRE, "post": POST}


def made(name: str, **settings: Any) -> Rule:
    """A rule from the table."""
    build: Any = RULES[name]
    rule: Rule = build(**settings)
    return rule


EVERY: dict[str, Rule] = {
    **{name: rule() for name, rule in RULES.items()},
    "sum": ct.rules.Oja(rate=0.2) + ct.rules.Scaling(rate=0.1) + ct.rules.BCM(),
    "dense sum": ct.rules.OjaSubspace(rate=0.2) + ct.rules.WeightDecay(),
    "scaled": 0.5 * ct.rules.Covariance(rate=0.2),
    "hard bounds": ct.rules.Bounded(ct.rules.ContrastiveHebbian(), -2.0, 2.0, "hard"),
    "eligibility": ThreeFactor(ct.rules.ContrastiveHebbian(), Reward(lambda activities, labels: 0.7), tau_e=0.5),
    "bounded spikes": ct.rules.Bounded(ct.rules.STDP(rate=0.1, a_minus=0.0), -4.0, 4.0),
    "modulated spikes": ThreeFactor(ct.rules.STDP(rate=0.1), Reward(lambda activities, labels: 0.7)),
    "spikes and decay": 0.5 * ct.rules.STDP(rate=0.1) + ct.rules.WeightDecay(rate=0.1),
}
SILENT: dict[str, Rule] = {
    **{name: made(name, rate=0.0) for name in RULES},
    "sum": ct.rules.Oja(rate=0.0) + ct.rules.Scaling(rate=0.0),
    "dense sum": ct.rules.OjaSubspace(rate=0.0) + ct.rules.WeightDecay(rate=0.0),
    "scaled": 0.0 * ct.rules.ContrastiveHebbian(decay=0.1),
    "hard bounds": ct.rules.Bounded(ct.rules.ContrastiveHebbian(), -2.0, 2.0, "hard", rate=0.0),
    "eligibility": ThreeFactor(ct.rules.ContrastiveHebbian(), tau_e=0.5, rate=0.0),
}


def local(rule: Rule, seed: int = 0, positive: bool = False) -> Local:
    """A population of synapses with everything that a rule may ask for."""
    random = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=random, dtype=torch.float64)
        return values.abs() if positive else values

    return Local(
        post=some(ROWS, POST),
        pre=some(ROWS, PRE),
        share=torch.full((ROWS, 1), 1 / ROWS, dtype=torch.float64),
        gain=some(ROWS, POST).abs(),
        delta=some(ROWS, POST),
        variables={
            **{name: some(*shape) for name, (shape, _) in sorted(rule.variables(POST, PRE).items())},
            **{name: some(ROWS, SIDE[trace.side]).abs() for name, trace in sorted(rule.spike_traces().items())},
        },
        weight=some(POST, PRE) / 3,
        bias=torch.full((POST,), 0.7, dtype=torch.float64),
        post_slope=some(ROWS, POST),
        pre_slope=some(ROWS, PRE),
        distance=some(ROWS, POST),
        post_spikes=(some(ROWS, POST) > 0.3).double(),
        pre_spikes=(some(ROWS, PRE) > 0.3).double(),
        broadcast=lambda function: torch.tensor(0.3),
        t=1.5,
    )


def changes(rule: Rule, at: Local) -> dict[str, Tensor]:
    """Derivative of the weights (and what spikes add to them), of the biases, and of each variable of the rule."""
    update = rule.update(at)
    assert at.weight is not None
    assert at.bias is not None
    change = update.derivative(at.weight)
    if rule.jumps:
        jumped, _ = rule.jump(at)
        change = change if jumped is None else change + jumped.derivative(at.weight)
    return {"W": change, "b": update.bias_derivative(at.bias), **rule.flow(at)}


def shuffled(name: str, value: Tensor, rule: Rule, order: Tensor) -> Tensor:
    """One of `changes` or of a rule's variables for postsynaptic units in another order."""
    if name in rule.spike_traces():
        return value[:, order] if rule.spike_traces()[name].side == "post" else value
    shape = rule.variables(POST, PRE)[name][0] if name not in "Wb" else (POST,)
    return value[order] if shape[0] == POST else value


@pytest.mark.parametrize("name", EVERY)
def test_shapes_are_those_of_weights_biases_and_variables(name: str) -> None:
    rule = EVERY[name]
    found = changes(rule, local(rule))
    variables = rule.variables(POST, PRE)
    assert set(found) == {"W", "b", *variables}
    for key, value in found.items():
        assert tuple(value.shape) == {"W": (POST, PRE), "b": (POST,)}.get(key, variables.get(key, ((),))[0])


@pytest.mark.parametrize("name", EVERY)
@given(seed=st.integers(0, 100), order=st.permutations(range(POST)))
def test_permuting_postsynaptic_units_permutes_the_update(name: str, seed: int, order: list[int]) -> None:
    rule, turn = EVERY[name], torch.tensor(order)
    at = local(rule, seed)
    assert at.gain is not None
    assert at.delta is not None
    assert at.weight is not None
    assert at.post_slope is not None
    assert at.distance is not None
    assert at.post_spikes is not None
    turned = dataclasses.replace(
        at,
        post=at.post[:, turn],
        gain=at.gain[:, turn],
        delta=at.delta[:, turn],
        weight=at.weight[turn],
        post_slope=at.post_slope[:, turn],
        distance=at.distance[:, turn],
        post_spikes=at.post_spikes[:, turn],
        variables={key: shuffled(key, value, rule, turn) for key, value in at.variables.items()},
    )
    found = changes(rule, turned)
    for key, value in changes(rule, at).items():
        torch.testing.assert_close(found[key], shuffled(key, value, rule, turn), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", EVERY)
@given(seed=st.integers(0, 100), order=st.permutations(range(ROWS)))
def test_the_order_of_samples_does_not_matter(name: str, seed: int, order: list[int]) -> None:
    rule, at = EVERY[name], local(EVERY[name], seed)
    found = changes(rule, rows(at, order))
    for key, value in changes(rule, at).items():
        torch.testing.assert_close(found[key], value, rtol=1e-12, atol=1e-14)


def rows(at: Local, index: list[int], times: float = 1.0) -> Local:
    """Some rows of a population; `times` their weight in averages over samples."""
    part = torch.tensor(index)
    names = ("post", "pre", "share", "gain", "delta", "post_slope", "pre_slope", "distance", *SPIKES)
    chosen: dict[str, Any] = {name: getattr(at, name)[part] for name in names}
    variables = {name: value[part] if name in TRACES else value for name, value in at.variables.items()}
    chosen |= {"share": times * chosen["share"], "delta": times * chosen["delta"], "variables": variables}
    return dataclasses.replace(at, **chosen)


@pytest.mark.parametrize("name", EVERY)
@given(seed=st.integers(0, 100), first=st.sets(st.integers(0, ROWS - 1), min_size=ROWS // 2, max_size=ROWS // 2))
def test_two_half_batches_make_the_whole_one_on_average(name: str, seed: int, first: set[int]) -> None:
    """Shares of 1/samples double in a half, and so does the learning signal, an average too.

    Everything is positive here: bounds treat potentiation and depression apart, and halves that disagree in sign
    do not average.
    """
    rule = EVERY[name]
    at = local(rule, seed, positive=True)
    halves = [changes(rule, rows(at, [k for k in range(ROWS) if (k in first) is side], 2.0)) for side in (True, False)]
    for key, value in changes(rule, at).items():
        torch.testing.assert_close((halves[0][key] + halves[1][key]) / 2, value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_row_teaches_nothing_by_any_rule(name: str) -> None:
    """A row of no presence has share 0 and no learning signal, whatever its activity is."""
    rule, at = EVERY[name], local(EVERY[name])
    assert at.delta is not None
    mask = torch.ones(ROWS, 1, dtype=torch.float64)
    mask[-2:] = 0
    empty = dataclasses.replace(at, share=at.share * mask, delta=at.delta * mask)
    alone = rows(empty, list(range(ROWS - 2)))
    found = changes(rule, empty)
    for key, value in changes(rule, alone).items():
        torch.testing.assert_close(found[key], value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", EVERY)
@given(seed=st.integers(0, 100))
def test_single_and_double_precision_agree_to_rounding(name: str, seed: int) -> None:
    rule, at = EVERY[name], local(EVERY[name], seed)

    def single(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) else value

    fields = {f.name: single(getattr(at, f.name)) for f in dataclasses.fields(at)}
    fields["variables"] = {key: single(value) for key, value in at.variables.items()}
    found = changes(rule, Local(**fields))
    for key, value in changes(rule, at).items():
        assert found[key].dtype == torch.float32
        scale = 1.0 + float(value.abs().max())
        torch.testing.assert_close(found[key].double(), value, rtol=0.0, atol=5e-6 * scale)


@pytest.mark.parametrize("name", EVERY)
def test_leading_batch_dimensions_are_so_many_copies(name: str) -> None:
    """An ensemble is one more dimension: what each member does, it does alone."""
    rule = EVERY[name]
    members = [local(rule, seed) for seed in (0, 1)]
    names = ("post", "pre", "share", "gain", "delta", "weight", "bias", "post_slope", "pre_slope", "distance", *SPIKES)
    stacked: dict[str, Any] = {key: torch.stack([getattr(at, key) for at in members]) for key in names}
    both = dataclasses.replace(
        members[0],
        **stacked,
        variables={key: torch.stack([at.variables[key] for at in members]) for key in members[0].variables},
    )
    found = changes(rule, both)
    for k, at in enumerate(members):
        alone = changes(rule, at)
        for key, value in found.items():
            torch.testing.assert_close(value[k], alone[key], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", EVERY)
def test_what_a_rule_sees_is_not_changed(name: str) -> None:
    rule, at, same = EVERY[name], local(EVERY[name]), local(EVERY[name])
    changes(rule, at)
    for field in dataclasses.fields(at):
        value = getattr(at, field.name)
        if isinstance(value, Tensor):
            assert torch.equal(value, getattr(same, field.name)), field.name
    assert all(torch.equal(value, same.variables[key]) for key, value in at.variables.items())


def network(rule: Rule | None, sizes: tuple[int, ...] = (PRE, POST, 3), **settings: Any) -> ct.Network:
    spiking = rule is not None and needs_spikes(rule)
    neuron = settings.pop("neuron", ct.LIF(threshold=0.3) if spiking else ct.Rate(activation="tanh"))
    return ct.Network(sizes, CLASSES, neuron=neuron, signal=ct.TargetStream(), rule=rule, **settings)


def stimulus(duration: float = 1.0, spiking: bool = False) -> ct.Presentations:
    """Two presentations, the second one with an empty row; of spikes where the rule asks for them."""
    x = np.random.default_rng(0).standard_normal((5, PRE))
    if spiking:
        encoder = ct.Poisson(rate=4.0, dt=0.1)
        return ct.Presentations(np.clip(np.abs(x), 0.2, 1.0), np.arange(5) % CLASSES, 3, 4.0, encoder=encoder)
    return ct.Presentations(x, np.arange(5) % CLASSES, 3, duration)


def moved_by(rule: Rule | None, solver: ct.solvers.Solver) -> list[str]:
    """Names of the weights and biases that are not the same to the last bit after a run."""
    net = network(rule)
    start = net.initial_state(2, 3, torch.float64)
    start = start.replace({f"b.{i}": torch.full_like(start[f"b.{i}"], 0.3) for i in (1, 2)})
    final = ct.simulate(net, stimulus(spiking=net.jumps), solver, state=start).final
    assert not torch.equal(final["r.1"], start["r.1"])
    return [key for key in ("W.1", "W.2", "b.1", "b.2", "S") if not torch.equal(final[key], start[key])]


@pytest.mark.parametrize("solver", [ct.solvers.Euler(dt=0.25), ct.solvers.RK4(dt=0.25)], ids=["euler", "rk4"])
@pytest.mark.parametrize("name", SILENT)
def test_at_rate_zero_weights_keep_every_bit(name: str, solver: ct.solvers.Solver) -> None:
    if needs_spikes(SILENT[name]):
        solver = ct.solvers.Hybrid(dt=0.1, flow="rk4" if isinstance(solver, ct.solvers.RK4) else "exponential")
    assert moved_by(SILENT[name], solver) == []


@pytest.mark.parametrize("rule", [None, ct.rules.Hebb(rate=0.0)], ids=repr)
@pytest.mark.parametrize("solver", [ct.solvers.Dopri5(), ct.solvers.FactoredDopri5()], ids=["dopri5", "factored"])
def test_with_an_adaptive_step_too(solver: ct.solvers.Solver, rule: Rule | None) -> None:
    assert moved_by(rule, solver) == []


@pytest.mark.parametrize("name", EVERY)
def test_a_run_completes_under_every_kind_of_solver_and_they_agree(name: str) -> None:
    rule = EVERY[name]
    if needs_spikes(rule):
        return  # under the solvers with jumps: tests/test_spiking_rules.py
    net = network(rule)
    final = ct.simulate(net, stimulus(), ct.solvers.Dopri5(rtol=1e-8, atol=1e-10), seed=1).final
    start = net.initial_state(1, 3, torch.float64)
    bars: list[tuple[ct.solvers.Solver, float]] = [(ct.solvers.Euler(dt=0.02), 0.2), (ct.solvers.RK4(dt=0.05), 1e-3)]
    if not rule.dense:
        bars += [(ct.solvers.FactoredRK4(dt=0.05), 1e-3), (ct.solvers.FactoredDopri5(rtol=1e-7, atol=1e-9), 1e-4)]
    for solver, bar in bars:
        sol = ct.simulate(net, stimulus(), solver, seed=1)
        assert sol.status is ct.Status.COMPLETED
        for key in ("W.1", "W.2", "b.1"):
            error = torch.linalg.vector_norm(sol.final[key] - final[key])
            assert error <= bar * torch.linalg.vector_norm(final[key] - start[key]) + 1e-12, (solver, key)


def test_the_multiple_of_a_rule_is_as_bounded_as_its_sign_allows() -> None:
    decay = ct.rules.WeightDecay(rate=0.1)
    assert (2.0 * decay).bounded
    assert not (-1.0 * decay).bounded
    assert ThreeFactor(decay, modulator=0.5).bounded
    assert not ThreeFactor(decay, modulator=-0.5).bounded
    assert not ThreeFactor(decay, modulator=np.cos).bounded  # nobody knows its sign
    assert not ThreeFactor(decay, Reward(lambda activities, labels: 0.0)).bounded


@pytest.mark.parametrize("name", EVERY)
def test_whether_a_rule_is_bounded_is_stated(name: str) -> None:
    assert isinstance(EVERY[name].bounded, bool)
    if name in RULES:
        assert "ounded" in (type(EVERY[name]).__doc__ or "")


FAST: dict[str, Rule] = {
    **{name: made(name, rate=0.5) for name in RULES},
    "hard bounds": ct.rules.Bounded(ct.rules.Hebb(rate=0.5), -2.0, 2.0, "hard"),
    "bounded sum": ct.rules.Bounded(ct.rules.Hebb(rate=0.5) + ct.rules.AntiHebb(rate=0.1), -1.0),
    "eligibility": ThreeFactor(ct.rules.Oja(rate=0.1), tau_e=0.5),
    "oja and decay": ct.rules.Oja(rate=0.5) + ct.rules.WeightDecay(rate=0.1),
}
BOUNDED = [name for name, rule in FAST.items() if rule.bounded]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["linear", "relu", "softplus", "tanh", "sigmoid"])
@pytest.mark.parametrize("name", BOUNDED)
def test_a_rule_that_is_bounded_stays_so_under_every_activation(name: str, activation: str) -> None:
    """The statement of `Rule.bounded`: finite weights for bounded input, whatever the activation."""
    net = network(FAST[name], (PRE, POST), neuron=ct.Rate(activation=activation), bias=False)
    x = np.array([[1.0, -0.5, 0.3, 2.0], [-1.0, 1.0, 1.0, 0.2], [0.5, 0.5, -2.0, 1.0]])
    solver = ct.solvers.Dopri5(rtol=1e-3, atol=1e-4, max_steps=3000)
    sol = ct.simulate(net, ct.Presentations(x, np.arange(3), 3, 60.0), solver, seed=3)
    assert sol.status is ct.Status.COMPLETED, sol.message
    assert float(sol.final["W.1"].abs().max()) < 100.0


@pytest.mark.parametrize("rule", [ct.rules.Oja(rate=0.5), ct.rules.OjaSubspace(rate=0.5)], ids=repr)
def test_biases_are_bounded_where_weights_are(rule: Rule) -> None:
    """A bias is the synapse from a unit whose activity is always 1, and Oja's decay holds for it too."""
    net = ct.Network([PRE, 2], neuron=ct.Rate(activation="linear"), rule=rule)
    x = np.random.default_rng(0).standard_normal((3, PRE))
    sol = ct.simulate(net, ct.Presentations(x, None, 3, 50.0), ct.solvers.RK4(dt=0.25), seed=3)
    assert sol.status is ct.Status.COMPLETED, sol.message
    assert float(sol.final["b.1"].abs().max()) < 2.0
