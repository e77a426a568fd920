"""Convolutional layers, against torch's own convolution, autograd, SciPy, dense layers and loops over positions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import ctsigprop as ct
from ctsigprop.dynamics.vector_field import Field
from ctsigprop.model import network as network_module
from ctsigprop.rules.table import RULES
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.field import DenseWeight
from ctsigprop.stimuli.frame import Frame, Input
from tests.networks import OF_RATES

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
Array = NDArray[np.float64]
COSINE = ct.rules.SoftmaxCosine(beta=3.0, kappa=0.5)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def kernels(weight: Tensor, side: int) -> Tensor:
    """W as torch's convolution takes it, (channels, channels below, side, side)."""
    return weight.view(len(weight), side, side, -1).permute(0, 3, 1, 2)


def flat(images: Tensor) -> Tensor:
    """Images (rows, channels, height, width) as rows of activity, position by position."""
    return images.permute(0, 2, 3, 1).reshape(len(images), -1)


def images(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Rows of activity as images (rows, channels, height, width)."""
    return rows.view(len(rows), *size, -1).permute(0, 3, 1, 2)


# what drives a layer


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "pool"), [(3, 1, 1, 2), (2, 2, 0, 1), (3, 2, 2, 3), (1, 1, 0, 2)]
)
def test_layers_do_what_torch_does(kernel: int, stride: int, padding: int, pool: int, pooling: Any) -> None:
    conv = ct.Conv2d(3, kernel, stride, padding, pool, pooling)
    net = ct.Network([(2, 9, 7), conv, ct.Conv2d(4, 1), 5], neuron=ct.Rate(activation="tanh"))
    state = net.initial_state(1, dtype=torch.float64)
    state = state.replace({f"b.{i}": numbers(n, seed=i) for i, n in ((1, 3), (2, 4), (3, 5))})
    x = numbers(6, 2, 9, 7)
    first = torch.tanh(F.conv2d(x, kernels(state["W.1"], kernel), state["b.1"], stride, padding))
    pooled = F.avg_pool2d(first, pool) if pooling == "average" else F.max_pool2d(first, pool)
    second = torch.tanh(F.conv2d(pooled, kernels(state["W.2"], 1), state["b.2"]))
    third = torch.tanh(flat(second) @ state["W.3"].T + state["b.3"])
    for i, expected in enumerate((flat(first), flat(second), third), start=1):
        assert net.sizes[i] == expected.shape[1]
        torch.testing.assert_close(net.transform(state, x.flatten(1), i), expected, rtol=1e-12, atol=1e-13)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**31))
def test_what_is_shown_elsewhere_is_answered_and_learned_elsewhere_alike(down: int, right: int, seed: int) -> None:
    net = ct.Network([(1, 9, 9), ct.Conv2d(2, 3, padding=1)], neuron=ct.Rate(activation="tanh"), bias=False)
    state = net.initial_state(seed % 100, dtype=torch.float64)
    here, there = torch.zeros(2, 1, 9, 9, dtype=torch.float64).unbind(0)
    here[:, 1:5, 1:5] = there[:, 1 + down : 5 + down, 1 + right : 5 + right] = numbers(4, 4, seed=seed)
    one, other = (images(net.transform(state, x.flatten().unsqueeze(0)), (9, 9)) for x in (here, there))
    torch.testing.assert_close(one[..., :6, :6], other[..., down : 6 + down, right : 6 + right])
    learning = ct.Network(net.structure, neuron=net.layers[0].neuron, rule=ct.rules.Hebb(), bias=False)
    ends = [
        ct.simulate(learning, ct.Presentations(x.flatten().unsqueeze(0), None, 1, 2.0), ct.solvers.Euler(0.5), state=s)
        for x in (here, there)
        for s in [learning.initial_state(seed % 100, dtype=torch.float64)]
    ]
    torch.testing.assert_close(ends[0].final["W.1"], ends[1].final["W.1"])


# what a rule sees


def moment(net: ct.Network, state: ct.State, x: Tensor, target: Tensor | None) -> tuple[Any, Any]:
    """What the field says of a state while a batch is shown."""
    now = Input(x, target, torch.ones(len(x), 1, dtype=x.dtype))
    field = Field(net, Frame(0.0, 1.0, 0.0, lambda _t: now, True))
    weights = {name: DenseWeight(state[name]) for name in net.weight_shapes}
    return field(0.0, {name: value for name, value in state.items() if name not in weights}, weights)


def cross_entropy(rows: Tensor, samples: int, y: Tensor) -> Tensor:
    """A layer's own loss: the mean cross-entropy between its streams, beta = 3 and kappa = 0.5."""
    u = rows / (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + 0.5)
    return F.cross_entropy(3.0 * u[:samples] @ u[samples:].T, y)


def test_a_contrastive_update_is_minus_the_gradient_of_the_layers_own_loss_per_position() -> None:
    net = ct.Network(
        [(2, 6, 5), ct.Conv2d(3, padding=1, pool=2), ct.Conv2d(4, 2, pool=1), 6],
        3,
        neuron=ct.Rate(activation="softplus"),
        signal=ct.TargetStream(contrast=COSINE),
        rule=ct.rules.ContrastiveHebbian(rate=2.0, traces=False),
    )
    state = net.initial_state(2, 4, torch.float64)
    x, y = numbers(4, 2, 6, 5), torch.tensor([0, 1, 2, 1])
    own = {name: state[name].clone().requires_grad_() for name in ("W.1", "b.1", "W.2", "b.2", "W.3", "b.3", "S")}
    first = F.softplus(flat(F.conv2d(x, kernels(own["W.1"], 3), own["b.1"], padding=1)))
    rows_1 = torch.cat([first, F.softplus(own["S"].T)])
    pooled = F.avg_pool2d(images(rows_1.detach(), (6, 5)), 2)
    rows_2 = F.softplus(flat(F.conv2d(pooled, kernels(own["W.2"], 2), own["b.2"])))
    rows_3 = F.softplus(rows_2.detach() @ own["W.3"].T + own["b.3"])
    settled = state.replace({f"r.{i}": rows.detach() for i, rows in enumerate((rows_1, rows_2, rows_3), start=1)})
    rates, updates = moment(net, settled, x.flatten(1), y)
    for i, rows in enumerate((rows_1, rows_2, rows_3), start=1):
        assert float(rates[f"r.{i}"].abs().max()) < 1e-12
        names = [f"W.{i}", f"b.{i}", *(["S"] if i == 1 else [])]
        gradients = torch.autograd.grad(cross_entropy(rows, 4, y), [own[name] for name in names])
        for name, gradient in zip(names, gradients, strict=True):
            found = rates[name] if name[0] == "b" else updates[name].derivative(state[name])
            positions = 1 if name == "S" else net.layers[i - 1].synapses.positions
            torch.testing.assert_close(found, -2.0 * gradient / positions, rtol=1e-10, atol=1e-14)


def trains_of(spikes: Tensor) -> list[list[float]]:
    """Spike times of each input from the instants (0.5, 1, 1.5) at which it spikes."""
    return [[0.5 * (k + 1) for k in range(3) if column[k]] for column in spikes.T]


def test_stdp_of_shared_weights_is_the_mean_over_positions_by_loops() -> None:
    """Each position on its own is a dense layer that sees its patch."""
    stdp = ct.rules.STDP(rate=0.2)
    trains = numbers(3, 16, seed=5) > 0.6
    spikes = ct.SpikeTrains([trains_of(trains)], 2.0, dtype=torch.float64)
    net = ct.Network([(1, 4, 4), ct.Conv2d(2, 3)], neuron=ct.LIF(), rule=stdp, bias=False)
    state = net.initial_state(3, dtype=torch.float64)
    solver = ct.solvers.Hybrid(dt=0.25)
    state = state.replace({"W.1": state["W.1"].abs()})
    found = ct.simulate(net, spikes, solver, state=state).final["W.1"] - state["W.1"]
    assert float(found.abs().max()) > 0
    expected = torch.zeros_like(found)
    for top, left in product(range(2), range(2)):
        window = [(top + a) * 4 + left + b for a, b in product(range(3), range(3))]
        seen = ct.SpikeTrains([trains_of(trains[:, window])], 2.0, dtype=torch.float64)
        alone = ct.Network([9, 2], neuron=ct.LIF(), rule=stdp, bias=False)
        begin = alone.initial_state(dtype=torch.float64).replace({"W.1": state["W.1"].clone()})
        end = ct.simulate(alone, seen, solver, state=begin).final["W.1"]
        expected += (end - state["W.1"]) / 4
    torch.testing.assert_close(found, expected)


# a kernel that covers the whole input is a dense layer


def twins(neuron: Any, rule: Any, **settings: Any) -> tuple[ct.Network, ct.Network]:
    given = {"neuron": neuron, "rule": rule, **settings}
    return ct.Network([(1, 3, 3), ct.Conv2d(4, 3), 5], 3, **given), ct.Network([9, 4, 5], 3, **given)


def assert_twins(conv: ct.Network, dense: ct.Network, solver: Any, **shown: Any) -> None:
    start = dense.initial_state(4, 3, torch.float64)
    assert {name: value.shape for name, value in start.items()} == {
        name: value.shape for name, value in conv.initial_state(4, 3, torch.float64).items()
    }
    stimulus = ct.Presentations(numbers(5, 9).abs().clamp_max(2.4), np.arange(5) % 3, 3, 1.5, shuffle=False, **shown)
    one, other = (ct.simulate(net, stimulus, solver, state=start).final for net in (conv, dense))
    moved = False
    for name in start:
        torch.testing.assert_close(one[name], other[name], rtol=1e-9, atol=1e-12, msg=name)
        moved |= name[0] == "W" and not torch.equal(one[name], start[name])
    assert moved


@pytest.mark.parametrize("name", OF_RATES)
def test_a_kernel_over_everything_is_a_dense_layer_of_rates(name: str) -> None:
    conv, dense = twins(ct.Rate(activation="softplus"), OF_RATES[name], signal=ct.TargetStream())
    assert_twins(conv, dense, ct.solvers.Euler(dt=0.1))


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("custom", "weight_decay", "scaling")])
def test_a_kernel_over_everything_is_a_dense_layer_of_spikes(rule: str) -> None:
    made: Any = RULES[rule]
    chosen = made() if not hasattr(made(), "traces") or made().traces or made().jumps else None
    if chosen is None:
        chosen = made(ct.rules.Hebb(traces=True)) if hasattr(made(), "rule") else made(traces=True)
    if chosen.differential:
        pytest.skip("a neuron with a reset has no slope of its output")
    shown = {"encoder": ct.Poisson(rate=4.0, seed=1)} if chosen.jumps else {}
    conv, dense = twins(ct.LIF(tau_syn=0.4), chosen, signal=ct.TargetStream())
    assert_twins(conv, dense, ct.solvers.Hybrid(dt=0.05), **shown)


