"""One stretch of a stimulus: what the network sees while labels and gate keep their meaning."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ctsigprop.solvers.times import slack
from ctsigprop.stimuli.validation import interval

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


def opening(gate: Gate, t: float) -> float:
    """How far a gate that is a function of time is open at t, a finite number."""
    value = float(gate(t))
    if not math.isfinite(value):
        raise ValueError(f"gate({t:g}) must be a finite number, got {value}")
    return value


def check_gate(gate: object, duration: float) -> tuple[float, float] | Gate | None:
    """A gate as a window inside the presentation, a function of time, or None.

    Raises
    ------
    ValueError, TypeError : a window outside the presentation, or neither of these
    """
    if gate is None or callable(gate):
        return gate
    (start, stop), near = interval("gate", gate, "a pair (start, stop), a function of time or None"), slack(duration)
    if stop > duration + near:
        raise ValueError(f"gate must lie within the presentation, 0 ... {duration:g}, got {gate!r}")
    return 0.0 if start < near else start, duration if stop > duration - near else stop
