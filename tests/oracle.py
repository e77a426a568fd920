"""The oracle that coupled systems are compared with.

It is the mathematics written out by hand in NumPy, layer by layer, and integrated by SciPy's DOP853, one presentation
after another. It takes numbers from the library (sizes, rates, initial weights) and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor, nn

import ctsigprop as ct
from ctsigprop.stimuli.validation import as_inputs

Array = NDArray[np.float64]
Arrays = dict[str, Array]
Coupled = tuple[ct.Network, ct.Presentations, ct.State, Arrays]


class AdaptiveRate(nn.Module):
    """A user's own neuron, with parameters that torch knows: tau dr/dt = -r + tanh(u - c a), tau_a da/dt = r - a."""

    def __init__(self, tau: float = 0.8, tau_a: float = 0.5, c: float = 0.4) -> None:
        super().__init__()
        self.tau = tau
        self.tau_a = nn.Parameter(torch.tensor(tau_a, dtype=torch.float64))
        self.c = nn.Parameter(torch.tensor(c, dtype=torch.float64))

    def variables(self) -> dict[str, float]:
        return {"r": 0.0, "a": 0.0}

    def flow(self, variables: Mapping[str, Tensor], drive: Tensor) -> dict[str, Tensor]:
        r, a = variables["r"], variables["a"]
        return {"r": (torch.tanh(drive - self.c * a) - r) / self.tau, "a": (r - a) / self.tau_a}

    def output(self, variables: Mapping[str, Tensor]) -> Tensor:
        return variables["r"]

    def gain(self, variables: Mapping[str, Tensor], drive: Tensor) -> Tensor:
        return 1 - torch.tanh(drive - self.c * variables["a"]).square()


COSINE = ct.rules.SoftmaxCosine(beta=3.0, kappa=0.5)


@dataclass(frozen=True)
class Setting:
    """One coupled system: everything that both sides of the comparison are built from."""

    rules: tuple[ct.rules.Rule | None, ...]
    activation: str = "softplus"
    per: str | None = "class"
    contrast: ct.rules.Contrast = COSINE
    generator: str = "learned"
    gate: tuple[float, float] | None = None
    contexts: bool = False
    adaptive: int = 0
    at_rest: bool = False
    sizes: tuple[int, ...] = (4, 6, 5)
    taus: tuple[float, ...] = (1.0, 0.7, 1.2)
    samples: int = 5
    batch: int = 3
    classes: int = 3
    duration: float = 0.75
    rtol: float = 1e-10

    @property
    def layers(self) -> range:
        return range(1, len(self.sizes))

    @property
    def traced(self) -> bool:
        return any(rule is not None and rule.traces for rule in self.rules)

    @property
    def learned(self) -> bool:
        return self.generator == "learned" and isinstance(self.rules[0], ct.rules.ContrastiveHebbian)


def contrastive(traces: bool, rate: float = 2.0, decay: float = 0.1) -> ct.rules.ContrastiveHebbian:
    return ct.rules.ContrastiveHebbian(rate=rate, decay=decay, traces=traces)


HEBB, HEBB_TRACED = (ct.rules.Hebb(rate=0.3, decay=0.5, traces=traces) for traces in (False, True))
OJA, OJA_TRACED = (ct.rules.Oja(rate=0.3, traces=traces) for traces in (False, True))
TRACED, UNTRACED = contrastive(True), contrastive(False)

