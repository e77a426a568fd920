"""The vector field of a network under one frame of a stimulus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ctsigprop.errors import naming
from ctsigprop.model.layer import Layer
from ctsigprop.model.network import Network
from ctsigprop.neurons.relaxation import charge, relaxed
from ctsigprop.rules.base import Rule, inner
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.factored.invariants import FrameInvariants
from ctsigprop.solvers.field import Weight
from ctsigprop.stimuli.frame import Frame, Input


@dataclass(slots=True)
class FrameInput:
    """An input as the network takes it: rows of x, label beside each sample, one-hot targets, contexts of the target
    rows, and the gate of plasticity. Leading dimensions are so many inputs.
    """

    x: Tensor
    label: Tensor
    target: Tensor | None = None
    context: Tensor | None = None
    gate: float = 1.0

    @classmethod
    def to(cls, network: Network, now: Input) -> FrameInput:
        """What `network` sees of an input."""
        target = now.target
        if target is not None and not target.is_floating_point():
            classes = torch.arange(network.n_classes or int(target.max()) + 1, device=target.device)
            target = (target.unsqueeze(-1) == classes).to(now.x.dtype)  # an empty row, -1, is all zeros
        if network.signal is None or target is None:
            return cls(now.x, now.present, target, None, now.gate)
        label = network.signal.label(target, now.present)
        return cls(now.x, label, target, network.signal.context(target), now.gate)


@dataclass(slots=True)
class EvaluationContext:
    """One evaluation: time, what is shown, the state, and the derivative as it is gathered layer by layer.

    With a step `dt`, what has a closed form is gathered as its value at t + dt, in `after`, instead.
    """

    t: float
    shown: FrameInput
    activities: Mapping[str, Tensor]
    weights: Mapping[str, Weight]
    dt: float | None = None
    rates: dict[str, Tensor] = field(default_factory=dict)
    updates: dict[str, Update | DenseUpdate] = field(default_factory=dict)
    after: dict[str, Tensor] = field(default_factory=dict)


@dataclass(slots=True)
class LayerEvaluation:
    """A layer at one moment: its output, what its synapses read below (None where spikes are, which arrive by jumps),
    the slope of its variables, and phi' of its drive.
    """

    layer: Layer
    output: Tensor
    below: Tensor | None
    variables: Mapping[str, Tensor]
    slopes: Mapping[str, Tensor]
    gain: Tensor | None


class Field:
    """d(activities)/dt and the weight updates of `network` during `frame`; a pure function of its arguments."""

    def __init__(self, network: Network, frame: Frame) -> None:
        self.network, self.frame = network, frame
        self.fixed = FrameInput.to(network, frame.at(frame.start)) if frame.constant else None

    @property
    def invariants(self) -> FrameInvariants | None:
        """What does not move during the frame: the inputs, and the traces of them that synapses of layer 1 keep."""
        if self.fixed is None or self.frame.events is not None:
            return None
        first, context = self.network.layers[0], self.fixed.context
        read = first.synapses.read(self.fixed.x)
        inputs = (read,) if context is None else (read, context)
        traced = first.rule is not None and first.rule.traces and not first.jumps
        return FrameInvariants(inputs, {first.name("x"): (read, first.neuron.tau)} if traced else {})

    @property
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        """Least and largest value of each weight matrix that has bounds, by name."""
        return self.network.bounds

    def shown(self, t: float) -> FrameInput:
        """What is shown at time t."""
        if self.fixed is not None:
            return self.fixed
        with naming("the stimulus", t):
            shown = self.frame.at(t)
        return FrameInput.to(self.network, shown)

    def __call__(
        self, t: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]
    ) -> tuple[dict[str, Tensor], dict[str, Update | DenseUpdate]]:
        now = EvaluationContext(t, self.shown(t), activities, weights)
        self.gather(now)
        return now.rates, now.updates

    def exact(
        self, t: float, dt: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]
    ) -> tuple[dict[str, Tensor], dict[str, Update | DenseUpdate]]:
        """Activities after a time dt, the input, drives and weights held at their values at t, and the updates at t.

        Neurons and traces take their exact step, biases and variables of rules and signals one of Euler.
        """
        now = EvaluationContext(t, self.shown(t), activities, weights, dt)
        self.gather(now)
        for name, slope in now.rates.items():
            now.after[name] = torch.add(activities[name], slope, alpha=dt)
        return now.after, now.updates

    def gather(self, now: EvaluationContext) -> None:
        """Everything that moves at this moment."""
        activities, weights = now.activities, now.weights
        moving = self.activity(now)
        signal = self.network.signal
        if signal is not None and signal.gain_inside:
            gains = [part.gain for part in moving if part.gain is not None]
            outputs = [part.output for part in moving]
            label = activities[f"y.{len(moving)}"] if self.network.any_traces else now.shown.label
            with naming(f"signal {type(signal).__name__}", now.t):
                now.rates.update(signal.flow(outputs, gains, label, activities, weights))
        for part in moving:
            if part.layer.rule is not None:
                with naming(part.layer.rule_name, now.t):
                    self.plasticity(part, part.layer.rule, now)

    def activity(self, now: EvaluationContext) -> list[LayerEvaluation]:
        """Gather the derivative of every layer's neurons and label trace."""
        below: Tensor | None = None if self.frame.events is not None else now.shown.x
        label_below = now.shown.label
        signal = self.network.signal
        moving = []
        for layer in self.network.layers:
            with naming(layer.neuron_name, now.t):
                variables = layer_variables(layer, now.activities)
                output = layer.neuron.output(variables)
                below = None if below is None else layer.synapses.read(below)
                drive = self.drive(layer, below, now)
                slopes: Mapping[str, Tensor] = {}
                if now.dt is None or (layer.rule is not None and layer.rule.differential):
                    slopes = layer.neuron.flow(variables, drive)
                if now.dt is None:
                    now.rates.update({layer.name(name): slope for name, slope in slopes.items()})
                else:
                    found = layer.exact_neuron.exact(variables, drive, now.dt)
                    now.after.update({layer.name(name): value for name, value in found.items()})
                taught = layer.rule is not None and layer.rule.supervised
                needs_gain = (taught and not layer.jumps) or (signal is not None and signal.gain_inside)
                gain = layer.neuron.gain(variables, drive) if needs_gain else None
            if self.network.any_traces:
                label_below = follow(layer, "y", label_below, now)
            moving.append(LayerEvaluation(layer, output, below, variables, slopes, gain))
            below = None if layer.jumps else output
        return moving

    def drive(self, layer: Layer, below: Tensor | None, now: EvaluationContext) -> Tensor:
        """The drive of all rows of a layer: what is read below, through W, and at layer 1 the contexts through S."""
        bias = now.activities[layer.name("b")] if self.network.bias else None
        if below is not None:
            drive = layer.drive(now.weights[layer.name("W")], below, bias)
        else:
            drive = layer.offset(now.shown.x, bias)
        if layer.index == 1 and now.shown.context is not None:
            if below is None:
                drive = drive.expand(*now.shown.x.shape[:-1], -1)
            drive = torch.cat([drive, now.weights["S"].drive(now.shown.context)], -2)
        return drive

    def plasticity(self, part: LayerEvaluation, rule: Rule, now: EvaluationContext) -> None:
        """Gather the derivative of the layer's traces, rule variables, biases and weights."""
        layer, name = part.layer, part.layer.name("W")
        self.follow_all(part, rule, now)
        if (now.shown.gate == 0.0 or rule.rests) and not layer.rule_shapes:
            return
        local, generator = self.populations(part, rule, now)
        for variable, slope in rule.flow(local).items():
            now.rates[layer.name(variable)] = slope
        if generator is not None:
            for variable, slope in rule.flow(generator).items():
                now.rates[f"{variable}.S"] = slope
        if now.shown.gate == 0.0:
            return
        update = inner(rule, local)
        also: dict[str, Update | DenseUpdate] = {}
        if self.network.signal is not None:
            update, of_signal = self.network.signal.adjust(layer.index, update)
            also.update(of_signal)
        if generator is not None:
            also["S"] = inner(rule, generator)
        gate = now.shown.gate
        now.updates[name] = update = update if gate == 1.0 else update.scaled(gate)
        for other, change in also.items():
            now.updates[other] = change if gate == 1.0 else change.scaled(gate)
        if self.network.bias:
            now.rates[layer.name("b")] = update.bias_derivative(now.activities[layer.name("b")])

    def follow_all(self, part: LayerEvaluation, rule: Rule, now: EvaluationContext) -> None:
        """Gather the derivative of the layer's traces, apart from that of the label."""
        layer = part.layer
        for variable, trace in rule.spike_traces().items():
            decay(layer.name(variable), trace.tau, now)
        if not rule.traces:
            return
        if layer.tau_syn is not None and layer.name("k") in now.activities:
            decay(layer.name("k"), float(layer.tau_syn), now)
        follow(layer, "x", part.below, now)
        if layer.name("g") in now.activities and part.gain is not None:
            follow(layer, "g", part.gain, now)
        if layer.index == 1 and now.shown.context is not None and "c.1" in now.activities:
            follow(layer, "c", now.shown.context, now)

    def populations(self, part: LayerEvaluation, rule: Rule, now: EvaluationContext) -> tuple[Local, Local | None]:
        """What the layer's synapses see; and at layer 1, those of the target generator where it learns."""
        layer, activities = part.layer, now.activities
        pre, gain, context, label = part.below, part.gain, now.shown.context, now.shown.label
        pre_slope = post_slope = None
        if rule.traces:
            pre, label = activities[layer.name("x")], activities[layer.name("y")]
            gain = activities.get(layer.name("g"), gain)
            if rule.differential and part.below is not None:
                pre_slope = torch.sub(part.below, pre).mul_(1 / layer.neuron.tau)
            if layer.index == 1 and context is not None:
                context = activities.get("c.1", context)
        if pre is None:  # spikes have no value at an instant, and a rule that got this far has no use for one
            pre = now.shown.x.new_zeros(part.output.shape[-2], layer.n_pre)
        if rule.differential:
            post_slope = layer.sloped_neuron.output_slope(part.variables, part.slopes)
        samples = now.shown.x.shape[-2]
        share = label.sum(-1, keepdim=True) / samples
        both = Local(
            post=part.output,
            pre=pre,
            share=torch.nn.functional.pad(share, (0, 0, 0, part.output.shape[-2] - samples)),  # no target is a sample
            variables={name: activities[layer.name(name)] for name in (*layer.rule_shapes, *rule.spike_traces())},
            weight=now.weights[layer.name("W")].dense() if rule.dense else None,
            bias=activities.get(layer.name("b")) if rule.dense else None,
            post_slope=post_slope,
            pre_slope=pre_slope,
            distance=layer.spiking_neuron.distance(part.variables) if rule.potential else None,
            broadcast=(lambda function: function(activities, now.shown.target)) if rule.modulated else None,
            t=now.t,
            place=f" of layer {layer.index}",
        )
        if not rule.supervised:
            return self.seen(layer, rule, both.rows(slice(0, samples), pre[..., :samples, :])), None
        delta = self.delta(layer, now.t, read(layer, part.variables, part.output), label, activities)
        inside = self.network.signal is not None and self.network.signal.gain_inside
        both = replace(both, delta=delta, gain=None if inside else gain)
        if layer.index > 1 or context is None:
            return self.seen(layer, rule, both), None
        # layer 1 has two populations: from the inputs, from the contexts
        inputs = self.seen(layer, rule, both.rows(slice(0, samples), pre))
        if not self.network.learns_generator:
            return inputs, None
        own = {name: activities[f"{name}.S"] for name in layer.rule_shapes}
        weight = now.weights["S"].dense() if rule.dense else None
        onto_targets = replace(both, variables=own, weight=weight, bias=None)
        return inputs, onto_targets.rows(slice(samples, None), context)

    def seen(self, layer: Layer, rule: Rule, rows: Local) -> Local:
        """What the synapses of W see of these rows."""
        return layer.synapses.local(rows, rule.spike_traces())

    def delta(self, layer: Layer, t: float, output: Tensor, label: Tensor, activities: Mapping[str, Tensor]) -> Tensor:
        """The learning signal of a layer's rows."""
        if self.network.signal is None:
            raise ValueError("this network has signal=None: there is no learning signal")
        with naming(f"signal {type(self.network.signal).__name__}", t):
            return self.network.signal.delta(layer.index, output, label, activities)

    def signals(self, t: float, activities: Mapping[str, Tensor]) -> list[Tensor]:
        """The learning signal (rows, n) of every layer, in order, as its rule sees it."""
        shown = self.shown(t)
        found = []
        for layer in self.network.layers:
            traced = layer.rule is not None and layer.rule.traces
            label = activities[layer.name("y")] if traced else shown.label
            variables = layer_variables(layer, activities)
            output = read(layer, variables, layer.neuron.output(variables))
            found.append(self.delta(layer, t, output, label, activities))
        return found


