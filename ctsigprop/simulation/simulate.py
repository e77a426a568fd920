"""Run a network under a stimulus: one call, one solution, arguments left unchanged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, overload

import torch

from ctsigprop.dynamics.event_field import automatic, fitting
from ctsigprop.execution.dispatch import Choice, NotBegun, choose, execute
from ctsigprop.execution.request import Execution, Refused, Request, for_execution
from ctsigprop.files.paths import local
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.neurons.rate import Rate
from ctsigprop.recording.memory_sink import Sink
from ctsigprop.recording.prepare import check_probes, sinks_of
from ctsigprop.recording.probes import Probe
from ctsigprop.results.ensemble import Ensemble
from ctsigprop.results.handover import given_back
from ctsigprop.results.solution import Solution
from ctsigprop.simulation.checks import (
    check_bounds,
    check_members,
    check_span,
    check_state,
    check_stimulus,
)
from ctsigprop.simulation.provenance import attributes, shared
from ctsigprop.simulation.run import Run, laid_out
from ctsigprop.simulation.steps import check_step
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.factored.methods import FactoredDopri5
from ctsigprop.solvers.reference.methods import Dopri5
from ctsigprop.solvers.table import get
from ctsigprop.stimuli.stimulus import Stimulus

KINKED_TOLERANCES = 1e-3, 1e-4
"""rtol and atol of "auto" for activations with a kink: digits, 64-32, four presentations of relu take 194 evaluations
and change the weights as they should to 0.7 %; at 1e-5, 1e-6 it is 2,312 evaluations and 0.04 %."""


@overload
def simulate(
    network: Network,
    stimulus: Stimulus,
    solver: Solver | str = ...,
    *,
    state: State | None = ...,
    t_span: tuple[float, float] | None = ...,
    probes: Sequence[Probe] = ...,
    seed: int = ...,
    progress: bool = ...,
    store: str | Path | None = ...,
    ensemble: None = ...,
    execution: Execution = ...,
) -> Solution: ...


@overload
def simulate(
    network: Network | Sequence[Network],
    stimulus: Stimulus | Sequence[Stimulus],
    solver: Solver | str = ...,
    *,
    state: State | Sequence[State] | None = ...,
    t_span: tuple[float, float] | None = ...,
    probes: Sequence[Probe] = ...,
    seed: int | Sequence[int] = ...,
    progress: bool = ...,
    store: str | Path | None = ...,
    ensemble: int,
    execution: Execution = ...,
) -> Ensemble: ...


def simulate(
    network: Network | Sequence[Network],
    stimulus: Stimulus | Sequence[Stimulus],
    solver: Solver | str = "auto",
    *,
    state: State | Sequence[State] | None = None,
    t_span: tuple[float, float] | None = None,
    probes: Sequence[Probe] = (),
    seed: int | Sequence[int] = 0,
    progress: bool = False,
    store: str | Path | None = None,
    ensemble: int | None = None,
    execution: Execution = "auto",
) -> Solution | Ensemble:
    """Integrate activities, learning signal and weights together, forward in time.

    Parameters
    ----------
    network : the network to run; not changed. With `ensemble`, also a list of one network per member. All have the
        same structure; their numbers (rates, time constants, ...) may differ
    stimulus : what the network sees; with `ensemble`, also a list of one per member, with equal rows and length
    solver : a solver such as `ct.solvers.Euler(dt=1.0)`, the name of an adaptive one, or "auto" (default; see `stats`):
        `FactoredDopri5()`, `Dopri5()` if a rule has no factors, `Hybrid(dt=tau / 10)` if neurons have a reset. If an
        activation has a kink (relu), it uses rtol=1e-3, atol=1e-4, because tighter ones need ten times the steps
    state : the initial state; default `network.initial_state(seed)`. Not changed. If its number of rows differs from
        that of the stimulus, activities and traces start at rest. With `ensemble`, also a list
    t_span : (start, stop) within the stimulus, in units of time; default all of it. To continue a run that stopped,
        use `state=sol.final, t_span=(sol.final.t, stop)`
    probes : what to record. The size of the recording is known before the run, and shown with `progress=True` or if
        it is large; for this a function is called once at the start
    seed : int, sets the initial weights if no state is given; default 0
    progress : bool, show a progress bar in simulated time, with the value of a probe named "accuracy"; default False
    store : path of a new folder, to write the records to during the run; `ct.load` reads it even if this process is
        killed. With `ensemble`, a folder with one store per member. Default None
    ensemble : int or None, number of members, >= 1; default None, a single run. Member k is the run with seed + k, or
        seed[k]. A member that diverges ends; the others continue
    execution : "auto" (default), the fastest path, machine code only if the solver has `compile=True`; "plain", the
        equations at every step, members one by one; "inplace", recorded steps, members side by side if possible,
        otherwise one by one; "compiled", machine code. `stats["path"]` names the path, `stats["path_reason"]` says why

    Returns
    -------
    Solution : the records, the final state, statistics and status; with `ensemble`, an `Ensemble` of them. A run that
        diverges, reaches a limit or is interrupted at a prompt keeps its results so far: see `status`, `message`

    Raises
    ------
    ValueError, TypeError : inputs that do not fit together, an execution that is not available; before anything runs
    MemoryError, OSError : a recording larger than the free memory or disk, a store that already exists; or a store that
        can no longer be written to (`StoreFailed`), with the results so far in the attribute `solution`
    SimulationError : your own code that the run called (a probe, rule, neuron, signal, stimulus) raised an error. The
        message names it and the time, `__cause__` is that error, `solution` has the results so far
    KeyboardInterrupt : Ctrl-C outside a notebook or a Python prompt; it has a `solution` too
    """
    place = None if store is None else local("store", store)
    networks, stimuli, given, seeds = check_members(network, stimulus, state, seed, ensemble)
    method = fitting(for_execution(resolve_solver(solver, networks[0]), execution, networks[0]), networks)
    span = check_span(t_span, stimuli[0])
    states = [fitted(*member) for member in zip(networks, given, seeds, stimuli, strict=True)]
    check_step(networks, method, stimuli[0])
    recorders = [check_probes(probes, one, shown) for one, shown in zip(networks, stimuli, strict=True)]
    about = described(networks, stimuli, given, seeds, execution, partial(shared, method, probes, span))
    runs = list[Run]()
    for one, recorded, start, attrs in zip(networks, recorders, states, about, strict=True):
        layouts = laid_out(one, recorded, start, span, place is None)
        runs.append(Run(one, recorded, layouts, attrs, span, progress and not runs))
    request = Request(runs, method, stimuli, states, ensemble is not None, execution)
    sinks = partial(sinks_of, store=place, many=request.many, solver=method, progress=progress, start=span[0])
    solutions, cause = finished(runs, sinks, request)
    return given_back(Ensemble(solutions, seeds) if request.many else solutions[0], cause)


def described(
    networks: Sequence[Network],
    stimuli: Sequence[Stimulus],
    given: Sequence[State | None],
    seeds: Sequence[int],
    execution: Execution,
    common: Callable[[Stimulus, State | None], dict[str, Any]],
) -> list[dict[str, Any]]:
    """The attributes of each run; what many have in `common`, their stimulus and given state, is looked at once."""
    known, attrs = dict[int, dict[str, Any]](), []
    for network, stimulus, state, seed in zip(networks, stimuli, given, seeds, strict=True):
        if state is not given[0] or id(stimulus) not in known:
            known[id(stimulus)] = common(stimulus, state)
        attrs.append(attributes(known[id(stimulus)], network, seed) | {"execution": execution})
    return attrs


def fitted(network: Network, state: State | None, seed: int, stimulus: Stimulus) -> State:
    """Where a run starts, with the rows of its stimulus, which fits the network."""
    check_stimulus(network, stimulus)
    if state is None:
        state = network.initial_state(seed, stimulus.rows, stimulus.dtype, stimulus.device)
    check_state(state, stimulus)
    state = network.fit_rows(state, stimulus.rows)
    check_bounds(network, state)
    return state


def chosen(request: Request) -> Choice:
    """Who carries out the runs; where something raises before any has begun, who lets each end where it starts.

    Raises
    ------
    ValueError : an execution that was asked for and cannot be had
    """
    try:
        with torch.inference_mode():
            return choose(request)
    except Refused:
        raise
    except (KeyboardInterrupt, Exception) as error:
        return Choice(NotBegun(request, error))


def finished(
    runs: Sequence[Run], make_sinks: Callable[..., Sequence[Sink]], request: Request
) -> tuple[list[Solution], BaseException | None]:
    """The solution of each run, and what broke them off, if anything did."""
    began = time.perf_counter()
    choice = chosen(request)
    spent = time.perf_counter() - began
    sinks = make_sinks([(run.layouts, run.attrs) for run in runs])
    began = time.perf_counter() - spent
    with torch.inference_mode(), ExitStack() as stack:
        for run, sink in zip(runs, sinks, strict=True):
            run.sink = stack.enter_context(sink)
        outcomes = execute(request, choice)
    cost = {"wall_seconds": time.perf_counter() - began, "solver": repr(request.solver)}
    # the last one first: the folder that the first store made for all of them is empty when that one goes
    ended_runs = reversed(list(zip(runs, outcomes, strict=True)))
    solutions = [run.solution(ended, cost) for run, ended in ended_runs][::-1]
    causes = [*(ended.cause for ended in outcomes), *(run.failure for run in runs)]
    return solutions, next((cause for cause in causes if cause is not None), None)


def resolve_solver(solver: Solver | str, network: Network) -> Solver:
    """The solver meant by an instance, a name, or "auto": the factored one wherever all rules are of factor form."""
    if isinstance(solver, Solver):
        return solver
    if not isinstance(solver, str):
        raise TypeError(f"solver must be a solver such as ct.solvers.Dopri5() or a name, got {solver!r}")
    if solver == "auto" and network.jumps:
        return automatic(network)
    if solver == "auto":
        dense = any(layer.rule is not None and layer.rule.dense for layer in network.layers)
        kinks = any(isinstance(layer.neuron, Rate) and layer.neuron.phi.has_kink() for layer in network.layers)
        rtol, atol = KINKED_TOLERANCES if kinks else (1e-5, 1e-6)
        return Dopri5(rtol=rtol, atol=atol) if dense else FactoredDopri5(rtol=rtol, atol=atol)
    chosen = get(solver)
    try:
        return chosen()
    except TypeError:
        raise ValueError(f"solver {solver!r} needs a step: use ct.solvers.{chosen.__name__}(dt=...)") from None
