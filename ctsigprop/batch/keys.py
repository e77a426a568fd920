"""The keys of a configuration file, taken from the models that check it."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ctsigprop.batch.config import Experiment
from ctsigprop.batch.parts import Part, is_model

WORDS: dict[object, str] = {bool: "true or false", int: "integer", float: "number", str: "text", object: "value"}


@dataclass(frozen=True)
class Key:
    """One key of a configuration file.

    Parameters
    ----------
    table : the table that it stands in, "" at the top of the file
    name : its name there
    kind : what its value is, in words
    default : its default in TOML's notation, "required" or "absent"
    meaning : what it decides
    """

    table: str
    name: str
    kind: str
    default: str
    meaning: str


def keys(model: type[BaseModel] = Experiment, table: str = "") -> list[Key]:
    """The keys of a table, then those of the tables in it."""
    here: list[Key] = []
    below: list[Key] = []
    for name, field in model.model_fields.items():
        place = f"{table}.{name}" if table else name
        inner = [kind for kind in alternatives(field.annotation) if is_table(kind)]
        for kind in inner:
            below += keys(kind, place)
        if not inner:
            meaning = "".join([field.description or "", *map(names, parts(field.annotation)[:1])])
            here.append(Key(table, name, words(field.annotation), default(field), meaning))
    return here + below


def alternatives(annotation: object) -> list[object]:
    """The kinds that a value may be of, apart from none."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in alternatives(part) if kind is not NoneType]
    return [annotation]


def parts(annotation: object) -> list[type[Part]]:
    """The kinds of value, alone or in a list, that are tables with a `name`."""
    inside = [kind for one in alternatives(annotation) for kind in (one, *get_args(one))]
    return [kind for kind in inside if is_model(kind) and issubclass(kind, Part)]


def names(part: type[Part]) -> str:
    """What a table with a `name` may name."""
    return f". Names: {', '.join(sorted(part.table))}; the other keys are the settings of what is named"


def is_table(kind: object) -> TypeGuard[type[BaseModel]]:
    """Whether the keys of a kind are listed: those of a `Part` are the settings of what it names."""
    return is_model(kind) and not issubclass(kind, Part) and kind.__name__ != "Range"


def words(annotation: object) -> str:
    """An annotation in words."""
    return " or ".join(dict.fromkeys(word(kind) for kind in alternatives(annotation)))


def word(kind: object) -> str:
    """One kind of value in words."""
    inside = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(f'"{choice}"' for choice in inside)
    if get_origin(kind) is list:
        return f"list of {words(inside[0])}"
    if get_origin(kind) is dict:
        return f"table of {words(inside[1])}"
    if is_model(kind) and issubclass(kind, Part):
        return f"{{ name = {kind.kind}, ... }}"
    if is_model(kind):
        return "{ low = number, high = number }"
    return WORDS.get(kind, "table")


def default(field: FieldInfo) -> str:
    """A default in TOML's notation."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "absent"
    if isinstance(value, Part):
        return f'{{ name = "{value.name}" }}'
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).replace("'", '"')


def heading(table: str) -> str:
    """A table as it is written in a file."""
    return f"[{table}]" if table else "top of the file"


def as_text() -> str:
    """All keys, for a terminal."""
    lines: list[str] = []
    table: str | None = None
    for key in keys():
        if key.table != table:
            table = key.table
            lines += [*([""] if lines else []), heading(table)]
        given = key.default if key.default == "required" else f"default {key.default}"
        lines += [f"  {key.name}: {key.kind}; {given}", f"      {key.meaning}"]
    return "\n".join(lines)


def as_markdown() -> str:
    """All keys as tables of Markdown, one for each table of the file."""
    lines: list[str] = []
    table: str | None = None
    for key in keys():
        if key.table != table:
            table = key.table
            title = f"`[{table}]`" if table else "Top of the file"
            lines += ["", f"## {title}", "", "| key | value | default | meaning |", "| --- | --- | --- | --- |"]
        told = (f"`{key.name}`", f"`{key.kind}`" if "{" in key.kind else key.kind, f"`{key.default}`", key.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in told) + " |")
    return "\n".join(lines).strip()
