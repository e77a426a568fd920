"""A step of a network as a graph of tensor operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.fx import Graph, Node

SPIKES = "spikes"
"""The name of input spikes among the inputs of a graph."""
INPUTS = ("x", "label", "context", "target", SPIKES)
"""What a stimulus gives to a step; the others have the names of `FrameInput`."""
Parts = tuple[Any, ...]
"""(post, pre, decay) or (change,) of a weight: nodes, a number or a `MemberConstant` for the decay."""


class NotTraceable(Exception):
    """A network or stimulus whose steps cannot be written down; the message says why."""


class NoTime:
    """Stands for time while a graph is recorded: whatever asks for its value cannot be written down."""

    def __getattr__(self, name: str) -> Any:
        raise NotTraceable("something in the network depends on time itself")

    def __float__(self) -> float:
        raise NotTraceable("something in the network depends on time itself")

    __array__ = __float__


@dataclass(frozen=True)
class MemberConstant:
    """A number that differs between the members of an ensemble: the place of its value among their constants."""

    index: int


@dataclass(frozen=True)
class Stage:
    """One part of a step.

    Parameters
    ----------
    operations : in order
    updates : what they say of each weight that changes at the end of the stage, by name
    """

    operations: list[Node]
    updates: dict[str, Parts]


@dataclass(frozen=True)
class StepGraph:
    """A step, or the right-hand side of one, as a graph. Every node's `meta["val"]` is a tensor of its shape and type.

    Parameters
    ----------
    graph : of functional operations, whose output is everything below that is computed
    inputs : placeholder of each input that the graph uses, by name; input spikes are called "spikes"
    state : placeholder of each tensor of the state, by name
    landed : placeholder of each weight as the jump finds it, after the flow has changed it, by name
    constants : numbers in which the networks of an ensemble differ, a row for each
    flow, jump : the stages
    rates : derivative of each activity, by name; empty where the step itself was written down
    after : each activity at the end of the step, by name; empty where the right-hand side was written down
    """

    graph: Graph
    inputs: dict[str, Node]
    state: dict[str, Node]
    landed: dict[str, Node]
    constants: list[list[float]]
    flow: Stage
    jump: Stage
    rates: dict[str, Node]
    after: dict[str, Node]

    @property
    def learns(self) -> bool:
        """Whether a step changes any weight."""
        return bool(self.flow.updates or self.jump.updates)
