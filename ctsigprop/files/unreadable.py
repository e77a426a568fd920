"""Files that may be damaged or from someone else: read with care, and refused with one kind of error."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]
"""A parsed JSON object; whoever reads it catches what a value of another kind leads to."""
LARGEST_TEXT = 1 << 28
"""Bytes of a text that are read at most; a manifest takes some 100 for each file that it lists."""
FAILURES = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, MemoryError),
    *(NameError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error),
)
"""What reading damaged bytes ends in, deep inside of other libraries."""


class Unreadable(ValueError):
    """A file or store that cannot be used: damaged, cut short, of another kind or in a newer format.

    The message names the file.
    """


@contextmanager
def readable(place: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong while `place` is read into `Unreadable`."""
    try:
        yield
    except Unreadable:
        raise
    except FAILURES as error:
        raise failed(place, error) from error


def failed(place: Path | str, error: BaseException) -> Unreadable:
    """The one error for whatever went wrong while `place` was read."""
    return Unreadable(f"{place} cannot be read: {' '.join(f'{type(error).__name__}: {error}'.split())}")


def size_of(folder: Path, name: str) -> int | None:
    """Bytes of the file called `name` in a folder, or None where there is none.

    Raises
    ------
    Unreadable : a name that leads out of the folder, a link, or something that is no file
    """
    parts = name.split("/")
    if not all(part and part not in (".", "..") and not set(part) & {"\0", "\\"} for part in parts):
        raise Unreadable(f"{folder} is damaged: {name!r} is not the name of a file in it")
    path, status = folder, None
    for part in parts:
        path = path / part
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise Unreadable(f"{path} cannot be read: {error}") from None
        if stat.S_ISLNK(status.st_mode):
            raise Unreadable(f"{path} is a link: put a copy of what it points to in its place")
    if status is None or not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{path} is not a file")
    return status.st_size


def read_text(folder: Path, name: str) -> str | None:
    """The text of a file in a folder, or None where there is none.

    Raises
    ------
    Unreadable : as in `size_of`, and a file that is too large or no text
    """
    size = size_of(folder, name)
    if size is None:
        return None
    if size > LARGEST_TEXT:
        raise Unreadable(f"{folder / name} has {size} bytes, more than any that is written here")
    try:
        return (folder / name).read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{folder / name} cannot be read: {error}") from None


def files_below(root: Path, inside: str = "") -> Iterator[str]:
    """Names of all files below a folder, or below one inside of it, as paths with slashes that begin there.

    Raises
    ------
    Unreadable : a link among them, or something that is neither file nor folder
    """
    folder = root / inside
    if folder.is_symlink() or not folder.is_dir():
        raise Unreadable(f"{folder} is not a folder")
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(folder / above) as entries:
                contents = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise Unreadable(f"{folder / above} cannot be read: {error.strerror}") from None
        for entry in contents:
            name = f"{above}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name
            elif entry.is_symlink():
                raise Unreadable(f"{folder / name} is a link: put a copy of what it points to in its place")
            elif (folder / name).exists():  # else it has just been renamed
                raise Unreadable(f"{folder / name} is not a file")


def as_object(text: str, where: Path | str) -> JsonObject:
    """The one JSON object in a text.

    Raises
    ------
    Unreadable : it is none
    """
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise Unreadable(f"{where} cannot be read: it is damaged, or of something else")
    return parsed


def sealed(head: Mapping[str, object], indent: int | None = None) -> str:
    """A JSON object as text, with a digest of all that is in it."""
    plain = json.loads(json.dumps(dict(head)))
    return json.dumps({**plain, "digest": digest_of(plain)}, indent=indent)


def check_seal(head: Mapping[str, object], where: Path | str) -> None:
    """Raise Unreadable where a parsed object is not what was sealed."""
    rest = {name: value for name, value in head.items() if name != "digest"}
    try:
        whole = head["digest"] == digest_of(rest)
    except (KeyError, RecursionError):
        whole = False
    if not whole:
        raise Unreadable(f"{where} is damaged: its digest is not that of its contents")


def digest_of(head: Mapping[str, object]) -> str:
    """Digest of a JSON object, however it is laid out as text."""
    return hashlib.blake2b(json.dumps(head, sort_keys=True).encode(), digest_size=16).hexdigest()
