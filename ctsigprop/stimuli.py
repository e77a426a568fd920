"""Stimuli: what the world shows a network, and when."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.data import Mapped, as_inputs, as_samples, as_targets, as_tensor, interval
from ctsigprop.encoders import Encoder
from ctsigprop.errors import naming
from ctsigprop.rules.checks import Checked, number, whole
from ctsigprop.solvers.times import as_time, as_times, slack, steps_until

Gate = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Input:
    """What is shown at one moment.

    Parameters
    ----------
    x : Tensor (rows, inputs); members of an ensemble have a dimension before all others, here and below
    target : Tensor (rows,) of class labels, -1 in an empty row; or (rows, width) context vectors; or None
    present : Tensor (rows, 1), 1 for a sample, 0 for an empty row
    gate : float, factor on all plasticity, 0 turns it off
    """

    x: Float[Tensor, "*members rows inputs"]
    target: Tensor | None
    present: Float[Tensor, "*members rows 1"]
    gate: float = 1.0


@runtime_checkable
class Events(Protocol):
    """Input spikes during a frame."""

    def between(self, t0: float, t1: float) -> Tensor | None:
        """How many spikes each input of each row has in t0 < t <= t1, (rows, inputs); None where there are none."""
        ...

    def after(self, t: float) -> float:
        """The time of the first spike after t, infinity where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """A stretch of time without a jump: `at(t)` is constant or smooth for start <= t <= stop.

    `origin` is where the stretch would begin had the run not begun inside it; `events` are input spikes, which take
    the place of the continuous input.
    """

    start: float
    stop: float
    origin: float
    at: Callable[[float], Input]
    constant: bool
    events: Events | None = None


class Stimulus(metaclass=Checked):
    """Inputs, targets and plasticity gate as functions of time, cut into smooth frames."""

    rows: int
    n_inputs: int
    duration_total: float
    dtype: torch.dtype
    device: torch.device
    target_width: int | None
    """Width of context vectors; 0 for integer labels; None without targets."""
    y: Tensor | None = None
    """Labels or contexts of the samples, where there are samples."""
    largest_label: int = -1
    spikes: bool = False
    """Whether the input is spikes, which only neurons with a reset take."""

    @property
    def longest_frame(self) -> float:
        """The longest stretch without a switch, in units of time."""
        return self.duration_total

    @abstractmethod
    def frames(self, start: float, stop: float) -> Iterator[Frame]:
        """The frames of start ... stop, in order, without gaps."""

    @staticmethod
    def from_function(
        x: Callable[[float], Tensor],
        context: Callable[[float], Tensor] | None = None,
        *,
        duration: float,
        gate: Gate | None = None,
        switches: Sequence[float] = (),
    ) -> Continuous:
        """Continuous input and target signals.

        Parameters
        ----------
        x : callable, time -> Tensor (rows, inputs), float32 or float64
        context : callable, time -> Tensor (rows, width), one-hot labels or context vectors; default none
        duration : float, length in units of time, > 0
        gate : callable, time -> factor on all plasticity; default always 1
        switches : increasing times at which x, context or gate jump; solvers step onto them

        Raises
        ------
        ValueError, TypeError : functions whose value at time 0 is not what is described here
        """
        return Continuous(x, context, duration=duration, gate=gate, switches=switches)


class Presentations(Stimulus):
    """Samples shown one batch after another, each for `duration`, in an order shuffled anew in every epoch.

    The last batch of an epoch may be partial: its empty rows show zeros and teach nothing.

    Parameters
    ----------
    x : (samples, inputs) tensor or array, float32 or float64; integers become float32. Of a memory map,
        `np.load(path, mmap_mode="r")`, batches are read and checked when they are shown: it need not fit in memory
    y : (samples,) integer labels, (samples, width) context vectors, or None
    batch_size : int, samples shown at once, >= 1; more than there are samples: all of them, with a warning
    duration : float, length of one presentation in units of time, > 0; default 1
    epochs : int, passes through the data, >= 1; default 1
    seed : int, decides the order; default 0
    gate : (start, stop), the window of each presentation in which weights may change, in units of time
        from its onset; or a function of time (not of the presentation); default always open
    shuffle : bool, default True; False shows the samples in the order given
    encoder : `Poisson(...)` or `Latency(...)`, which turn samples into input spikes; default None, x is a constant
        current (or the input of a rate layer)

    Raises
    ------
    ValueError, TypeError : data or labels that are not as described, a gate longer than the presentation
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        duration: float = 1.0,
        epochs: int = 1,
        seed: int = 0,
        gate: tuple[float, float] | Gate | None = None,
        shuffle: bool = True,
        encoder: Encoder | None = None,
    ) -> None:
        self.x = as_samples("x", x)
        self.y = None if y is None else as_targets("y", y, len(self.x)).to(self.x.device)
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
        elif self.y.is_floating_point():
            self.target_width = self.y.shape[1]
        else:
            self.target_width, self.largest_label = 0, int(self.y.max())

    def __repr__(self) -> str:
        return (
            f"Presentations({len(self.x)} x {self.n_inputs}, batch_size={self.batch_size}, duration={self.duration:g}, "
            f"epochs={self.epochs}, seed={self.seed})"
        )

    def order(self, epoch: int) -> Tensor:
        """Indices of the samples in the order in which this epoch shows them."""
        if not self.shuffle:
            return torch.arange(len(self.x))
        return torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(len(self.x)))

    def batch(self, k: int, order: Tensor) -> Input:
        """What presentation k shows, given the order (..., samples) of its epoch."""
        first = (k % self.per_epoch) * self.rows
        index = order[..., first : first + self.rows].to(self.device)
        x, y = self.x[index], None if self.y is None else self.y[index]
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
        """Frames that show what each of `others` shows, along a new first dimension. They differ from this one in the
        seed of their order alone.
        """
        return self.frames_in(lambda epoch: torch.stack([other.order(epoch) for other in others]), start, stop)

    def frames_in(self, order_of: Callable[[int], Tensor], start: float, stop: float) -> Iterator[Frame]:
        """The frames of start ... stop in the order of each epoch."""
        epoch, order = -1, torch.empty(0)
        near = slack(self.duration, stop)
        for k in range(max(0, steps_until(start, 0.0, self.duration)), self.count):
            onset = k * self.duration
            if onset >= stop - near:
                return
            if k // self.per_epoch != epoch:
                epoch = k // self.per_epoch
                order = order_of(epoch)
            shown = Later(partial(self.batch, k, order))
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

    def during(self, shown: Later, factor: float) -> tuple[Callable[[float], Input], bool]:
        """The frame's function of time, and whether it is constant."""
        gate = self.gate
        if callable(gate):
            return lambda t: replace(shown(), gate=opening(gate, t)), False
        return (lambda t: shown()) if factor == 1.0 else (lambda t: replace(shown(), gate=factor)), True


