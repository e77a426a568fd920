"""Checks of arguments: each raises one error that names the argument, its value and what is allowed."""

from __future__ import annotations

import difflib
import inspect
import math
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

T = TypeVar("T")
SMALLEST = 2.0**-126
"""The smallest number > 0 that float32 holds in full precision, of which it also holds 1 / x."""
SYNONYMS = {
    "alpha": "rate",
    "epsilon": "rate",
    "eta": "rate",
    "h": "dt",
    "learning_rate": "rate",
    "lr": "rate",
    "nonlinearity": "activation",
    "step": "dt",
    "step_size": "dt",
    "timestep": "dt",
    "v_reset": "reset",
    "v_th": "threshold",
}
"""What other libraries call some of our arguments, where no spelling leads from one to the other."""


def number(name: str, value: object, *, above: float = -math.inf, least: float = -math.inf) -> float:
    """`value` as a float, if it is a finite number, greater than `above` and at least `least`.

    Raises
    ------
    TypeError : not a number
    ValueError : out of range, or above 0 but 0 in float32
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        plain = float(value)
    except OverflowError:
        plain = math.inf
    if not (math.isfinite(plain) and plain > above and plain >= least):
        bound = f" > {above:g}" if above > -math.inf else f" >= {least:g}" if least > -math.inf else ""
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")
    if above >= 0 and plain < SMALLEST:
        raise ValueError(f"{name} must be at least {SMALLEST:.2g}, the smallest number of float32, got {value!r}")
    return plain


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """`value` as an int, if it is an integer, at least `least` and at most `most`."""
    plain = least - 1 if isinstance(value, bool) or not isinstance(value, Integral) else int(value)
    if plain < least or (most is not None and plain > most):
        allowed = f"an integer >= {least}" if most is None else f"between {least} and {most}"
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return plain


def called(function: object) -> str:
    """The name of a function, for messages; of an object without one, its `repr`."""
    return str(getattr(function, "__name__", repr(function)))


def pair(name: str, value: object, what: str) -> tuple[Any, Any]:
    """The two entries of a tuple, a list or an array; `what` says what they stand for.

    Raises
    ------
    TypeError : anything else
    """
    if not isinstance(value, tuple | list | np.ndarray) or np.shape(value) != (2,):
        raise TypeError(f"{name} must be {what}, got {value!r}")
    return value[0], value[1]


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of `table` called `name`. An unknown name raises an error that suggests the nearest known ones."""
    if name in table:
        return table[name]
    raise ValueError(f"unknown {kind} {name!r}: {did_you_mean(name, table)}known are {', '.join(sorted(table))}")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The names nearest to `name` as a question, or nothing where none is near."""
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


class Checked(ABCMeta):
    """Metaclass of classes that users call. A wrong argument raises an error with the name of the class, the nearest
    argument and the allowed ones; NumPy numbers and fractions become plain numbers.
    """

    if not TYPE_CHECKING:  # type checkers and editors read __init__

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            try:
                cls.__signature__.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(wrong_arguments(cls.__name__, cls.__signature__, args, kwargs, error)) from None
            return super().__call__(*map(plain, args), **{name: plain(value) for name, value in kwargs.items()})

    @property
    def __signature__(cls) -> inspect.Signature:
        return signature_of(inspect.getattr_static(cls, "__init__"))


@cache
def signature_of(init: Callable[..., None]) -> inspect.Signature:
    """The signature of a class whose `__init__` this is."""
    return inspect.Signature(list(inspect.signature(init).parameters.values())[1:])


def plain(value: Any) -> Any:
    """A number of any kind as bool, int or float; anything else as it is.

    One of less precision stands for the shortest decimal that it can be told by: 0.7 in float32 is 0.7.
    """
    if isinstance(value, np.floating) and value.dtype.itemsize < 8:
        return float(str(value))
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    try:
        return int(value) if isinstance(value, Integral) else float(value)
    except OverflowError:
        return value


def wrong_arguments(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: TypeError
) -> str:
    """What is wrong with the arguments of a call."""
    parameters = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    known = [parameter.name for parameter in parameters]
    allowed = f"allowed are {', '.join(known)}" if known else "it takes none"
    unknown = next((given for given in kwargs if given not in known), None)
    if unknown is not None:
        meant = SYNONYMS.get(unknown)
        hint = f"did you mean {meant!r}? " if meant in known else did_you_mean(unknown, known)
        return f"{name} has no argument {unknown!r}: {hint}{allowed}"
    by_place = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    if len(args) > len(by_place):
        return f"{name} takes at most {len(by_place)} arguments without a name, got {len(args)}: {allowed}"
    given = {*by_place[: len(args)], *kwargs}
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in given]
    return f"{name} needs {' and '.join(missing)}: {allowed}" if missing else f"{name}: {error}; {allowed}"
