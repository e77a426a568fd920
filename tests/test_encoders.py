"""Input spikes: when they come, how many, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.stimuli.encoders import Bins, Listed

X = torch.tensor([[0.0, 0.5, 1.0], [0.25, 0.75, 0.1]])


def counts(events: Bins | Listed, start: float, stop: float, dt: float) -> torch.Tensor:
    """Spikes of each step of a grid, (steps, rows, inputs)."""
    edges = start + dt * np.arange(round((stop - start) / dt) + 1)
    found = [events.between(float(a), float(b)) for a, b in pairwise(edges)]
    return torch.stack([torch.zeros_like(X) if one is None else one for one in found])


def test_poisson_spikes_come_at_their_rate_in_every_input() -> None:
    events = ct.Poisson(rate=2.0, dt=0.05, seed=4).events(X, 10.0, 500.0, 3)
    total = counts(events, 10.0, 510.0, 0.05).sum(0)
    expected = 1000.0 * X
    assert float(total[0, 0]) == 0
    assert bool(((total - expected).abs() <= 4 * expected.sqrt()).all())
    one = counts(events, 10.0, 510.0, 0.05)[:, 0, 2]
    assert set(one.tolist()) == {0.0, 1.0}
    together = float((one[1:] * one[:-1]).mean())  # neighbouring bins are independent
    assert together == pytest.approx(0.1**2, abs=0.004)


@pytest.mark.parametrize("dt", [0.1, 0.15, 0.05, 0.033, 3.0])
def test_poisson_spikes_are_the_same_whatever_the_step_and_in_any_order(dt: float) -> None:
    encoder = ct.Poisson(rate=3.0, dt=0.1, seed=4)
    fine = counts(encoder.events(X, 2.0, 6.0, 3), 2.0, 8.0, 0.1)
    events = encoder.events(X, 2.0, 6.0, 3)
    t, total = 2.0, torch.zeros_like(X)
    while t < 8.0 - 1e-9:
        found = events.between(t, min(t + dt, 8.0))
        total = total if found is None else total + found
        t += dt
    assert torch.equal(total, fine.sum(0))
    later, earlier = events.between(5.0, 6.0), events.between(2.0, 3.0)
    assert later is not None
    assert earlier is not None
    assert torch.equal(later, fine[30:40].sum(0))
    assert torch.equal(earlier, fine[:10].sum(0))


def test_the_seed_and_the_presentation_decide_every_spike() -> None:
    def drawn(seed: int, k: int) -> torch.Tensor:
        return counts(ct.Poisson(rate=3.0, dt=0.1, seed=seed).events(X, 0.0, 6.0, k), 0.0, 6.0, 0.1)

    assert torch.equal(drawn(1, 2), drawn(1, 2))
    assert not torch.equal(drawn(1, 2), drawn(1, 3))
    assert not torch.equal(drawn(1, 2), drawn(2, 2))
    before = torch.random.get_rng_state()
    drawn(5, 6)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_next_spike_is_at_the_end_of_a_bin() -> None:
    events = ct.Poisson(rate=3.0, dt=0.1).events(X, 2.0, 1.0, 0)
    assert events.after(2.0) == pytest.approx(2.1)
    assert events.after(2.1) == pytest.approx(2.2)
    assert events.after(2.95) == pytest.approx(3.0)
    assert events.after(3.0) == math.inf


def test_latency_is_linear_in_the_input_and_silent_below_threshold() -> None:
    events = ct.Latency(first=0.2, last=1.2, threshold=0.12).events(X, 5.0, 2.0, 0)
    when = {(i, j): 5.0 + 0.2 + (1 - float(X[i, j])) * 1.0 for i in range(2) for j in range(3) if float(X[i, j]) > 0.12}
    assert len(when) == 4
    for (i, j), t in when.items():
        found = events.between(t - 1e-4, t + 1e-4)
        assert found is not None
        assert found[i, j] == 1.0
    whole = events.between(5.0, 7.0)
    assert whole is not None
    assert float(whole.sum()) == 4
    assert events.after(5.0) == pytest.approx(5.2)
    assert events.between(5.0, 5.1) is None


def test_listed_spikes_arrive_once_each_on_any_grid() -> None:
    trains = ct.SpikeTrains([[0.1, 0.35, 0.7], [], [0.35]], 1.0)
    for dt in (0.05, 0.1, 0.3, 1.0):
        edges = [min(k * dt, 1.0) for k in range(math.ceil(1.0 / dt) + 1)]
        total = torch.zeros(1, 3)
        for a, b in pairwise(edges):
            found = trains.events.between(a, b)
            total = total if found is None else total + found
        assert total.tolist() == [[3.0, 0.0, 1.0]]


def test_labelled_spike_trains_teach() -> None:
    train = [round(0.1 * k, 1) for k in range(1, 30)]
    trains = ct.SpikeTrains([[train, []], [[], train]], 3.0, y=[0, 1])
    network = ct.Network([2, 8], 2, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
    sol = ct.simulate(network, trains)
    assert sol.status.ok
    assert not torch.equal(sol.final["W.1"], network.initial_state(0)["W.1"])


@pytest.mark.parametrize(
    ("message", "act"),
    [
        (r"Poisson\(rate=\) must be at most 1 / dt = 10, got 11", lambda: ct.Poisson(rate=11.0, dt=0.1)),
        (r"Poisson\(dt=\) must be a finite number > 0", lambda: ct.Poisson(dt=0.0)),
        (r"Poisson\(seed=\) must be an integer >= 0", lambda: ct.Poisson(seed=-1)),
        (
            "Poisson needs inputs in 0 ... 10, got 0 ... 11",
            lambda: ct.Presentations(X * 11, encoder=ct.Poisson(), batch_size=1),
        ),
        (
            "Latency needs inputs in 0 ... 1, got -1",
            lambda: ct.Presentations(X - 1, encoder=ct.Latency(), batch_size=1),
        ),
        (r"Latency\(last=\) must be a finite number > 0.1", lambda: ct.Latency(last=0.1)),
        (
            r"Latency\(last=\) must be within the presentation, 0.5, got 1.0",
            lambda: ct.Presentations(X, duration=0.5, encoder=ct.Latency(), batch_size=1),
        ),
        ("spike times of row 0, input 1 must increase", lambda: ct.SpikeTrains([[0.1], [0.3, 0.2]], 1.0)),
        ("spike times of row 0, input 0 must lie in 0 < t <= 1", lambda: ct.SpikeTrains([[0.0]], 1.0)),
        ("spike times of row 0, input 0 must lie in 0 < t <= 1", lambda: ct.SpikeTrains([[1.5]], 1.0)),
        (
            "as many inputs in every row, got 2 in row 0, 1 in row 1",
            lambda: ct.SpikeTrains([[[0.1], []], [[0.1]]], 1.0),
        ),
        ("must have at least one input", lambda: ct.SpikeTrains([[], [[0.1]]], 1.0)),
    ],
)
def test_what_does_not_fit_is_refused_at_the_door(message: str, act: Any) -> None:
    with pytest.raises(ValueError, match=message):
        act()


def test_things_of_another_kind_are_refused() -> None:
    with pytest.raises(TypeError, match=r"encoder must be an encoder such as ct.Poisson\(\), or None, got 'poisson'"):
        ct.Presentations(X, encoder="poisson", batch_size=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="trains must be a list of spike times for each input"):
        ct.SpikeTrains([0.1], 1.0)