class Later:
    """A batch that is put together when it is first asked for."""

    def __init__(self, made: Callable[[], Input]) -> None:
        self.made = made
        self.found: Input | None = None

    def __call__(self) -> Input:
        if self.found is None:
            self.found = self.made()
        return self.found


def opening(gate: Gate, t: float) -> float:
    """How far a gate that is a function of time is open at t, a finite number."""
    value = float(gate(t))
    if not math.isfinite(value):
        raise ValueError(f"gate({t:g}) must be a finite number, got {value}")
    return value


class Continuous(Stimulus):
    """Inputs and targets that are functions of time; made by `Stimulus.from_function`."""

    def __init__(
        self,
        x: Callable[[float], Tensor],
        context: Callable[[float], Tensor] | None = None,
        *,
        duration: float,
        gate: Gate | None = None,
        switches: Sequence[float] = (),
    ) -> None:
        number("duration", duration, above=0)
        for name, value in (("x", x), ("context", context), ("gate", gate)):
            if not callable(value) and (value is not None or name == "x"):
                raise TypeError(f"{name} must be a function of time, got {value!r}")
        self.switches = as_times(switches).tolist()
        if any(b <= a for a, b in pairwise(self.switches)):
            raise ValueError(f"switches must be increasing times, got {self.switches}")
        first = as_inputs("x(0)", x(0.0))
        self.x, self.context, self.gate = x, context, gate
        self.duration_total = as_time(duration)
        self.rows, self.n_inputs = first.shape
        self.dtype, self.device = first.dtype, first.device
        self.present = torch.ones(self.rows, 1, dtype=self.dtype, device=self.device)
        self.target_width = None
        if context is not None:
            shown = as_inputs("context(0)", context(0.0))
            if len(shown) != self.rows or shown.dtype != self.dtype:
                raise ValueError(
                    f"context(0) must have {self.rows} rows of {self.dtype} like x(0), "
                    f"got {len(shown)} of {shown.dtype}"
                )
            self.target_width = shown.shape[1]

    def __repr__(self) -> str:
        return f"Stimulus.from_function({self.rows} x {self.n_inputs}, duration={self.duration_total:g})"

    def at(self, t: float) -> Input:
        """What is shown at time t."""
        x = self.like("x", t, self.x(t), self.n_inputs)
        target = None if self.context is None else self.like("context", t, self.context(t), self.target_width)
        return Input(x, target, self.present, 1.0 if self.gate is None else opening(self.gate, t))

    def like(self, name: str, t: float, value: Any, width: int | None) -> Tensor:
        """What a function returned at time t, as a tensor of the type and shape that it had at time 0."""
        tensor = as_tensor(f"{name}({t:g})", "a tensor or array of numbers", value).to(self.present)
        if tensor.shape != (self.rows, width):
            raise ValueError(
                f"{name}({t:g}) must have shape {(self.rows, width)} as at time 0, got {tuple(tensor.shape)}"
            )
        if not math.isfinite(float(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name}({t:g}) must be finite numbers, got NaN or infinity among them")
        return tensor

    @property
    def longest_frame(self) -> float:
        return max(b - a for a, b in pairwise(self.edges()))

    def edges(self) -> list[float]:
        """Where the frames begin and end."""
        return [0.0, *(t for t in self.switches if 0 < t < self.duration_total), self.duration_total]

    def frames(self, start: float, stop: float) -> Iterator[Frame]:
        for a, b in pairwise(self.edges()):
            near = slack(b - a, b)
            if b > start + near and a < stop - near:
                begin, end = start if a < start + near else a, stop if b > stop - near else b
                yield Frame(begin, end, a, self.until(b), False)

    def until(self, switch: float) -> Callable[[float], Input]:
        """The functions before a switch, or before the end: there they take the value from the left."""
        before = math.nextafter(switch, -math.inf)
        return lambda t: self.at(min(t, before))


def check_gate(gate: Any, duration: float) -> tuple[float, float] | Gate | None:
    """A gate as a window inside the presentation, a function of time, or None.

    Raises
    ------
    ValueError, TypeError : a window outside the presentation, or neither of these
    """
    if gate is None or callable(gate):
        return gate  # type: ignore[no-any-return]
    (start, stop), near = interval("gate", gate, "a pair (start, stop), a function of time or None"), slack(duration)
    if stop > duration + near:
        raise ValueError(f"gate must lie within the presentation, 0 ... {duration:g}, got {gate!r}")
    return 0.0 if start < near else start, duration if stop > duration - near else stop