# the whole coupled system

SIZES: list[Any] = [(2, 5, 4), ct.Conv2d(3, 3, padding=1, pool=2), ct.Conv2d(2, 2, stride=2, padding=1), 3]
MAPS = ((5, 4), (2, 2))
X, Y = numbers(4, 40, seed=8), np.array([0, 1, 1, 0])


def coupled_network() -> ct.Network:
    return ct.Network(
        SIZES,
        2,
        neuron=[ct.Rate(tau, "softplus") for tau in (1.0, 0.7, 1.2)],
        signal=ct.TargetStream(contrast=COSINE),
        rule=ct.rules.ContrastiveHebbian(rate=4.0, decay=0.1),
    )


def synapses(i: int, below: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """The drive of layer i by torch's convolution; of layer 2 what is below is pooled already."""
    if i == 3:
        return below @ w.T + b
    shown = below.view(-1, 2, 5, 4) if i == 1 else below
    return flat(F.conv2d(shown, kernels(w, (3, 2)[i - 1]), b, stride=i, padding=1))


def slope(now: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """d(everything)/dt of `coupled_network`, the gradients by autograd."""
    d: dict[str, Tensor] = {}
    below, label = x, y
    for i, tau, positions in ((1, 1.0, 20), (2, 0.7, 4), (3, 1.2, 1)):
        r, w, b, trace = now[f"r.{i}"], now[f"W.{i}"], now[f"b.{i}"], now[f"x.{i}"]
        if i == 2:
            below = F.avg_pool2d(images(below, MAPS[0]), 2)
        u = synapses(i, below, w, b)
        if i == 1:
            u = torch.cat([u, now["S"].T])
        d[f"r.{i}"] = (F.softplus(u) - r) / tau
        d[f"y.{i}"] = (label - now[f"y.{i}"]) / tau
        d[f"g.{i}"] = (torch.sigmoid(u) - now[f"g.{i}"]) / tau
        source = x.view(-1, 2, 5, 4) if i == 1 else below
        d[f"x.{i}"] = ((flat(source) if i < 3 else source) - trace) / tau
        label = now[f"y.{i}"]
        with torch.enable_grad():
            h = r.clone().requires_grad_()
            unit = h / (torch.linalg.vector_norm(h, dim=1, keepdim=True) + 0.5)
            logits = 3.0 * unit[: len(x)] @ unit[len(x) :].T
            loss = -(label * torch.log_softmax(logits, 1)).sum() / len(x)
            post = -torch.autograd.grad(loss, h)[0] * now[f"g.{i}"]
            learner = w.clone().requires_grad_()
            pre = images(trace, ((5, 4), (2, 2))[i - 1]) if i < 3 else trace
            reached = post[: len(x)] if i == 1 else post
            if i == 1:
                pre = pre.reshape(len(x), -1)
            through = synapses(i, pre, learner, torch.zeros_like(b))
            d[f"W.{i}"] = torch.autograd.grad((through * reached).sum(), learner)[0] / positions
        d[f"W.{i}"] = 4.0 * (d[f"W.{i}"] - 0.1 * w)
        d[f"b.{i}"] = 4.0 * (reached.view(-1, len(b)).sum(0) / positions - 0.1 * b)
        if i == 1:
            d["S"] = 4.0 * (post[len(x) :].T - 0.1 * now["S"])
        below = r
    return d


@cache
def by_dop853() -> tuple[ct.State, dict[str, Array]]:
    net = coupled_network()
    start = net.initial_state(5, 2, torch.float64)
    start = start.replace({n: numbers(*v.shape).sigmoid() for n, v in start.items() if n not in net.weight_shapes})
    shapes = {name: value.shape for name, value in start.items()}
    sizes = [value.numel() for value in start.values()]

    def unpack(values: Any) -> dict[str, Tensor]:
        parts = torch.from_numpy(values).split(sizes)
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    now = np.concatenate([value.numpy().ravel() for value in start.values()])
    for k in (0, 2):
        x, y = X[k : k + 2], F.one_hot(torch.from_numpy(Y[k : k + 2]), 2).double()

        def right_hand_side(_t: float, values: Array, x: Tensor = x, y: Tensor = y) -> Array:
            d = slope(unpack(values.copy()), x, y)
            return np.concatenate([d[name].numpy().ravel() for name in shapes])

        now = solve_ivp(right_hand_side, (0.0, 0.7), now, method="DOP853", rtol=1e-9, atol=1e-11).y[:, -1]
    return start, {name: value.numpy() for name, value in unpack(now).items()}


SOLVERS: list[tuple[Any, float]] = [
    (ct.solvers.Dopri5(rtol=1e-8, atol=1e-10), 1e-6),
    (ct.solvers.FactoredDopri5(rtol=1e-8, atol=1e-10), 1e-6),
    (ct.solvers.FactoredTsit5(rtol=1e-8, atol=1e-10), 1e-6),
    (ct.solvers.FactoredBosh3(rtol=1e-6, atol=1e-8), 1e-4),
    (ct.solvers.EventDriven(), 1e-6),
    (ct.solvers.RK4(dt=0.05), 1e-5),
    (ct.solvers.Multirate(dt=0.02), 1e-3),
    (ct.solvers.Hybrid(dt=0.002), 1e-2),
]


@pytest.mark.parametrize(("solver", "bar"), SOLVERS, ids=lambda value: type(value).__name__)
def test_convolutions_follow_dop853(solver: Any, bar: float) -> None:
    start, expected = by_dop853()
    stimulus = ct.Presentations(X, Y, 2, 0.7, shuffle=False)
    final = ct.simulate(coupled_network(), stimulus, solver, state=start).final
    assert final.keys() == expected.keys()
    for name, value in expected.items():
        size = np.linalg.norm(value - start[name].numpy())
        assert size > 0
        assert np.linalg.norm(final[name].numpy() - value) <= bar * size, name


def test_steps_of_euler_are_the_same_in_factors_and_in_place() -> None:
    start, _ = by_dop853()
    stimulus = ct.Presentations(X, Y, 2, 0.7, shuffle=False, epochs=3)
    plain, fast = (
        ct.simulate(coupled_network(), stimulus, kind(dt=0.01), state=start).final
        for kind in (ct.solvers.Euler, ct.solvers.FactoredEuler)
    )
    for name in plain:
        torch.testing.assert_close(fast[name], plain[name], rtol=1e-10, atol=1e-13, msg=name)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_what_has_no_compiled_form_runs_without_it(pooling: Any) -> None:
    net = ct.Network([(1, 4, 4), ct.Conv2d(2, pool=2, pooling=pooling), 3], rule=ct.rules.Hebb())
    x = numbers(2, 16)
    stimulus = ct.Presentations(x, None, 2, 0.5)
    with pytest.warns(UserWarning, match="compile=True is without effect"):
        fast = ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.1, compile=True))
    assert fast.final.equal(ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.1)).final)


