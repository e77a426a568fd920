"""Records of runs as text, with format, version and checksum; and what can be wrong with a store of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from ctsigprop.batch.job import Record

FORMAT, VERSION = "ctsigprop-runs", 1
HEAD, RUN = "store.json", "run.json"


class StoreError(OSError):
    """A store that cannot be used: full, read-only, of another or of a newer format."""


class Damaged(ValueError):
    """The record of a run that is cut short or was changed by hand."""


def encoded(record: Record) -> str:
    """A record as text."""
    body = json.dumps(dataclasses.asdict(record), default=as_plain)
    return json.dumps({"format": FORMAT, "version": VERSION, "digest": digest(body), "run": body})


def decoded(text: str, where: str) -> Record:
    """A record from its text.

    Raises
    ------
    Damaged : it is cut short or was changed
    StoreError : it is of a newer format
    """
    try:
        head = json.loads(text)
        body, version = str(head["run"]), int(head["version"])
    except (ValueError, KeyError, TypeError):
        raise Damaged(f"{where} is damaged: it cannot be read") from None
    if version > VERSION:
        raise StoreError(f"{where} has format version {version}, this ctsigprop reads up to {VERSION}: upgrade it")
    if digest(body) != head.get("digest"):
        raise Damaged(f"{where} is damaged: its checksum is not that of its contents")
    return Record(**json.loads(body))


def head_text() -> str:
    """What `store.json` holds."""
    return json.dumps({"format": FORMAT, "version": VERSION})


def check_head(text: str, where: str) -> None:
    """Raise unless a store is of ours, and of a version that is known here."""
    head = as_object(text, f"{where}/{HEAD}")
    if head.get("format") != FORMAT or not isinstance(head.get("version"), int):
        raise StoreError(f"{where} is not a store of runs: its {HEAD} is of something else")
    if head["version"] > VERSION:
        raise StoreError(
            f"{where} has format version {head['version']}, this ctsigprop reads up to {VERSION}: upgrade it"
        )


def as_object(text: str, where: str) -> dict[str, Any]:
    """The one JSON object in a text.

    Raises
    ------
    StoreError : it is none
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StoreError(f"{where} cannot be read: it is damaged, or of something else")
    return found


def digest(text: str) -> str:
    """Checksum of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def as_plain(value: Any) -> Any:
    """Settings that JSON has no word for: NumPy's numbers as numbers, anything else by its `repr`."""
    return value.item() if hasattr(value, "item") else repr(value)
