"""Probes: what a run records, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ctsigprop.model.state import State
from ctsigprop.recording.selection import SYNAPSE
from ctsigprop.reductions import Reduction, resolve
from ctsigprop.rules.checks import Checked, lookup, number, pair, whole
from ctsigprop.solvers.times import as_time, as_times, rounding_of, slack, smallest_interval, steps_until

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
class Probe(metaclass=Checked):
    """One quantity, recorded at given times.

    Parameters
    ----------
    what : "weights", "biases", "rates", "traces", "signal" (the learning signal), "target_generator",
        "feedback" (the weights of feedback signals), "voltages" and "spikes" (the number since the previous record) of
        neurons with a reset, or a function State -> number, array or xarray.DataArray
    every : float, interval in units of time, > 0, counted from the start of the run; or
    times : increasing times, a list, array or tensor; or
    log_spaced : int, or pair (int, first): as many times: the start of the run, and then times at equal ratios
        of the time since the start, from `first` (units of time, default a thousandth of the run) to the end
    layers : sequence of layer numbers (from 1); default all. Rates and weights of all layers share one array
        with a `layer` dimension, filled with NaN if a layer is smaller than the largest
    select : mapping of dimension ("post", "pre", "row", "context") to indices, a slice, a mask or a random subset,
        `ct.Sample(20)`; or {"synapse": pairs (post, pre) or `ct.Sample(1000)`} for single synapses; default everything
    name : str, name in the dataset; default `what`, followed by the reduction's name, or the function's own name
    reduce : "norm" (Frobenius norm of the selection), "singular_values", "projection" (random, low-rank), or
        `ct.reductions.SingularValues(5)`, `ct.reductions.Projection(rank=8)`; default None, the values themselves

    Raises
    ------
    ValueError, TypeError : an unknown quantity (the nearest is named), times that do not increase, not exactly one of
        `every`, `times` and `log_spaced`, a dimension that the quantity does not have, a reduction that does not fit
    """

    what: str | Callable[[State], object]
    every: float | None = None
    times: Sequence[float] | np.ndarray | Tensor | None = None
    layers: Sequence[int] | None = None
    select: Mapping[str, object] = field(default_factory=dict)
    name: str = ""
    log_spaced: int | tuple[int, float] | None = None
    reduce: str | Reduction | None = None
    reduction: Reduction | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.what, str):
            lookup("quantity of Probe(what=)", self.what, KINDS)
        elif not callable(self.what):
            raise TypeError(f"Probe(what=) must be a name or a function of a State, got {self.what!r}")
        clocks = {"every": self.every, "times": self.times, "log_spaced": self.log_spaced}
        given = [name for name, value in clocks.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"Probe needs one of every=, times= and log_spaced=, got {' and '.join(given) or 'none of them'}"
            )
        if self.every is not None:
            number("Probe(every=)", self.every, above=0)
        if self.times is not None:
            try:
                clock = as_times(self.times)
            except (TypeError, ValueError):
                clock = np.array([])
            if clock.ndim != 1 or not np.all(np.isfinite(clock)) or np.any(np.diff(clock) <= 0) or not len(clock):
                raise ValueError(f"Probe(times=) must be increasing finite times, got {self.times!r}")
        if self.name and (self.name in (".", "..") or any(mark in self.name for mark in "/\\\0")):
            raise ValueError(f"Probe(name=) must be a name that a folder can have, got {self.name!r}")
        if self.log_spaced is not None:
            check_log_spaced(self.log_spaced)
        place = self.what if isinstance(self.what, str) else "a function"
        object.__setattr__(self, "reduction", resolve(self.reduce, self.kept_dims, place))
        for dim in self.select:
            if dim not in self.dims and not (dim == SYNAPSE and self.dims == ("post", "pre")):
                raise ValueError(
                    f"Probe(select=) of {self.label} may name {', '.join(self.dims) or 'nothing'}, got {dim!r}"
                )
        if SYNAPSE in self.select and len(self.select) > 1:
            raise ValueError(f"Probe(select=) of {self.label}: synapse stands alone, got {', '.join(self.select)}")

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions of one layer's value, before selection."""
        return KINDS[self.what][0] if isinstance(self.what, str) else ()

    @property
    def kept_dims(self) -> tuple[str, ...]:
        """Dimensions of the selected part, before reduction."""
        return (SYNAPSE,) if SYNAPSE in self.select else self.dims

    @property
    def label(self) -> str:
        """Name in the dataset."""
        if self.name or not isinstance(self.what, str):
            return self.name or getattr(self.what, "__name__", "value")
        return self.what if self.reduction is None else f"{self.what}_{self.reduction.name}"

    def schedule(self, start: float, stop: float) -> list[float]:
        """The times of this probe within start ... stop.

        Raises
        ------
        ValueError : times outside the run
        """
        if self.log_spaced is not None:
            return logarithmic(self.log_spaced, start, stop)
        if self.every is not None:
            every = as_time(self.every)
            return [min(start + k * every, stop) for k in range(self.length(start, stop))]
        clock = as_times([] if self.times is None else self.times)
        near = slack(smallest_interval(clock.tolist(), stop - start), start, stop, rounding=rounding_of(self.times))
        outside = clock[(clock < start - near) | (clock > stop + near)]
        if len(outside):
            raise ValueError(
                f"Probe(times=) of {self.label} must lie within {start:.10g} ... {stop:.10g}, got {outside[0]:.10g}"
            )
        return [float(t) for t in np.clip(clock, start, stop)]

    def length(self, start: float, stop: float) -> int:
        """Number of times in `schedule`, without computing them."""
        if self.log_spaced is not None:
            return self.log_spaced[0] if isinstance(self.log_spaced, tuple | list) else self.log_spaced
        if self.every is not None:
            return steps_until(stop, start, as_time(self.every)) + 1
        return 0 if self.times is None else len(self.times)


def check_log_spaced(given: object) -> None:
    """Raise unless `given` is a count >= 2, or a pair of it and a first interval > 0."""
    count: object = given
    first: object = 1.0
    if isinstance(given, tuple | list | np.ndarray):
        count, first = pair("Probe(log_spaced=)", given, "a count or a pair (count, first interval)")
    whole("Probe(log_spaced=)", count, 2)
    number("first interval of Probe(log_spaced=)", first, above=0)


def logarithmic(given: int | tuple[int, float], start: float, stop: float) -> list[float]:
    """The start, then times whose distances from it stand at equal ratios, up to the stop.

    Raises
    ------
    ValueError : a first interval that is not shorter than the run
    """
    count, first = (given, 1e-3 * (stop - start)) if isinstance(given, int) else given
    if count > 2 and first >= stop - start:
        raise ValueError(
            f"first interval of Probe(log_spaced=) must be below {stop - start:g}, the length of the run, got {first:g}"
        )
    first = as_time(first)
    passed = np.geomspace(first, stop - start, count - 1) if count > 2 else np.array([stop - start])
    return [start, *(start + float(d) for d in passed[:-1]), stop]
