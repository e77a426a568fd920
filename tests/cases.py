"""Experiments that every way of carrying out a run must end alike: a network, what it is shown, and a solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import ctsigprop as ct
from ctsigprop.rules.surrogates import SURROGATES
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.table import SOLVERS
from tests.networks import CLASSES, OF_RATES, SIZES, X, Y, currents, rates, shown, spikes, spiking

RANDOM = np.random.default_rng(0)
STEP = 0.2
"""It does not fit into a presentation of 1.5, so that every last step is shorter."""
GRID = ct.solvers.Hybrid(dt=0.1)


@dataclass(frozen=True)
class Case:
    """An experiment of one member or of several.

    Parameters
    ----------
    networks, stimuli : of each member, or one for all
    solver : of all of them
    ways : names of what carries it out, see test_equivalence.py
    steps : "fixed", "adaptive" or "spikes", which decides how close to the plain run another one is
    settings : further arguments of `simulate`
    counted : which numbers in the statistics of a run are the same for every way
    start : what is done to the initial state
    """

    networks: Sequence[ct.Network]
    stimuli: Sequence[ct.Stimulus]
    solver: Any
    ways: tuple[str, ...] = ("in place", "compiled", "members")
    steps: str = "fixed"
    settings: dict[str, Any] = field(default_factory=dict)
    counted: tuple[str, ...] = ("steps", "rhs_evaluations", "rejected_steps")
    start: Callable[[ct.State], ct.State] = copy


def presented(x: Any = X, y: Any = Y, **settings: Any) -> ct.Presentations:
    """Three epochs of presentations that are not a whole number of steps."""
    return shown(x, y, **{"duration": 1.5, "epochs": 3, **settings})


def of_rates(
    rule: Any, signal: Any = None, *, neuron: Any = "tanh", solver: Any = None, stimulus: Any = None, **settings: Any
) -> Case:
    """Two layers of rates in a target stream."""
    dense = rule is not None and not isinstance(rule, list) and rule.dense
    if dense and "ways" not in settings:
        settings["ways"] = ("compiled", "members")
    network = rates(rule, signal, neuron)
    step = ct.solvers.Euler(dt=STEP) if dense else ct.solvers.FactoredEuler(dt=STEP)
    return Case([network], [stimulus or presented()], solver or step, **settings)


def of_spikes(neuron: Any, rule: Any, stimulus: Any = None, signal: bool = True, **settings: Any) -> Case:
    """Two layers that spike."""
    given: dict[str, Any] = {"ways": ("in place", "compiled"), "steps": "spikes", **settings}
    return Case([spiking(neuron, rule, signal)], [stimulus or currents()], GRID, **given)


def anywhere(state: ct.State) -> ct.State:
    """Activities and traces that a run may have come to."""
    random = torch.Generator().manual_seed(0)
    held = {name: value for name, value in state.items() if name[0] not in "WbS"}
    return state.replace({name: torch.rand(v.shape, generator=random, dtype=v.dtype) for name, v in held.items()})


def with_large_weights(state: ct.State) -> ct.State:
    """Weights of 1."""
    return state.replace({"W.1": torch.ones_like(state["W.1"])})


# ---------------------------------------------------------------------------------- rates


def instar(local: ct.rules.Local) -> ct.rules.Update:
    """A rule of one's own, whose decay is a mean over rows."""
    return ct.rules.Update(local.share * local.post, local.pre, local.mean(local.post))


def mean_rate(activities: Any, labels: Any) -> Any:
    """A reward."""
    return activities["r.2"].mean()