def layer_variables(layer: Layer, activities: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state variables of a layer's neurons."""
    return {name: activities[layer.name(name)] for name in layer.neuron.variables()}


def read(layer: Layer, variables: Mapping[str, Tensor], output: Tensor) -> Tensor:
    """What the learning signal is read out of: the output, or the potential where the rule says so."""
    if layer.rule is None or not layer.rule.of_voltage:
        return output
    return layer.spiking_neuron.voltage(variables)


def follow(layer: Layer, name: str, source: Tensor | None, now: EvaluationContext) -> Tensor:
    """The trace called `name`, tau d(trace)/dt = source - trace with the tau of the layer's neurons; without a
    continuous source it decays, or follows the synaptic current where there is one, and spikes add to it.
    """
    full, tau = layer.name(name), layer.neuron.tau
    trace = now.activities[full]
    current = now.activities.get(layer.name("k")) if name == "x" else None
    if now.dt is not None:
        after = trace * math.exp(-now.dt / tau) if source is None else relaxed(trace, source, now.dt, tau)
        if current is not None and layer.tau_syn is not None:
            after = torch.add(after, current, alpha=charge(now.dt, tau, float(layer.tau_syn)) / tau)
        now.after[full] = after
        return trace
    if current is not None:
        source = current if source is None else source + current
    now.rates[full] = trace * (-1 / tau) if source is None else torch.sub(source, trace).mul_(1 / tau)
    return trace


def decay(name: str, tau: float, now: EvaluationContext) -> None:
    """The variable called `name`, tau d/dt = -itself."""
    if now.dt is not None:
        now.after[name] = now.activities[name] * math.exp(-now.dt / tau)
    else:
        now.rates[name] = now.activities[name] * (-1 / tau)
