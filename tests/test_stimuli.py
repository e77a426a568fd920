"""What a stimulus shows, when, in which order, and what an empty row teaches: nothing."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.signals.base import Signal
from ctsigprop.stimuli.frame import Frame

TANH = ct.Rate(activation="tanh")
COUNTS = st.integers(1, 12)


def numbered(n: int, batch_size: int, labels: bool = True, **settings: Any) -> ct.Presentations:
    """Samples that carry their own number, from 1, with that number as label."""
    x = torch.arange(1.0, n + 1).unsqueeze(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ct.Presentations(x, torch.arange(1, n + 1) if labels else None, batch_size, **settings)


def frames(stimulus: ct.Stimulus, start: float = 0.0, stop: float | None = None) -> list[Frame]:
    return list(stimulus.frames(start, stimulus.duration_total if stop is None else stop))


def shown(stimulus: ct.Presentations) -> list[list[int]]:
    """Numbers of the samples present in each frame."""
    found = []
    for frame in frames(stimulus):
        now = frame.at(frame.start)
        here = now.present.squeeze(-1) == 1
        found.append([int(number) for number in now.x[here, 0]])
    return found


def epochs_of(stimulus: ct.Presentations) -> list[list[int]]:
    flat = [number for batch in shown(stimulus) for number in batch]
    size = len(flat) // stimulus.epochs
    return [flat[k * size : (k + 1) * size] for k in range(stimulus.epochs)]


@given(n=COUNTS, batch_size=COUNTS, epochs=st.integers(1, 3), seed=st.integers(0, 99), shuffle=st.booleans())
def test_every_sample_is_shown_exactly_once_per_epoch(
    n: int, batch_size: int, epochs: int, seed: int, shuffle: bool
) -> None:
    stimulus = numbered(n, batch_size, epochs=epochs, seed=seed, shuffle=shuffle)
    found = epochs_of(stimulus)
    assert len(found) == epochs
    assert all(sorted(epoch) == list(range(1, n + 1)) for epoch in found)


@given(n=COUNTS, batch_size=COUNTS)
def test_every_batch_has_as_many_rows_and_the_last_one_keeps_what_is_left(n: int, batch_size: int) -> None:
    stimulus = numbered(n, batch_size)
    sizes = [len(batch) for batch in shown(stimulus)]
    rows = min(n, batch_size)
    assert sizes[:-1] == [rows] * (len(sizes) - 1)
    assert sizes[-1] == n - rows * (len(sizes) - 1)
    assert {frame.at(0.0).x.shape for frame in frames(stimulus)} == {(rows, 1)}
    assert len(sizes) == stimulus.per_epoch == stimulus.count


def test_an_empty_row_shows_zeros_no_label_and_is_not_present() -> None:
    now = frames(numbered(5, 3, shuffle=False))[1].at(1.5)
    assert now.x.tolist() == [[4.0], [5.0], [0.0]]
    assert now.target is not None
    assert now.target.tolist() == [4, 5, -1]
    assert now.present.tolist() == [[1.0], [1.0], [0.0]]


def test_an_empty_row_of_contexts_is_zero() -> None:
    now = frames(ct.Presentations(torch.ones(3, 1), torch.ones(3, 2), 2))[1].at(1.5)
    assert now.target is not None
    assert now.target.tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_each_sample_keeps_its_own_label() -> None:
    for frame in frames(numbered(11, 4, epochs=3)):
        now = frame.at(frame.start)
        here = now.present.squeeze(-1) == 1
        assert now.target is not None
        assert now.target[here].tolist() == now.x[here, 0].tolist()


def test_the_seed_decides_the_order_and_every_epoch_has_its_own() -> None:
    first, again, other = (epochs_of(numbered(30, 7, epochs=3, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len({tuple(epoch) for epoch in (*first, *other)}) == 6
    assert list(range(1, 31)) not in first


def test_the_order_is_of_the_epoch_not_of_how_many_there_are_or_of_the_batch() -> None:
    long, short = epochs_of(numbered(20, 4, epochs=5)), epochs_of(numbered(20, 6, epochs=2))
    assert long[:2] == short


def test_without_shuffling_samples_come_in_the_order_given() -> None:
    assert shown(numbered(5, 2, shuffle=False, epochs=2)) == [[1, 2], [3, 4], [5]] * 2


def test_without_labels_there_is_no_target() -> None:
    stimulus = numbered(5, 2, labels=False)
    assert stimulus.target_width is None
    assert all(frame.at(frame.start).target is None for frame in frames(stimulus))
    assert ct.simulate(ct.Network([1, 2], rule=ct.rules.Oja()), stimulus).status.ok


@given(
    n=COUNTS,
    batch_size=COUNTS,
    duration=st.sampled_from([0.1, 1.0, 2.5]),
    window=st.none() | st.tuples(st.sampled_from([0.0, 0.2, 0.5]), st.sampled_from([0.7, 1.0])),
)
def test_frames_follow_each_other_without_gaps(
    n: int, batch_size: int, duration: float, window: tuple[float, float] | None
) -> None:
    gate = None if window is None else (window[0] * duration, window[1] * duration)
    stimulus = numbered(n, batch_size, duration=duration, gate=gate, epochs=2)
    found = frames(stimulus)
    assert found[0].start == 0.0
    assert found[-1].stop == pytest.approx(stimulus.duration_total, rel=1e-12)
    assert stimulus.duration_total == pytest.approx(2 * math.ceil(n / min(n, batch_size)) * duration)
    assert all(a.stop == pytest.approx(b.start, rel=1e-12) and a.start < a.stop for a, b in pairwise(found))


def test_a_gate_window_becomes_frames() -> None:
    stimulus = numbered(4, 2, duration=2.0, gate=(0.5, 1.25), shuffle=False)
    found = [(f.start, f.stop, f.at(f.start).gate, int(f.at(f.start).x[0, 0])) for f in frames(stimulus)]
    assert found == [
        (0.0, 0.5, 0.0, 1),
        (0.5, 1.25, 1.0, 1),
        (1.25, 2.0, 0.0, 1),
        (2.0, 2.5, 0.0, 3),
        (2.5, 3.25, 1.0, 3),
        (3.25, 4.0, 0.0, 3),
    ]
    assert all(frame.constant for frame in frames(stimulus))


def test_a_gate_over_the_whole_presentation_is_no_gate() -> None:
    windows = {(frame.start, frame.stop) for frame in frames(numbered(4, 2, duration=2.0, gate=(0.0, 2.0)))}
    assert windows == {(0.0, 2.0), (2.0, 4.0)}


def test_a_gate_that_is_a_function_is_one_of_the_time_of_the_stimulus() -> None:
    last = frames(numbered(4, 2, gate=lambda t: t / 10))[-1]
    assert [last.at(t).gate for t in (1.0, 1.5)] == [0.1, 0.15]
    assert not last.constant


def simulated(net: ct.Network, stimulus: ct.Stimulus, state: ct.State, **settings: Any) -> ct.State:
    sol: ct.Solution = ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.25), state=state, **settings)
    return sol.final


def trained(stimulus: ct.Stimulus, net: ct.Network, rows: int, **settings: Any) -> ct.State:
    return simulated(net, stimulus, net.initial_state(5, rows, torch.float64), **settings)


def test_weights_move_only_while_the_gate_is_open() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3))
    net = ct.Network([3, 4], 2, neuron=TANH, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(traces=False))
    stimulus = ct.Presentations(x, [0, 1], 2, duration=2.0, gate=(0.5, 1.25))
    times = [0.0, 0.5, 1.25, 2.0]
    start = net.initial_state(5, 2, torch.float64)
    states = [start, *(trained(stimulus, net, 2, t_span=(0.0, t)) for t in times[1:])]
    for name in ("W.1", "b.1", "S"):
        assert torch.equal(states[0][name], states[1][name])
        assert not torch.equal(states[1][name], states[2][name])
        assert torch.equal(states[2][name], states[3][name])
    assert not torch.equal(states[2]["r.1"], states[3]["r.1"])


@given(cut=st.floats(0.01, 11.99), gated=st.booleans())
def test_frames_of_a_resumed_run_are_the_rest_of_the_frames(cut: float, gated: bool) -> None:
    stimulus = numbered(7, 3, duration=2.0, epochs=2, gate=(0.5, 1.0) if gated else None)
    whole = frames(stimulus)
    parts = [*frames(stimulus, 0.0, cut), *frames(stimulus, cut)]
    assert [part.stop for part in parts if part.stop != cut] == [frame.stop for frame in whole if frame.stop != cut]
    for part in parts:
        home = next(frame for frame in whole if frame.start <= part.start < frame.stop)
        assert part.stop <= home.stop
        assert part.origin == home.start
        assert torch.equal(part.at(part.start).x, home.at(home.start).x)
        assert part.at(part.start).gate == home.at(home.start).gate


@pytest.mark.parametrize("cut", [0.25, 0.5, 1.0, 1.75, 2.0, 3.5])
def test_a_run_in_two_parts_is_the_run_in_one(cut: float) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3))
    net = ct.Network([3, 4], 2, neuron=TANH, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    stimulus = ct.Presentations(x, [0, 1, 0, 1, 1], 3, duration=1.0, epochs=2)
    whole = trained(stimulus, net, 3)
    half = trained(stimulus, net, 3, t_span=(0.0, cut))
    rest = simulated(net, stimulus, half, t_span=(cut, 4.0))
    for name, value in whole.items():
        torch.testing.assert_close(rest[name], value, rtol=1e-12, atol=1e-14)


def contrastive(rate: float, traces: bool = True) -> ct.rules.ContrastiveHebbian:
    return ct.rules.ContrastiveHebbian(rate=rate, traces=traces)


CASES: dict[str, tuple[Signal | None, ct.rules.Rule, ct.rules.Rule]] = {
    "class": (ct.TargetStream(), contrastive(3.0), contrastive(1.5)),
    "class, one instant": (ct.TargetStream(), contrastive(3.0, False), contrastive(1.5, False)),
    "dot": (ct.TargetStream(contrast="dot"), contrastive(3.0), contrastive(1.5)),
    "difference": (ct.TargetStream(contrast="difference"), contrastive(3.0), contrastive(1.5)),
    "sample": (ct.TargetStream(per="sample"), contrastive(3.0), contrastive(1.5)),
    "sample, all of a class": (ct.TargetStream(per="sample", match="all"), contrastive(3.0), contrastive(1.5)),
    "backprop": (ct.Backprop(), contrastive(3.0), contrastive(1.5)),
    "feedback alignment": (ct.FeedbackAlignment(loss="squared"), contrastive(3.0), contrastive(1.5)),
    "Oja": (None, ct.rules.Oja(rate=0.5), ct.rules.Oja(rate=0.25)),
    "Oja, traces": (None, ct.rules.Oja(rate=0.5, traces=True), ct.rules.Oja(rate=0.25, traces=True)),
    "Hebb": (None, ct.rules.Hebb(rate=0.5), ct.rules.Hebb(rate=0.25)),
}


@pytest.mark.parametrize("case", CASES)
def test_empty_rows_teach_nothing(case: str) -> None:
    """Half of the last batch is empty: averaged over all rows, it teaches half as much as its samples alone."""
    signal, *rules = CASES[case]
    random = np.random.default_rng(0)
    x, y = random.standard_normal((6, 3)), np.array([0, 1, 0, 1, 1, 0])
    padded_net, small_net = (ct.Network([3, 4, 2], 2, neuron=TANH, signal=signal, rule=rule) for rule in rules)
    start = padded_net.initial_state(5, 4, torch.float64)
    biases = {name: torch.full_like(start[name], 0.3) for name in ("b.1", "b.2")}
    padded = ct.Presentations(x, y, 4, duration=2.0, shuffle=False)
    small = ct.Presentations(x[4:], y[4:], 2, duration=2.0, shuffle=False)
    last = simulated(padded_net, padded, start.replace(biases), t_span=(2.0, 4.0))
    alone = simulated(small_net, small, small_net.initial_state(5, 2, torch.float64).replace(biases))
    for name in (*padded_net.weight_shapes, "b.1", "b.2"):
        torch.testing.assert_close(last[name], alone[name], rtol=1e-10, atol=1e-13)
    assert not torch.equal(last["W.1"], start["W.1"])


def turning(t: float) -> Tensor:
    return torch.tensor([[math.cos(t), math.sin(t)]], dtype=torch.float64)


def test_functions_of_time_are_shown_as_they_are() -> None:
    stimulus = ct.Stimulus.from_function(turning, duration=3.0)
    (frame,) = frames(stimulus)
    assert (frame.start, frame.stop, frame.constant) == (0.0, 3.0, False)
    for t in (0.0, 1.234, 2.9):
        assert torch.equal(frame.at(t).x, turning(t))
        assert frame.at(t).target is None
        assert frame.at(t).gate == 1.0
        assert frame.at(t).present.tolist() == [[1.0]]


def test_switches_end_frames_and_each_frame_ends_with_its_own_value() -> None:
    def jump(t: float) -> Tensor:
        return torch.tensor([[0.0 if t < 1.0 else 1.0 if t < 2.5 else 2.0]])

    stimulus = ct.Stimulus.from_function(jump, duration=3.0, switches=[1.0, 2.5])
    found = [(f.start, f.stop, float(f.at(f.start).x), float(f.at(f.stop).x)) for f in frames(stimulus)]
    assert found == [(0.0, 1.0, 0.0, 0.0), (1.0, 2.5, 1.0, 1.0), (2.5, 3.0, 2.0, 2.0)]


def test_switches_outside_the_stimulus_are_of_no_consequence() -> None:
    stimulus = ct.Stimulus.from_function(turning, duration=3.0, switches=[-1.0, 0.0, 3.0, 9.0])
    assert [(frame.start, frame.stop) for frame in frames(stimulus)] == [(0.0, 3.0)]


def test_a_jump_at_a_switch_is_a_change_of_presentation() -> None:
    """The same two inputs, once as samples and once as a function with a jump, move the weights alike."""
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    contexts = torch.eye(2, dtype=torch.float64)
    net = ct.Network([2, 3], 2, neuron=TANH, signal=ct.TargetStream(per="sample"), rule=ct.rules.ContrastiveHebbian())
    samples = ct.Presentations(x, contexts, 1, duration=1.0, shuffle=False)
    function = ct.Stimulus.from_function(
        lambda t: x[int(t) : int(t) + 1], lambda t: contexts[int(t) : int(t) + 1], duration=2.0, switches=[1.0]
    )
    ends = [trained(stimulus, net, 1) for stimulus in (samples, function)]
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-12, atol=1e-14)


def test_contexts_and_gates_may_be_functions_too() -> None:
    stimulus = ct.Stimulus.from_function(turning, lambda t: 2 * turning(t), duration=3.0, gate=lambda t: t)
    now = frames(stimulus)[0].at(0.5)
    assert stimulus.target_width == 2
    assert now.target is not None
    assert torch.equal(now.target, 2 * turning(0.5))
    assert now.gate == 0.5


def test_a_resumed_function_remembers_where_its_frame_began() -> None:
    stimulus = ct.Stimulus.from_function(turning, duration=3.0, switches=[1.0])
    assert [(f.start, f.stop, f.origin) for f in frames(stimulus, 1.5, 2.5)] == [(1.5, 2.5, 1.0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_of_the_data_is_kept_and_integers_become_float32(dtype: torch.dtype) -> None:
    assert ct.Presentations(torch.ones(2, 1, dtype=dtype), None, 1).dtype == dtype
    assert ct.Presentations(np.ones((2, 1), dtype=np.int16), None, 1).dtype == torch.float32
    assert ct.Stimulus.from_function(lambda t: torch.ones(1, 1, dtype=dtype), duration=1.0).dtype == dtype


def test_stimuli_say_what_they_are() -> None:
    text = repr(numbered(5, 2, epochs=3, seed=4))
    assert text == "Presentations(5 x 1, batch_size=2, duration=1, epochs=3, seed=4)"
    assert repr(ct.Stimulus.from_function(turning, duration=3.0)) == "Stimulus.from_function(1 x 2, duration=3)"
