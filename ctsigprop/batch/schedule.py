"""Runs a batch: skips finished runs, groups similar ones, passes them to the engine, and survives lost workers."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from numbers import Integral

import joblib
import torch

from ctsigprop.batch.course import run_group, shape
from ctsigprop.batch.engine import SchedulerLost, WorkerLost, execute
from ctsigprop.batch.job import Job, Record
from ctsigprop.batch.plan import under_former_keys
from ctsigprop.batch.records import Damaged, StoreError
from ctsigprop.batch.runs import Runs
from ctsigprop.batch.slowness import Slowness
from ctsigprop.batch.store import RunStore
from ctsigprop.display.progress import bar_of

LARGEST_GROUP = 32
WEIGHTS_OF_A_GROUP = 2**20
"""Side by side, small networks save the cost of a call for each; of large ones the state alone fills the caches."""
PATIENCE = 0.2
"""Seconds between two looks at runs that another process is at."""
LOSSES = 3
"""Times that workers may die in a row without a run completed in between."""


@dataclass(frozen=True)
class Options:
    """How a batch is done; none of it changes a result.

    Parameters
    ----------
    store : RunStore or None
    engine : "local", address of a Dask scheduler, or a `distributed.Client`
    n_jobs : int, processes of this machine; -1 one per core
    retry : bool, whether runs that did not complete are done again
    keep : bool, whether the last solution of every run is stored beside its record
    progress : bool, show a progress bar; None, only on a terminal
    """

    store: RunStore | None = None
    engine: object = "local"
    n_jobs: int = 1
    retry: bool = False
    keep: bool = False
    progress: bool | None = None

    def __post_init__(self) -> None:
        check_processes(self.n_jobs)

    @property
    def processes(self) -> int:
        """Processes of this machine that may be used."""
        return int(joblib.cpu_count()) if self.n_jobs == -1 else int(self.n_jobs)


def check_processes(n_jobs: object) -> None:
    """Raise unless `n_jobs` is a number of processes, or -1."""
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or (n_jobs != -1 and n_jobs < 1):
        raise ValueError(f"n_jobs must be an integer >= 1, or -1 for one process per core, got {n_jobs!r}")


@dataclass(frozen=True)
class Work:
    """What a worker does with a group: every run that is not in the store yet, and that nobody else is at."""

    store: RunStore | None
    keep: bool
    again: frozenset[str]
    own_process: bool

    def __call__(self, jobs: Sequence[Job]) -> list[tuple[str, Record | None]]:
        """(key, record) of each job; None for a run that another process is at."""
        with one_thread(self.own_process):
            return list(self.results(jobs))

    def results(self, jobs: Sequence[Job]) -> Iterator[tuple[str, Record | None]]:
        """The records in turn, written as soon as they are there."""
        if self.store is None:
            yield from ((job.key, record) for job, record, _ in run_group(jobs))
            return
        with ExitStack() as claims:
            mine = []
            for job in jobs:
                if not claims.enter_context(self.store.claim(job.key)):
                    yield job.key, None
                elif job.key not in self.again and self.store.intact(job.key):
                    yield job.key, self.store.read(job.key)
                else:
                    mine.append(job)
            for job, record, sol in run_group(mine):
                self.store.write(job.key, record, sol if self.keep else None)
                yield job.key, record


@contextmanager
def one_thread(own_process: bool) -> Iterator[None]:
    """One thread for torch: results do not depend on the engine. A process of the pool keeps it that way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        if own_process:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Batch:
    """A comparison or sweep as it is planned: its jobs, and the `Runs` that will hold their records."""

    title: str
    jobs: Sequence[Job]
    runs: Runs

    def going_on_in(self, store: RunStore | None) -> Batch:
        """The same batch, with the runs that an earlier version has stored under the keys that it gave them."""
        return self if store is None else replace(self, jobs=under_former_keys(self.jobs, store))

    def carry_out(self, options: Options) -> Runs:
        """Do all jobs, after noting in the store what is planned."""
        return self.going_on_in(options.store)._carry_out(options)

    def _carry_out(self, options: Options) -> Runs:
        keys = [job.key for job in self.jobs]
        if options.store is not None:
            complete = all(key in options.store for key in keys)
            with suppress(StoreError) if complete else nullcontext():  # a complete store may be read-only
                options.store.prepare()
                options.store.plan(self.title, self.jobs, self.runs.noted())
        records = run_batch(self.jobs, options)
        return replace(self.runs, records=[records[key] for key in keys], keys=keys)