@pytest.mark.parametrize("rule", [name for name in OF_RATES if name != "custom"])
def test_members_of_an_ensemble_are_runs_of_their_own(rule: str) -> None:
    net = ct.Network(
        [(1, 4, 4), ct.Conv2d(2, 2, pool=2, pooling="max"), ct.Conv2d(2, 1), 3],
        2,
        signal=ct.TargetStream(),
        rule=OF_RATES[rule],
        neuron=ct.Rate(activation="tanh"),
    )
    stimulus = ct.Presentations(numbers(5, 16), np.arange(5) % 2, 3, 0.6)
    for kind in (ct.solvers.Euler, ct.solvers.FactoredEuler):
        if kind is ct.solvers.FactoredEuler and OF_RATES[rule].dense:
            continue
        runs = ct.simulate(net, stimulus, kind(dt=0.2), ensemble=2, seed=3)
        assert [run.stats["path"] for run in runs] == ["side by side"] * 2
        for seed, run in zip((3, 4), runs, strict=True):
            alone = ct.simulate(net, stimulus, kind(dt=0.2), seed=seed).final
            for name in alone:
                torch.testing.assert_close(run.final[name], alone[name], rtol=1e-10, atol=1e-12, msg=name)


def test_members_that_differ_in_their_pooling_or_stride_are_runs_of_their_own() -> None:
    specs = [
        ct.Conv2d(2, 2, pool=2),
        ct.Conv2d(2, 2, pool=2, pooling="max"),
        ct.Conv2d(2, 2, stride=2, padding=1, pool=1),
        ct.Conv2d(2, 2, stride=1, padding=0, pool=1),
    ]
    nets = [ct.Network([(1, 5, 5), spec, ct.Conv2d(2, 2), ct.Conv2d(2, 1)], rule=ct.rules.Hebb()) for spec in specs]
    assert all(net.weight_shapes == nets[0].weight_shapes for net in nets)
    stimulus = ct.Presentations(numbers(4, 25), None, 2, 0.6)
    for members, solver in product((nets, nets[:2]), (ct.solvers.Euler(dt=0.2), ct.solvers.FactoredEuler(dt=0.2))):
        runs = ct.simulate(members, stimulus, solver, ensemble=len(members), seed=[1] * len(members))
        for net, run in zip(members, runs, strict=True):
            alone = ct.simulate(net, stimulus, solver, seed=1).final
            for name in alone:
                torch.testing.assert_close(run.final[name], alone[name], rtol=1e-10, atol=1e-12, msg=name)


