"""Records of runs as text, with format, version and checksum; and the errors of a store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ctsigprop.batch.job import Record, as_budget
from ctsigprop.batch.statistics import Level
from ctsigprop.files.unreadable import Unreadable, as_object, check_seal

FORMAT, VERSION = "ctsigprop-runs", 1
HEAD, RUN = "store.json", "run.json"
SPENT = ("shown", "rhs_evaluations", "seconds")
"""What a curve has besides the metrics."""


class StoreError(OSError):
    """A store that cannot be used: it is full, read-only, or in another or a newer format."""


class UnreadableStore(Unreadable, StoreError):
    """A store that is damaged, of something else, or of a newer format. The message names the file."""


class Damaged(UnreadableStore):
    """The record of a run that is cut short, was changed, or belongs to another run."""


class PlannedRun(BaseModel):
    """One run of a plan."""

    model_config = ConfigDict(strict=True)
    key: str
    settings: dict[str, object]
    seed: int


class PlannedBatch(BaseModel):
    """What the records of a comparison or sweep are put together with."""

    model_config = ConfigDict(strict=True)
    metrics: list[str] = Field(min_length=1)
    factors: list[str]
    compared: str | None
    test: Literal["t", "permutation", "wilcoxon"]
    reference: Level | None
    budget: list[object] = Field(min_length=2, max_length=2)


class Plan(BaseModel):
    """The file of a plan."""

    model_config = ConfigDict(strict=True)
    title: str
    about: PlannedBatch
    runs: list[PlannedRun]


RECORD = TypeAdapter(Record)


def encoded(record: Record, key: str) -> str:
    """The record of the run called `key` as text."""
    body = as_text(dataclasses.asdict(record))
    return json.dumps({"format": FORMAT, "version": VERSION, "key": key, "digest": digest(body), "run": body})


def decoded(text: str, where: str, key: str) -> Record:
    """The record of the run called `key` from its text.

    Raises
    ------
    Damaged : it is cut short, was changed, or is that of another run
    UnreadableStore : it is of a newer format
    """
    try:
        head = as_object(text, where)
        body, version = head["run"], head["version"]
        if not isinstance(body, str) or type(version) is not int:
            raise TypeError(where)
    except (ValueError, LookupError, TypeError):
        raise Damaged(f"{where} is damaged: it cannot be read") from None
    if version > VERSION:
        raise UnreadableStore(f"{where} has format version {version}, this ctsigprop reads up to {VERSION}: upgrade it")
    if digest(body) != head.get("digest"):
        raise Damaged(f"{where} is damaged: its checksum is not that of its contents")
    if head.get("key", key) != key:  # the first stores did not note it
        raise Damaged(f"{where} is damaged: it is the record of another run, {head['key']}")
    try:
        record = Record(**as_object(body, where))
        RECORD.validate_python(record.__dict__)
    except (ValueError, TypeError):
        raise Damaged(f"{where} is damaged: it is not the record of a run") from None
    if len({len(values) for values in record.curve.values()} - {0}) > 1 or not all(record.curve.values()):
        raise Damaged(f"{where} is damaged: the points of its curves differ in number")
    return record


def checked_plan(text: str, where: str) -> Plan:
    """A noted sweep from its text.

    Raises
    ------
    UnreadableStore : it is damaged, or of something else
    """
    try:
        noted = as_object(text, where)
        if "digest" in noted:  # the first stores had none
            check_seal(noted, where)
        plan = Plan.model_validate(noted)
        as_budget(plan.about.budget)
        for run in plan.runs:
            if not set(plan.about.factors) <= run.settings.keys():
                raise Unreadable(f"{where} is damaged: the run {run.key} has other settings than the plan")
    except Unreadable as error:
        raise UnreadableStore(str(error)) from None
    except ValidationError as error:
        told = error.errors()[0]
        raise UnreadableStore(f"{where} is damaged: {'.'.join(map(str, told['loc']))}: {told['msg']}") from None
    except (ValueError, TypeError) as error:
        raise UnreadableStore(f"{where} is damaged: {error}") from None
    return plan


def head_text() -> str:
    """What `store.json` holds."""
    return json.dumps({"format": FORMAT, "version": VERSION})


def check_head(text: str, where: str) -> None:
    """Raise UnreadableStore unless a store is of ours, and of a version that is known here."""
    try:
        head = as_object(text, f"{where}/{HEAD}")
    except Unreadable as error:
        raise UnreadableStore(str(error)) from None
    if head.get("format") != FORMAT or type(head.get("version")) is not int:
        raise UnreadableStore(f"{where} is not a store of runs: its {HEAD} is of something else")
    if head["version"] > VERSION:
        raise UnreadableStore(
            f"{where} has format version {head['version']}, this ctsigprop reads up to {VERSION}: upgrade it"
        )


def digest(text: str) -> str:
    """Checksum of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@runtime_checkable
class Scalar(Protocol):
    """A number of NumPy's or torch's."""

    def item(self) -> object:
        """The same as one of Python's."""
        ...


def as_plain(value: object) -> object:
    """Settings that JSON has no word for: NumPy's numbers as numbers, anything else by its `repr`."""
    return value.item() if isinstance(value, Scalar) else repr(value)


def as_text(value: object) -> str:
    """Plain values, and what JSON has no word for, as one text."""
    return json.dumps(value, default=as_plain)
