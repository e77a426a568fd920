"""Where runs are done: in this process, in some of this machine, or on a Dask cluster, all through joblib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

T = TypeVar("T")
R = TypeVar("R")


class WorkerLost(RuntimeError):
    """A worker process was killed or ran out of memory; what it had finished is in the store."""


def execute(work: Callable[[T], list[R]], groups: Sequence[T], engine: Any, n_jobs: int) -> Iterator[R]:
    """The results of `work` for every group, as they arrive.

    Parameters
    ----------
    work : picklable function of one group
    groups : what to do, each in one piece
    engine : "local", the address of a Dask scheduler, or a `distributed.Client`
    n_jobs : int, processes of this machine; 1 for none but this one; of a cluster, ignored

    Raises
    ------
    WorkerLost : a local worker process died
    """
    if engine == "local" and (n_jobs == 1 or len(groups) <= 1):
        for group in groups:
            yield from work(group)
        return
    with backend(engine, n_jobs) as parallel:
        try:
            for results in parallel(joblib.delayed(work)(group) for group in groups):
                yield from results
        except TerminatedWorkerError as error:
            raise WorkerLost(str(error)) from None


@contextmanager
def backend(engine: Any, n_jobs: int) -> Iterator[joblib.Parallel]:
    """An executor of joblib's for an engine; each process of this machine with one thread.

    Raises
    ------
    ValueError, TypeError, ImportError, OSError : an engine that is not known, or not there
    """
    if engine == "local":
        with joblib.parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
            yield joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
        return
    client, owned = dask_client(engine)
    hold: AbstractContextManager[Any] = client if owned else nullcontext()
    with hold, joblib.parallel_config("dask", client=client):
        yield joblib.Parallel(n_jobs=-1, batch_size=1, pre_dispatch="all")


def dask_client(engine: Any) -> tuple[Any, bool]:
    """(client, whether it was made here) of an address or of a client."""
    if not isinstance(engine, str):
        if not hasattr(engine, "scheduler_info"):
            raise TypeError(f"engine must be 'local', the address of a Dask scheduler or a Client, got {engine!r}")
        return engine, False
    if "://" not in engine:
        raise ValueError(f"engine must be 'local', an address such as 'tcp://host:8786' or a Client, got {engine!r}")
    try:
        from distributed import Client
    except ImportError:
        raise ImportError("engine= with an address needs Dask: pip install 'ctsigprop[cluster]'") from None
    return Client(engine, timeout=10), True  # type: ignore[no-untyped-call]
