"""What each path can run. Every check returns None or the obstacle in words, as a clause after "because"."""

from __future__ import annotations

from collections.abc import Sequence

from ctsigprop.model.network import Network
from ctsigprop.neurons.integrate_and_fire import IF, LIF, AdaptiveLIF
from ctsigprop.neurons.rate import Rate
from ctsigprop.rules.base import Rule, Scaled, Sum
from ctsigprop.rules.table import RULES
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.base import Compilable, Solver, StepsInPlace
from ctsigprop.solvers.factored.methods import FactoredEuler
from ctsigprop.solvers.reference.methods import Euler
from ctsigprop.solvers.spiking.hybrid import Hybrid
from ctsigprop.stimuli.frame import Frame
from ctsigprop.stimuli.members import at_same_times
from ctsigprop.stimuli.stimulus import Stimulus

RECORD = 256
"""Steps from which on it is worth to record the right-hand side and carry it out in place."""


def to_compile(network: Network, solver: Solver) -> str | None:
    """What keeps this solver from machine code for this network; what the network computes is looked at later."""
    if isinstance(solver, Hybrid) and not network.jumps:
        return "Hybrid compiles neurons with a reset, and the network has none"
    if not isinstance(solver, Compilable):
        return f"{type(solver).__name__} has no compiled form"
    return solver.compile_obstacle


def to_compile_grid(network: Network, frame: Frame) -> str | None:
    """What keeps steps of flow and jump under this frame from machine code."""
    if network.jumps and frame.constant:
        return None
    return "Hybrid compiles neurons with a reset, under an input that is constant or spikes"


def to_steps_in_place(network: Network, solver: Solver, frame: Frame, device: str) -> str | None:
    """What keeps this solver from steps in memory of their own under this frame."""
    if not isinstance(solver, StepsInPlace):
        return f"only FactoredEuler and Hybrid take their steps in place, and the solver is {type(solver).__name__}"
    return (
        solver.in_place_obstacle(network.jumps) or to_record(network) or to_constant_input(frame) or to_device(device)
    )


def to_recording(left: float, solver: Solver) -> str | None:
    """Whether what is left of a run, in units of time, is too short for recording to be worth it."""
    steps = left / (solver.step or left)
    if steps >= RECORD:
        return None
    return f"{steps:.0f} steps are too few to record them, which is worth it from {RECORD} on"


def to_go_side_by_side(
    networks: Sequence[Network], solver: Solver, stimuli: Sequence[Stimulus], start: float = 0.0
) -> str | None:
    """What keeps members from going side by side: Euler's steps on the CPU, parts of the library's own, inputs that are
    constant between switches that all share.
    """
    if not isinstance(solver, Euler | FactoredEuler):
        return f"only steps of Euler go side by side, and the solver is {type(solver).__name__}"
    if not at_same_times(stimuli):
        return "the members' stimuli do not switch at the same times"
    frame = next(stimuli[0].frames(start, stimuli[0].duration_total), None)
    if frame is None:
        return "there is nothing left of the stimulus"
    obstacle = to_constant_input(frame) or to_device(stimuli[0].device.type)
    if obstacle is not None:
        return obstacle
    if any(variables(network) != variables(networks[0]) for network in networks[1:]):
        return "the members' states have different variables"
    if isinstance(solver, FactoredEuler):
        for layer in (layer for network in networks for layer in network.layers):
            if layer.rule is not None and layer.rule.dense:
                return f"rule {type(layer.rule).__name__} of layer {layer.index} has no factors"
    return next((obstacle for network in networks if (obstacle := to_record(network)) is not None), None)


def to_batch(networks: Sequence[Network], solver: Solver, stimuli: Sequence[Stimulus]) -> str | None:
    """What keeps members from being one leading dimension of all tensors: one network, whose parts are known to take
    it, in fixed steps under one stimulus.
    """
    if len(networks) == 1:
        return "there is one member only"
    if any(stimulus is not stimuli[0] for stimulus in stimuli):
        return "the members have a stimulus each"
    if any(network is not networks[0] for network in networks):
        return "the members have a network each"
    if networks[0].jumps:
        return "neurons with a reset are not carried out in one batch"
    if solver.step is None:
        return f"{type(solver).__name__} chooses its own steps, which members do not share"
    return to_record(networks[0])


def to_constant_input(frame: Frame) -> str | None:
    """Whether an input moves between switches."""
    return None if frame.constant else "the input is a function of time"


def to_device(kind: str) -> str | None:
    """Whether tensors lie elsewhere than on the CPU."""
    return None if kind == "cpu" else f"the tensors lie on {kind}, and recorded steps are taken on the CPU only"


def to_record(network: Network) -> str | None:
    """What in a network is not the library's own: that may be no pure function of what it sees, or take no leading
    dimensions, and is carried out anew at every step.
    """
    for layer in network.layers:
        place = f"of layer {layer.index} is not one of the library's own pure functions"
        if not known_neuron(layer.neuron):
            return f"neuron {type(layer.neuron).__name__} {place}"
        if not known_rule(layer.rule):
            return f"rule {type(layer.rule).__name__} {place}"
    if network.signal is not None and type(network.signal) not in SIGNALS.values():
        return f"signal {type(network.signal).__name__} is not one of the library's own"
    return None


def known_neuron(neuron: object) -> bool:
    """Whether a neuron is one of the library's that have an exact step."""
    return type(neuron) in (LIF, IF, AdaptiveLIF) or (type(neuron) is Rate and isinstance(neuron.activation, str))


def known_rule(rule: Rule | None) -> bool:
    """Whether a rule is one of the table's, all through, and needs nothing of the whole network."""
    if rule is None:
        return True
    if rule.modulated:
        return False
    if isinstance(rule, Sum):
        return all(known_rule(summand) for summand in rule.parts)
    inside = getattr(rule, "rule", None)
    if isinstance(inside, Rule) and not known_rule(inside):
        return False
    return isinstance(rule, Scaled) or (type(rule) in RULES.values() and type(rule) is not RULES["custom"])


def variables(network: Network) -> dict[str, tuple[int, ...]]:
    """Shape of everything in a network's state, for one row."""
    shapes = {**network.row_shapes(1), **network.unit_shapes}
    return {**{name: shape for name, (shape, _) in shapes.items()}, **network.weight_shapes}
