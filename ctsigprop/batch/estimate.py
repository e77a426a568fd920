"""How long a batch will take and how much it will store, from a short try."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ctsigprop.batch.course import shape
from ctsigprop.batch.job import Job, Record
from ctsigprop.batch.measures import Test
from ctsigprop.batch.records import as_plain
from ctsigprop.batch.schedule import Options, one_thread
from ctsigprop.simulation.simulate import simulate
from ctsigprop.stimuli.presentations import Presentations

TRIES = 8
"""Different shapes that are tried; the rest are taken as their mean."""
PATIENCE = 4.0
"""Seconds for all tries together, about."""
TESTED = 64
"""Test samples in a try; what more there are is taken to cost as much each."""


@dataclass(frozen=True)
class Estimate:
    """What a batch will need.

    Parameters
    ----------
    runs, done : int, runs in all, and of those already in the store
    seconds : float, wall time of the rest
    bytes : int, size of the rest in the store
    """

    runs: int
    done: int
    seconds: float
    bytes: int

    def __str__(self) -> str:
        left = self.runs - self.done
        return (
            f"{self.runs} runs, {self.done} of them done; the other {left} take about {duration(self.seconds)} "
            f"and {self.bytes / 1e6:.3g} MB"
        )


def estimate(jobs: Sequence[Job], options: Options) -> Estimate:
    """Run the beginning of one job of each shape, and scale it up."""
    left = [job for job in jobs if options.store is None or job.key not in options.store]
    shapes = [shape(job) for job in left]
    kinds: dict[object, Job] = {}
    for key, job in zip(shapes, left, strict=True):
        if job.stimulus is not None:
            kinds.setdefault(key, job)
    some = list(kinds.items())[:TRIES]
    with one_thread(own_process=True):
        tried = {key: try_out(job, options.keep, PATIENCE / len(some)) for key, job in some}
    known = list(tried.values()) or [(0.0, 500)]
    mean = (sum(s for s, _ in known) / len(known), sum(b for _, b in known) // len(known))
    needed = [tried.get(key, mean) for key in shapes]
    processes = min(options.processes, max(1, len(left))) if options.engine == "local" else 1
    return Estimate(len(jobs), len(jobs) - len(left), sum(s for s, _ in needed) / processes, sum(b for _, b in needed))


def try_out(job: Job, keep: bool, patience: float) -> tuple[float, int]:
    """(seconds, bytes) that one whole run will need, found out in about `patience` seconds."""
    if job.network is None or job.stimulus is None:
        return 0.0, 500
    stimulus = job.stimulus
    total = stimulus.duration_total
    unit = stimulus.duration if isinstance(stimulus, Presentations) else total / 100
    state = job.network.initial_state(job.seed, stimulus.rows, stimulus.dtype, stimulus.device)
    size = sum(value.numel() * value.element_size() for value in state.values()) if keep else 0
    began, share, last = time.perf_counter(), 0.0, 0.0
    count = 1
    while last < patience / 8 and share < 1:
        share = min(1.0, count * unit / total)
        began = time.perf_counter()
        simulate(job.network, stimulus, job.solver, state=state, t_span=(0.0, share * total), execution=job.execution)
        last = time.perf_counter() - began
        count *= 4
    points = total / unit / job.every if isinstance(stimulus, Presentations) else total / job.every
    test, samples = job.test, 1.0
    if test is not None and len(test.x) > TESTED:
        test, samples = Test(test.x[:TESTED], test.y[:TESTED]), len(test.x) / TESTED
    began = time.perf_counter()
    measured = job.measures(job.network, state, test, job.solver)
    metrics = (time.perf_counter() - began) * samples * (points + 1)
    curve = {name: [1 / 3] * (int(points) + 2) for name in ("shown", *measured, "rhs_evaluations", "seconds")}
    record = Record(job.settings, job.seed, "completed", "The simulation reached its end.", curve)
    text = json.dumps(json.dumps(dataclasses.asdict(record), default=as_plain))
    return last / share + metrics, len(text) + 300 + size


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"
