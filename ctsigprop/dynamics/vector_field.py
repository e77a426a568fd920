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
    def to(cls, network: Network, shown: Input) -> FrameInput:
        """What `network` sees of an input."""
        target = shown.target
        if target is not None and not target.is_floating_point():
            classes = torch.arange(network.n_classes or int(target.max()) + 1, device=target.device)
            target = (target.unsqueeze(-1) == classes).to(shown.x.dtype)  # an empty row, -1, is all zeros
        if network.signal is None or target is None:
            return cls(shown.x, shown.present, target, None, shown.gate)
        label = network.signal.label(target, shown.present)
        return cls(shown.x, label, target, network.signal.context(target), shown.gate)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that there are, by name."""
        named = {"x": self.x, "label": self.label, "context": self.context, "target": self.target}
        return {name: value for name, value in named.items() if value is not None}


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
        evaluation = EvaluationContext(t, self.shown(t), activities, weights)
        self.gather(evaluation)
        return evaluation.rates, evaluation.updates

    def exact(
        self, t: float, dt: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]
    ) -> tuple[dict[str, Tensor], dict[str, Update | DenseUpdate]]:
        """Activities after a time dt, the input, drives and weights held at their values at t, and the updates at t.

        Neurons and traces take their exact step, biases and variables of rules and signals one of Euler.
        """
        evaluation = EvaluationContext(t, self.shown(t), activities, weights, dt)
        self.gather(evaluation)
        for name, slope in evaluation.rates.items():
            evaluation.after[name] = torch.add(activities[name], slope, alpha=dt)
        return evaluation.after, evaluation.updates

    def gather(self, evaluation: EvaluationContext) -> None:
        """Everything that moves at this moment."""
        activities, weights = evaluation.activities, evaluation.weights
        layers = self.activity(evaluation)
        signal = self.network.signal
        if signal is not None and signal.gain_inside:
            gains = [of_layer.gain for of_layer in layers if of_layer.gain is not None]
            outputs = [of_layer.output for of_layer in layers]
            label = activities[f"y.{len(layers)}"] if self.network.any_traces else evaluation.shown.label
            with naming(f"signal {type(signal).__name__}", evaluation.t):
                evaluation.rates.update(signal.flow(outputs, gains, label, activities, weights))
        for of_layer in layers:
            if of_layer.layer.rule is not None:
                with naming(of_layer.layer.rule_name, evaluation.t):
                    self.plasticity(of_layer, of_layer.layer.rule, evaluation)

    def activity(self, evaluation: EvaluationContext) -> list[LayerEvaluation]:
        """Gather the derivative of every layer's neurons and label trace."""
        below: Tensor | None = None if self.frame.events is not None else evaluation.shown.x
        label_below = evaluation.shown.label
        signal = self.network.signal
        layers = []
        for layer in self.network.layers:
            with naming(layer.neuron_name, evaluation.t):
                variables = layer_variables(layer, evaluation.activities)
                output = layer.neuron.output(variables)
                below = None if below is None else layer.synapses.read(below)
                drive = self.drive(layer, below, evaluation)
                slopes: Mapping[str, Tensor] = {}
                if evaluation.dt is None or (layer.rule is not None and layer.rule.differential):
                    slopes = layer.neuron.flow(variables, drive)
                if evaluation.dt is None:
                    evaluation.rates.update({layer.name(name): slope for name, slope in slopes.items()})
                else:
                    after = layer.exact_neuron.exact(variables, drive, evaluation.dt)
                    evaluation.after.update({layer.name(name): value for name, value in after.items()})
                taught = layer.rule is not None and layer.rule.supervised
                needs_gain = (taught and not layer.jumps) or (signal is not None and signal.gain_inside)
                gain = layer.neuron.gain(variables, drive) if needs_gain else None
            if self.network.any_traces:
                label_below = follow(layer, "y", label_below, evaluation)
            layers.append(LayerEvaluation(layer, output, below, variables, slopes, gain))
            below = None if layer.jumps else output
        return layers

    def drive(self, layer: Layer, below: Tensor | None, evaluation: EvaluationContext) -> Tensor:
        """The drive of all rows of a layer: what is read below, through W, and at layer 1 the contexts through S."""
        bias = evaluation.activities[layer.name("b")] if self.network.bias else None
        if below is not None:
            drive = layer.drive(evaluation.weights[layer.name("W")], below, bias)
        else:
            drive = layer.offset(evaluation.shown.x, bias)
        if layer.index == 1 and evaluation.shown.context is not None:
            if below is None:
                drive = drive.expand(*evaluation.shown.x.shape[:-1], -1)
            drive = torch.cat([drive, evaluation.weights["S"].drive(evaluation.shown.context)], -2)
        return drive

    def plasticity(self, of_layer: LayerEvaluation, rule: Rule, evaluation: EvaluationContext) -> None:
        """Gather the derivative of the layer's traces, rule variables, biases and weights."""
        layer, name = of_layer.layer, of_layer.layer.name("W")
        self.follow_all(of_layer, rule, evaluation)
        if (evaluation.shown.gate == 0.0 or rule.rests) and not layer.rule_shapes:
            return
        local, generator = self.populations(of_layer, rule, evaluation)
        for variable, slope in rule.flow(local).items():
            evaluation.rates[layer.name(variable)] = slope
        if generator is not None:
            for variable, slope in rule.flow(generator).items():
                evaluation.rates[f"{variable}.S"] = slope
        if evaluation.shown.gate == 0.0:
            return
        update = inner(rule, local)
        also: dict[str, Update | DenseUpdate] = {}
        if self.network.signal is not None:
            update, of_signal = self.network.signal.adjust(layer.index, update)
            also.update(of_signal)
        if generator is not None:
            also["S"] = inner(rule, generator)
        gate = evaluation.shown.gate
        evaluation.updates[name] = update = update if gate == 1.0 else update.scaled(gate)
        for other, change in also.items():
            evaluation.updates[other] = change if gate == 1.0 else change.scaled(gate)
        if self.network.bias:
            evaluation.rates[layer.name("b")] = update.bias_derivative(evaluation.activities[layer.name("b")])

    def follow_all(self, of_layer: LayerEvaluation, rule: Rule, evaluation: EvaluationContext) -> None:
        """Gather the derivative of the layer's traces, apart from that of the label."""
        layer = of_layer.layer
        for variable, trace in rule.spike_traces().items():
            decay(layer.name(variable), trace.tau, evaluation)
        if not rule.traces:
            return
        if layer.tau_syn is not None and layer.name("k") in evaluation.activities:
            decay(layer.name("k"), float(layer.tau_syn), evaluation)
        follow(layer, "x", of_layer.below, evaluation)
        if layer.name("g") in evaluation.activities and of_layer.gain is not None:
            follow(layer, "g", of_layer.gain, evaluation)
        if layer.index == 1 and evaluation.shown.context is not None and "c.1" in evaluation.activities:
            follow(layer, "c", evaluation.shown.context, evaluation)

    def populations(
        self, of_layer: LayerEvaluation, rule: Rule, evaluation: EvaluationContext
    ) -> tuple[Local, Local | None]:
        """What the layer's synapses see; and at layer 1, those of the target generator where it learns."""
        layer, activities = of_layer.layer, evaluation.activities
        pre, gain, context, label = of_layer.below, of_layer.gain, evaluation.shown.context, evaluation.shown.label
        pre_slope = post_slope = None
        if rule.traces:
            pre, label = activities[layer.name("x")], activities[layer.name("y")]
            gain = activities.get(layer.name("g"), gain)
            if rule.differential and of_layer.below is not None:
                pre_slope = torch.sub(of_layer.below, pre).mul_(1 / layer.neuron.tau)
            if layer.index == 1 and context is not None:
                context = activities.get("c.1", context)
        if pre is None:  # spikes have no value at an instant, and a rule that got this far has no use for one
            pre = evaluation.shown.x.new_zeros(of_layer.output.shape[-2], layer.n_pre)
        if rule.differential:
            post_slope = layer.sloped_neuron.output_slope(of_layer.variables, of_layer.slopes)
        samples = evaluation.shown.x.shape[-2]
        share = label.sum(-1, keepdim=True) / samples
        targets = of_layer.output.shape[-2] - samples
        both = Local(
            post=of_layer.output,
            pre=pre,
            share=torch.nn.functional.pad(share, (0, 0, 0, targets)),  # no target is a sample
            variables={name: activities[layer.name(name)] for name in (*layer.rule_shapes, *rule.spike_traces())},
            weight=evaluation.weights[layer.name("W")].dense() if rule.dense else None,
            bias=activities.get(layer.name("b")) if rule.dense else None,
            post_slope=post_slope,
            pre_slope=pre_slope,
            distance=layer.spiking_neuron.distance(of_layer.variables) if rule.potential else None,
            broadcast=(lambda function: function(activities, evaluation.shown.target)) if rule.modulated else None,
            t=evaluation.t,
            place=f" of layer {layer.index}",
        )
        if not rule.supervised:
            return self.seen(layer, rule, both.rows(slice(0, samples), pre[..., :samples, :])), None
        delta = self.delta(layer, evaluation.t, read(layer, of_layer.variables, of_layer.output), label, activities)
        inside = self.network.signal is not None and self.network.signal.gain_inside
        both = replace(both, delta=delta, gain=None if inside else gain)
        if layer.index > 1 or context is None:
            return self.seen(layer, rule, both), None
        # layer 1 has two populations: from the inputs, from the contexts
        inputs = self.seen(layer, rule, both.rows(slice(0, samples), pre))
        if not self.network.learns_generator:
            return inputs, None
        generator_variables = {name: activities[f"{name}.S"] for name in layer.rule_shapes}
        weight = evaluation.weights["S"].dense() if rule.dense else None
        onto_targets = replace(both, variables=generator_variables, weight=weight, bias=None)
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
        deltas = []
        for layer in self.network.layers:
            traced = layer.rule is not None and layer.rule.traces
            label = activities[layer.name("y")] if traced else shown.label
            variables = layer_variables(layer, activities)
            output = read(layer, variables, layer.neuron.output(variables))
            deltas.append(self.delta(layer, t, output, label, activities))
        return deltas