def rule_cases() -> dict[str, Case]:
    """Every rule of the table that learns from rates, and what is made of rules."""
    rules: dict[str, ct.rules.Rule] = {
        **{name: rule for name, rule in OF_RATES.items() if name != "custom"},
        "sum": ct.rules.Oja(rate=0.2) + ct.rules.Scaling(rate=0.1) + ct.rules.BCM(),
        "dense sum": ct.rules.OjaSubspace(rate=0.2) + ct.rules.WeightDecay(),
        "multiple": 0.5 * ct.rules.Covariance(rate=0.2),
        "hard bounds": ct.rules.Bounded(ct.rules.ContrastiveHebbian(), -0.6, 0.6, "hard"),
        "eligibility": ct.rules.ThreeFactor(ct.rules.ContrastiveHebbian(), tau_e=0.5),
        "traces": ct.rules.Hebb(rate=0.3, decay=0.5, traces=True),
    }
    others = {
        "of one's own": ct.rules.Custom(instar),
        "reward": ct.rules.ThreeFactor(ct.rules.Hebb(rate=0.5), ct.rules.Reward(mean_rate)),
    }
    cases = {f"rule: {name}": of_rates(rule) for name, rule in rules.items()}
    for name, rule in rules.items():
        for kind in (ct.solvers.RK4, ct.solvers.FactoredRK4):
            if not (rule.dense and kind is ct.solvers.FactoredRK4):
                cases[f"rule: {name} by {kind.__name__}"] = of_rates(
                    rule,
                    solver=kind(dt=0.25),
                    stimulus=shown(),
                    ways=("compiled", "members") if kind is ct.solvers.RK4 else ("members",),
                    counted=("steps",),
                )
    return cases | {f"rule: {name}": of_rates(rule, ways=("compiled",)) for name, rule in others.items()}


def signal_cases() -> dict[str, Case]:
    """Every signal, with and without traces, under a gate."""
    signals: dict[str, ct.signals.Signal] = {
        **{name: signal() for name, signal in SIGNALS.items()},
        "fixed generator": ct.TargetStream(generator="fixed"),
        "dot": ct.TargetStream(contrast="dot"),
        "difference": ct.TargetStream(generator="fixed", contrast="difference"),
        "plain difference": ct.TargetStream(contrast=ct.rules.Difference(kappa=None)),
        "per sample": ct.TargetStream(per="sample"),
        "batch-wise": ct.TargetStream(per="sample", match="all", contrast="dot"),
        "squared": ct.Backprop(loss="squared"),
    }
    cases = {}
    for name, signal in signals.items():
        for traces in (True, False):
            rule = ct.rules.ContrastiveHebbian(rate=2.0, decay=0.1, traces=traces)
            case = of_rates(rule, signal, stimulus=presented(gate=(0.3, 1.2)))
            cases[f"signal: {name}, {'traces' if traces else 'one instant'}"] = case
    return cases


def network_cases() -> dict[str, Case]:
    """Activations, layers without a rule or a bias, one precision and the other."""
    taught = ct.rules.ContrastiveHebbian(rate=2.0)
    cases = {
        f"activation: {name}": of_rates(taught, neuron=name)
        for name in ("linear", "relu", "softplus", "tanh", "sigmoid")
    }
    taus = [ct.Rate(tau=1.0, activation="tanh"), ct.Rate(tau=0.7, activation="softplus")]
    cases["layers: of two time constants"] = of_rates(taught, neuron=taus)
    cases["layers: one is frozen"] = of_rates([taught, None])
    cases["layers: two rules"] = of_rates([ct.rules.Hebb(rate=0.3, decay=0.1), taught])
    cases["single precision: rates"] = of_rates(taught, stimulus=presented(X.astype(np.float32)))
    alone = ct.Network(SIZES, neuron=ct.Rate(activation="tanh"), rule=ct.rules.Oja(rate=0.3), bias=False)
    cases["no bias, no labels"] = Case([alone], [presented(y=None)], ct.solvers.FactoredEuler(dt=STEP))
    for per in ("class", "sample"):  # memory that a product has read the other way round is used again
        deep = ct.Network((4, 5, 4, 3), 2, signal=ct.TargetStream(per=per), rule=ct.rules.ContrastiveHebbian())
        case = Case([deep], [presented(y=Y % 2, batch=2)], ct.solvers.FactoredEuler(dt=STEP))
        cases[f"matrices that are as long as wide: a target per {per}"] = case
    return cases


