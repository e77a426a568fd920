"""The size of what the probes will record, and where it goes: checked and reported before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.recording.memory_sink import Memory, Sink, announce, check_clocks, check_memory
from ctsigprop.recording.probes import Probe
from ctsigprop.recording.recorder import Recorder, all_layers
from ctsigprop.recording.schema import Attributes, Layout, together
from ctsigprop.recording.zarr_sink import Store
from ctsigprop.solvers.base import Solver
from ctsigprop.stimuli.stimulus import Stimulus

DIMENSIONS = (
    *("time", "layer", "post", "pre", "row", "context"),
    *("synapse", "synapse_post", "synapse_pre", "mode", "mode_pre"),
)


def check_probes(probes: Sequence[Probe], network: Network, stimulus: Stimulus) -> list[Recorder]:
    """A recorder for each probe, checked against the network."""
    if isinstance(probes, Probe) or not isinstance(probes, Sequence):
        raise TypeError(f"probes must be a list of ct.Probe, got {probes!r}")
    recorders: list[Recorder] = []
    targets = 0 if network.signal is None else network.signal.rows(stimulus.rows, network.n_classes or 1)
    for probe in probes:
        if not isinstance(probe, Probe):
            raise TypeError(f"probes must be a list of ct.Probe, got {probe!r} in it")
        if probe.label in DIMENSIONS:
            raise ValueError(f"Probe(name=) must not be the name of a dimension, got {probe.label!r}")
        recorder = Recorder(probe, network, stimulus.rows, stimulus.rows + targets)
        if probe.label in [other.probe.label for other in recorders]:
            raise ValueError(f"two probes are called {probe.label!r}: give one of them another name=")
        recorders.append(recorder)
    return recorders


def lay_out(
    recorders: Sequence[Recorder], state: State, start: float, stop: float, in_memory: bool = True
) -> list[Layout]:
    """Where all that the recorders will take has its place.

    Raises
    ------
    MemoryError : clocks, or with `in_memory` records, that are too large; before any of them is made
    """
    dtype = np.dtype(str(next(iter(state.values())).dtype).removeprefix("torch."))
    counts = [recorder.probe.length(start, stop) for recorder in recorders]
    check_clocks(counts)
    with torch.inference_mode():
        for recorder in recorders:
            recorder.prepare(state)
    layers = all_layers(recorders)
    if in_memory:  # clocks of these lengths that take no memory
        blank = [np.broadcast_to(start, count) for count in counts]
        check_memory([one.layout(clock, layers, dtype) for one, clock in zip(recorders, blank, strict=True)])
    clocks = [recorder.probe.schedule(start, stop) for recorder in recorders]
    return together([one.layout(clock, layers, dtype) for one, clock in zip(recorders, clocks, strict=True)])


def sinks_of(
    records: Sequence[tuple[Sequence[Layout], Attributes]],
    store: Path | None,
    many: bool,
    solver: Solver,
    progress: bool,
    start: float,
) -> Sequence[Sink]:
    """The place that the records of each run, given with their attributes, go to; of many, each has its own store."""
    every = [layout for layouts, _ in records for layout in layouts]
    announce(every, "to memory" if store is None else f"to {store}", progress)
    if store is None:
        check_memory(every)
        return [Memory(layouts) for layouts, _ in records]
    folders = [store / str(k) for k in range(len(records))] if many else [store]
    stores: list[Store] = []
    with ExitStack() as undo:  # the stores of all members, or none
        for folder, (layouts, attrs) in zip(folders, records, strict=True):
            stores.append(Store(folder, layouts, attrs, {"solver": repr(solver)}, start))
            undo.callback(stores[-1].discard)
        undo.pop_all()
    return stores
