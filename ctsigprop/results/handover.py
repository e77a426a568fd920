"""How a run that broke off returns its results so far."""

from __future__ import annotations

import sys
from typing import TypeVar

from ctsigprop.results.ensemble import Ensemble
from ctsigprop.results.solution import Solution

Result = TypeVar("Result", bound=Solution | Ensemble)


def interactive() -> bool:
    """Whether somebody sits at a prompt, in a notebook or an interpreter: only there the result of a cell that was
    interrupted is of use, and nothing else goes on because the interrupt was swallowed.
    """
    return hasattr(sys, "ps1")


def given_back(result: Result, cause: BaseException | None) -> Result:
    """The result of a run; where something broke it off, that is raised, with the result as its attribute `solution`.

    At a prompt, an interrupt from the keyboard is not raised: the status of the result says that there was one.
    """
    if cause is None or (isinstance(cause, KeyboardInterrupt) and interactive()):
        return result
    vars(cause)["solution"] = result
    raise cause
