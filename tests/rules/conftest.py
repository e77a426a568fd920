"""The oracle of the rule tests: two rate layers under any local rule, written out in NumPy, integrated by DOP853.

It takes numbers from the library (sizes, initial values) and nothing else. The stimulus has two presentations, the
second one with an empty row, and every activity, trace and rule variable starts away from rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import ctsigprop as ct

Array = NDArray[np.float64]
Arrays = dict[str, Array]

SIZES, TAUS, BATCH, DURATION = (4, 5, 3), (1.0, 0.7), 3, 0.75
TIGHT = ct.solvers.Dopri5(rtol=1e-9, atol=1e-11)
PHI: dict[str, Callable[[Array], Array]] = {
    "softplus": lambda u: np.asarray(np.logaddexp(0.0, u)),
    "tanh": lambda u: np.asarray(np.tanh(u)),
}


@dataclass(frozen=True)
class Seen:
    """What the synapses of one layer see: h post-, x presynaptic, their slopes, the weight of each row in a mean."""

    t: float
    h: Array
    x: Array
    dh: Array
    dx: Array
    share: Array
    W: Array
    b: Array
    v: Arrays
    rates: Arrays
    labels: Array

    def mean(self, a: Array) -> Array:
        return np.asarray((self.share * a).sum(0))

    def outer(self, post: Array, pre: Array) -> tuple[Array, Array]:
        """<post pre^T>, and the same for the bias, whose presynaptic side is always 1."""
        return (self.share * post).T @ pre, self.mean(post)


Equation = Callable[[Seen], tuple[Array, Array, Arrays]]
"""(dW/dt, db/dt, d(variables)/dt) of one layer."""


@dataclass(frozen=True)
class Shown:
    """One presentation."""

    x: Array
    present: Array
    labels: Array


def slope(equation: Equation, phi: Callable[[Array], Array], t: float, now: Arrays, shown: Shown) -> Arrays:
    """d(everything)/dt."""
    d: Arrays = {}
    below, label_below = shown.x, shown.present
    for i, tau in enumerate(TAUS, start=1):
        r, W, b = now[f"r.{i}"], now[f"W.{i}"], now.get(f"b.{i}", np.zeros(len(now[f"W.{i}"])))
        d[f"r.{i}"] = (phi(below @ W.T + b) - r) / tau
        x, dx, label = below, np.zeros_like(below), shown.present
        if f"x.{i}" in now:
            x, label = now[f"x.{i}"], now[f"y.{i}"]
            d[f"x.{i}"] = dx = (below - x) / tau
            d[f"y.{i}"] = (label_below - label) / tau
            label_below = label
        layer = {name.split(".")[0]: value for name, value in now.items() if name.endswith(f".{i}")}
        v = {name: value for name, value in layer.items() if name not in "Wbrxy"}
        seen = Seen(t, r, x, d[f"r.{i}"], dx, label / len(label), W, b, v, now, shown.labels)
        dW, db, dv = equation(seen)
        d[f"W.{i}"] = dW
        if f"b.{i}" in now:
            d[f"b.{i}"] = db
        d.update({f"{name}.{i}": value for name, value in dv.items()})
        below = r
    return d


def dop853(
    right_hand_side: Callable[[float, Arrays, Any], Arrays], start: Arrays, presentations: list[tuple[float, Any]]
) -> Arrays:
    """Everything after the presentations, each (duration, what is shown); the integration restarts at each switch."""
    cuts = np.cumsum([value.size for value in start.values()])[:-1]

    def unpack(flat: Array) -> Arrays:
        parts = np.split(flat, cuts)
        return {name: part.reshape(start[name].shape) for name, part in zip(start, parts, strict=True)}

    def flat_slope(t: float, flat: Array, shown: Any) -> Array:
        d = right_hand_side(t, unpack(flat), shown)
        assert d.keys() == start.keys()
        return np.concatenate([d[name].ravel() for name in start])

    t, flat = 0.0, np.concatenate([value.ravel() for value in start.values()])
    for duration, shown in presentations:
        run = solve_ivp(flat_slope, (t, t + duration), flat, "DOP853", rtol=1e-10, atol=1e-12, args=(shown,))
        assert run.success
        t, flat = t + duration, run.y[:, -1]
    return unpack(flat)


def relative_errors(final: ct.State, start: Arrays, expected: Arrays) -> dict[str, float]:
    """Of weights and biases, the error relative to their change; of anything else, to its size."""
    errors = {}
    for name, value in expected.items():
        scale = value - start[name] if name[0] in "WSb" else value
        errors[name] = float(np.linalg.norm(final[name].numpy() - value) / np.linalg.norm(scale))
    return errors


def compare(
    rule: ct.rules.Rule,
    equation: Equation,
    activation: str = "softplus",
    weights: tuple[float, float] | None = None,
    bias: bool = True,
) -> dict[str, float]:
    """Relative error of every tensor of the state after a run, against `equation`; weights drawn uniformly if asked."""
    neurons = [ct.Rate(tau=tau, activation=activation) for tau in TAUS]
    network = ct.Network(SIZES, 3, neuron=neurons, rule=rule, bias=bias)
    random = np.random.default_rng(11)
    x, y = random.standard_normal((5, SIZES[0])), np.arange(5) % 3
    state = network.initial_state(3, BATCH, torch.float64)
    moved = {}
    for name, value in state.items():
        low, high = (weights or (0.0, 0.0)) if name[0] == "W" else (0.1, 0.9)
        if high > low:
            moved[name] = torch.from_numpy(random.uniform(low, high, tuple(value.shape)))
    state = state.replace(moved)
    start = {name: value.numpy().copy() for name, value in state.items()}
    first = Shown(x[:3], np.ones((3, 1)), np.eye(3)[y[:3]])
    second = Shown(
        np.vstack([x[3:], np.zeros((1, 4))]), np.array([[1.0], [1.0], [0.0]]), np.vstack([np.eye(3)[y[3:]], [[0] * 3]])
    )

    def right_hand_side(t: float, now: Arrays, shown: Shown) -> Arrays:
        return slope(equation, PHI[activation], t, now, shown)

    expected = dop853(right_hand_side, start, [(DURATION, first), (DURATION, second)])
    stimulus = ct.Presentations(x, y, BATCH, DURATION, shuffle=False)
    sol = ct.simulate(network, stimulus, TIGHT, state=state)
    assert sol.status is ct.Status.COMPLETED
    assert sol.final.keys() == expected.keys()
    return relative_errors(sol.final, start, expected)


@pytest.fixture(scope="session")
def errors_of_rule() -> Callable[..., dict[str, float]]:
    """A rule and its equation in NumPy -> relative error of every tensor at the end of a run."""
    return compare


@pytest.fixture(scope="session")
def integrate() -> Callable[..., Arrays]:
    """(right-hand side, start, [(duration, shown), ...]) -> everything at the end, by DOP853."""
    return dop853


@pytest.fixture(scope="session")
def errors_of_state() -> Callable[[ct.State, Arrays, Arrays], dict[str, float]]:
    """(final state, start, expected) -> relative error of every tensor."""
    return relative_errors
