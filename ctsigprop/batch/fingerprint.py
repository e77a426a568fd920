"""A name for a configuration: the same for equal numbers, data and code, a different one if any of them differs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Mapping, Set
from enum import Enum
from pathlib import PurePath

import numpy as np
import torch
from torch import Tensor, nn

from ctsigprop.batch import former, identities
from ctsigprop.stimuli.validation import Mapped

PLAIN = (type(None), bool, int, str, bytes, complex, torch.dtype, torch.device, PurePath, range, slice)
LIBRARIES = ("builtins", "ctsigprop", "numpy", "torch", "scipy", "abc", "typing", "dataclasses", "enum", "functools")


@dataclasses.dataclass(frozen=True)
class Format:
    """How our own classes, functions and objects count.

    Parameters
    ----------
    version : of the format
    identity : name of a class or function
    settings : what decides an object; None for one that is looked into as one of the user's
    """

    version: int
    identity: Callable[[identities.Named], str]
    settings: Callable[[object], dict[str, object] | None]


FORMER = Format(1, former.identity, former.settings)
CURRENT = Format(2, identities.identity, identities.settings)


class Fingerprint:
    """Digests of values of any kind; large arrays that occur in many of them are read once.

    Functions and classes of the user count by their code and by what they enclose, those of other libraries by their
    name, ours by their name in `identities` and its revision: not by the module that they stand in. The digest is the
    same in every process of one version of Python.

    Parameters
    ----------
    form : Format, default the current one
    """

    def __init__(self, form: Format = CURRENT) -> None:
        self.form = form
        self._arrays: dict[int, tuple[object, str]] = {}

    def of(self, *values: object) -> str:
        """Hexadecimal digest, 20 characters long.

        Raises
        ------
        TypeError : a value that has no content to look at, named
        """
        head = () if self.form.version == 1 else (f"ctsigprop fingerprint {self.form.version}",)
        return self._of((*head, *values), ())[:20]

    def _of(self, value: object, above: tuple[int, ...]) -> str:
        if isinstance(value, Tensor | np.ndarray):
            return self._array(value)
        if id(value) in above:
            return f"circle {len(above) - above.index(id(value))}"
        inside = (*above, id(value))
        digest = hashlib.blake2b(digest_size=16)
        for part in self._parts(value):
            digest.update((part if isinstance(part, str) else self._of(part.value, inside)).encode() + b"\0")
        return digest.hexdigest()

    def _array(self, value: Tensor | np.ndarray) -> str:
        """Digest of the numbers of an array, remembered while the array lives here."""
        if id(value) not in self._arrays:
            plain = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
            if plain.dtype == object:
                return self._of(plain.tolist(), ())
            digest = hashlib.blake2b(f"{plain.dtype} {plain.shape}".encode(), digest_size=16)
            digest.update(np.ascontiguousarray(plain).tobytes())
            self._arrays[id(value)] = (value, digest.hexdigest())
        return self._arrays[id(value)][1]

    def _parts(self, value: object) -> list[str | Inside]:
        """What makes up a value: words, and values to look into."""
        kind = type(value)
        if isinstance(value, float):
            return ["float", float(value).hex()]
        if isinstance(value, Mapped):
            return ["file", value.identity]
        if isinstance(value, np.generic):
            return self._parts(value.item())
        if isinstance(value, Enum):
            return ["enum", f"{kind.__qualname__}.{value.name}"]
        if isinstance(value, PLAIN):
            return [kind.__name__, repr(value)]
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return ["module", value.__name__]
        if isinstance(value, Mapping):
            pairs = sorted((self._of(key, ()), item) for key, item in value.items()) if value else []
            return ["mapping", *(part for key, item in pairs for part in (key, Inside(item)))]
        if isinstance(value, list | tuple):
            return ["sequence", *(Inside(item) for item in value)]
        if isinstance(value, Set):
            return ["set", *sorted(self._of(item, ()) for item in value)]
        if isinstance(value, functools.partial):
            return ["partial", Inside(value.func), Inside(value.args), Inside(value.keywords)]
        if isinstance(value, types.MethodType):
            return ["method", value.__name__, Inside(value.__self__)]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.BuiltinFunctionType | np.ufunc):
            return ["builtin", f"{value.__module__}.{value.__name__}"]
        return self._object(value)

    def _function(self, value: types.FunctionType) -> list[str | Inside]:
        name = f"{value.__module__}.{value.__qualname__}"
        if of_library(value.__module__) and "<" not in value.__qualname__:
            return self._our_function(value) if ours(value.__module__) else ["function", name]
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        used = {
            key: value.__globals__[key]
            for key in sorted(names_in(value.__code__))
            if key in value.__globals__ and not isinstance(value.__globals__[key], types.ModuleType)
        }
        enclosed = [Inside(part) for part in (value.__code__, value.__defaults__, value.__kwdefaults__, cells, used)]
        return ["function", name, *enclosed]

    def _our_function(self, value: types.FunctionType) -> list[str | Inside]:
        """By its name, and where that stands in no table by its code too."""
        named = self.form.version == 1 or value in identities.NAMES
        return ["function", self.form.identity(value), *([] if named else [Inside(value.__code__)])]

    def _code(self, code: types.CodeType) -> list[str | Inside]:
        constants = [item for item in code.co_consts if not isinstance(item, str) or item != code.co_name]
        words = [code.co_code.hex(), *code.co_names, *code.co_varnames, *code.co_freevars]
        return ["code", *words, *(Inside(item) for item in constants)]

    def _class(self, value: type) -> list[str | Inside]:
        name = self.form.identity(value) if ours(value.__module__) else f"{value.__module__}.{value.__qualname__}"
        parts: list[str | Inside] = ["class", name]
        for cls in value.__mro__:
            if self.form.version > 1 and cls is not value and cls in identities.NAMES:
                parts.append(self.form.identity(cls))
            if not of_library(cls.__module__):
                members = {key: item for key, item in vars(cls).items() if isinstance(item, types.FunctionType)}
                parts += [Inside(members[key].__code__) for key in sorted(members)]
        return parts

    def _object(self, value: object) -> list[str | Inside]:
        """An object by its class and its fields."""
        fields = self.form.settings(value) if ours(type(value).__module__) else None
        return ["object", Inside(type(value)), Inside(members(value) if fields is None else fields)]


def members(value: object) -> dict[str, object]:
    """What an object is made of that says nothing of it itself.

    Raises
    ------
    TypeError : it has no members to look at
    """
    fields = identities.compared(value)
    if fields is not None:
        return fields
    if isinstance(value, nn.Module):
        public = {key: item for key, item in vars(value).items() if not key.startswith("_")}
        return {**public, "state_dict": dict(value.state_dict())}
    if hasattr(value, "__dict__"):
        cached = {key for key, item in vars(type(value)).items() if isinstance(item, functools.cached_property)}
        return {key: item for key, item in vars(value).items() if key not in cached}
    slots = getattr(type(value), "__slots__", None)
    if slots is None:
        raise TypeError(f"a configuration must be made of numbers, data, functions and objects, got {value!r}")
    return {key: getattr(value, key, None) for key in slots}


@dataclasses.dataclass(frozen=True, slots=True)
class Inside:
    """A value to look into."""

    value: object


def of_library(module: str | None) -> bool:
    """Whether a module belongs to Python or to a library that counts by name."""
    return (module or "builtins").split(".")[0] in LIBRARIES


def ours(module: str | None) -> bool:
    """Whether a module belongs to this library."""
    return (module or "").split(".")[0] == "ctsigprop"


def names_in(code: types.CodeType) -> set[str]:
    """The global names that a function's code uses, those of functions inside it included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            names |= names_in(constant)
    return names