SETTINGS: dict[str, Setting] = {
    "hebb": Setting((HEBB, HEBB), per=None),
    "hebb_traced": Setting((HEBB_TRACED, HEBB_TRACED), "tanh", per=None),
    "hebb_in_streams": Setting((HEBB_TRACED, HEBB)),
    "oja": Setting((OJA, OJA), "tanh", per=None),
    "oja_traced": Setting((OJA_TRACED, OJA_TRACED), per=None),
    "contrastive": Setting((TRACED, TRACED)),
    "contrastive_from_rest": Setting((TRACED, TRACED), "tanh", at_rest=True),
    "contrastive_gated": Setting((UNTRACED, UNTRACED), gate=(0.25, 0.6)),
    "contrastive_untraced": Setting((UNTRACED, UNTRACED), "tanh"),
    "contrastive_fixed_generator": Setting((TRACED, TRACED), generator="fixed"),
    "contrastive_per_sample": Setting((TRACED, TRACED), "tanh", per="sample"),
    "contrastive_contexts": Setting((TRACED, UNTRACED), per="sample", contexts=True),
    "contrastive_dot": Setting((TRACED, TRACED), "tanh", contrast=ct.rules.DotProduct(beta=0.5)),
    "contrastive_difference": Setting((TRACED, TRACED), contrast=ct.rules.Difference(kappa=0.8)),
    "contrastive_plain_difference": Setting((TRACED, TRACED), contrast=ct.rules.Difference(kappa=None)),
    "mixed_rules": Setting((HEBB, TRACED), "tanh"),
    "one_layer_frozen": Setting((TRACED, None, TRACED), sizes=(4, 5, 4, 5)),
    "orders": Setting((TRACED, TRACED), "tanh", per="sample", duration=2.0, samples=6, rtol=1e-12),
    "own_neuron": Setting((TRACED, TRACED, TRACED), "softplus", adaptive=2, sizes=(4, 5, 6, 4)),
}


def softplus(u: Array) -> Array:
    return np.logaddexp(0.0, u)


def logistic(u: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-u)))


def tanh_slope(u: Array) -> Array:
    return np.asarray(1.0 / np.cosh(u) ** 2)


PHI: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "softplus": (softplus, logistic),
    "tanh": (np.tanh, tanh_slope),
}


def pull_back(g: Array, a: Array, kappa: float) -> Array:
    """Row by row, the gradient g in a / (|a| + kappa) as a gradient in a."""
    out = np.empty_like(a)
    for i, row in enumerate(a):
        norm = np.sqrt(row @ row)
        along = 0.0 if norm == 0.0 else (g[i] @ row) / norm
        out[i] = (g[i] - row / (norm + kappa) * along) / (norm + kappa)
    return out


def deltas(contrast: ct.rules.Contrast, h: Array, z: Array, y: Array, rivals: Array) -> tuple[Array, Array]:
    """The local learning signals of the input and of the target stream; `rivals` weighs each target's odds."""
    kappa, beta = getattr(contrast, "kappa", None), float(getattr(contrast, "beta", 1.0))
    u, v = h, z
    if kappa is not None:
        u, v = (a / (np.sqrt((a**2).sum(1, keepdims=True)) + kappa) for a in (h, z))
    presence = y.sum(1, keepdims=True)
    if isinstance(contrast, ct.rules.Difference):
        of_h, of_z = (y @ v - presence * u) / len(h), np.zeros_like(z)
    else:
        odds = rivals * np.exp(beta * u @ v.T)
        e = beta * (y - presence * odds / odds.sum(1, keepdims=True)) / len(h)
        of_h, of_z = e @ v, e.T @ u
    return (of_h, of_z) if kappa is None else (pull_back(of_h, h, kappa), pull_back(of_z, z, kappa))