# spikes


def test_the_grid_converges_to_the_event_driven_solver() -> None:
    net = ct.Network(
        [(1, 3, 3), ct.Conv2d(2, 2, padding=1, pool=2), ct.Conv2d(2, 2, padding=1, pool=2, pooling="max"), 2],
        2,
        neuron=ct.LIF(tau_syn=0.5),
        signal=ct.TargetStream(),
        rule=[ct.rules.Surrogate(rate=0.5), ct.rules.Voltage(rate=0.5), ct.rules.Surrogate(rate=0.5)],
    )
    state = net.initial_state(1, 2, torch.float64)
    state = state.replace({f"W.{i}": gain * state[f"W.{i}"].abs() for i, gain in enumerate((1.2, 5.0, 8.0), start=1)})
    stimulus = ct.Presentations(numbers(2, 9).abs() * 2, [0, 1], 2, 0.7)
    exact = ct.simulate(net, stimulus, ct.solvers.EventDriven(), state=state).final
    assert all(float(exact[f"n.{i}"].sum()) > 5 for i in (1, 2, 3))
    change, *errors = (
        float(torch.cat([(one[f"W.{i}"] - exact[f"W.{i}"]).flatten() for i in (1, 2, 3)]).norm())
        for one in (
            state,
            *(ct.simulate(net, stimulus, ct.solvers.Hybrid(dt), state=state).final for dt in (0.02, 0.002)),
        )
    )
    assert errors[1] < 0.25 * errors[0]
    assert errors[1] < 0.02 * change


