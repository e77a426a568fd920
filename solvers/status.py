"""Why an integration ended. Each reason has a sentence to read."""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """How a run ended. `str(status)` is a sentence; `status.ok` is True for a completed run."""

    COMPLETED = "The simulation reached its end."
    DIVERGED = "A quantity became non-finite: the system diverged."
    STEP_UNDERFLOW = "The step size fell below what the clock can resolve: the tolerances cannot be met."
    MAX_STEPS = "The solver took max_steps steps before the end was reached."
    INTERRUPTED = "The simulation was interrupted from the keyboard."
    FAILED = "Something that the simulation called raised an error."
    STORE_FAILED = "The store could not be written to, and records end there."
    UNFINISHED = "The simulation has not ended: it is still running, or its process was killed."

    def __str__(self) -> str:
        return self.value

    @property
    def ok(self) -> bool:
        """Whether the run reached its end."""
        return self is Status.COMPLETED
