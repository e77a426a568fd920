"""Paths that a user gives, all read in one way, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A scheme of two letters or more; one letter is a drive. `Path` takes one of the two slashes away."""
LONGEST = 255
"""Bytes of one name: what the usual file systems take."""
KEPT = 150
"""Bytes of a name that stand in the name of its part."""
PART = re.compile(r"\..*\.(?:(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-)?[0-9a-f]{8}\.part")
DAY = 86400.0
"""Seconds after which a part is abandoned where nothing else tells, as of another machine."""


def local(argument: str, value: object) -> Path:
    """A path on this computer, absolute and with `~` as the home folder.

    Parameters
    ----------
    argument : what the path is called in an error, such as "store"
    value : str or path

    Raises
    ------
    TypeError : no path
    ValueError : an empty path, an address such as "s3://bucket/x", a user that is not known, a name that is too long
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise TypeError(f"{argument} must be a path, got {value!r}")
    if not text or "\0" in text:
        raise ValueError(f"{argument} must be a path, got {text!r}")
    if ADDRESS.match(text):
        raise ValueError(
            f"{argument} must be a path on this computer, got the address {text!r}; "
            "only the store of a comparison or sweep may be an address, given as text"
        )
    try:
        path = Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"{argument}: no home folder is known for {text!r}") from None
    for name in path.parts:
        if len(os.fsencode(name)) > LONGEST:
            raise ValueError(
                f"{argument}: a name in a path has at most {LONGEST} bytes, got {len(os.fsencode(name))} in {name!r}"
            )
    return path


def part_of(path: Path) -> Path:
    """A new name beside `path` for what is being written; it says which process of which machine is at it."""
    begin = path.name.encode()[:KEPT].decode(errors="ignore")
    return path.with_name(f".{begin}.{machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


def machine() -> str:
    """Six letters that stand for this machine."""
    return hashlib.blake2b(platform.node().encode(), digest_size=3).hexdigest()


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A part to write to, which becomes `path` at the end of the block, or is removed if the block raises.

    Folders above are made, and go again if the block raises. Parts that killed processes left beside it are removed.

    Raises
    ------
    FileExistsError : the path exists
    OSError : the folder may not be written to
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists: choose another path, or remove it first")
    with folders_above(path):
        clean(path.parent)
        part = part_of(path)
        try:
            yield part
            os.rename(part, path)
        except BaseException:
            remove(part)
            raise


@contextmanager
def folders_above(path: Path) -> Iterator[None]:
    """The folders that `path` needs; those that were made here go again if the block raises."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                mounted = hasattr(os, "statvfs") and os.statvfs(path.parent).f_flag & os.ST_RDONLY
                code = errno.EROFS if mounted else errno.EACCES
                raise OSError(code, os.strerror(code))
        except OSError as error:
            said = f"{path.parent} cannot be written to ({error.strerror or error}): choose another place"
            raise OSError(error.errno, said) from error
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        raise


def replace_text(path: Path, text: str) -> None:
    """Write a file in one step: whoever reads finds the old text or the new."""
    part = part_of(path)
    try:
        part.write_text(text)
        os.replace(part, path)
    except BaseException:
        remove(part)
        raise


def clean(folder: Path) -> None:
    """Remove the parts in a folder whose process is gone."""
    with suppress(OSError):
        for part in folder.glob(".*.part"):
            if abandoned(part):
                remove(part)


def abandoned(part: Path) -> bool:
    """Whether nobody writes this part any more."""
    match = PART.fullmatch(part.name)
    if match is None:
        return False
    if match["host"] == machine():
        return not psutil.pid_exists(int(match["pid"]))
    with suppress(OSError):
        return time.time() - part.lstat().st_mtime > DAY
    return False


@contextmanager
def removed(part: Path) -> Iterator[None]:
    """Remove a part at the end of the block, however it ends, unless it has been moved into its place."""
    try:
        yield
    finally:
        remove(part)


def remove(part: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    with suppress(OSError):
        part.unlink()
    shutil.rmtree(part, ignore_errors=True)