def test_a_window_of_spikes_is_their_mean_or_whether_there_is_one() -> None:
    """One unit of four in a window spikes: the next layer is kicked by its weight, or by a quarter of it."""
    for pooling, share in (("average", 0.25), ("max", 1.0)):
        spec = ct.Conv2d(1, 1, pool=2, pooling=pooling)  # type: ignore[arg-type]
        net = ct.Network([(1, 2, 2), spec, 1], neuron=ct.LIF(tau=1.0, threshold=1.0), bias=False)
        state = net.initial_state(dtype=torch.float64).replace(
            {"W.1": torch.ones(1, 1).double(), "W.2": torch.full((1, 1), 0.5).double()}
        )
        trains = ct.SpikeTrains([[[], [], [0.5], []]], 0.5, dtype=torch.float64)
        final = ct.simulate(net, trains, ct.solvers.EventDriven(), state=state).final
        assert final["n.1"].tolist() == [[0.0, 0.0, 1.0, 0.0]]
        assert float(final["v.2"]) == pytest.approx(0.5 * share)


# around it


def test_what_is_recorded_has_the_shapes_of_shared_weights(tmp_path: Path) -> None:
    net = ct.Network(
        [(1, 4, 4), ct.Conv2d(3, 2, pool=3), 2], 2, signal=ct.TargetStream(), rule=ct.rules.Oja(traces=True)
    )
    probes = [ct.Probe(what, every=0.5) for what in ("weights", "biases", "rates", "traces", "signal")]
    sol = ct.simulate(
        net, ct.Presentations(numbers(4, 16), [0, 1, 0, 1], 2, 1.0), ct.solvers.Euler(0.25), probes=probes
    )
    weights = sol.dataset["weights"].sel(layer=1).isel(time=-1).values
    np.testing.assert_array_equal(weights[:3, :4], sol.final["W.1"].numpy())
    assert sol.dataset["biases"].sizes["layer"] == 2
    assert sol.dataset["traces"].isel(time=-1).sel(layer=2).notnull().sum() == 4 * 3
    rates = sol.dataset["rates"].isel(time=-1).sel(layer=1).values
    np.testing.assert_array_equal(rates[~np.isnan(rates)], sol.final["r.1"].numpy().ravel())
    sol.save(tmp_path / "run.zarr")
    assert ct.load(tmp_path / "run.zarr").final.equal(sol.final)
    assert "3 x 3 x 3, Conv2d(channels=3, kernel=2" in repr(net)
    assert "3 x 3 x 3, Conv2d" in net._repr_html_()
    ct.plot.diagram(net)
    plt.close("all")


