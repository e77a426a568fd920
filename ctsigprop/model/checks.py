"""Checks that the parts of a network fit together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from ctsigprop.model.layer import Layer
from ctsigprop.model.synapses import Convolution
from ctsigprop.neurons.base import OutputSlope
from ctsigprop.rules.base import Rule, Scaled, Sum
from ctsigprop.rules.bounds import Bounded
from ctsigprop.rules.three_factor import ThreeFactor
from ctsigprop.signals.feedback import Feedback, KolenPollack
from ctsigprop.signals.target_stream import TargetStream

T = TypeVar("T")


def of_each(name: str, value: T | list[T] | tuple[T, ...], count: int, what: str) -> list[T]:
    """`value` for each of `count` layers or members, or one value each where a list or tuple is given."""
    values: list[T] = list(value) if isinstance(value, list | tuple) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} must be one for all {what} or a list of {count}, got a list of {len(values)}")
    return values


def check_rule(name: str, rule: object, signal: object, first: bool) -> Rule | None:
    """The rule, if it is one or None, and goes with the signal; `first` says that its layer is the first one."""
    if rule is None:
        return None
    if not isinstance(rule, Rule):
        raise TypeError(f"{name} must be a rule such as ct.rules.Oja(rate=0.01), or None, got {rule!r}")
    if rule.supervised and signal is None:
        raise ValueError(
            f"{name} is {type(rule).__name__}, which needs a learning signal: give signal=ct.TargetStream()"
        )
    if isinstance(signal, KolenPollack) and rule.dense and not first:
        raise ValueError(
            f"{name} is {type(rule).__name__}, whose update has no factors, and KolenPollack gives B the factors of W: "
            "use signal=ct.FeedbackAlignment() or another rule"
        )
    return rule


def check_names(layers: Sequence[Layer]) -> None:
    """Raise where a neuron and a rule call two variables by one name, or a neuron lacks what a rule needs."""
    reserved = {"W", "b", "x", "y", "g", "c", "k", "B"}
    for layer in layers:
        names = list(layer.neuron.variables())
        names += list(layer.rule_shapes)
        names += [] if layer.rule is None else list(layer.rule.spike_traces())
        clash = sorted({name for name in names if name in reserved or names.count(name) > 1 or "." in name})
        if clash:
            raise ValueError(
                f"layer {layer.index}: the variable name {clash[0]!r} is taken or has a dot; "
                f"neuron and rule must use names of their own, other than {', '.join(sorted(reserved))}"
            )
        if layer.rule is not None and layer.rule.differential and not isinstance(layer.neuron, OutputSlope):
            raise ValueError(
                f"rule of layer {layer.index} multiplies derivatives: its neuron needs output_slope(variables, slopes)"
            )


def check_state_names(layers: Sequence[Layer], of_signal: Iterable[str], learns_generator: bool) -> None:
    """Raise where two parts of the state have one name; `of_signal` are those that the signal adds."""
    owners: dict[str, str] = {}

    def owns(owner: str, names: Iterable[str]) -> None:
        for name in names:
            if name in owners:
                raise ValueError(
                    f"{owners[name]} and {owner} both call a part of the state {name!r}: they need names of their own"
                )
            owners[name] = owner

    for layer in layers:
        place = f"of layer {layer.index}"
        owns(f"layer {layer.index}", map(layer.name, "Wbxygck"))
        owns(f"neuron {type(layer.neuron).__name__} {place}", map(layer.name, layer.neuron.variables()))
        if layer.rule is not None:
            kept = [*layer.rule_shapes, *layer.rule.spike_traces()]
            owns(f"rule {type(layer.rule).__name__} {place}", map(layer.name, kept))
            if layer.index == 1 and learns_generator:
                owns("the rule of the target generator", (f"{variable}.S" for variable in layer.rule_shapes))
    owns("the signal", of_signal)


def instantaneous(rule: Rule) -> Rule | None:
    """The part of a rule that reads presynaptic activity at an instant, which spikes do not have, or None."""
    if isinstance(rule, Sum):
        return next((part for part in map(instantaneous, rule.parts) if part is not None), None)
    if isinstance(rule, Scaled | ThreeFactor | Bounded):
        return instantaneous(rule.rule)
    return rule if rule.uses_pre and not rule.traces and not rule.jumps else None


def check_presynaptic(layer: Layer) -> None:
    """Raise where the presynaptic side of a layer is spikes and its rule reads activity."""
    part = None if layer.rule is None else instantaneous(layer.rule)
    if part is not None:
        raise ValueError(
            f"rule of layer {layer.index} is {type(part).__name__}(traces=False), and its presynaptic side is spikes, "
            "which have no value at an instant: set traces=True"
        )


def check_spikes(layers: Sequence[Layer], signal: object) -> None:
    """Raise where neurons with a reset, what lies above them, their rules and the signal do not go together."""
    spiking = [layer for layer in layers if layer.jumps]
    if spiking and signal is not None and not isinstance(signal, TargetStream):
        raise ValueError(
            f"signal={type(signal).__name__} feeds phi' back, and the spikes of {type(spiking[0].neuron).__name__} "
            "have none: use signal=ct.TargetStream() or None"
        )
    for layer in layers:
        neuron, rule = type(layer.neuron).__name__, layer.rule
        below = layers[layer.index - 2] if layer.index > 1 else None
        from_spikes = below is not None and below.jumps
        if from_spikes and not layer.jumps:
            raise ValueError(
                f"neuron of layer {layer.index} is {neuron}, which takes no spikes, and layer {layer.index - 1} "
                f"sends spikes: give it a neuron with a reset, such as ct.LIF()"
            )
        if rule is None:
            continue
        kind = type(rule).__name__
        if not layer.jumps and (rule.potential or rule.of_voltage or rule.jumps):
            raise ValueError(
                f"rule of layer {layer.index} is {kind}, which needs spikes and membrane potentials, and its neuron is "
                f"{neuron}: give it a neuron with a reset, such as ct.LIF()"
            )
        if rule.jumps and below is not None and not from_spikes:
            raise ValueError(
                f"rule of layer {layer.index} is {kind}, which needs presynaptic spikes, and layer {layer.index - 1} "
                f"is {type(below.neuron).__name__}, which sends none"
            )
        if from_spikes:
            check_presynaptic(layer)


def check_convolution(layers: Sequence[Layer], signal: object) -> None:
    """Raise where an error would have to come back through the shared weights of patches."""
    shared = [layer for layer in layers if isinstance(layer.synapses, Convolution)]
    if shared and isinstance(signal, Feedback):
        raise ValueError(
            f"signal={type(signal).__name__} feeds errors back from unit to unit, and layer {shared[0].index} is "
            "convolutional: use signal=ct.TargetStream() or None"
        )