def layer_variables(layer: Layer, activities: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state variables of a layer's neurons."""
    return {name: activities[layer.name(name)] for name in layer.neuron.variables()}


def read(layer: Layer, variables: Mapping[str, Tensor], output: Tensor) -> Tensor:
    """What the learning signal is read out of: the output, or the potential where the rule says so."""
    if layer.rule is None or not layer.rule.of_voltage:
        return output
    return layer.spiking_neuron.voltage(variables)


def follow(layer: Layer, name: str, source: Tensor | None, evaluation: EvaluationContext) -> Tensor:
    """The trace called `name`, tau d(trace)/dt = source - trace with the tau of the layer's neurons; without a
    continuous source it decays, or follows the synaptic current where there is one, and spikes add to it.
    """
    full, tau = layer.name(name), layer.neuron.tau
    trace = evaluation.activities[full]
    current = evaluation.activities.get(layer.name("k")) if name == "x" else None
    if evaluation.dt is not None:
        after = trace * math.exp(-evaluation.dt / tau) if source is None else relaxed(trace, source, evaluation.dt, tau)
        if current is not None and layer.tau_syn is not None:
            after = torch.add(after, current, alpha=charge(evaluation.dt, tau, float(layer.tau_syn)) / tau)
        evaluation.after[full] = after
        return trace
    if current is not None:
        source = current if source is None else source + current
    evaluation.rates[full] = trace * (-1 / tau) if source is None else torch.sub(source, trace).mul_(1 / tau)
    return trace


def decay(name: str, tau: float, evaluation: EvaluationContext) -> None:
    """The variable called `name`, tau d/dt = -itself."""
    if evaluation.dt is not None:
        evaluation.after[name] = evaluation.activities[name] * math.exp(-evaluation.dt / tau)
    else:
        evaluation.rates[name] = evaluation.activities[name] * (-1 / tau)