def test_a_network_of_other_strides_has_another_configuration() -> None:
    stimulus = ct.Presentations(numbers(2, 25), None, 2, 0.5)
    found = [
        ct.simulate(ct.Network([(1, 5, 5), ct.Conv2d(2, 3, stride)]), stimulus, ct.solvers.Euler(0.5)).dataset.attrs
        for stride in (1, 2, 2)
    ]
    hashes = [attrs["configuration_hash"] for attrs in found]
    assert hashes[0] != hashes[1] == hashes[2]


def test_the_rule_of_a_lone_layer_is_aligned_with_the_gradient() -> None:
    net = ct.Network(
        [(1, 5, 5), ct.Conv2d(3, 3, padding=1)],
        3,
        neuron=ct.Rate(activation="softplus"),
        signal=ct.TargetStream(contrast=COSINE),
        rule=ct.rules.ContrastiveHebbian(),
    )
    state = net.initial_state(1, 6, torch.float64)
    for of in ("weights", "drive"):
        found = ct.alignment(state, numbers(6, 25), [0, 1, 2, 0, 1, 2], net, of=of)
        np.testing.assert_allclose(found.values, 1.0, atol=1e-9)


@pytest.mark.parametrize("neuron", [ct.LIF(), ct.Rate()], ids=["spikes", "rates"])
def test_a_prediction_is_the_same_however_many_are_asked_at_once(neuron: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ct.Network([(1, 6, 6), ct.Conv2d(4, padding=1, pool=2), 5], 3, neuron=neuron, signal=ct.TargetStream())
    state, x = net.initial_state(3), numbers(7, 36).abs().float() * 3
    whole = net.transform(state, x)
    assert float(whole.abs().sum()) > 0
    monkeypatch.setattr(network_module, "AT_ONCE", 2 * 36 * 9)
    torch.testing.assert_close(whole, net.transform(state, x))


def digits(neuron: Any, rules: list[Any], contrast: Any, solver: Any, **shown: Any) -> float:
    """Test accuracy of a small network after five epochs."""
    data = ct.datasets.digits(seed=0)
    net = ct.Network(
        [(1, 8, 8), ct.Conv2d(12, padding=1, pool=2), 64],
        10,
        neuron=neuron,
        signal=ct.TargetStream(contrast=contrast),
        rule=rules,
    )
    stimulus = ct.Presentations(data.x_train, data.y_train, 64, epochs=5, seed=0, **shown)
    sol = ct.simulate(net, stimulus, solver, seed=0)
    return net.score(sol.final, data.x_test, data.y_test)


def test_a_small_network_of_rates_learns_digits() -> None:  # seeds 0 to 2: 0.936, 0.933, 0.967
    rules = [ct.rules.ContrastiveHebbian(rate=rate) for rate in (60.0, 4.0)]
    assert digits(ct.Rate(), rules, "cosine", ct.solvers.Euler(dt=1.0), duration=1.0) >= 0.9


@pytest.mark.slow
def test_a_small_network_of_spikes_learns_digits() -> None:  # seeds 0 to 2: 0.953, 0.961, 0.936
    rules = [ct.rules.Surrogate(rate=rate) for rate in (60.0, 4.0)]
    shown = {"duration": 5.0, "gate": (2.0, 5.0)}
    assert digits(ct.LIF(), rules, ct.rules.SoftmaxCosine(beta=20.0), ct.solvers.Hybrid(dt=0.25), **shown) >= 0.9


def network(sizes: Any, **settings: Any) -> Callable[[], Any]:
    return lambda: ct.Network(sizes, **settings)


IMAGE = (1, 6, 6)
BAD: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "no channels": (ValueError, r"Conv2d\(channels=\) must be an integer >= 1, got 0", lambda: ct.Conv2d(0)),
    "half a kernel": (ValueError, r"Conv2d\(kernel=\) must be an integer", lambda: ct.Conv2d(2, 2.5)),  # type: ignore[arg-type]
    "no stride": (ValueError, r"Conv2d\(stride=\)", lambda: ct.Conv2d(2, stride=0)),
    "no window": (ValueError, r"Conv2d\(pool=\)", lambda: ct.Conv2d(2, pool=0)),
    "padding": (ValueError, r"Conv2d\(padding=\) must be less than the kernel, 3", lambda: ct.Conv2d(2, padding=3)),
    "negative padding": (ValueError, r"Conv2d\(padding=\)", lambda: ct.Conv2d(2, padding=-1)),
    "pooling": (ValueError, "'average' or 'max', got 'mean'", lambda: ct.Conv2d(2, pooling="mean")),  # type: ignore[arg-type]
    "flat inputs": (ValueError, r"sizes\[1\]: Conv2d.* needs a map below it", network([36, ct.Conv2d(2)])),
    "above dense": (ValueError, r"sizes\[2\]: Conv2d.* there are 5 units", network([IMAGE, 5, ct.Conv2d(2)])),
    "two numbers": (ValueError, r"\(channels, height, width\), got \(6, 6\)", network([(6, 6), ct.Conv2d(2)])),
    "no height": (ValueError, r"sizes\[0\], height, must be an integer >= 1", network([(1, 0, 6), ct.Conv2d(2)])),
    "kernel": (ValueError, "its kernel must be at most 6, got 7", network([IMAGE, ct.Conv2d(2, 7)])),
    "kernel above": (
        ValueError,
        r"sizes\[2\]: .* at most 1",
        network([IMAGE, ct.Conv2d(2, 3, pool=3), ct.Conv2d(2, 2)]),
    ),
    "window": (
        ValueError,
        r"sizes\[1\]: .* 4 x 4 positions, which no window of pool=5",
        network([IMAGE, ct.Conv2d(2, pool=5)]),
    ),
    "a stranger": (ValueError, r"sizes\[1\] must be an integer >= 1", network([IMAGE, "conv"])),
    **{
        name: (
            ValueError,
            f"signal={type(signal).__name__} feeds errors back",
            network([IMAGE, ct.Conv2d(2), 3], n_classes=3, signal=signal),
        )
        for name, signal in ((name, made()) for name, made in SIGNALS.items() if name != "target_stream")
    },
    "images": (
        ValueError,
        r"x must have two dimensions .* got shape \(4, 1, 6, 6\): give each sample as one row, reshape\(len\(x\), -1\)",
        lambda: ct.Presentations(np.zeros((4, 1, 6, 6)), None, 2),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_convolution_that_makes_no_sense_is_refused_by_name(case: str) -> None:
    error, words, act = BAD[case]
    with pytest.raises(error, match=words):
        act()


def test_networks_are_compared_and_their_seeds_repeat() -> None:
    data = ct.datasets.digits(seed=0)
    nets = {
        f"{channels} channels": ct.Network(
            [(1, 8, 8), ct.Conv2d(channels, pool=2), 8],
            10,
            signal=ct.TargetStream(),
            rule=ct.rules.ContrastiveHebbian(rate=4.0),
        )
        for channels in (2, 4)
    }
    stimulus = ct.Presentations(data.x_train[:128], data.y_train[:128], 64, duration=1.0, epochs=2)
    runs = ct.compare(nets, stimulus, seeds=range(2), solver=ct.solvers.Euler(dt=1.0), test=data)
    again = ct.compare(nets, stimulus, seeds=range(2), solver=ct.solvers.Euler(dt=1.0), test=data)
    assert "4 completed" in repr(runs)
    assert runs.dataset["accuracy"].equals(again.dataset["accuracy"])


def test_images_may_be_read_by_a_dense_layer() -> None:
    one, other = ct.Network([(2, 3, 3), 4]), ct.Network([18, 4])
    assert one.sizes == other.sizes
    assert one.initial_state(1).equal(other.initial_state(1))
