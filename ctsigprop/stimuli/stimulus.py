"""The base of every stimulus, a series of frames; and stimuli that are functions of time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ctsigprop.rules.checks import Checked, number
from ctsigprop.solvers.times import as_time, as_times, slack
from ctsigprop.stimuli.frame import Frame, Gate, Input, opening
from ctsigprop.stimuli.validation import Mapped, as_inputs, as_tensor


class Stimulus(metaclass=Checked):
    """Inputs, targets and plasticity gate as functions of time, cut into smooth frames."""

    rows: int
    n_inputs: int
    duration_total: float
    dtype: torch.dtype
    device: torch.device
    target_width: int | None
    """Width of context vectors; 0 for integer labels; None without targets."""
    y: Tensor | Mapped | None = None
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
        ValueError, TypeError : functions with a value at time 0 that is not as described here
        """
        return Continuous(x, context, duration=duration, gate=gate, switches=switches)


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

    def like(self, name: str, t: float, value: object, width: int | None) -> Tensor:
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
