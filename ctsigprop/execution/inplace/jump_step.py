"""Steps of `Hybrid` in place: flow and jump, bit for bit the same as on the plain path."""

from __future__ import annotations

from collections.abc import Callable

from ctsigprop.dynamics.vector_field import FrameInput
from ctsigprop.execution.inplace.plan import Plan, planned
from ctsigprop.execution.inplace.step import InPlaceStepper, StepKind
from ctsigprop.execution.inplace.step_memory import StepMemory
from ctsigprop.model.network import Network
from ctsigprop.solvers.field import HybridState
from ctsigprop.stimuli.frame import Frame
from ctsigprop.trace.graph import StepGraph
from ctsigprop.trace.record import ExactStep, record_step


class JumpInPlaceStepper(InPlaceStepper):
    """A network's steps of flow and jump in place.

    Parameters
    ----------
    network, state : whose steps, and where to start; the state is copied
    frame : the first one, whose input is shown
    dt : length of whole steps, in units of time
    lower : makes calls of a recorded step; default torch calls, which give the bits of the plain path

    Raises
    ------
    NotTraceable : a step that cannot be recorded
    """

    def __init__(
        self,
        network: Network,
        frame: Frame,
        state: HybridState,
        dt: float,
        lower: Callable[[StepGraph, StepMemory, float], Plan] = planned,
    ) -> None:
        shown = FrameInput.to(network, frame.at(frame.start))
        memory = StepMemory([network], None, state, shown.tensors())

        def record(kind: StepKind, shown: FrameInput) -> StepGraph:
            spikes = memory.spikes if kind.arriving else None
            return record_step(
                network, shown, dict(memory.state.items()), ExactStep(kind.dt or dt, kind.has_events, spikes)
            )

        super().__init__(memory, record, lower, (shown, frame.events), dt)