def convolution_cases() -> dict[str, Case]:
    """Shared weights, which have no compiled form."""
    cases = {}
    for pooling in ("average", "max"):
        for name in ("contrastive_hebbian", "oja", "bcm"):
            layers: Any = [(1, 4, 4), ct.Conv2d(2, 2, pool=2, pooling=pooling), ct.Conv2d(2, 1), 3]
            net = ct.Network(layers, CLASSES, signal=ct.TargetStream(), rule=OF_RATES[name])
            stimulus = presented(RANDOM.standard_normal((5, 16)))
            cases[f"convolution: {name}, {pooling} pooling"] = Case(
                [net], [stimulus], ct.solvers.FactoredEuler(dt=STEP), ways=("in place", "members")
            )
    layers = [(1, 4, 4), ct.Conv2d(2, 2, pool=2), 3]
    net = ct.Network(layers, CLASSES, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
    stimulus = shown(RANDOM.uniform(0.0, 12.0, (5, 16)), duration=3.0)
    cases["convolution: spikes"] = Case([net], [stimulus], GRID, ways=("in place",), steps="spikes")
    return cases


def method_cases() -> dict[str, Case]:
    """Every method that has a tableau, with samples on and between its steps."""
    cases = {}
    for name, method in SOLVERS.items():
        if getattr(method, "tableau", None) is None:
            continue
        fixed = "dt" in method.__dataclass_fields__
        solver: Any = method(dt=0.25) if fixed else method(rtol=1e-6, atol=1e-8)  # type: ignore[call-arg]
        probes = [
            ct.Probe("weights", every=0.2),
            ct.Probe("rates", times=[0.05, 0.6, 0.61, 1.2]),
            ct.Probe("signal", times=[0.3, 0.9]),
            ct.Probe(lambda state: state["W.1"], every=0.4, name="own"),
            ct.Probe(lambda state: state["r.2"].numpy(), every=0.4, name="array"),
        ]
        rules: dict[str, ct.rules.Rule] = {"": ct.rules.ContrastiveHebbian()}
        if not fixed:
            rules[", eligibility"] = ct.rules.ThreeFactor(ct.rules.ContrastiveHebbian(), tau_e=0.5)
        for extra, rule in rules.items():
            if rule.dense and name.startswith("factored"):
                continue
            cases[f"method: {name}{extra}"] = of_rates(
                rule,
                solver=solver,
                stimulus=shown(),
                settings={"probes": probes},
                ways=("in place", "compiled", "members") if name == "factored_euler" else ("compiled", "members"),
                steps="fixed" if fixed else "adaptive",
                counted=("steps",)
                if fixed or name.startswith("factored")
                else (),  # dopri5 and bosh3 are torchdiffeq's
            )
    return cases


def span_cases() -> dict[str, Case]:
    """Runs that begin and end anywhere, gates, steps that are cut short, too many steps."""
    taught = ct.rules.ContrastiveHebbian()
    cases = {}
    for solver in (ct.solvers.Euler(dt=0.25), ct.solvers.RK4(dt=0.25), ct.solvers.FactoredEuler(dt=0.25)):
        name = type(solver).__name__
        ways = ("in place", "compiled") if name == "FactoredEuler" else ("compiled",)
        for span in ((0.1, 1.13), (0.55, 0.58), (0.6, 1.2)):
            settings = {"t_span": span}
            cases[f"span: {span[0]} to {span[1]} by {name}"] = of_rates(
                taught, solver=solver, stimulus=shown(), settings=settings, ways=ways, start=anywhere
            )
        gated = ct.rules.ContrastiveHebbian(traces=False)
        stimulus = shown(gate=(0.2, 0.5))
        cases[f"gate: by {name}"] = of_rates(gated, solver=solver, stimulus=stimulus, ways=ways)
    limits: dict[str, tuple[Any, tuple[str, ...]]] = {
        "FactoredEuler": (ct.solvers.FactoredEuler(dt=0.01, max_steps=37), ("in place", "compiled")),
        "Euler": (ct.solvers.Euler(dt=0.25, max_steps=3), ("compiled",)),
        "FactoredBosh3": (ct.solvers.FactoredBosh3(rtol=1e-6, atol=1e-8, max_steps=3), ("compiled",)),
    }
    for name, (limited, by) in limits.items():
        steps = "adaptive" if name == "FactoredBosh3" else "fixed"
        cases[f"too many steps: {name}"] = of_rates(ct.rules.Oja(), solver=limited, ways=by, steps=steps)
    return cases


def diverging_cases() -> dict[str, Case]:
    """What went wrong some steps ago is found; of long presentations and of one step each."""
    net = ct.Network([2, 2], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=3.0), bias=False)
    x = np.ones((1, 2), np.float32)
    cases = {}
    for duration in (100.0, 0.05):
        stimulus = ct.Presentations(x, None, 1, duration=duration, epochs=round(100.0 / duration))
        for every in (None, 1.0, 0.12):
            probes = [] if every is None else [ct.Probe("weights", every=every)]
            name = f"diverging: presentations of {duration:g}, looked at every {every}"
            solver = ct.solvers.FactoredEuler(dt=0.05)
            cases[name] = Case([net], [stimulus], solver, ("in place",), "diverging", {"probes": probes})
    oja = ct.Network([2, 2], neuron=ct.LIF(), rule=ct.rules.Oja(rate=20.0, traces=True), bias=False)
    stimulus = ct.Presentations(np.full((1, 2), 5.0), None, 1, duration=300.0)
    probes = [ct.Probe("weights", every=0.5)]
    cases["diverging: spikes"] = Case(
        [oja], [stimulus], GRID, ("in place", "compiled"), "spikes", {"probes": probes}, start=with_large_weights
    )
    return cases


