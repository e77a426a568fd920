"""A rule of one's own, as a function or as a class, and what a wrong one is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getsource
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules import Custom, DenseUpdate, Local, Rule, Update
from ctsigprop.rules.base import Shapes

PRE, POST, ROWS = 4, 3, 2


def instar(local: Local) -> Update:
    """DW/dt = rate <h (x - w)>."""
    post = local.share * local.post
    return Update(post, local.pre, decay=post.sum(-2))


@dataclass(frozen=True)
class Sliding(Rule):
    """Hebb above a sliding mean, dW/dt = rate <(h - m) x>, dm/dt = <h> - m."""

    rate: float = 0.1
    traces: bool = False

    def variables(self, n_post: int, n_pre: int) -> Shapes:
        return {"m": ((n_post,), 0.0)}

    def flow(self, local: Local) -> dict[str, Tensor]:
        return {"m": local.mean(local.post) - local.variables["m"]}

    def update(self, local: Local) -> Update:
        return Update(self.rate * local.share * (local.post - local.variables["m"].unsqueeze(-2)), local.pre)


def own_instar(s: Any) -> Any:
    dW, db = s.outer(s.h, s.x)
    return 0.4 * (dW - s.mean(s.h)[:, None] * s.W), 0.4 * (db - s.mean(s.h) * s.b), {}


def own_sliding(s: Any) -> Any:
    dW, db = s.outer(s.h - s.v["m"], s.x)
    return 0.4 * dW, 0.4 * db, {"m": s.mean(s.h) - s.v["m"]}


@pytest.mark.parametrize("traces", [False, True])
def test_a_function_is_a_rule(traces: bool, errors_of_rule: Callable[..., dict[str, float]]) -> None:
    assert max(errors_of_rule(Custom(instar, rate=0.4, traces=traces), own_instar).values()) <= 1e-6


@pytest.mark.parametrize("traces", [False, True])
def test_a_class_is_a_rule(traces: bool, errors_of_rule: Callable[..., dict[str, float]]) -> None:
    assert max(errors_of_rule(Sliding(rate=0.4, traces=traces), own_sliding).values()) <= 1e-6


def test_neither_takes_fifteen_lines() -> None:
    for source in (getsource(instar), getsource(Sliding)):
        assert len([line for line in source.splitlines() if line.strip()]) < 15


def test_own_rules_combine_with_the_others() -> None:
    rule = 0.5 * Sliding() + ct.rules.Bounded(Custom(instar)) + ct.rules.WeightDecay()
    assert final(rule).status is ct.Status.COMPLETED


def test_a_function_sees_the_learning_signal_where_it_asks_for_it() -> None:
    """The sigprop rule itself, written as a function."""

    def contrastive(local: Local) -> Update:
        return Update(local.taught(), local.pre)

    own, known = (
        ct.simulate(
            ct.Network([PRE, 5, POST], 2, signal=ct.TargetStream(), rule=rule),
            ct.Presentations(torch.ones(ROWS, PRE, dtype=torch.float64), [0, 1], ROWS, 2.0),
            ct.solvers.RK4(dt=0.1),
        ).final
        for rule in (
            Custom(contrastive, rate=2.0, traces=True, supervised=True),
            ct.rules.ContrastiveHebbian(rate=2.0),
        )
    )
    assert own.equal(known)


def final(rule: Rule, sizes: tuple[int, ...] = (PRE, POST)) -> ct.Solution:
    x = torch.linspace(-1, 1, ROWS * PRE, dtype=torch.float64).reshape(ROWS, PRE)
    return ct.simulate(ct.Network(sizes, rule=rule), ct.Presentations(x, None, ROWS), ct.solvers.Euler(dt=0.1))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape checking, on in the other tests, would answer before the library does."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.float64)


WRONG: dict[str, tuple[Callable[[Local], Any], type[Exception]]] = {
    "post transposed": (lambda local: Update(local.post.mT, local.pre), ValueError),
    "post and pre exchanged": (lambda local: Update(local.pre, local.post), ValueError),
    "pre too wide": (lambda local: Update(local.post, ones(ROWS, PRE + 1)), ValueError),
    "rows that differ": (lambda local: Update(local.post, local.pre[:1]), ValueError),
    "post without rows": (lambda local: Update(local.post.sum(-2), local.pre), ValueError),
    "pre without rows": (lambda local: Update(local.post, local.pre.sum(-2)), ValueError),
    "a decay for each synapse onto": (lambda local: Update(local.post, local.pre, ones(PRE)), ValueError),
    "a decay for each row": (lambda local: Update(local.post, local.pre, ones(ROWS, POST)), ValueError),
    "a decay as a column": (lambda local: Update(local.post, local.pre, ones(POST, 1)), ValueError),
    "a change transposed": (lambda local: DenseUpdate(ones(PRE, POST)), ValueError),
    "a change without pre": (lambda local: DenseUpdate(ones(POST)), ValueError),
    "a bias for each pre": (lambda local: DenseUpdate(ones(POST, PRE), ones(PRE)), ValueError),
    "one bias for all": (lambda local: DenseUpdate(ones(POST, PRE), ones(1)), ValueError),
    "a tensor": (lambda local: local.post.mT @ local.pre, TypeError),
    "a pair": (lambda local: (local.post, local.pre), TypeError),
    "nothing": (lambda local: None, TypeError),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.usefixtures("unchecked")
def test_what_a_wrong_function_returns_is_refused_by_rule_and_layer(case: str) -> None:
    function, error = WRONG[case]
    calls = []

    def my_rule(local: Local) -> Any:
        calls.append(local.t)
        return function(local)

    with pytest.raises(error, match=r"rule my_rule of layer 1 must return"):
        final(Custom(my_rule))
    assert len(calls) == 1


@pytest.mark.usefixtures("unchecked")
def test_the_layer_is_named_where_only_one_goes_wrong() -> None:
    class Square(ct.rules.Hebb):
        def update(self, local: Local) -> Update:
            return Update(local.post, local.post)

    with pytest.raises(ValueError, match=r"rule Square of layer 2 must .* got \(2, 3\) and \(2, 3\)"):
        final(Square(), (PRE, PRE, POST))


WRAPPED: dict[str, Callable[[Rule], Rule]] = {
    "sum": lambda rule: rule + ct.rules.WeightDecay(),
    "multiple": lambda rule: 0.5 * rule,
    "bounds": lambda rule: ct.rules.Bounded(rule),
    "modulator": lambda rule: ct.rules.ThreeFactor(rule),
    "eligibility": lambda rule: ct.rules.ThreeFactor(rule, tau_e=1.0),
}


@pytest.mark.parametrize("case", ["pre too wide", "nothing"])
@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_rule_inside_another_is_refused(wrap: str, case: str) -> None:
    function, error = WRONG[case]
    with pytest.raises(error, match="must return"):
        final(WRAPPED[wrap](Custom(function)))


@pytest.mark.parametrize("function", [3, "hebb", None])
@pytest.mark.usefixtures("unchecked")
def test_something_that_is_not_a_function_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match=r"Custom\(function=\) must be a function of a Local"):
        Custom(function)
