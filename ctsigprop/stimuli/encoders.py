"""Encoders: how samples become input spikes. Without one, a sample is a constant current."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import Checked, number, whole
from ctsigprop.solvers.times import as_time, as_times, slack, steps_until

Samples = Float[Tensor, "rows inputs"]
BLOCK = 16
"""Bins drawn at once."""


class Encoder(metaclass=Checked):
    """Turns the samples of a presentation into spikes. Subclasses are frozen dataclasses."""

    @abstractmethod
    def check(self, x: Samples, duration: float) -> None:
        """Raise ValueError if the samples or the duration of their presentation do not fit."""

    @abstractmethod
    def events(self, x: Samples, onset: float, duration: float, k: int) -> Bins | Listed:
        """The spikes of presentation k."""


@final
@dataclass(frozen=True)
class Poisson(Encoder):
    """Poisson spikes in bins: in each bin an input x spikes with probability rate x dt, at the end of the bin.

    Parameters
    ----------
    rate : float, spikes per unit of time of an input of 1, > 0; inputs must lie in 0 ... 1 / (rate dt); default 1
    dt : float, width of a bin in units of time, > 0; default 0.1
    seed : int, sets every spike, together with the number of the presentation; default 0

    Raises
    ------
    ValueError, TypeError : a number out of its range, a rate above 1 / dt
    """

    rate: float = 1.0
    dt: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        number("Poisson(rate=)", self.rate, above=0)
        number("Poisson(dt=)", self.dt, above=0)
        object.__setattr__(self, "dt", as_time(self.dt))
        whole("Poisson(seed=)", self.seed, 0)
        if self.rate * self.dt > 1 + 1e-12:
            raise ValueError(f"Poisson(rate=) must be at most 1 / dt = {1 / self.dt:g}, got {self.rate!r}")

    def check(self, x: Samples, duration: float) -> None:
        check_range("Poisson", x, 1 / (self.rate * self.dt))

    def events(self, x: Samples, onset: float, duration: float, k: int) -> Bins:
        return Bins(x * (self.rate * self.dt), self.dt, onset, duration, (self.seed, k))


@final
@dataclass(frozen=True)
class Latency(Encoder):
    """Time to the first spike: an input x in 0 ... 1 spikes once, first + (1 - x) (last - first) after the onset.

    Parameters
    ----------
    first, last : float, times of an input of 1 and of 0, in units of time from the onset, 0 < first < last; default
        0.1 and 1
    threshold : float, inputs up to this value do not spike, in 0 ... 1; default 0

    Raises
    ------
    ValueError, TypeError : a number out of its range; during the run, a presentation shorter than `last`

    References
    ----------
    S. Thorpe, A. Delorme, R. Van Rullen, "Spike-based strategies for rapid processing", Neural Networks 14, 2001.
    """

    first: float = 0.1
    last: float = 1.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        number("Latency(first=)", self.first, above=0)
        number("Latency(last=)", self.last, above=self.first)
        object.__setattr__(self, "first", as_time(self.first))
        object.__setattr__(self, "last", as_time(self.last))
        number("Latency(threshold=)", self.threshold, least=0)

    def check(self, x: Samples, duration: float) -> None:
        check_range("Latency", x, 1.0)
        if self.last > duration + slack(duration):
            raise ValueError(f"Latency(last=) must be within the presentation, {duration:g}, got {self.last!r}")

    def events(self, x: Samples, onset: float, duration: float, k: int) -> Listed:
        rows, units = torch.nonzero(x > self.threshold, as_tuple=True)
        times = onset + self.first + (1 - as_times(x[rows, units].cpu())) * (self.last - self.first)
        return Listed(times, rows.cpu().numpy(), units.cpu().numpy(), x, self.last - self.first)


def check_range(name: str, x: Samples, most: float) -> None:
    """Raise unless all inputs lie in 0 ... most."""
    least, largest = float(x.min()), float(x.max())
    if least < 0 or largest > most * (1 + 1e-9):
        raise ValueError(f"{name} needs inputs in 0 ... {most:g}, got {least:g} ... {largest:g}: scale them")


class Bins:
    """Bernoulli spikes at the ends of bins, drawn block by block when needed: the same bits whatever the step."""

    def __init__(self, probability: Samples, dt: float, onset: float, duration: float, key: tuple[int, ...]) -> None:
        self.probability, self.dt, self.onset, self.key = probability, dt, onset, key
        self.count = steps_until(duration, 0.0, dt)
        self.block, self.drawn = -1, probability.new_empty(0)

    def index(self, t: float) -> int:
        """How many bins have ended at t."""
        return min(max(steps_until(t, self.onset, self.dt), 0), self.count)

    def bin(self, j: int) -> Samples:
        """The spikes of bin j."""
        if j // BLOCK != self.block:
            self.block = j // BLOCK
            seed = int(np.random.SeedSequence([*self.key, self.block]).generate_state(1)[0])
            random = torch.Generator().manual_seed(seed)
            shape = (BLOCK, *self.probability.shape)
            chance = torch.rand(shape, generator=random).to(self.probability)
            self.drawn = (chance < self.probability).to(self.probability.dtype)
        return self.drawn[j % BLOCK]

    def between(self, t0: float, t1: float) -> Samples | None:
        """How many spikes each input has in t0 < t <= t1."""
        first, last = self.index(t0), self.index(t1)
        if last - first <= 1:
            return self.bin(first) if last > first else None
        return torch.stack([self.bin(j) for j in range(first, last)]).sum(0)

    def after(self, t: float) -> float:
        """The end of the first bin that ends after t."""
        j = self.index(t)
        return self.onset + (j + 1) * self.dt if j < self.count else math.inf


class Listed:
    """Spikes from lists of times, rows and units, as many as there are spikes; `interval` is the shortest between
    spikes of one input, or how far apart they may be.
    """

    def __init__(self, times: np.ndarray, rows: np.ndarray, units: np.ndarray, like: Samples, interval: float) -> None:
        order = np.argsort(times, kind="stable")
        self.times = np.asarray(times, dtype=float)[order]
        place = np.asarray(rows)[order] * like.shape[1] + np.asarray(units)[order]
        self.place = torch.from_numpy(place.astype(np.int64)).to(like.device)
        self.like, self.interval = like, interval

    def position(self, t: float) -> int:
        """How many spikes there are up to t."""
        return int(np.searchsorted(self.times, t + slack(self.interval, t), side="right"))

    def between(self, t0: float, t1: float) -> Samples | None:
        """How many spikes each input has in t0 < t <= t1."""
        first, last = self.position(t0), self.position(t1)
        if last == first:
            return None
        counts = torch.zeros_like(self.like).view(-1)
        index = self.place[first:last]
        return counts.index_add_(0, index, counts.new_ones(last - first)).view(self.like.shape)

    def after(self, t: float) -> float:
        """The time of the first spike after t."""
        j = self.position(t)
        return float(self.times[j]) if j < len(self.times) else math.inf
