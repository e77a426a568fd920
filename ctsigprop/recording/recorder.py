"""A probe at work in one run. Its records go straight to their place in memory, or to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctsigprop.dynamics.vector_field import Field
from ctsigprop.errors import naming
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.neurons.integrate_and_fire import COUNTED
from ctsigprop.recording.probes import KINDS, TENSOR, Probe
from ctsigprop.recording.schema import LONG_NAMES, Layout
from ctsigprop.recording.selection import SYNAPSE, Sample, indices, synapses
from ctsigprop.rules.checks import whole


class Recorder:
    """One probe at work in one run: checks it against the network, lays its record out, and takes values.

    `samples` and `rows` are the rows of the input stream and of both streams.
    """

    def __init__(self, probe: Probe, network: Network, samples: int, rows: int) -> None:
        self.probe, self.network, self.samples, self.rows = probe, network, samples, rows
        self.layers = self._answering(chosen_layers(probe, len(network.layers)))
        self.first: xr.DataArray | None = None
        self.padded = False
        self.counted: dict[int, Tensor] = {}
        if not isinstance(probe.what, str):
            return
        self.chosen = self._chosen()
        flat = SYNAPSE in probe.select
        self.kept_sizes = {
            i: (len(self.chosen[i][0]),) if flat else tuple(map(len, self.chosen[i])) for i in self.layers
        }
        self.keep = {i: self._keep(i) for i in self.layers}
        self.sizes = {
            i: probe.reduction.shape(kept) if probe.reduction else kept for i, kept in self.kept_sizes.items()
        }

    def _answering(self, layers: list[int]) -> list[int]:
        """The layers that have the quantity."""
        what, network = self.probe.what, self.network
        if what in ("signal", "target_generator") and network.signal is None:
            raise ValueError(f"Probe({what!r}) needs a network with a signal, got signal=None")
        if what == "biases" and not network.bias:
            raise ValueError("Probe('biases') needs a network with biases, got bias=False")
        if what == "traces":
            layers = [i for i in layers if self._traced(i)]
            if not layers:
                raise ValueError("Probe('traces') needs a layer whose rule has traces=True, this network has none")
        if what in ("voltages", "spikes"):
            layers = [i for i in layers if network.layers[i - 1].jumps]
            if not layers:
                raise ValueError(f"Probe({what!r}) needs a neuron with a reset, such as ct.LIF()")
        if what == "target_generator":
            layers = [1]
        if what == "feedback":
            shapes = {i: network.layers[i - 1].shape for i in layers}
            layers = [i for i in layers if network.weight_shapes.get(f"B.{i}") == shapes[i]]
            if not layers:
                raise ValueError("Probe('feedback') needs feedback weights from layer to layer, this network has none")
        return layers

    def _traced(self, i: int) -> bool:
        rule = self.network.layers[i - 1].rule
        return rule is not None and rule.traces

    def _size(self, layer: int) -> tuple[int, ...]:
        """Size of each dimension of one layer's value, before selection."""
        measured = self.network.layers[layer - 1]
        row = self.samples if self.probe.what == "traces" and layer == 1 else self.rows
        of_units = {"post": measured.n_post, "pre": measured.n_pre}
        of_weights = {"post": measured.shape[0], "pre": measured.shape[1]}
        size = of_weights if self.probe.what in ("weights", "biases", "feedback") else of_units
        size |= {"row": row, "context": self.network.n_classes or 1}
        return tuple(size[dim] for dim in self.probe.dims)

    def _chosen(self) -> dict[int, list[np.ndarray]]:
        """The selected indices of each layer along each of its dimensions; of single synapses, the pairs."""
        probe = self.probe
        place = f"Probe(select=) of {probe.label}: "
        sizes = {i: self._size(i) for i in self.layers}
        if SYNAPSE in probe.select:
            wanted = probe.select[SYNAPSE]
            return {i: [synapses(wanted, (sizes[i][0], sizes[i][1]), i, place + SYNAPSE)] for i in self.layers}
        chosen: dict[int, list[np.ndarray]] = {i: [] for i in self.layers}
        for axis, dim in enumerate(probe.dims):
            wanted = probe.select.get(dim, slice(None))
            if isinstance(wanted, Sample):
                wanted = wanted.draw(min(size[axis] for size in sizes.values()), place + dim)
            most = max(size[axis] for size in sizes.values())
            nowhere = set(indices(wanted, most, place + dim).tolist())
            for i in self.layers:
                index = indices(wanted, sizes[i][axis], place + dim)
                chosen[i].append(index[index < sizes[i][axis]])
                nowhere -= set(chosen[i][axis].tolist())
            if nowhere:
                raise ValueError(f"{place}{dim} must be in 0 ... {most - 1}, got {sorted(nowhere)}")
        return chosen

    def _keep(self, layer: int) -> Callable[[Tensor], Tensor]:
        """The function that takes from a layer's value what the probe keeps."""
        steps: list[Callable[[Tensor], Tensor]] = []
        if SYNAPSE in self.probe.select:
            flat = torch.from_numpy(np.ravel_multi_index(self.chosen[layer][0].T, self._size(layer)))
            steps.append(lambda value: value.reshape(-1).index_select(0, flat.to(value.device)))
        else:
            for axis, dim in enumerate(self.probe.dims):
                if dim in self.probe.select:
                    index = torch.from_numpy(self.chosen[layer][axis])
                    steps.append(partial(along, axis=axis, index=index))
        if self.probe.reduction is not None:
            steps.append(self.probe.reduction.of(self.kept_sizes[layer]))

        def keep(value: Tensor) -> Tensor:
            for step in steps:
                value = step(value)
            return value

        return keep

    def layout(self, clock: Sequence[float] | np.ndarray, layers: Sequence[int], dtype: np.dtype) -> Layout:
        """The record of this probe at the times of `clock`, `layers` being those of all probes together."""
        probe, unit = self.probe, self.network.time_unit
        times = np.asarray(clock, dtype=float)
        if self.first is not None:
            value = self.first = spread(self.first, layers)
            coords = {str(name): c.variable for name, c in value.coords.items()}
            attrs = {"long_name": probe.label, "units": "1", **value.attrs}
            dims = tuple(map(str, value.dims))
            return Layout(probe.label, times, dims, value.shape, value.dtype, coords, attrs, unit=unit)
        dims, union = self._axes()
        self.places = {i: (list(layers).index(i), *self._spot(i, dims, union)) for i in self.layers}
        sizes = (len(layers), *(len(union[dim]) for dim in dims))
        self.padded = len(layers) > len(self.layers) or any(sizes[1:] != self.sizes[i] for i in self.layers)
        coords = {"layer": xr.Variable("layer", list(layers), {"long_name": LONG_NAMES["layer"]})}
        for dim in dims:
            if dim != SYNAPSE:
                coords[dim] = xr.Variable(dim, union[dim], {"long_name": LONG_NAMES.get(dim, dim)})
        if SYNAPSE in dims:
            pairs = np.full((len(layers), sizes[1], 2), -1)
            for i in self.layers:
                pairs[list(layers).index(i)] = self.chosen[i][0]
            for k, side in enumerate(("post", "pre")):
                about = {"long_name": LONG_NAMES[side]}
                coords[f"{SYNAPSE}_{side}"] = xr.Variable(("layer", SYNAPSE), pairs[..., k], about)
        what = KINDS[str(probe.what)][1]
        how = {"norm": "norm of the ", "singular_values": "singular values of the ", "projection": "projected "}
        name = how[probe.reduction.name] + what if probe.reduction is not None else what
        attrs = {"long_name": name, "units": "1"}
        return Layout(probe.label, times, ("layer", *dims), sizes, dtype, coords, attrs, unit=unit)

    def _axes(self) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        """The dimensions of a record below `layer`, and the coordinate of each: what any layer has of it."""
        probe = self.probe
        if probe.reduction is not None or SYNAPSE in probe.select:
            dims = probe.kept_dims if probe.reduction is None else probe.reduction.dims
            return dims, {dim: np.arange(max(size[k] for size in self.sizes.values())) for k, dim in enumerate(dims)}
        every = {dim: [self.chosen[i][k] for i in self.layers] for k, dim in enumerate(probe.dims)}
        return probe.dims, {dim: np.unique(np.concatenate(index)) for dim, index in every.items()}

    def _spot(self, layer: int, dims: tuple[str, ...], union: dict[str, np.ndarray]) -> tuple[slice | np.ndarray, ...]:
        """Where a layer's values stand in the record: slices where they can be, else an open mesh."""
        if self.probe.reduction is not None or SYNAPSE in dims:
            return tuple(slice(0, size) for size in self.sizes[layer])
        places = [np.searchsorted(union[dim], self.chosen[layer][k]) for k, dim in enumerate(dims)]
        if all(np.array_equal(place, np.arange(len(place))) for place in places):
            return tuple(slice(0, len(place)) for place in places)
        return np.ix_(*places)

    def prepare(self, state: State) -> None:
        """Ask a function for its value at the start of the run: its shape is that of all values to come."""
        if not isinstance(self.probe.what, str):
            with naming(f"probe {self.probe.label!r}", state.t):
                self.start, self.first = state.t, as_array(self.probe.what(state), self.probe.label).copy(deep=True)

    def take(self, t: float, state: State, field: Field, out: np.ndarray) -> None:
        """Write the value at time t into `out`, the place of this sample in the record."""
        what = self.probe.what
        if self.first is not None:
            out[...] = self.first.values if t == self.start else self._called(t, state, self.first)
            return
        if self.padded:
            out.fill(np.nan)
        signals = field.signals(t, state) if what == "signal" else []
        for i in self.layers:
            if what == "rates":
                value = self._output(i, state)
            elif what == "signal":
                value = signals[i - 1]
            elif what == "voltages":
                value = self._voltage(i, state)
            elif what == "spikes":
                value = self._spikes(i, state[f"n.{i}"])
            else:
                value = state["S" if what == "target_generator" else f"{TENSOR[str(what)]}.{i}"]
            out[self.places[i]] = self.keep[i](value).cpu().numpy()

    def _called(self, t: float, state: State, first: xr.DataArray) -> np.ndarray:
        """What the probe's function gives at time t, of the shape of its first value."""
        if isinstance(self.probe.what, str):
            raise TypeError(f"Probe({self.probe.what!r}) is no function")
        value = as_array(self.probe.what(state), self.probe.label)
        if "layer" in value.dims:
            value = spread(value, first["layer"].values.tolist())
        if value.dims != first.dims or value.shape != first.shape:
            raise ValueError(
                f"Probe(what=) of {self.probe.label} must give the same shape at all times: "
                f"it gave {dict(first.sizes)} at the start and {dict(value.sizes)} at t={t:g}"
            )
        return np.asarray(value.values)

    def _output(self, i: int, state: State) -> Tensor:
        layer = self.network.layers[i - 1]
        return layer.neuron.output({name: state[layer.name(name)] for name in layer.neuron.variables()})

    def _voltage(self, i: int, state: State) -> Tensor:
        layer = self.network.layers[i - 1]
        variables = {name: state[layer.name(name)] for name in layer.neuron.variables()}
        return layer.spiking_neuron.voltage(variables)

    def _spikes(self, i: int, count: Tensor) -> Tensor:
        """How many spikes there were since the last record."""
        since = count - self.counted.get(i, count)
        self.counted[i] = count.clone()
        return torch.where(since < 0, since + COUNTED, since)


