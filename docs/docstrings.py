"""Docstrings of this project in numpydoc's form, for the reference.

The source says `rate : float, in 1 / time, >= 0; default 0.01` in one line. numpydoc takes all that follows the colon
for the type and wants the description below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

WORD = r"(?:float|int|bool|str|callable|None|arrays?|(?:[a-z]+\.)?[A-Z]\w+(?:\[[^\]]*\])?)"
TYPE = rf"{WORD}(?: \([^)]*\))?(?:, \([^)]*\))*"
TYPED = re.compile(rf"(?P<type>{TYPE}(?: or {TYPE})*)(?:[,;:] |$)")
SHAPE = re.compile(r",? (\([^)]*\))")
NAMES = r"\*{0,2}\w+(?:, \*{0,2}\w+)*"
ENTRY = re.compile(rf"(?P<names>{NAMES}) : (?P<text>.*)")
NEXT = re.compile(rf"; (?={NAMES} : )")
DEFAULT = re.compile(r"[;,] default (?P<value>[^\s,;:]+)$")


class Declared(NamedTuple):
    """What the source says of a parameter: its annotation and its default, as they are written; "" for none."""

    annotation: str = ""
    default: str = ""


def numpydoc(text: str, signature: Mapping[str, Declared]) -> str:
    """A docstring in which each name has an entry of its own, with its description below.

    Parameters
    ----------
    text : str, a docstring without indentation
    signature : what the source says of each parameter, by name. A type stands there already, unless it is `Any`; so
        does a default, which is left out of the description that ends with it
    """
    lines = text.split("\n")
    heads = [k for k in range(len(lines) - 1) if re.fullmatch("-{3,}", lines[k + 1])]
    written = lines[: heads[0]] if heads else lines
    for head, end in pairwise([*heads, len(lines)]):
        title, body = lines[head], lines[head + 2 : end]
        written += lines[head : head + 2]
        for first, *rest in entries(body):
            if title in ("Parameters", "Attributes"):
                written += named(first, rest, signature)
            elif title in ("Returns", "Yields"):
                written += returned(first, rest)
            elif title in ("Raises", "Warns"):
                written += raised(first, rest)
            else:
                written += [first, *rest]
    return "\n".join(written)


def entries(body: list[str]) -> list[list[str]]:
    """The lines of each entry: one that is not indented, and those below it that are."""
    split: list[list[str]] = []
    for line in body:
        if split and (not line or line.startswith(" ")):
            split[-1].append(line)
        else:
            split += [[part] for part in NEXT.split(line)]
    return split


def named(first: str, rest: list[str], signature: Mapping[str, Declared]) -> list[str]:
    """The entry of some parameters or attributes, one for each."""
    entry = ENTRY.fullmatch(first)
    if not entry:
        return [first, *rest]
    kind, start = divided(entry["text"])
    description = [f"    {start}", *rest] if start else rest
    written: list[str] = []
    for name in entry["names"].split(", "):
        declared = signature.get(name.lstrip("*"), Declared())
        known = declared.annotation not in ("", "Any")
        written += [name if known or not kind else f"{name} : {kind}", *without(declared.default, description)]
    return written


def returned(first: str, rest: list[str]) -> list[str]:
    """The entry of what is returned; a colon alone stands for the type that the source says."""
    kind, start = divided(first.replace(" : ", ", ", 1))
    return [kind or ":", *([f"    {start}"] if start else []), *rest]


def raised(first: str, rest: list[str]) -> list[str]:
    """The entry of some errors."""
    entry = ENTRY.fullmatch(first)
    return [entry["names"].replace(", ", " or "), f"    {entry['text']}", *rest] if entry else [first, *rest]


def divided(text: str) -> tuple[str, str]:
    """The type with which a text begins, or "", and the description; the shape of a tensor belongs to the latter."""
    typed = TYPED.match(text)
    if not typed:
        return "", text
    kind, description = typed["type"], text[typed.end() :]
    shapes = " and ".join(SHAPE.findall(kind))
    return SHAPE.sub("", kind), f"{shapes}: {description}" if shapes else description


def without(default: str, description: list[str]) -> list[str]:
    """A description that does not end with the default that stands beside the type."""
    last = max((k for k, line in enumerate(description) if line.strip()), default=None)
    said = None if last is None else DEFAULT.search(description[last])
    if last is None or said is None or not same(said["value"].strip("`"), default):
        return description
    return [*description[:last], description[last][: said.start()], *description[last + 1 :]]


def same(prose: str, source: str) -> bool:
    """Whether two texts are one value: 1 is 1.0."""
    try:
        return float(prose) == float(source)
    except ValueError:
        return prose.strip("\"'") == source.strip("\"'")
