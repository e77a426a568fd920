"""The arguments of a simulation, converted and checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ctsigprop.model.checks import check_presynaptic, of_each
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.rules.checks import whole
from ctsigprop.solvers.times import slack
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.stimuli.validation import check_labels, interval


def check_members(
    network: Any, stimulus: Any, state: Any, seed: Any, ensemble: Any
) -> tuple[list[Network], list[Stimulus], list[State | None], list[int]]:
    """Network, stimulus, initial state and seed of each member; each argument may be one for all or a list.

    Raises
    ------
    ValueError, TypeError : lists of another length, things of another kind, members that do not fit together
    """
    if ensemble is None:
        check_types([network], [stimulus], [state])
        return [network], [stimulus], [state], [whole("seed", seed, 0)]
    ensemble = whole("ensemble", ensemble, 1)
    networks, stimuli, states = (
        of_each(name, value, ensemble, "members")
        for name, value in (("network", network), ("stimulus", stimulus), ("state", state))
    )
    check_types(networks, stimuli, states)
    seeds = list(seed) if isinstance(seed, range | np.ndarray) else seed
    if isinstance(seeds, list | tuple):
        seeds = of_each("seed", seeds, ensemble, "members")
        return networks, stimuli, states, [whole(f"seed[{k}]", value, 0) for k, value in enumerate(seeds)]
    first = whole("seed", seeds, 0)
    return networks, stimuli, states, [first + k for k in range(ensemble)]


def check_types(networks: Sequence[Any], stimuli: Sequence[Any], states: Sequence[Any]) -> None:
    """Raise TypeError for an argument of another kind."""
    for network in networks:
        if not isinstance(network, Network):
            raise TypeError(f"network must be a ct.Network, got {network!r}")
    if any(network.weight_shapes != networks[0].weight_shapes for network in networks[1:]):
        raise ValueError("the networks of an ensemble must have the same sizes and signal, got several")
    for stimulus in stimuli:
        if not isinstance(stimulus, Stimulus):
            raise TypeError(f"stimulus must be ct.Presentations or made by ct.Stimulus.from_function, got {stimulus!r}")
        if stimulus.rows != stimuli[0].rows or stimulus.duration_total != stimuli[0].duration_total:
            raise ValueError(
                "the stimuli of an ensemble must have as many rows as each other and last as long, got "
                f"{stimuli[0].rows} and {stimulus.rows} rows, {stimuli[0].duration_total:g} and "
                f"{stimulus.duration_total:g} units of time"
            )
    for state in states:
        if state is not None and not isinstance(state, State):
            raise TypeError(f"state must be a ct.State such as sol.final, got {type(state).__name__}")


def check_span(t_span: tuple[float, float] | None, stimulus: Stimulus) -> tuple[float, float]:
    """The time span of the run, inside the stimulus."""
    total = stimulus.duration_total
    if t_span is None:
        return 0.0, total
    (start, stop), near = interval("t_span", t_span, "a pair (start, stop)"), slack(total)
    if stop > total + near:
        raise ValueError(f"t_span must lie within the stimulus, 0 ... {total:g}, got {(start, stop)}")
    return start, total if stop > total - near else stop


def check_stimulus(network: Network, stimulus: Stimulus) -> None:
    """Raise where the stimulus does not fit the network."""
    if stimulus.n_inputs != network.sizes[0]:
        raise ValueError(
            f"the stimulus must have {network.sizes[0]} features, as sizes[0] says, got {stimulus.n_inputs}"
        )
    if stimulus.spikes and not network.layers[0].jumps:
        raise ValueError(
            f"the stimulus shows spikes, and neuron {type(network.layers[0].neuron).__name__} of layer 1 takes none: "
            "give it a neuron with a reset, such as ct.LIF(), or an input without an encoder"
        )
    if stimulus.spikes:
        check_presynaptic(network.layers[0])
    rule = network.layers[0].rule
    if rule is not None and rule.jumps and not stimulus.spikes:
        raise ValueError(
            f"rule of layer 1 is {type(rule).__name__}, which needs presynaptic spikes, and the stimulus shows none: "
            "give it an encoder, or show ct.SpikeTrains"
        )
    if network.signal is None:
        return
    if stimulus.target_width is None:
        raise ValueError("the network has a learning signal, so the stimulus must have labels or contexts, got none")
    if stimulus.target_width == 0 and stimulus.largest_label >= (network.n_classes or 0):
        check_labels("y of the stimulus", stimulus.y, network.n_classes)
    if stimulus.target_width and stimulus.target_width != network.n_classes:
        raise ValueError(
            f"contexts must have {network.n_classes} values, as n_classes says, got {stimulus.target_width}"
        )


def check_bounds(network: Network, state: State) -> None:
    """Raise where weights lie outside the bounds that their rule keeps."""
    for name, (low, high) in network.bounds.items():
        least, largest = float(state[name].min()), float(state[name].max())
        if least < state[name].new_tensor(low) or largest > state[name].new_tensor(high):
            raise ValueError(
                f"{name} of the state must lie within {low:g} ... {high:g}, the bounds of its rule, got {least:g} ... "
                f"{largest:g}: give state.replace({{{name!r}: state[{name!r}].clamp({low:g}, {high:g})}})"
            )


def check_state(state: State, stimulus: Stimulus) -> None:
    """Raise where state and stimulus differ in dtype or device."""
    for value in state.values():
        if value.dtype != stimulus.dtype:
            raise TypeError(
                f"the state is {value.dtype} and the stimulus {stimulus.dtype}: give the stimulus x as {value.dtype}, "
                f"or make the state with network.initial_state(dtype={stimulus.dtype})"
            )
        if value.device != stimulus.device:
            raise ValueError(f"the state is on {value.device} and the stimulus on {stimulus.device}: move one of them")
