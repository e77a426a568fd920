"""The equations of a network as a graph of tensor operations, recorded once from their own code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ctsigprop.dynamics.event_field import JumpField
from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.model.network import Network
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.field import DenseWeight
from ctsigprop.stimuli.frame import Frame, Input
from ctsigprop.trace.graph import INPUTS, SPIKES, MemberConstant, NoTime, NotTraceable, Parts, Stage, StepGraph
from ctsigprop.trace.passes import GraphBuilder, merged
from ctsigprop.trace.tracer import Line, Tracer


class ExactStep(NamedTuple):
    """A step in closed form and the jump at its end: its length in units of time, whether input comes as spikes, and
    those that come in this step.
    """

    dt: float
    has_events: bool = False
    spikes: Tensor | None = None


class Trace(NamedTuple):
    """What a tracer has written: names of the given tensors, all tensors and numbers, lines of the flow and of the
    jump, and the results: activities, updates of the flow and of the jump.
    """

    given: list[str]
    values: list[Tensor]
    numbers: list[float]
    flow: list[Line]
    jump: list[Line]
    results: tuple[dict[str, Any], dict[str, Parts], dict[str, Parts]]


class ArrivingSpikes:
    """Input spikes of the step that is recorded."""

    def __init__(self, spikes: Tensor | None) -> None:
        self.spikes = spikes

    def between(self, t0: float, t1: float) -> Tensor | None:
        """The same in every interval."""
        return self.spikes

    def after(self, t: float) -> float:
        """Never."""
        return math.inf


def record(
    networks: Sequence[Network], shown: Input, state: Mapping[str, Tensor], gate: float, before: int = 0
) -> StepGraph:
    """The right-hand side of networks that differ in numbers only, under a gate of 0 or 1.

    `before` : number of constants that stand before these in a member's memory

    Raises
    ------
    NotTraceable : code that cannot be recorded, networks that differ in more than numbers
    """
    inputs = replace(shown, gate=gate)
    first = traced(networks[0], FrameInput.to(networks[0], inputs), state)
    numbers = [first.numbers]
    for network in networks[1:]:
        trace = traced(network, FrameInput.to(network, inputs), state)
        if trace.flow != first.flow or trace.results != first.results:
            raise NotTraceable("the members of the ensemble differ in more than numbers")
        numbers.append(trace.numbers)
    return as_graph(first, state, *merged(numbers, before), exact=False)


def record_step(network: Network, shown: FrameInput, state: Mapping[str, Tensor], step: ExactStep) -> StepGraph:
    """One exact step of a network, and the jump at its end.

    Raises
    ------
    NotTraceable : code that cannot be recorded
    """
    trace = traced(network, shown, state, step)
    return as_graph(trace, state, *merged([trace.numbers], 0), exact=True)


def structure(network: Network, shown: Input, state: Mapping[str, Tensor]) -> str:
    """What the right-hand side of a network computes, as text without its numbers.

    Raises
    ------
    NotTraceable : code that cannot be recorded
    """
    trace = traced(network, FrameInput.to(network, replace(shown, gate=1.0)), state)
    shapes = [(tuple(value.shape), value.dtype) for value in trace.values[: len(trace.given)]]
    return repr((trace.given, shapes, trace.flow, trace.results))


def traced(network: Network, shown: FrameInput, state: Mapping[str, Tensor], step: ExactStep | None = None) -> Trace:
    """What a network computes: the right-hand side, or an exact step.

    Raises
    ------
    NotTraceable : code that cannot be recorded
    """
    tracer = Tracer()
    never: Any = NoTime()
    given = shown.tensors() | dict(state)
    if step is not None and step.spikes is not None:
        given[SPIKES] = step.spikes
    with guarded(), torch.inference_mode(False), torch.no_grad():
        given = {name: value.clone() for name, value in given.items()}
        names = [name for name in network.weight_shapes if name in state]
        landed = {} if step is None else {f"{name}'": given[name].detach() for name in names}
        given |= landed
        for value in given.values():
            tracer.give(value)
        arriving = None if step is None or not step.has_events else ArrivingSpikes(given.get(SPIKES))
        field = field_of(network, given, shown.gate, arriving)
        activities = {name: given[name] for name in state if name not in network.weight_shapes}
        weights = {name: DenseWeight(given[name]) for name in names}
        changes: dict[str, Any] = {}
        with tracer:
            if step is None:
                values, updates = field(never, activities, weights)
            else:
                values, updates = field.exact(never, step.dt, activities, weights)
            length = len(tracer.lines)
            if step is not None:
                later = {name: DenseWeight(landed[f"{name}'"]) for name in names}
                jumped, changes = field.jump((never, never), {**activities, **values}, later, 0.0)
                values = {**values, **jumped}
        results = tracer.noted((values, *({n: parts_of(u) for n, u in stage.items()} for stage in (updates, changes))))
    return Trace(list(given), tracer.values, tracer.numbers, tracer.lines[:length], tracer.lines[length:], results)


def field_of(network: Network, given: Mapping[str, Tensor], gate: float, events: ArrivingSpikes | None) -> JumpField:
    """The field of a network under given inputs."""
    shown = FrameInput(given["x"], given["label"], given.get("target"), given.get("context"), gate)
    seen = Input(shown.x, None, shown.label, gate)
    field = JumpField(network, Frame(0.0, 1.0, 0.0, lambda _t: seen, True, events))
    field.fixed = shown
    return field


def parts_of(update: Update | DenseUpdate) -> Parts:
    """(post, pre, decay) or (change,) of an update."""
    return (update.post, update.pre, update.decay) if isinstance(update, Update) else (update.change,)


def as_graph(
    trace: Trace,
    state: Mapping[str, Tensor],
    numbers: Sequence[float | MemberConstant],
    constants: list[list[float]],
    exact: bool,
) -> StepGraph:
    """The graph of what was written, with these numbers in it."""
    builder = GraphBuilder(trace.given, trace.values, numbers)
    builder.add(trace.flow)
    of_flow = set(builder.operations())
    builder.add(trace.jump)
    values, updates, changes = results = builder.resolved(trace.results)
    builder.finish(results)
    operations = builder.operations()
    return StepGraph(
        graph=builder.graph,
        inputs={name: node for name, node in builder.given.items() if name in INPUTS and node.users},
        state={name: builder.given[name] for name in state},
        landed={name.removesuffix("'"): node for name, node in builder.given.items() if name.endswith("'")},
        constants=constants,
        flow=Stage([node for node in operations if node in of_flow], updates),
        jump=Stage([node for node in operations if node not in of_flow], changes),
        rates={} if exact else values,
        after=values if exact else {},
    )


def distinct(networks: Sequence[Network]) -> tuple[list[Network], list[int]]:
    """Networks without those that are equal to one before, and which of them each one is."""
    known: dict[Any, int] = {}
    which: list[int] = []
    first: list[Network] = []
    for network in networks:
        layers = tuple((layer.neuron, layer.rule) for layer in network.layers)
        key: Any = (network.structure, network.n_classes, network.bias, network.signal, layers)
        try:
            hash(key)
        except TypeError:  # something without a value to compare: it is equal to itself alone
            key = id(network)
        if key not in known:
            known[key] = len(first)
            first.append(network)
        which.append(known[key])
    return first, which


@contextmanager
def guarded() -> Iterator[None]:
    """Turn whatever fails in somebody's code under a tracer into the reason that there is no graph."""
    try:
        yield
    except Exception as error:  # user code under a tracer may fail in any way
        raise NotTraceable(str(error).split("\n")[0]) from None
