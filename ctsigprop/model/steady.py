"""The response of a spiking network to a constant input: its activity averaged over time, without plasticity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ctsigprop.model.layer import Layer
from ctsigprop.neurons.base import (
    ExactStep,
    LargestStep,
    Neuron,
    Steady,
    Units,
    Variables,
    refractory_time,
    synaptic_tau,
)
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.base import Counts, SolverStopped
from ctsigprop.solvers.field import DenseWeight, HybridState, Weight
from ctsigprop.solvers.spiking.hybrid import Hybrid, Unheard
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.times import slack as time_slack

BEFORE, DURING = 2.0, 8.0
"""How long the network runs before and during the average, in units of its longest tau."""


def step_size(neurons: Sequence[Neuron]) -> float:
    """A grid step for neurons with a reset: a tenth of the shortest tau, or less where another time asks for it."""
    times = []
    for neuron in neurons:
        times.append(neuron.tau / 10)
        tau_syn, refractory = synaptic_tau(neuron), refractory_time(neuron)
        if tau_syn is not None:
            times.append(tau_syn / 5)
        if refractory > 0:
            times.append(refractory)
        if isinstance(neuron, LargestStep):
            times.append(neuron.largest_step)
    return float(min(times))


def check_grid(name: str, layer: Layer, dt: float) -> None:
    """Raise ValueError where a unit of the layer would rest for less than a step `dt`, whose name is `name`."""
    if 0 < layer.refractory < dt - time_slack(dt):
        raise ValueError(
            f"{name} must be at most the refractory time of layer {layer.index}, {layer.refractory:g}, got {dt!r}"
        )


def midpoint(neuron: Neuron, variables: Variables, drive: Tensor, dt: float) -> Variables:
    """The variables of a neuron that have a slope, after a time dt under a constant drive, by the midpoint rule."""
    half = {
        name: torch.add(variables[name], rate, alpha=dt / 2) for name, rate in neuron.flow(variables, drive).items()
    }
    slope = neuron.flow({**variables, **half}, drive)
    return {name: torch.add(variables[name], rate, alpha=dt) for name, rate in slope.items()}


TOTAL = "total"
"""Name of a sum among the activities."""
Answer = tuple[dict[str, Tensor], dict[str, Update | DenseUpdate]]


class HeldNetwork:
    """Layers under a constant drive of the first one, as the grid solver sees them: weights are held, nothing learns.

    A layer sees the outputs below it as they are at the end of the step. Among the activities is `TOTAL`: what the last
    layer shows (its output, or its potential where its rule reads those), summed over the steps that end after `begin`.
    """

    def __init__(
        self, layers: Sequence[Layer], state: Mapping[str, Tensor], bias: bool, drive: Tensor, begin: float
    ) -> None:
        self.layers, self.first_drive, self.begin = layers, drive, begin
        self.held = [DenseWeight(state[layer.name("W")]) for layer in layers]
        self.biases = [state[layer.name("b")] if bias else None for layer in layers]
        self.names = [{name: layer.name(name) for name in layer.neuron.variables()} for layer in layers]
        self.has_exact = [isinstance(layer.neuron, ExactStep) for layer in layers]
        self.top = layers[-1]
        self.of_voltage = self.top.rule is not None and self.top.rule.of_voltage

    def start(self) -> HybridState:
        """The layers at rest."""
        drive = self.first_drive
        activities = {
            layer.name(name): drive.new_full((len(drive), layer.n_post), value)
            for layer in self.layers
            for name, value in layer.neuron.variables().items()
        }
        return HybridState({**activities, TOTAL: drive.new_zeros(len(drive), self.top.n_post)}, {})

    def exact(self, t: float, dt: float, activities: Mapping[str, Tensor], weights: Mapping[str, Weight]) -> Answer:
        """The variables after a time dt."""
        after: dict[str, Tensor] = {}
        drive = self.first_drive
        for k, layer in enumerate(self.layers):
            variables: Variables = self.variables(k, activities)
            if self.has_exact[k]:
                variables = {**variables, **layer.exact_neuron.exact(variables, drive, dt)}
            else:
                variables = {**variables, **midpoint(layer.neuron, variables, drive, dt)}
            after.update({layer.name(name): value for name, value in variables.items()})
            if k + 1 < len(self.layers):
                above, bias = self.layers[k + 1], self.biases[k + 1]
                if layer.jumps:
                    drive = above.offset(drive, bias)
                else:
                    drive = above.drive(self.held[k + 1], above.synapses.read(layer.neuron.output(variables)), bias)
        return after, {}

    def jump(
        self,
        span: tuple[float, float],
        activities: Mapping[str, Tensor],
        weights: Mapping[str, Weight],
        slack: float = 0.0,
    ) -> Answer:
        """Thresholds and resets, layer by layer: spikes kick the layer above at the same instant."""
        jumped: dict[str, Tensor] = {}
        spikes: Tensor | None = None
        for k, layer in enumerate(self.layers):
            if not layer.jumps:
                spikes = None
                continue
            kick = None if spikes is None else layer.kick(self.held[k], layer.synapses.read(spikes))
            changed, spikes = layer.spiking_neuron.jump(self.variables(k, activities), kick, slack)
            jumped.update({layer.name(name): value for name, value in changed.items()})
        if span[1] > self.begin:
            jumped[TOTAL] = activities[TOTAL].add_(self.shown({**activities, **jumped}))  # nobody else holds it
        return jumped, {}

    def variables(self, k: int, activities: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state variables of the neurons of the k-th layer."""
        return {name: activities[full] for name, full in self.names[k].items()}

    def shown(self, activities: Mapping[str, Tensor]) -> Tensor:
        """What the last layer shows."""
        variables = self.variables(-1, activities)
        return self.top.spiking_neuron.voltage(variables) if self.of_voltage else self.top.neuron.output(variables)


