"""The execution that a run asks for. If it is not available, the error names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from ctsigprop.execution.base import Running
from ctsigprop.execution.capability import (
    to_compile,
    to_go_side_by_side,
    to_steps_in_place,
)
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.rules.checks import lookup
from ctsigprop.solvers.base import Compilable, Solver
from ctsigprop.stimuli.stimulus import Stimulus

Execution = Literal["auto", "plain", "inplace", "compiled"]
EXECUTIONS: dict[str, Execution] = {name: name for name in get_args(Execution)}


class Refused(ValueError):
    """An execution that was asked for and cannot be had."""

    def __init__(self, execution: str, obstacle: str) -> None:
        super().__init__(
            f"execution must be 'auto', which takes the fastest path that there is, or 'plain' here, got "
            f"{execution!r}: {obstacle}"
        )


def check_execution(execution: str) -> Execution:
    """One of the four executions.

    Raises
    ------
    ValueError, TypeError : any other
    """
    if not isinstance(execution, str):
        raise TypeError(f"execution must be one of {', '.join(map(repr, EXECUTIONS))}, got {execution!r}")
    return lookup("execution", execution, EXECUTIONS)


def for_execution(solver: Solver, execution: Execution, network: Network) -> Solver:
    """The solver with its setting `compile` as `execution` asks; "auto" leaves it as it is.

    Raises
    ------
    ValueError : execution="compiled" where the solver has no compiled form for this network; another execution
    """
    execution = check_execution(execution)
    if execution == "auto":
        return solver
    if execution == "compiled" and (obstacle := to_compile(network, solver)) is not None:
        raise Refused(execution, obstacle)
    settings = {"compile": execution == "compiled"}
    return replace(solver, **settings) if isinstance(solver, Compilable) else solver


def check_in_place(network: Network, solver: Solver, stimulus: Stimulus, execution: Execution) -> None:
    """Refuse execution="inplace" where neither one run nor members side by side can take their steps in place; what the
    network computes is looked at later.

    Raises
    ------
    ValueError : with the obstacle
    """
    if execution != "inplace" or to_go_side_by_side([network], solver, [stimulus]) is None:
        return
    frame = next(stimulus.frames(0.0, stimulus.duration_total), None)
    obstacle = None if frame is None else to_steps_in_place(network, solver, frame, stimulus.device.type)
    if obstacle is not None:
        raise Refused(execution, f"not in place, because {obstacle}")


@dataclass(frozen=True)
class Request:
    """What is to be carried out: runs of one or more members, each with its stimulus and initial state.

    `many` says whether they are an ensemble, which may have one member only.
    """

    runs: Sequence[Running]
    solver: Solver
    stimuli: Sequence[Stimulus]
    states: Sequence[State]
    many: bool
    execution: Execution
    obstacles: dict[str, str] = field(default_factory=dict)
    """What keeps each path that is known to be closed from these runs; added to while they are chosen for."""

    @property
    def networks(self) -> list[Network]:
        """Of each member."""
        return [run.network for run in self.runs]

    @property
    def compile(self) -> bool:
        """Whether the solver asks for machine code."""
        return isinstance(self.solver, Compilable) and self.solver.compile
