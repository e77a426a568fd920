"""Checks that a fixed step is short enough for the time constants of a network and for its stimulus."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass

import torch

from ctsigprop.model.network import Network
from ctsigprop.rules.base import Rule
from ctsigprop.rules.three_factor import Reward
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.times import slack
from ctsigprop.stimuli.stimulus import Stimulus


def time_constants(network: Network) -> Iterator[tuple[float, bool, str]]:
    """Each time constant of a linear decay: (its value, whether it is a neuron's, what it belongs to in words)."""
    for layer in network.layers:
        if not layer.jumps:
            yield float(layer.neuron.tau), True, f"tau={layer.neuron.tau:g} of layer {layer.index}"
        if layer.rule is not None:
            for name, tau in of_rule(layer.rule):
                yield tau, False, f"{name}={tau:g} of the rule of layer {layer.index}"


def of_rule(part: Rule | Reward) -> Iterator[tuple[str, float]]:
    """The time constants of a rule and of the rules inside it; spike traces take their exact step."""
    values = {field.name: getattr(part, field.name) for field in fields(part)} if is_dataclass(part) else {}
    inside = [
        inner
        for value in values.values()
        for inner in (value if isinstance(value, tuple) else (value,))
        if isinstance(inner, Rule | Reward)
    ]
    for inner in inside:
        yield from of_rule(inner)
    if inside or isinstance(part, Reward) or not part.spike_traces():
        for name, value in values.items():
            if name.startswith("tau") and value is not None:
                yield name, float(value)


def check_step(networks: Sequence[Network], solver: Solver, stimulus: Stimulus) -> None:
    """Warn where a fixed step cannot be right: beyond the solver's limit of stability, or never taken as asked for.

    Raises
    ------
    ValueError : a step so short that time does not move
    """
    dt = solver.step
    if dt is None:
        return
    name = type(solver).__name__
    longest = stimulus.longest_frame
    shortest = max(math.ulp(stimulus.duration_total), torch.finfo(stimulus.dtype).tiny)
    if dt < shortest:
        raise ValueError(
            f"{name}(dt=) must be at least {shortest:.3g}, the shortest step that moves time in {stimulus.dtype} up to "
            f"t={stimulus.duration_total:g}, got {dt!r}"
        )
    if dt > longest + slack(longest, dt):
        warnings.warn(
            f"{name}(dt={dt:g}) is longer than anything that the stimulus shows without a switch, {longest:g}: steps "
            "end at every switch, so all of them are shorter than dt",
            stacklevel=3,
        )
    limits = [
        (solver.stable_step(tau, of_neuron), what)
        for network in networks
        for tau, of_neuron, what in time_constants(network)
    ]
    if not limits:
        return
    limit, what = min(limits)
    if min(dt, longest) > limit + slack(limit, dt):
        warnings.warn(
            f"{name}(dt={dt:g}) is unstable for {what}: what should decay grows from step to step. The largest stable "
            f"step is {limit:g}, and an accurate one is shorter",
            stacklevel=3,
        )
