"""The synapses of a layer, from the layer below to its own units: fully connected, or by patches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.model.convolution import Conv2d, Map
from ctsigprop.rules.checks import whole
from ctsigprop.rules.local import Local, SpikeTrace


@dataclass(frozen=True)
class Synapses(ABC):
    """The synapses from one layer to the next. Rows of activities are flat; every method is a pure function.

    Parameters
    ----------
    below : units below: a number, or a `Map`
    """

    below: int | Map

    @property
    def n_pre(self) -> int:
        """Width of what they read, after pooling: that of a presynaptic trace."""
        return prod(self.below.seen) if isinstance(self.below, Map) else self.below

    @property
    @abstractmethod
    def n_post(self) -> int:
        """Units of the layer."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Shape (post, pre) of W."""

    @property
    @abstractmethod
    def above(self) -> int | Map:
        """The layer's units, as the next layer's synapses read them."""

    @property
    def described(self) -> str:
        """The layer's units, for people."""
        return str(self.n_post)

    @property
    def positions(self) -> int:
        """Times that each weight is used in a row."""
        return self.n_post // self.shape[0]

    def read(self, below: Float[Tensor, "*batch rows n"]) -> Float[Tensor, "*batch rows pre"]:
        """What is below as they see it, pooled: what drives them, and what a presynaptic trace follows."""
        return self.below.read(below) if isinstance(self.below, Map) else below

    def patches(self, pre: Float[Tensor, "*batch rows pre"]) -> Float[Tensor, "*batch places fan_in"]:
        """The presynaptic side of W, one row for each position."""
        return pre

    def collect(self, drive: Float[Tensor, "*batch places units"]) -> Float[Tensor, "*batch rows post"]:
        """What each position says, as one row."""
        return drive

    def spread(self, post: Float[Tensor, "*batch rows post"]) -> Float[Tensor, "*batch places units"]:
        """The postsynaptic side of W, one row for each position: `collect` the other way."""
        return post

    def local(self, rows: Local, traces: Mapping[str, SpikeTrace]) -> Local:
        """What W sees: from that of whole rows of units, `traces` being the spike traces among its variables."""
        return rows


@final
@dataclass(frozen=True)
class Dense(Synapses):
    """From each unit to each."""

    units: int

    @property
    def n_post(self) -> int:
        return self.units

    @property
    def shape(self) -> tuple[int, int]:
        return self.units, self.n_pre

    @property
    def above(self) -> int:
        return self.units


@final
@dataclass(frozen=True)
class Convolution(Synapses):
    """From each patch of a map to the channels of a position, by weights that all positions share."""

    below: Map
    spec: Conv2d

    @property
    def size(self) -> tuple[int, int]:
        """Positions to each side."""
        height, width, _ = self.below.seen
        margin = 2 * self.spec.padding - self.spec.kernel
        return (height + margin) // self.spec.stride + 1, (width + margin) // self.spec.stride + 1

    @property
    def n_post(self) -> int:
        return prod(self.size) * self.spec.channels

    @property
    def shape(self) -> tuple[int, int]:
        return self.spec.channels, self.spec.kernel**2 * self.below.channels

    @property
    def described(self) -> str:
        height, width = self.size
        return f"{height} x {width} x {self.spec.channels}, {self.spec!r}"

    @property
    def above(self) -> Map:
        return Map(*self.size, self.spec.channels, self.spec.pool, self.spec.pooling)

    def patches(self, pre: Float[Tensor, "*batch rows pre"]) -> Float[Tensor, "*batch places fan_in"]:
        # with a position's channels side by side a copy moves runs of them: 0.9 ms for 110 rows of 20 x 14 x 14, where
        # torch.nn.functional.unfold, channel by channel, takes 19
        kernel, stride, margin = self.spec.kernel, self.spec.stride, self.spec.padding
        images = pre.reshape(-1, *self.below.seen)
        if margin:
            images = torch.nn.functional.pad(images, (0, 0, margin, margin, margin, margin))
        windows = images.unfold(1, kernel, stride).unfold(2, kernel, stride)  # rows, height, width, channels, k, k
        return windows.permute(0, 1, 2, 4, 5, 3).reshape(*pre.shape[:-2], -1, self.shape[1])

    def collect(self, drive: Float[Tensor, "*batch places units"]) -> Float[Tensor, "*batch rows post"]:
        return drive.reshape(*drive.shape[:-2], -1, self.n_post)

    def spread(self, post: Float[Tensor, "*batch rows post"]) -> Float[Tensor, "*batch places units"]:
        return post.reshape(*post.shape[:-2], -1, self.spec.channels)

    def local(self, rows: Local, traces: Mapping[str, SpikeTrace]) -> Local:
        def post(values: Tensor | None) -> Tensor | None:
            return None if values is None else self.spread(values)

        def pre(values: Tensor | None) -> Tensor | None:
            return None if values is None else self.patches(values)

        share = rows.share.unsqueeze(-2) / self.positions
        share = share.expand(*share.shape[:-2], self.positions, 1).reshape(*rows.share.shape[:-2], -1, 1)
        patches = self.patches(rows.pre)
        variables = dict(rows.variables)
        for name, trace in traces.items():
            variables[name] = (self.spread if trace.side == "post" else self.patches)(variables[name])
        return replace(
            rows,
            post=self.spread(rows.post),
            pre=patches,
            share=share,
            gain=post(rows.gain),
            delta=None if rows.delta is None else self.spread(rows.delta) / self.positions,
            distance=post(rows.distance),
            post_slope=post(rows.post_slope),
            pre_slope=pre(rows.pre_slope),
            post_spikes=post(rows.post_spikes),
            pre_spikes=patches if rows.pre_spikes is rows.pre else pre(rows.pre_spikes),
            variables=variables,
        )


