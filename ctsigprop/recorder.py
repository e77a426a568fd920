"""Recording: a probe at work in one run, and the labelled arrays that come out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctsigprop.field import Field
from ctsigprop.network import Network
from ctsigprop.probes import KINDS, TENSOR, Probe
from ctsigprop.state import State


class Recorder:
    """One probe at work in one run: checks it against the network, takes values, and labels them at the end.

    `samples` and `rows` are the rows of the input stream and of both streams.
    """

    def __init__(self, probe: Probe, network: Network, samples: int, rows: int) -> None:
        self.probe, self.network, self.samples, self.rows = probe, network, samples, rows
        self.layers = chosen_layers(probe, len(network.layers))
        if probe.what in ("signal", "target_generator") and network.signal is None:
            raise ValueError(f"Probe({probe.what!r}) needs a network with a signal, got signal=None")
        if probe.what == "biases" and not network.bias:
            raise ValueError("Probe('biases') needs a network with biases, got bias=False")
        if probe.what == "traces":
            self.layers = [i for i in self.layers if self._traced(i)]
            if not self.layers:
                raise ValueError("Probe('traces') needs a layer whose rule has traces=True, this network has none")
        if probe.what in ("voltages", "spikes"):
            self.layers = [i for i in self.layers if network.layers[i - 1].jumps]
            if not self.layers:
                raise ValueError(f"Probe({probe.what!r}) needs a neuron with a reset, such as ct.LIF()")
        if probe.what == "target_generator":
            self.layers = [1]
        if probe.what == "feedback":
            shapes = {i: (network.sizes[i], network.sizes[i - 1]) for i in self.layers}
            self.layers = [i for i in self.layers if network.weight_shapes.get(f"B.{i}") == shapes[i]]
            if not self.layers:
                raise ValueError("Probe('feedback') needs feedback weights from layer to layer, this network has none")
        self.chosen = {i: self._chosen(i) for i in self.layers}
        for dim in probe.select:
            axis = probe.dims.index(dim)
            nowhere = set(indices(probe, dim, max(self._size(i)[axis] for i in self.layers)).tolist())
            for i in self.layers:
                nowhere -= set(self.chosen[i][axis].tolist())
            if nowhere:
                most = max(self._size(i)[axis] for i in self.layers) - 1
                raise ValueError(
                    f"Probe(select=) of {probe.label}: {dim} must be in 0 ... {most}, got {sorted(nowhere)}"
                )
        self.times: list[float] = []
        self.values: list[list[np.ndarray]] = []
        self.results: list[xr.DataArray] = []
        self.counted: dict[int, Tensor] = {}

    def _traced(self, i: int) -> bool:
        rule = self.network.layers[i - 1].rule
        return rule is not None and rule.traces

    def take(self, t: float, state: State, field: Field) -> None:
        """Record the value at time t."""
        what = self.probe.what
        found: list[Tensor]
        if not isinstance(what, str):
            self.results.append(as_array(what(state), self.probe.label))
            self.times.append(t)
            return
        if what == "rates":
            found = [self._output(i, state) for i in self.layers]
        elif what == "signal":
            signals = field.signals(t, state)
            found = [signals[i - 1] for i in self.layers]
        elif what == "voltages":
            found = [self._voltage(i, state) for i in self.layers]
        elif what == "spikes":
            found = [self._spikes(i, state[f"n.{i}"]) for i in self.layers]
        elif what == "target_generator":
            found = [state["S"]]
        else:
            found = [state[f"{TENSOR[what]}.{i}"] for i in self.layers]
        self.values.append([self._select(value, i) for value, i in zip(found, self.layers, strict=True)])
        self.times.append(t)

    def _output(self, i: int, state: State) -> Tensor:
        layer = self.network.layers[i - 1]
        return layer.neuron.output({name: state[layer.name(name)] for name in layer.neuron.variables()})

    def _voltage(self, i: int, state: State) -> Tensor:
        layer = self.network.layers[i - 1]
        variables = {name: state[layer.name(name)] for name in layer.neuron.variables()}
        voltage: Tensor = layer.neuron.voltage(variables)  # type: ignore[attr-defined]
        return voltage

    def _spikes(self, i: int, count: Tensor) -> Tensor:
        """How many spikes there were since the last record."""
        since = count - self.counted.get(i, count)
        self.counted[i] = count.clone()
        return since

    def _select(self, value: Tensor, layer: int) -> np.ndarray:
        for axis, dim in enumerate(self.probe.dims):
            if dim in self.probe.select:
                value = value.index_select(axis, torch.from_numpy(self.chosen[layer][axis]).to(value.device))
        return value.cpu().numpy().copy()

    def _size(self, layer: int) -> tuple[int, ...]:
        """Size of each dimension of one layer's value, before selection."""
        part = self.network.layers[layer - 1]
        row = self.samples if self.probe.what == "traces" and layer == 1 else self.rows
        size = {"post": part.n_post, "pre": part.n_pre, "row": row, "context": self.network.n_classes or 1}
        return tuple(size[dim] for dim in self.probe.dims)

    def _chosen(self, layer: int) -> list[np.ndarray]:
        """The selected indices along each dimension that this layer has."""
        found = []
        for dim, size in zip(self.probe.dims, self._size(layer), strict=True):
            index = indices(self.probe, dim, size)
            found.append(index[index < size])
        return found

    def array(self, time_dim: str) -> xr.DataArray:
        """The record as a labelled array."""
        probe = self.probe
        attrs = {"long_name": KINDS[probe.what][1] if isinstance(probe.what, str) else probe.label}
        clock = xr.DataArray(
            np.asarray(self.times, dtype=float), dims=[time_dim], attrs={"units": "tau", "long_name": "simulated time"}
        )
        if not isinstance(probe.what, str):
            results = xr.concat(self.results, dim=time_dim) if self.results else xr.DataArray([], dims=time_dim)
            return results.assign_coords({time_dim: clock}).rename(probe.label).assign_attrs(attrs)
        chosen = [self.chosen[i] for i in self.layers]
        union = [np.unique(np.concatenate([index[k] for index in chosen])) for k in range(len(probe.dims))]
        shape = (len(self.times), len(self.layers), *map(len, union))
        kind = self.values[0][0].dtype if self.values else np.dtype(np.float32)
        data = np.full(shape, np.nan, dtype=kind)
        for j, index in enumerate(chosen):
            places = [np.searchsorted(all_of, one) for all_of, one in zip(union, index, strict=True)]
            for k, value in enumerate(self.values):
                data[k, j][np.ix_(*places)] = value[j]
        coords: dict[str, Any] = {time_dim: clock, "layer": ("layer", self.layers, {"long_name": "layer"})}
        names = {"post": "postsynaptic unit", "pre": "presynaptic unit", "row": "row of the batch"}
        for dim, kept in zip(probe.dims, union, strict=True):
            coords[dim] = (dim, kept, {"long_name": names.get(dim, dim)})
        return xr.DataArray(data, dims=[time_dim, "layer", *probe.dims], coords=coords, name=probe.label, attrs=attrs)


