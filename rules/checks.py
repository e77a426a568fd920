"""Checks at the door of this package: each raises one error that names argument, value and what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import TypeVar

T = TypeVar("T")


def number(name: str, value: object, *, above: float = -math.inf, least: float = -math.inf) -> None:
    """Raise unless `value` is a finite number, greater than `above` and at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and float(value) > above and float(value) >= least):
        bound = f" > {above:g}" if above > -math.inf else f" >= {least:g}" if least > -math.inf else ""
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")


def whole(name: str, value: object, least: int, also: str = "") -> None:
    """Raise unless `value` is an integer and at least `least`; `also` says what else is allowed."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}{also}, got {value!r}")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of `table` called `name`; an unknown name is answered with the nearest known ones."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown {kind} {name!r}: {hint}known are {', '.join(sorted(table))}")