def run_batch(jobs: Sequence[Job], options: Options) -> dict[str, Record]:
    """The records of all jobs by key.

    Raises
    ------
    StoreError : the store is full, read-only, or no store of runs
    WorkerLost : worker processes died again and again
    """
    records: dict[str, Record] = {}
    again: frozenset[str] = frozenset()
    if options.store is not None:
        records, again = done_before(jobs, options.store, options.retry)
    waiting = {job.key: job for job in jobs if job.key not in records}
    if options.store is not None and waiting:
        options.store.prepare()
    local = options.engine == "local"
    processes = options.processes if local else 0
    losses = 0
    told = Slowness({job.key: job for job in jobs})
    with bar_of(len(jobs), options.progress, unit="run", initial=len(records)) as bar:
        while waiting:
            before = len(records)
            work = Work(options.store, options.keep, again, own_process=local and processes == 1)
            try:
                for key, record in execute(work, grouped(list(waiting.values()), processes), options.engine, processes):
                    if record is not None:
                        records[key] = record
                        bar.update()
                        if not bar.disable and (line := told.line(key, record)):
                            bar.write(line, file=sys.stderr)
            except SchedulerLost as lost:
                raise SchedulerLost(what_is_left(jobs, options, lost)) from None
            except WorkerLost as lost:
                losses = 0 if len(records) > before else losses + 1
                if losses == LOSSES:
                    raise WorkerLost(
                        f"workers died {LOSSES} times in a row, {len(waiting)} runs remain: {lost}"
                    ) from None
            waiting = {key: job for key, job in waiting.items() if key not in records}
            if waiting and losses == 0:
                time.sleep(PATIENCE)
    return records


def what_is_left(jobs: Sequence[Job], options: Options, lost: SchedulerLost) -> str:
    """What a lost scheduler leaves, and how to go on."""
    if options.store is None:
        kept = "nothing is kept without store="
    else:
        done = sum(job.key in options.store for job in jobs)
        kept = f"{done} of {len(jobs)} runs are done and whole in {options.store.place}"
    return (
        f"the Dask scheduler {options.engine} cannot be used: {lost}; {kept}. To go on, start a scheduler, and then "
        "the same again with its address as engine="
    )


def done_before(jobs: Sequence[Job], store: RunStore, retry: bool) -> tuple[dict[str, Record], frozenset[str]]:
    """The records that the store has, and the keys of those that are to be done again."""
    records: dict[str, Record] = {}
    again = set()
    for job in jobs:
        if job.key not in store:
            continue
        try:
            record = store.read_planned(job.key, job.settings, job.seed)
        except Damaged as damaged:
            warnings.warn(f"{damaged}; the run is done again", stacklevel=4)
            continue
        if record.ok or not retry:
            records[job.key] = record
        else:
            again.add(job.key)
    return records, frozenset(again)


def grouped(jobs: Sequence[Job], processes: int) -> list[list[Job]]:
    """Jobs of one shape together, in pieces that keep all processes busy (0: of a number that is not known)."""
    alike: dict[object, list[Job]] = {}
    for job in jobs:
        alike.setdefault(shape(job), []).append(job)
    most = LARGEST_GROUP if processes == 1 else max(1, min(LARGEST_GROUP, len(jobs) // (4 * (processes or 16))))
    groups = []
    for group in alike.values():
        size = min(most, max(1, WEIGHTS_OF_A_GROUP // weights(group[0])))
        groups += [group[i : i + size] for i in range(0, len(group), size)]
    return groups


def weights(job: Job) -> int:
    """Number of weights of a job's network."""
    return 1 if job.network is None else sum(post * pre for post, pre in job.network.weight_shapes.values())