def respond(
    layers: Sequence[Layer],
    state: Mapping[str, Tensor],
    x: Tensor,
    generator: Tensor | None,
    bias: bool,
    dt: float | None = None,
) -> Tensor:
    """Activity of the last of `layers`, or its potential where its rule reads those, averaged over time.

    `x` is the input of layer 1, or contexts where the generator is given; `dt` the grid step, default `step_size`. The
    activity of a row that does not stay finite is NaN.
    """
    first, top = layers[0], layers[-1]
    dt = step_size([layer.neuron for layer in layers]) if dt is None else dt
    longest = max(float(layer.neuron.tau) for layer in layers)
    before, during = round(BEFORE * longest / dt), max(1, round(DURING * longest / dt))
    if generator is None:
        offset = state[first.name("b")] if bias else None
        drive = first.drive(DenseWeight(state[first.name("W")]), first.synapses.read(x), offset)
    else:
        drive = x @ generator.mT
    field = HeldNetwork(layers, state, bias, drive, (before + 0.5) * dt)
    stretch = Stretch((0.0, (before + during) * dt), 0.0)
    try:
        end = Hybrid(dt=dt).advance(field, field.start(), stretch, Unheard(), Counts())
    except SolverStopped as stopped:
        if stopped.__cause__ is not None:
            raise stopped.__cause__ from None
        if len(x) == 1:
            return x.new_full((1, top.n_post), math.nan)
        halves = torch.tensor_split(x, 2)  # to find which rows they are
        return torch.cat([respond(layers, state, half, generator, bias, dt) for half in halves])
    return end.activities[TOTAL] / during


def settle(neuron: Neuron, drive: Units) -> Tensor:
    """Output of a neuron at rest under a constant drive, in closed form or by Heun steps of tau / 20 over 20 tau."""
    if isinstance(neuron, Steady):
        return torch.as_tensor(neuron.steady(drive))
    dt = neuron.tau / 20
    variables = {name: torch.full_like(drive, value) for name, value in neuron.variables().items()}
    for _ in range(400):
        slope = neuron.flow(variables, drive)
        later = neuron.flow({name: value + dt * slope[name] for name, value in variables.items()}, drive)
        variables = {name: value + 0.5 * dt * (slope[name] + later[name]) for name, value in variables.items()}
    return neuron.output(variables)
