"""What a spiking network answers to a constant input: its activity averaged over time, plasticity off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ctsigprop.neurons.base import Neuron, Units
from ctsigprop.solvers.field import DenseWeight
from ctsigprop.solvers.times import slack

BEFORE, DURING = 2.0, 8.0
"""How long the network runs before and during the average, in units of its longest tau."""


def step_size(neurons: Sequence[Any]) -> float:
    """A grid step for neurons with a reset: a tenth of the shortest tau, or less where another time asks for it."""
    times = []
    for neuron in neurons:
        times.append(neuron.tau / 10)
        if getattr(neuron, "tau_syn", None) is not None:
            times.append(neuron.tau_syn / 5)
        if getattr(neuron, "refractory", 0.0) > 0:
            times.append(neuron.refractory)
        if hasattr(neuron, "largest_step"):
            times.append(neuron.largest_step)
    return float(min(times))


def check_grid(name: str, layer: Any, dt: float) -> None:
    """Raise ValueError where a unit of the layer would rest for less than a step `dt`, whose name is `name`."""
    refractory = float(getattr(layer.neuron, "refractory", 0.0))
    if 0 < refractory < dt - slack(dt):
        raise ValueError(
            f"{name} must be at most the refractory time of layer {layer.index}, {refractory:g}, got {dt!r}"
        )


def moved(neuron: Any, variables: Mapping[str, Tensor], drive: Tensor, dt: float) -> dict[str, Tensor]:
    """The variables of a neuron after a time dt under a constant drive: its exact step, or one of the midpoint rule."""
    if hasattr(neuron, "exact"):
        return {**variables, **neuron.exact(variables, drive, dt)}
    half = ahead(variables, neuron.flow(variables, drive), dt / 2)
    return ahead(variables, neuron.flow(half, drive), dt)


def ahead(variables: Mapping[str, Tensor], slope: Mapping[str, Tensor], dt: float) -> dict[str, Tensor]:
    """The variables after a time dt along `slope`; one without a slope stays."""
    moving = {name: torch.add(variables[name], value, alpha=dt) for name, value in slope.items()}
    return {**variables, **moving}


def respond(
    layers: Sequence[Any],
    state: Mapping[str, Tensor],
    x: Tensor,
    generator: Tensor | None,
    bias: bool,
    dt: float | None = None,
) -> Tensor:
    """Activity of the last of `layers`, or its potential where its rule reads those, averaged over time.

    `x` is the input of layer 1, or contexts where the generator is given; `dt` the grid step, default `step_size`.
    """
    top = layers[-1]
    dt = step_size([layer.neuron for layer in layers]) if dt is None else dt
    span = max(float(layer.neuron.tau) for layer in layers)
    before, during = round(BEFORE * span / dt), max(1, round(DURING * span / dt))
    now = [
        {name: x.new_full((len(x), layer.n_post), value) for name, value in layer.neuron.variables().items()}
        for layer in layers
    ]
    biases = [state[layer.name("b")] if bias else None for layer in layers]
    weights = [DenseWeight(state[layer.name("W")]) for layer in layers]
    drive = (
        layers[0].drive(weights[0], layers[0].synapses.read(x), biases[0]) if generator is None else x @ generator.mT
    )
    total = x.new_zeros(len(x), top.n_post)
    for step in range(before + during):
        kick: Tensor | None = None
        current = drive
        for k, layer in enumerate(layers):
            found = moved(layer.neuron, now[k], current, dt)
            spikes: Tensor | None = None
            if layer.jumps:
                jumped, spikes = layer.neuron.jump(found, kick)
                found.update(jumped)
            now[k] = found
            if k + 1 < len(layers):
                above = layers[k + 1]
                current, kick = above.offset(x, biases[k + 1]), None
                if spikes is not None:
                    kick = above.drive(weights[k + 1], above.synapses.read(spikes))
                else:
                    read = above.synapses.read(layer.neuron.output(found))
                    current = above.drive(weights[k + 1], read, biases[k + 1])
        if step >= before:
            of_voltage = top.rule is not None and top.rule.of_voltage
            total += top.neuron.voltage(now[-1]) if of_voltage else top.neuron.output(now[-1])
    return total / during


def settle(neuron: Neuron, drive: Units) -> Tensor:
    """Output of a neuron at rest under a constant drive, in closed form or by Heun steps of tau / 20 over 20 tau."""
    steady = getattr(neuron, "steady", None)
    if steady is not None:
        return torch.as_tensor(steady(drive))
    dt = neuron.tau / 20
    now = {name: torch.full_like(drive, value) for name, value in neuron.variables().items()}
    for _ in range(400):
        slope = neuron.flow(now, drive)
        ahead = neuron.flow({name: now[name] + dt * slope[name] for name in now}, drive)
        now = {name: now[name] + 0.5 * dt * (slope[name] + ahead[name]) for name in now}
    return neuron.output(now)