def member_cases() -> dict[str, Case]:
    """Members that differ in every number that one sweeps, in what they are shown, and in where they start."""
    cases = {}
    for gate in (None, (0.2, 0.6)):
        for solver in (ct.solvers.Euler(dt=0.1), ct.solvers.RK4(dt=0.2)):
            ways = ("members", "compiled members") if isinstance(solver, ct.solvers.Euler) else ("compiled members",)
            cases[f"members: own numbers, stimuli and states, gate {gate}, {type(solver).__name__}"] = Case(
                [of_its_own(k) for k in range(3)],
                [shown(epochs=3, seed=k, gate=gate) for k in range(3)],
                solver,
                ways,
                counted=("steps",),
                settings={"probes": [ct.Probe("weights", every=0.15), ct.Probe("rates", every=0.5)]},
            )
    for name, rule in OF_RATES.items():
        if name == "custom" or rule.supervised:
            continue
        networks = [
            ct.Network(SIZES, CLASSES, neuron=ct.Rate(tau=factor), signal=ct.TargetStream(), rule=factor * rule)
            for factor in (1.0, 1.7, 2.3)
        ]
        solver = ct.solvers.Euler(dt=0.2)
        cases[f"members: every number of {name}"] = Case(networks, [shown()], solver, ("members",))
    return cases


def of_its_own(k: int) -> ct.Network:
    """The network of member k."""
    rule = ct.rules.ContrastiveHebbian(rate=0.3 + 0.2 * k) + ct.rules.WeightDecay(rate=0.01 * (k + 1))
    contrast = ct.rules.SoftmaxCosine(beta=5.0 + k, kappa=0.5 + 0.1 * k)
    neuron = ct.Rate(tau=1.0 + 0.25 * k, activation="tanh")
    return ct.Network(SIZES, CLASSES, neuron=neuron, signal=ct.TargetStream(contrast=contrast), rule=rule)


# ---------------------------------------------------------------------------------- spikes

ENCODERS = [ct.Poisson(rate=3.0, dt=0.1), ct.Poisson(rate=2.0, dt=0.25, seed=3), ct.Latency(last=2.0)]
NEURONS = [
    ct.LIF(),
    ct.LIF(reset=0.0, tau_rate=2.0),
    ct.LIF(reset=-0.3, refractory=0.25),
    ct.LIF(tau_syn=0.5),
    ct.LIF(tau_syn=1.0, refractory=0.2, reset=0.0),
    ct.IF(tau=1.5),
    ct.IF(tau_syn=0.4),
    ct.AdaptiveLIF(step=0.3, tau_a=3.0),
]
TAUGHT: list[ct.rules.Rule] = [
    ct.rules.Voltage(decay=0.1),
    ct.rules.ContrastiveHebbian(),
    ct.rules.Hebb(rate=0.1, decay=0.2, traces=True),
    ct.rules.Oja(rate=0.1, traces=True),
    ct.rules.BCM(rate=0.1, traces=True),
    *(ct.rules.Surrogate(psi=psi) for psi in SURROGATES),
]
PAIRED: list[ct.rules.Rule] = [
    ct.rules.STDP(rate=0.02),
    ct.rules.STDP(rate=0.02, tau_plus=2.0, pairing="nearest"),
    ct.rules.TripletSTDP(rate=1.0),
    ct.rules.Bounded(ct.rules.STDP(rate=0.05), -1.0, 1.0, "hard"),
    0.5 * ct.rules.STDP(rate=0.04) + ct.rules.Scaling(rate=0.1),
]