def all_layers(recorders: Sequence[Recorder]) -> list[int]:
    """The layers of all records together, those that functions name included."""
    layers: set[int] = set()
    for recorder in recorders:
        if recorder.first is None:
            layers |= set(recorder.layers)
        elif "layer" in recorder.first.coords and recorder.first["layer"].ndim:
            layers |= {int(i) for i in recorder.first["layer"].values}
    return sorted(layers)


def along(value: Tensor, axis: int, index: Tensor) -> Tensor:
    """Some entries of a value along one of its axes."""
    return value.index_select(axis, index.to(value.device))


def spread(value: xr.DataArray, layers: Sequence[int]) -> xr.DataArray:
    """A function's array over all layers, NaN where it has none."""
    if "layer" not in value.dims or "layer" not in value.coords or list(value["layer"].values) == list(layers):
        return value
    return value.reindex(layer=list(layers))


def chosen_layers(probe: Probe, count: int) -> list[int]:
    """The layers of a probe in a network of `count` layers."""
    if probe.layers is None:
        return list(range(1, count + 1))
    given: object = probe.layers
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"Probe(layers=) of {probe.label} must be a sequence of layer numbers, got {probe.layers!r}")
    layers = [whole(f"Probe(layers=) of {probe.label}", layer, 1, count) for layer in given]
    if not layers:
        raise ValueError(f"Probe(layers=) of {probe.label} must name at least one layer, got []")
    return layers


def as_array(value: object, label: str) -> xr.DataArray:
    """What a probe's function returned, as an array that keeps the dimensions it may have names for."""
    if isinstance(value, xr.DataArray):
        return value
    numbers = np.asarray(value, dtype=float).copy()  # the state goes on in the same memory
    return xr.DataArray(numbers, dims=[f"{label}_{k}" for k in range(numbers.ndim)])