def chosen_layers(probe: Probe, count: int) -> list[int]:
    """The layers of a probe in a network of `count` layers."""
    if probe.layers is None:
        return list(range(1, count + 1))
    given: Any = probe.layers
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"Probe(layers=) of {probe.label} must be a sequence of layer numbers, got {probe.layers!r}")
    layers = list(given)
    for i in layers:
        if isinstance(i, bool) or not isinstance(i, int | np.integer) or not 1 <= i <= count:
            raise ValueError(f"Probe(layers=) of {probe.label} must be between 1 and {count}, got {i}")
    if not layers:
        raise ValueError(f"Probe(layers=) of {probe.label} must name at least one layer, got []")
    return [int(i) for i in layers]


def indices(probe: Probe, dim: str, size: int) -> np.ndarray:
    """The indices that a probe selects along a dimension of this size; some may be too large for it."""
    wanted = probe.select.get(dim, slice(None))
    if isinstance(wanted, slice):
        return np.arange(size)[wanted]
    index = np.atleast_1d(np.asarray(wanted))
    if index.dtype == bool and index.ndim == 1:
        return np.flatnonzero(index)
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer) or not len(index):
        raise TypeError(
            f"Probe(select=) of {probe.label}: {dim} must be indices, a slice or a mask, got {probe.select[dim]!r}"
        )
    if np.any(index < 0):
        raise ValueError(
            f"Probe(select=) of {probe.label}: {dim} must be in 0 ... {size - 1}, got {index[index < 0].tolist()}"
        )
    return index.astype(np.int64)


def as_array(value: Any, label: str) -> xr.DataArray:
    """What a probe's function returned, as an array that keeps the dimensions it may have names for."""
    if isinstance(value, xr.DataArray):
        return value
    numbers = np.asarray(value, dtype=float)
    return xr.DataArray(numbers, dims=[f"{label}_{k}" for k in range(numbers.ndim)])


def dataset(recorders: Sequence[Recorder]) -> xr.Dataset:
    """All records as one dataset. Probes with the first one's times share `time`; others have `time_<name>`."""
    arrays, shared = [], None
    for recorder in recorders:
        shared = recorder.times if shared is None else shared
        arrays.append(recorder.array("time" if recorder.times == shared else f"time_{recorder.probe.label}"))
    merged = xr.merge(arrays, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    return merged.drop_attrs(deep=False)  # what is left at the top is one array's long name
