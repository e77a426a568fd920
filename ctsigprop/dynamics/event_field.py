"""The jumps of a spiking network: thresholds, resets, and the kicks by which spikes reach the next layer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctsigprop.dynamics.vector_field import Field, layer_variables
from ctsigprop.errors import naming
from ctsigprop.model.layer import Layer
from ctsigprop.model.network import Network
from ctsigprop.model.steady import check_grid, step_size
from ctsigprop.neurons.base import ExactStep
from ctsigprop.neurons.integrate_and_fire import IntegrateAndFire, in_steps
from ctsigprop.rules.base import Rule, check_update
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.field import Weight
from ctsigprop.solvers.spiking.hybrid import Hybrid
from ctsigprop.solvers.times import slack as time_slack


@dataclass(slots=True)
class Jump:
    """One jump: time, the state before it, and what it changes as it is gathered layer by layer."""

    t: float
    activities: Mapping[str, Tensor]
    weights: Mapping[str, Weight]
    after: dict[str, Tensor] = field(default_factory=dict)
    updates: dict[str, Update | DenseUpdate] = field(default_factory=dict)


class JumpField(Field):
    """A field with the jump of the whole network, layer by layer from the input up.

    Spikes from outside or from the layer below kick the potentials (or synaptic currents) and traces of a layer
    through its weights; units that have reached their threshold then spike and are reset, at the same instant.
    """

    def margin(self, activities: Mapping[str, Tensor]) -> Tensor:
        """The largest margin of all units."""
        margins = [
            layer.spiking_neuron.margin(layer_variables(layer, activities)).amax()
            for layer in self.network.layers
            if layer.jumps
        ]
        return margins[0] if len(margins) == 1 else torch.stack(margins).amax()

    @property
    def time_scale(self) -> float:
        """The shortest time constant, or what else asks for a short step, of all layers."""
        return 10 * step_size([layer.neuron for layer in self.network.layers])

    def counted(self, activities: Mapping[str, Tensor], dt: float) -> dict[str, Tensor]:
        """What is left of refractory times after dt."""
        return {
            layer.name("q"): (in_steps(activities[layer.name("q")], dt) - dt).clamp_min(0.0)
            for layer in self.network.layers
            if isinstance(layer.neuron, IntegrateAndFire) and layer.neuron.refractory > 0
        }

    def next_jump(self, t: float) -> float:
        """The time of the first input spike after t."""
        return math.inf if self.frame.events is None else self.frame.events.after(t)

    def jump(
        self,
        span: tuple[float, float],
        activities: Mapping[str, Tensor],
        weights: Mapping[str, Weight],
        slack: float = 0.0,
    ) -> tuple[dict[str, Tensor], dict[str, Update | DenseUpdate]]:
        """What jumps at the end of `span`, input spikes within it included."""
        jump = Jump(span[1], activities, weights)
        spikes = None if self.frame.events is None else self.frame.events.between(*span)
        if spikes is not None:
            spikes = spikes.clone()  # where an operand lies in memory decides the last bit of a product
        for layer in self.network.layers:
            if not layer.jumps:
                spikes = None
                continue
            spikes = None if spikes is None else layer.synapses.read(spikes)
            kick = None if spikes is None else layer.kick(weights[layer.name("W")], spikes)
            variables = layer_variables(layer, activities)
            if kick is not None and len(kick) < len(variables["n"]):
                kick = torch.nn.functional.pad(kick, (0, 0, 0, len(variables["n"]) - len(kick)))  # no target row
            with naming(layer.neuron_name, span[1]):
                jumped, fired = layer.spiking_neuron.jump(variables, kick, slack)
            for name, value in jumped.items():
                jump.after[layer.name(name)] = value
            if layer.rule is not None:
                with naming(layer.rule_name, span[1]):
                    self.learn(layer, layer.rule, spikes, fired, jump)
            spikes = fired
        return jump.after, jump.updates

    def learn(self, layer: Layer, rule: Rule, spikes: Tensor | None, fired: Tensor, jump: Jump) -> None:
        """Let spikes from below, and those that the layer `fired`, reach the traces of its rule, and the rule itself,
        which sees the traces before them.
        """
        activities = jump.activities
        if rule.traces and spikes is not None:
            name = layer.name("k" if layer.name("k") in activities else "x")
            jump.after[name] = activities[name] + spikes
        traces = rule.spike_traces()
        if not (rule.jumps or traces):
            return
        shown = self.shown(jump.t)
        samples = shown.x.shape[-2]
        post = fired[..., :samples, :]
        pre = spikes[..., :samples, :] if spikes is not None else shown.x.new_zeros(samples, layer.n_pre)
        if rule.jumps and shown.gate != 0.0:
            label = activities[layer.name("y")] if rule.traces else shown.label
            local = Local(
                post=post,
                pre=pre,
                share=label.sum(-1, keepdim=True) / samples,
                variables={name: activities[layer.name(name)] for name in (*layer.rule_shapes, *traces)},
                weight=jump.weights[layer.name("W")].dense() if rule.dense else None,
                post_spikes=post,
                pre_spikes=pre,
                broadcast=(lambda function: function(activities, shown.target)) if rule.modulated else None,
                t=jump.t,
                place=f" of layer {layer.index}",
            )
            local = layer.synapses.local(local, traces)
            update, jumped = rule.jump(local)
            for name, value in jumped.items():
                jump.after[layer.name(name)] = value
            if update is not None:
                check_update(update, local, f"rule {type(rule).__name__}{local.place}")
                jump.updates[layer.name("W")] = update if shown.gate == 1.0 else update.scaled(shown.gate)
        for name, trace in traces.items():
            full = layer.name(name)
            jump.after[full] = trace.after(activities[full], post if trace.side == "post" else pre)


def automatic(network: Network) -> Hybrid:
    """The grid solver for a network with resets: the exact step where every neuron has one, else Runge-Kutta."""
    neurons = [layer.neuron for layer in network.layers]
    exact = all(isinstance(neuron, ExactStep) for neuron in neurons)
    return Hybrid(dt=step_size(neurons), flow="exponential" if exact else "rk4")


def fitting(solver: Solver, networks: Sequence[Network]) -> Solver:
    """The solver itself, where it can move all of these networks; `check_jumps` tells where it cannot."""
    for network in networks:
        check_jumps(network, solver)
    return solver


def check_jumps(network: Network, solver: Solver) -> None:
    """Raise where a solver cannot move this network, warn where its step is coarse.

    Raises
    ------
    ValueError : a solver without jumps for neurons with a reset, a neuron without the exact step that is asked for,
        a step longer than a refractory time
    """
    name = type(solver).__name__
    coarse = False
    for layer in network.layers:
        neuron = type(layer.neuron).__name__
        if layer.jumps and not solver.jumps:
            raise ValueError(
                f"solver {name} knows no jumps, and neuron {neuron} of layer {layer.index} has a reset: use "
                "solver='auto', ct.solvers.Hybrid(dt=...) or ct.solvers.EventDriven()"
            )
        if isinstance(solver, Hybrid) and solver.flow == "exponential" and not isinstance(layer.neuron, ExactStep):
            raise ValueError(
                f"Hybrid(flow='exponential') needs the exact step of every neuron, and {neuron} of layer {layer.index} "
                "has none: use flow='rk4'"
            )
        if not layer.jumps or not isinstance(solver, Hybrid):
            continue
        check_grid("Hybrid(dt=)", layer, solver.dt)
        if solver.dt > layer.neuron.tau / 2 + time_slack(solver.dt) and not coarse:
            coarse = True
            warnings.warn(
                f"Hybrid(dt={solver.dt:g}) is more than half of tau={layer.neuron.tau:g} of layer {layer.index}: "
                "a unit spikes at most once per step",
                stacklevel=5,
            )
