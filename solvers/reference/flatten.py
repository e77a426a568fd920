"""A whole state as one flat vector, the form that torchdiffeq integrates."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.solvers.field import Bounds, DenseWeight, HybridState, VectorField

Flat = Float[Tensor, " size"]


class Packing:
    """Where each tensor of a state lies in the flat vector."""

    def __init__(self, state: HybridState, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or {}
        self.n_activities = len(state.activities)
        self.names = [name for name, _ in state.items()]
        self.shapes = [value.shape for _, value in state.items()]
        self.sizes = [value.numel() for _, value in state.items()]
        like = next(value for _, value in state.items())
        self.dtype, self.device = like.dtype, like.device
        self.root_sizes = torch.tensor(self.sizes, dtype=self.dtype, device=self.device).sqrt()

    def pack(self, state: HybridState) -> Flat:
        """A new flat vector with the values of `state`."""
        return torch.cat([value.reshape(-1) for _, value in state.items()])

    def views(self, flat: Flat) -> list[Tensor]:
        """The tensors of a flat vector, as views on it."""
        return [values.view(shape) for values, shape in zip(torch.split(flat, self.sizes), self.shapes, strict=True)]

    def unpack(self, flat: Flat) -> HybridState:
        """The state in a flat vector, as views on it."""
        named = list(zip(self.names, self.views(flat), strict=True))
        return HybridState(dict(named[: self.n_activities]), dict(named[self.n_activities :]))

    def hold(self, flat: Float[Tensor, "*states size"]) -> Float[Tensor, "*states size"]:
        """Weights that left their bounds are put back onto them, in place, in one flat vector or several."""
        for name, values in zip(self.names, torch.split(flat, self.sizes, -1), strict=True):
            if name in self.bounds:
                values.clamp_(*self.bounds[name])
        return flat

    def derivative(self, field: VectorField, t: float, flat: Flat) -> Flat:
        """The right-hand side at (t, flat) as a new flat vector, post^T pre written straight into place."""
        state = self.unpack(flat)
        weights = {name: DenseWeight(value) for name, value in state.weights.items()}
        rates, updates = field(t, state.activities, weights)
        out = torch.empty_like(flat)
        for name, place in zip(self.names, self.views(out), strict=True):
            if name in rates:
                place.copy_(rates[name])
            elif name in updates:
                updates[name].derivative(state.weights[name], out=place)
            else:
                place.zero_()
        return out

    def per_group(self, activities: float, weights: float) -> float | Flat:
        """One number where both groups agree, else a flat vector of each group's number."""
        if activities == weights:
            return activities
        out = torch.empty(sum(self.sizes), dtype=self.dtype, device=self.device)
        for place, is_weight in zip(torch.split(out, self.sizes), self._is_weight(), strict=True):
            place.fill_(weights if is_weight else activities)
        return out

    def _is_weight(self) -> list[bool]:
        return [i >= self.n_activities for i in range(len(self.sizes))]

    def norm(self, flat: Flat) -> Float[Tensor, ""]:
        """Largest root mean square over the tensors of the state, torchdiffeq's own norm for tuples."""
        norms = torch.stack([torch.linalg.vector_norm(values) for values in torch.split(flat, self.sizes)])
        return (norms / self.root_sizes).max()
