"""Samples shown to a network in batches, one after another."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ctsigprop.errors import naming
from ctsigprop.rules.checks import number, whole
from ctsigprop.solvers.times import as_time, slack, steps_until
from ctsigprop.stimuli.encoders import Encoder
from ctsigprop.stimuli.frame import Frame, Gate, Input, check_gate, opening
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.stimuli.validation import Mapped, as_samples, as_shown_targets


class Presentations(Stimulus):
    """Samples shown one batch after another, each for `duration`, in a new random order in every epoch.

    The last batch of an epoch may be partial. Its empty rows show zeros and teach nothing.

    Parameters
    ----------
    x : (samples, inputs) tensor or array, float32 or float64; integers become float32. It can be a memory map,
        `np.load(path, mmap_mode="r")`, larger than memory: batches are read and checked when they are shown
    y : (samples,) integer labels, (samples, width) context vectors, or None. Contexts can be a memory map too
    batch_size : int, samples shown at once, >= 1; if larger than the data, all samples, with a warning
    duration : float, length of one presentation in units of time, > 0; default 1
    epochs : int, passes through the data, >= 1; default 1
    seed : int, sets the order; default 0
    gate : (start, stop), the window of each presentation in which weights may change, in units of time
        from its onset; or a function of time (not of the presentation); default always open
    shuffle : bool, default True; False keeps the given order
    encoder : `Poisson(...)` or `Latency(...)`, to turn samples into input spikes; default None, x is a constant
        current (or the input of a rate layer)

    Raises
    ------
    ValueError, TypeError : data or labels not as described here, a gate longer than the presentation
    """

    def __init__(
        self,
        x: object,
        y: object = None,
        batch_size: int = 32,
        duration: float = 1.0,
        epochs: int = 1,
        seed: int = 0,
        gate: tuple[float, float] | Gate | None = None,
        shuffle: bool = True,
        encoder: Encoder | None = None,
    ) -> None:
        self.x = as_samples("x", x)
        targets = None if y is None else as_shown_targets("y", y, len(self.x))
        self.y = targets.to(self.x.device) if isinstance(targets, Tensor) else targets
        for name, value in (("batch_size", batch_size), ("epochs", epochs)):
            whole(name, value, 1)
        number("duration", duration, above=0)
        whole("seed", seed, 0)
        if batch_size > len(self.x):
            warnings.warn(
                f"batch_size={batch_size} is larger than the data: each batch holds all {len(self.x)} samples",
                stacklevel=3,
            )
        if self.y is not None and self.y.is_floating_point() and self.y.dtype != self.x.dtype:
            raise TypeError(
                f"x and y must have the same float type, got {self.x.dtype} and {self.y.dtype}: convert one"
            )
        self.batch_size = self.rows = min(int(batch_size), len(self.x))
        self.duration, self.epochs, self.seed, self.shuffle = as_time(duration), int(epochs), int(seed), bool(shuffle)
        self.gate = check_gate(gate, self.duration)
        if encoder is not None:
            if not isinstance(encoder, Encoder):
                raise TypeError(f"encoder must be an encoder such as ct.Poisson(), or None, got {encoder!r}")
            encoder.check(self.x if isinstance(self.x, Tensor) else self.x[torch.arange(1)], self.duration)
        self.encoder, self.spikes = encoder, encoder is not None
        self.n_inputs, self.dtype, self.device = self.x.shape[1], self.x.dtype, self.x.device
        self.per_epoch = math.ceil(len(self.x) / self.rows)
        self.count = self.per_epoch * self.epochs
        self.duration_total = self.count * self.duration
        if self.y is None:
            self.target_width = None
        elif isinstance(self.y, Mapped) or self.y.is_floating_point():
            self.target_width = self.y.shape[1]
        else:
            self.target_width, self.largest_label = 0, int(self.y.max())

    def __repr__(self) -> str:
        return (
            f"Presentations({len(self.x)} x {self.n_inputs}, batch_size={self.batch_size}, duration={self.duration:g}, "
            f"epochs={self.epochs}, seed={self.seed})"
        )

    def order(self, epoch: int) -> Tensor:
        """Indices of the samples, in the order that this epoch shows them."""
        if not self.shuffle:
            return torch.arange(len(self.x))
        return torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(len(self.x)))

    def batch(self, k: int, order: Tensor) -> Input:
        """The batch of presentation k, given the order (..., samples) of its epoch."""
        first = (k % self.per_epoch) * self.rows
        index = order[..., first : first + self.rows].to(self.device)
        x, y = self.x[index], None if self.y is None else self.y[index].to(self.device)
        missing = self.rows - index.shape[-1]
        present = torch.ones(*index.shape[:-1], self.rows, 1, dtype=self.dtype, device=self.device)
        if missing:
            present[..., -missing:, :] = 0
            x = torch.nn.functional.pad(x, (0, 0, 0, missing))
            if y is not None:
                contexts = y.is_floating_point()
                y = torch.nn.functional.pad(
                    y, (0, 0, 0, missing) if contexts else (0, missing), value=0 if contexts else -1
                )
        return Input(x, y, present)

    def frames(self, start: float, stop: float) -> Iterator[Frame]:
        return self.frames_in(self.order, start, stop)

    def side_by_side(self, others: Sequence[Presentations], start: float, stop: float) -> Iterator[Frame]:
        """Frames that show what each of `others` shows, along a new first dimension. The others differ from this one
        only in the seed of their order.
        """
        return self.frames_in(lambda epoch: torch.stack([other.order(epoch) for other in others]), start, stop)

    def frames_in(self, order_of: Callable[[int], Tensor], start: float, stop: float) -> Iterator[Frame]:
        """The frames of start ... stop, in the order of each epoch."""
        epoch, order = -1, torch.empty(0)
        near = slack(self.duration, stop)
        for k in range(max(0, steps_until(start, 0.0, self.duration)), self.count):
            onset = k * self.duration
            if onset >= stop - near:
                return
            if k // self.per_epoch != epoch:
                epoch = k // self.per_epoch
                order = order_of(epoch)
            shown = LazyBatch(partial(self.batch, k, order))
            events = None
            if self.encoder is not None:
                with naming(f"encoder {type(self.encoder).__name__}", onset):
                    if isinstance(self.x, Mapped):
                        self.encoder.check(shown().x, self.duration)
                    events = self.encoder.events(shown().x, onset, self.duration, k)
            for a, b, factor in self.windows():
                first, last = onset + a, (k + 1) * self.duration if b == self.duration else onset + b
                if last > start + near and first < stop - near:
                    at, constant = self.during(shown, factor)
                    begin, end = start if first < start + near else first, stop if last > stop - near else last
                    yield Frame(begin, end, first, at, constant, events)

    def windows(self) -> list[tuple[float, float, float]]:
        """(start, stop, gate) of each stretch of one presentation, from its onset."""
        if not isinstance(self.gate, tuple):
            return [(0.0, self.duration, 1.0)]
        edges = [0.0, *self.gate, self.duration]
        return [(a, b, f) for a, b, f in zip(edges, edges[1:], (0.0, 1.0, 0.0), strict=False) if b > a]

    @property
    def longest_frame(self) -> float:
        return max(b - a for a, b, _ in self.windows())

    def during(self, shown: LazyBatch, factor: float) -> tuple[Callable[[float], Input], bool]:
        """The frame's function of time, and whether it is constant."""
        gate = self.gate
        if callable(gate):
            return lambda t: replace(shown(), gate=opening(gate, t)), False
        return (lambda t: shown()) if factor == 1.0 else (lambda t: replace(shown(), gate=factor)), True


class LazyBatch:
    """A batch that is put together when it is first asked for."""

    def __init__(self, made: Callable[[], Input]) -> None:
        self.made = made
        self.shown: Input | None = None

    def __call__(self) -> Input:
        if self.shown is None:
            self.shown = self.made()
        return self.shown
