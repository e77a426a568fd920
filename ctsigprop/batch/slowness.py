"""Reports what makes a batch slow, once per solver, while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ctsigprop.batch.job import Job, Record
from ctsigprop.stimuli.presentations import Presentations

SECONDS = 5.0
"""Wall time from which on a run is slow enough to say why."""
EVALUATIONS = 20
"""Evaluations of the right-hand side for one presentation from which on a coarser step is worth a thought."""


@dataclass
class Slowness:
    """Says of the first slow run of each solver what it spent its time on.

    Parameters
    ----------
    jobs : the jobs of the batch by their key
    """

    jobs: Mapping[str, Job]
    told: set[str] = field(default_factory=set)

    def line(self, key: str, record: Record) -> str | None:
        """The sentence about a run that has ended, or None where there is nothing to say."""
        job = self.jobs[key]
        solver, seconds = repr(job.solver), (record.curve.get("seconds") or [0.0])[-1]
        if seconds < SECONDS or solver in self.told:
            return None
        self.told.add(solver)
        named = ", ".join(f"{name}={value!r}" for name, value in record.settings.items())
        evaluations, shown = record.counts.get("rhs_evaluations", 0), record.curve["shown"][-1]
        text = f"slow: {named}, seed {record.seed} took {seconds:.3g} s: {evaluations} evaluations by {solver}"
        if not isinstance(job.stimulus, Presentations) or not shown:
            return text
        text += f" for {shown:g} presentations"
        if evaluations / shown < EVALUATIONS:
            return text
        return f"{text}. A fixed step, such as solver=ct.solvers.Euler(dt=...), or a larger rtol takes fewer"
