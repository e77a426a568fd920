"""Memory that the steps of a network read and write: the state and the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.fx import Node

from ctsigprop.execution.inplace.buffer_pool import BufferPool, laid_out
from ctsigprop.model.network import Network
from ctsigprop.solvers.field import HybridState
from ctsigprop.trace.graph import SPIKES, StepGraph


class StepMemory:
    """Copies of a state and of what is shown, which stay where they are, and buffers for intermediate results.

    Parameters
    ----------
    networks : that differ in numbers only
    which : for each member of an ensemble, along the first dimension of all tensors, its network; None without that
        dimension
    state, shown : where to start; what is shown by the names of `FrameInput`
    """

    def __init__(
        self,
        networks: Sequence[Network],
        which: Sequence[int] | None,
        state: HybridState,
        shown: Mapping[str, Tensor],
    ) -> None:
        self.ensemble = which is not None
        self.which = torch.tensor(which or [0])
        copy = laid_out if self.ensemble else torch.clone
        with torch.inference_mode(False):
            self.activities = {name: copy(value) for name, value in state.activities.items()}
            self.weights = {name: value.clone() for name, value in state.weights.items()}
            self.inputs = {name: copy(value) for name, value in shown.items()}
            self.spikes = shown["x"].clone()
        self.buffers = BufferPool(self.ensemble)
        self.state = HybridState(self.activities, self.weights)
        self.bounds: dict[str, tuple[Tensor, Tensor]] = {}
        for name in networks[0].bounds:
            ends = [[networks[k].bounds[name][end] for k in self.which.tolist()] for end in (0, 1)]
            low, high = (self.weights[name].new_tensor(values).view(-1, 1, 1) for values in ends)
            self.bounds[name] = (low, high) if self.ensemble else (low[0], high[0])

    def tensor(self, name: str) -> Tensor:
        """What is called `name`: an input, input spikes, or a part of the state."""
        if name == SPIKES:
            return self.spikes
        return next(part[name] for part in (self.activities, self.weights, self.inputs) if name in part)

    def places(self, graph: StepGraph) -> dict[Node, Tensor]:
        """Where the placeholders of a graph lie."""
        named = (*graph.inputs.items(), *graph.state.items(), *graph.landed.items())
        return {node: self.tensor(name) for name, node in named}

    def unchanged(self, graph: StepGraph) -> set[Node]:
        """Placeholders of what no step of a graph changes: the inputs, and weights that do not learn."""
        changing = {SPIKES, *self.activities, *graph.flow.updates, *graph.jump.updates}
        named = (*graph.inputs.items(), *graph.state.items(), *graph.landed.items())
        return {node for name, node in named if name not in changing}

    def load(self, state: HybridState) -> None:
        """Copy a state."""
        for name, value in state.items():
            self.tensor(name).copy_(value)

    def take_in(self, shown: Mapping[str, Tensor], source: Tensor | None = None) -> None:
        """Copy what is shown; to each member what is shown to the one that `source` says."""
        for name, value in shown.items():
            self.inputs[name].copy_(value if source is None else value[source])