def spike_cases() -> dict[str, Case]:
    """Every neuron and rule, driven by currents and by spikes."""
    cases = {}
    for neuron in NEURONS:
        gated = currents(gate=(1.0, 2.55))
        cases[f"neuron: {neuron!r} under a current"] = of_spikes(neuron, ct.rules.Surrogate(), gated)
        cases[f"neuron: {neuron!r} under spikes"] = of_spikes(neuron, ct.rules.Surrogate(), spikes(ENCODERS[1]))
    for rule in TAUGHT:
        ways = ("in place",) if getattr(rule, "psi", "") == "shift_add" else ("in place", "compiled")
        cases[f"spikes: {rule!r} under a current"] = of_spikes(ct.LIF(), rule, ways=ways)
        arriving = of_spikes(ct.LIF(tau_syn=0.5), rule, spikes(ENCODERS[0]), ways=ways)
        cases[f"spikes: {rule!r} under spikes"] = arriving
    for rule in PAIRED:
        for encoder in ENCODERS:
            stimulus = spikes(encoder, gate=(0.3, 2.8))
            cases[f"spike times: {rule!r} under {encoder!r}"] = of_spikes(
                ct.LIF(reset=0.0), [rule, None], stimulus, signal=False
            )
    return cases | other_spike_cases()


def other_spike_cases() -> dict[str, Case]:
    """Layers of both kinds, samples, steps cut short, single precision."""
    taught = ct.rules.Surrogate()
    neurons = [ct.Rate(activation="tanh"), ct.LIF()]
    probes = [
        ct.Probe("weights", every=0.31),
        ct.Probe("voltages", every=0.1),
        ct.Probe("spikes", every=0.5),
        ct.Probe("signal", every=0.47),
        ct.Probe(lambda state: state["v.2"], every=0.4, name="own"),
        ct.Probe(lambda state: state["v.2"].numpy(), every=0.4, name="array"),
    ]
    rates_below = of_spikes(neurons, ct.rules.ContrastiveHebbian(), currents(gate=(1.0, 3.0)))
    cut_short = of_spikes(ct.LIF(), taught, currents(duration=1.27, epochs=2))
    limited = of_spikes(ct.LIF(), taught)
    cases = {
        "layers: rates below spikes": rates_below,
        "spikes: samples on and between grid points": of_spikes(
            ct.LIF(), taught, currents(gate=(1.0, 2.5)), settings={"probes": probes}
        ),
        "spikes: a step that is cut short": cut_short,
        "spikes: members": of_spikes(ct.LIF(), taught, ways=("members", "compiled members")),
        "too many steps: Hybrid": Case(
            limited.networks, limited.stimuli, ct.solvers.Hybrid(dt=0.1, max_steps=37), limited.ways, "spikes"
        ),
    }
    for neuron, rule in ((ct.LIF(), taught), (ct.IF(tau_syn=0.4), ct.rules.Voltage()), (NEURONS[4], taught)):
        stimulus = currents(np.float32, epochs=4)
        cases[f"single precision: {neuron!r}, {rule!r}"] = of_spikes(neuron, rule, stimulus, ways=("in place",))
    return cases


CASES: dict[str, Case] = {
    **rule_cases(),
    **signal_cases(),
    **network_cases(),
    **convolution_cases(),
    **method_cases(),
    **span_cases(),
    **diverging_cases(),
    **member_cases(),
    **spike_cases(),
}
