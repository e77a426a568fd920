"""Where runs are done: in this process, in several processes by joblib, or on a Dask cluster."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import islice
from typing import Protocol, TypeVar, runtime_checkable

import joblib
import psutil
from joblib.externals.loky.process_executor import TerminatedWorkerError

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
PULSE = 0.5
"""Seconds between two looks of a worker at its parent process."""
PATIENCE = 10
"""Seconds until a scheduler has answered, and until it has a worker."""
AHEAD = 2
"""Groups that are handed to a cluster at once for each of its threads."""


@runtime_checkable
class Future(Protocol[R_co]):
    """Work that a cluster was handed."""

    @property
    def status(self) -> str | None:
        """How it ended."""
        ...

    def result(self) -> R_co:
        """What came out of it, once it is there; what it raised is raised."""
        ...


@runtime_checkable
class Cluster(Protocol):
    """What is asked of a `distributed.Client`."""

    def submit(self, work: Callable[[T], R], group: T, /, *, pure: bool) -> Future[R]: ...

    def ncores(self) -> Mapping[str, int]: ...

    def scheduler_info(self) -> object: ...

    def wait_for_workers(self, n_workers: int, /, *, timeout: float) -> object: ...

    def close(self) -> object: ...


@runtime_checkable
class Arriving(Protocol[R_co]):
    """Futures in the order in which they end; more may be added."""

    def __iter__(self) -> Iterator[Future[R_co]]: ...

    def update(self, futures: Sequence[object]) -> object: ...


class WorkerLost(RuntimeError):
    """A worker process was killed or ran out of memory; what it had finished is in the store."""


class SchedulerLost(WorkerLost):
    """The Dask scheduler has ended, or was never there, or has no workers; what was finished is in the store."""


def execute(work: Callable[[T], list[R]], groups: Sequence[T], engine: object, n_jobs: int) -> Iterator[R]:
    """The results of `work` for every group, as they arrive.

    Parameters
    ----------
    work : picklable function of one group
    groups : what to do, each in one piece
    engine : "local", the address of a Dask scheduler, or a `distributed.Client`
    n_jobs : int, processes of this machine; 1 for none but this one; of a cluster, ignored

    Raises
    ------
    WorkerLost : a worker process died
    SchedulerLost : the cluster is not there, or no longer
    ValueError, TypeError, ImportError : an engine that is not known
    """
    if engine != "local":
        with connected(engine) as client:
            yield from on_cluster(work, groups, client)
    elif n_jobs == 1 or len(groups) <= 1:
        for group in groups:
            yield from work(group)
    else:
        yield from in_processes(work, groups, n_jobs)


def in_processes(work: Callable[[T], list[R]], groups: Sequence[T], n_jobs: int) -> Iterator[R]:
    """The results of processes of this machine, each with one thread, which end when this process does."""
    with joblib.parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
        try:
            for results in parallel(joblib.delayed(as_child)(os.getpid(), work, group) for group in groups):
                yield from results
        except TerminatedWorkerError as error:
            raise WorkerLost(str(error)) from None


def as_child(parent: int, work: Callable[[T], list[R]], group: T) -> list[R]:
    """The results of one group, in a process that ends with the one that started it."""
    end_with(parent)
    return work(group)


@cache
def end_with(parent: int) -> None:
    """End this process once its parent is gone, in the middle of a run: what a store holds is whole at any time."""

    def watch() -> None:
        while os.getppid() == parent and psutil.pid_exists(parent):
            time.sleep(PULSE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def on_cluster(work: Callable[[T], list[R]], groups: Sequence[T], client: Cluster) -> Iterator[R]:
    """The results of a Dask cluster's workers, which are handed a few groups at a time."""
    from distributed import KilledWorker, as_completed

    def submitted(count: int) -> list[Future[list[R]]]:
        return [client.submit(work, group, pure=False) for group in islice(left, count)]

    left = iter(groups)
    in_turn: Callable[[list[Future[list[R]]]], Arriving[list[R]]] = as_completed
    running = in_turn(submitted(AHEAD * sum(client.ncores().values())))
    for future in running:
        try:
            results = future.result()
        except KilledWorker as error:
            raise WorkerLost(str(error)) from None
        except (concurrent.futures.CancelledError, OSError):
            if future.status == "error":  # raised by the work itself
                raise
            raise SchedulerLost("it has ended, or the connection is cut") from None
        yield from results
        running.update(submitted(1))


@contextmanager
def connected(engine: object) -> Iterator[Cluster]:
    """A client of a scheduler that has workers, from an address or a client.

    Raises
    ------
    ValueError, TypeError, ImportError, SchedulerLost : an engine that is not known, or not there
    """
    if isinstance(engine, str) and "://" not in engine:
        raise ValueError(f"engine must be 'local', an address such as 'tcp://host:8786' or a Client, got {engine!r}")
    if not isinstance(engine, str | Cluster):
        raise TypeError(f"engine must be 'local', the address of a Dask scheduler or a Client, got {engine!r}")
    try:
        from distributed import Client
    except ImportError:
        raise ImportError("engine= with an address needs Dask: pip install 'ctsigprop[cluster]'") from None
    made: Callable[..., Cluster] = Client
    with quiet("distributed.client"), ExitStack() as stack:
        try:
            client = made(engine, timeout=PATIENCE) if isinstance(engine, str) else engine
            if client is not engine:
                stack.callback(client.close)
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, asyncio.TimeoutError, concurrent.futures.CancelledError):
            raise SchedulerLost("it does not answer, or has no workers") from None
        yield client


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Keep a library from logging what is told in one sentence."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