def slope(s: Setting, now: Arrays, shown: Stretch) -> Arrays:
    """d(everything)/dt: the rows of the input stream come first, those of the target stream after them."""
    x, target, present = shown.x, shown.target, shown.present
    d = {name: np.zeros_like(value) for name, value in now.items()}
    phi, phi_slope = PHI[s.activation]
    samples = len(x)
    context = np.eye(s.classes) if s.per == "class" else target
    label_below = present if s.per is None else target * present if s.per == "class" else np.diag(present[:, 0])
    shown_label, below = label_below, x
    for i in s.layers:
        tau, rule, r = s.taus[i - 1], s.rules[i - 1], now[f"r.{i}"]
        u = below @ now[f"W.{i}"].T + now[f"b.{i}"]
        if i == 1 and s.per is not None:
            u = np.concatenate([u, context @ now["S"].T])
        if i == s.adaptive:
            tau, a = 0.8, now[f"a.{i}"]
            gain = tanh_slope(u - 0.4 * a)
            d[f"r.{i}"], d[f"a.{i}"] = (np.tanh(u - 0.4 * a) - r) / tau, (r - a) / 0.5
        else:
            gain = phi_slope(u)
            d[f"r.{i}"] = (phi(u) - r) / tau
        if s.traced:
            d[f"y.{i}"] = (label_below - now[f"y.{i}"]) / tau
            label_below = now[f"y.{i}"]
        if rule is not None:
            label, pre, source = shown_label, below, context
            if rule.traces:
                label, pre = now[f"y.{i}"], now[f"x.{i}"]
                d[f"x.{i}"] = (below - pre) / tau
            if rule.traces and rule.supervised:
                d[f"g.{i}"], gain = (gain - now[f"g.{i}"]) / tau, now[f"g.{i}"]
            if rule.traces and i == 1 and s.learned and s.per == "sample":
                d["c.1"], source = (context - now["c.1"]) / tau, now["c.1"]
            if shown.plastic:
                learn(s, i, rule, d, now, (r, gain, label, pre, source, samples))
        below = r
    return d


def learn(
    s: Setting,
    i: int,
    rule: ct.rules.Rule,
    d: Arrays,
    now: Arrays,
    seen: tuple[Array, Array, Array, Array, Array, int],
) -> None:
    """Write d(weights)/dt and d(biases)/dt of one layer into `d`, synapse population by synapse population."""
    r, gain, label, pre, source, samples = seen
    W, b = now[f"W.{i}"], now[f"b.{i}"]
    rate, decay = float(getattr(rule, "rate", 0.0)), float(getattr(rule, "decay", 0.0)) * np.ones(len(b))
    if not rule.supervised:
        h, pre = r[:samples], pre[:samples]
        post = h * label.sum(1, keepdims=True) / samples
        if isinstance(rule, ct.rules.Oja):
            decay = (post * h).sum(0)
    else:
        rivals = np.ones(s.classes) if s.per == "class" else label.sum(1)  # of an empty row, the target is none
        of_inputs, of_targets = deltas(s.contrast, r[:samples], r[samples:], label, rivals)
        post = np.concatenate([of_inputs, of_targets]) * gain
        if i == 1:
            if s.learned:
                d["S"] = rate * (post[samples:].T @ source - decay[:, None] * now["S"])
            post = post[:samples]
    d[f"W.{i}"] = rate * (post.T @ pre - decay[:, None] * W)
    d[f"b.{i}"] = rate * (post.sum(0) - decay * b)


@dataclass(frozen=True)
class Stretch:
    """A stretch of constant input: when, what is shown, and whether weights may change."""

    start: float
    stop: float
    x: Array
    target: Array
    present: Array
    plastic: bool


def stretches(s: Setting, x: Array, y: Array) -> Iterator[Stretch]:
    """The stimulus in the order given, cut wherever the input or the gate jumps; a partial batch has empty rows."""
    width = y.shape[1] if y.ndim == 2 else s.classes
    opened, closed = s.gate or (0.0, s.duration)
    for k, first in enumerate(range(0, len(x), s.batch)):
        shown, labels = x[first : first + s.batch], y[first : first + s.batch]
        x_now, target, present = np.zeros((s.batch, x.shape[1])), np.zeros((s.batch, width)), np.zeros((s.batch, 1))
        x_now[: len(shown)], present[: len(shown)] = shown, 1.0
        target[: len(shown)] = labels if y.ndim == 2 else np.eye(width)[labels.astype(int)]
        for a, b in pairwise([0.0, opened, closed, s.duration]):
            if b > a:
                onset = k * s.duration
                yield Stretch(onset + a, onset + b, x_now, target, present, a == opened)


