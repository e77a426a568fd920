"""Probes: what a run records, and when."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ctsigprop.rules.checks import lookup, number
from ctsigprop.state import State

KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "weights": (("post", "pre"), "synaptic weight"),
    "biases": (("post",), "bias"),
    "rates": (("row", "post"), "activity"),
    "traces": (("row", "pre"), "presynaptic trace"),
    "signal": (("row", "post"), "learning signal"),
    "target_generator": (("post", "context"), "target generator"),
    "feedback": (("post", "pre"), "feedback weight"),
    "voltages": (("row", "post"), "membrane potential"),
    "spikes": (("row", "post"), "spikes since the record before"),
}
TENSOR = {"weights": "W", "biases": "b", "traces": "x", "feedback": "B"}


@dataclass(frozen=True)
class Probe:
    """One quantity, recorded at given times.

    Parameters
    ----------
    what : "weights", "biases", "rates", "traces", "signal" (the learning signal), "target_generator",
        "feedback" (the weights of feedback signals), "voltages" and "spikes" (the number since the record before) of
        neurons with a reset, or a function State -> number, array or xarray.DataArray
    every : float, interval in units of time, > 0, from the start of the run on; or
    times : increasing sequence of times
    layers : sequence of layer numbers (from 1); default all. Rates and weights of all layers stand in one array
        with a `layer` dimension, filled with NaN where a layer is smaller than the largest
    select : mapping of dimension ("post", "pre", "row", "context") to indices or a slice; default everything
    name : str, name in the dataset; default `what`, or the function's own name

    Raises
    ------
    ValueError, TypeError : an unknown quantity (with the nearest), times that do not increase, both or neither of
        `every` and `times`, a dimension that the quantity does not have
    """

    what: str | Callable[[State], Any]
    every: float | None = None
    times: Sequence[float] | None = None
    layers: Sequence[int] | None = None
    select: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.what, str):
            lookup("quantity of Probe(what=)", self.what, KINDS)
        elif not callable(self.what):
            raise TypeError(f"Probe(what=) must be a name or a function of a State, got {self.what!r}")
        if (self.every is None) == (self.times is None):
            raise ValueError(
                "Probe needs one of every= and times=, got " + ("neither" if self.every is None else "both")
            )
        if self.every is not None:
            number("Probe(every=)", self.every, above=0)
        if self.times is not None:
            try:
                clock = np.asarray(self.times, dtype=float)
            except (TypeError, ValueError):
                clock = np.array([])
            if clock.ndim != 1 or not np.all(np.isfinite(clock)) or np.any(np.diff(clock) <= 0) or not len(clock):
                raise ValueError(f"Probe(times=) must be increasing finite times, got {self.times!r}")
        if self.name and (self.name in (".", "..") or any(mark in self.name for mark in "/\\\0")):
            raise ValueError(f"Probe(name=) must be a name that a folder can have, got {self.name!r}")
        for dim in self.select:
            if dim not in self.dims:
                raise ValueError(
                    f"Probe(select=) of {self.label} may name {', '.join(self.dims) or 'nothing'}, got {dim!r}"
                )

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions of one layer's value."""
        return KINDS[self.what][0] if isinstance(self.what, str) else ()

    @property
    def label(self) -> str:
        """Name in the dataset."""
        return self.name or (self.what if isinstance(self.what, str) else getattr(self.what, "__name__", "value"))

    def schedule(self, start: float, stop: float) -> list[float]:
        """The times of this probe within start ... stop.

        Raises
        ------
        ValueError : times outside the run
        """
        slack = 1e-9 * max(1.0, abs(stop))
        if self.every is not None:
            count = math.floor((stop - start + slack) / self.every) + 1
            return [min(start + k * self.every, stop) for k in range(count)]
        clock = [float(t) for t in self.times or ()]
        outside = [t for t in clock if t < start - slack or t > stop + slack]
        if outside:
            raise ValueError(
                f"Probe(times=) of {self.label} must lie within {start:g} ... {stop:g}, got {outside[0]:g}"
            )
        return clock