Structure = tuple[int | tuple[int, int, int] | Conv2d, ...]
"""Inputs and layers as `Network(sizes)` names them."""


def structured(sizes: Iterable[object]) -> Structure:
    """`Network(sizes)` as a tuple of plain values.

    Raises
    ------
    ValueError, TypeError : no sequence, or an entry that is not a size
    """
    try:
        values = tuple(sizes)
    except TypeError:
        raise TypeError(f"sizes must be a sequence of integers [inputs, units, ...], got {sizes!r}") from None
    if len(values) < 2:
        raise ValueError(f"sizes must name the inputs and at least one layer, got {list(values)}")
    structure: list[int | tuple[int, int, int] | Conv2d] = []
    for i, value in enumerate(values):
        if i == 0 and isinstance(value, tuple | list):
            if len(value) != 3:
                raise ValueError(f"sizes[0] must be a number of inputs or (channels, height, width), got {value!r}")
            channels, height, width = value
            image = {"channels": channels, "height": height, "width": width}
            channels, height, width = (whole(f"sizes[0], {name},", size, 1) for name, size in image.items())
            structure.append((channels, height, width))
        elif i and isinstance(value, Conv2d):
            structure.append(value)
        else:
            structure.append(whole(f"sizes[{i}]", value, 1))
    return tuple(structure)


def arranged(structure: Structure) -> tuple[Synapses, ...]:
    """The synapses of every layer.

    Raises
    ------
    ValueError : a layer that does not fit what is below it
    """
    first = structure[0]
    below: int | Map
    if isinstance(first, tuple):
        channels, height, width = first
        below = Map(height, width, channels, planes=True)
    else:
        below = whole("sizes[0]", first, 1)
    arrangement: list[Synapses] = []
    for i, value in enumerate(structure[1:], start=1):
        synapses: Synapses
        if isinstance(value, Conv2d):
            synapses = Convolution(fitting_map(f"sizes[{i}]", value, below), value)
        else:
            synapses = Dense(inputs_below(below) if i == 1 else below, whole(f"sizes[{i}]", value, 1))
        arrangement.append(synapses)
        below = synapses.above
        if isinstance(below, Map) and not prod(below.seen):
            raise ValueError(
                f"sizes[{i}]: {value!r} has a map of {below.height} x {below.width} positions, which no window of "
                f"pool={below.pool} fits into"
            )
    return tuple(arrangement)


def inputs_below(below: int | Map) -> int:
    """Number of units below."""
    return below.units if isinstance(below, Map) else below


def fitting_map(place: str, spec: Conv2d, below: int | Map) -> Map:
    """The map that a convolutional layer reads.

    Raises
    ------
    ValueError : no map below, or one that its kernel does not fit into
    """
    if not isinstance(below, Map):
        raise ValueError(
            f"{place}: {spec!r} needs a map below it, and there are {below} units without height and width: give "
            "sizes[0] as (channels, height, width), and no dense layer below a convolutional one"
        )
    height, width, _ = below.seen
    if spec.kernel > min(height, width) + 2 * spec.padding:
        raise ValueError(
            f"{place}: {spec!r} reads a map of {height} x {width} positions, padded by {spec.padding} to each side, "
            f"and its kernel must be at most {min(height, width) + 2 * spec.padding}, got {spec.kernel}"
        )
    return below