def by_dop853(s: Setting, start: Arrays, x: Array, y: Array) -> Arrays:
    """Everything at the end of the stimulus, by SciPy's DOP853, restarted at every jump."""
    names = list(start)
    cuts = np.cumsum([start[name].size for name in names])[:-1]

    def unpack(flat: Array) -> Arrays:
        parts = np.split(flat, cuts)
        return {name: part.reshape(start[name].shape) for name, part in zip(names, parts, strict=True)}

    def right_hand_side(_: float, flat: Array, now: Stretch) -> Array:
        d = slope(s, unpack(flat), now)
        return np.concatenate([d[name].ravel() for name in names])

    flat = np.concatenate([start[name].ravel() for name in names])
    for now in stretches(s, x, y):
        span = (now.start, now.stop)
        run = solve_ivp(right_hand_side, span, flat, method="DOP853", rtol=s.rtol, atol=1e-2 * s.rtol, args=(now,))
        assert run.success
        flat = run.y[:, -1]
    return unpack(flat)


def by_euler(s: Setting, start: Arrays, x: Array, y: Array, dt: float) -> Arrays:
    """Everything at the end of the stimulus, by Euler steps of dt; the last step before a jump is shortened."""
    state = dict(start)
    for now in stretches(s, x, y):
        t = now.start
        while now.stop - t > 1e-9:
            h = min(dt, now.stop - t)
            d = slope(s, state, now)
            state = {name: value + h * d[name] for name, value in state.items()}
            t += h
    return state


def build(s: Setting) -> tuple[ct.Network, ct.Presentations, ct.State]:
    """The same system as a user of the library writes it."""
    neurons: list[Any] = [ct.Rate(tau=tau, activation=s.activation) for tau in s.taus[: len(s.sizes) - 1]]
    if s.adaptive:
        neurons[s.adaptive - 1] = AdaptiveRate()
    network = ct.Network(
        s.sizes,
        n_classes=None if s.per is None else s.classes,
        neuron=neurons,
        signal=None if s.per is None else ct.TargetStream(s.per, s.generator, s.contrast),  # type: ignore[arg-type]
        rule=list(s.rules),
    )
    random = np.random.default_rng(7)
    x = random.standard_normal((s.samples, s.sizes[0]))
    y: Any = None
    if s.per is not None:
        y = random.standard_normal((s.samples, s.classes)) if s.contexts else np.arange(s.samples) % s.classes
    stimulus = ct.Presentations(x, y, s.batch, s.duration, gate=s.gate, shuffle=False)
    state = network.initial_state(3, s.batch, torch.float64)
    if not s.at_rest:
        weights = network.weight_shapes
        somewhere = {
            name: torch.from_numpy(random.uniform(0.1, 0.9, tuple(value.shape)))
            for name, value in state.items()
            if name not in weights
        }
        state = state.replace(somewhere)
    return network, stimulus, state


def numbers(s: Setting) -> tuple[ct.Network, ct.Presentations, ct.State, Arrays, Array, Array]:
    """The system of a setting, with its initial state, inputs and targets as NumPy arrays."""
    network, stimulus, state = build(s)
    start = {key: value.numpy().copy() for key, value in state.items()}
    y = stimulus.y.numpy() if isinstance(stimulus.y, Tensor) else np.zeros(s.samples)
    return network, stimulus, state, start, as_inputs("x", stimulus.x).numpy(), y


@cache
def coupled(name: str) -> Coupled:
    network, stimulus, state, start, x, y = numbers(SETTINGS[name])
    return network, stimulus, state, by_dop853(SETTINGS[name], start, x, y)


def stepped(name: str, dt: float) -> Arrays:
    *_, start, x, y = numbers(SETTINGS[name])
    return by_euler(SETTINGS[name], start, x, y, dt)
