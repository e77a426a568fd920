"""A store of runs: a folder with one folder per run, each written whole or not at all.

STORE/store.json        format and version
STORE/KEY/run.json      the record of one run, with a checksum; KEY is the fingerprint of its whole configuration
STORE/KEY/solution/     its last solution, where asked for; `ct.load` reads it
STORE/plans/NAME.json   what a sweep is made of: keys, settings and seeds, in order
STORE/locks/KEY.lock    held by the process that is at it; the system lets go of it when the process dies
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ctsigprop.batch.job import Record
from ctsigprop.solution import Solution

FORMAT, VERSION = "ctsigprop-runs", 1
HEAD, RUN = "store.json", "run.json"


class StoreError(OSError):
    """A store that cannot be used: full, read-only, of another or of a newer format."""


class Damaged(ValueError):
    """The record of a run that is cut short or was changed by hand."""


class Store:
    """The runs in one folder. Opening it for reading changes nothing on disk.

    Parameters
    ----------
    path : folder; made by the first `prepare`

    Raises
    ------
    StoreError : the folder is something else, or of a newer format
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        head = self.path / HEAD
        if head.is_file():
            check_head(read_json(head), self.path)
        elif self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is not a store of runs: it is no folder")
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise StoreError(f"{self.path} is not a store of runs: it has files, but no {HEAD}")

    def prepare(self) -> None:
        """Make the folder, and see that it can be written to.

        Raises
        ------
        StoreError : it cannot
        """
        with writing(self.path):
            for part in ("plans", "locks"):
                (self.path / part).mkdir(parents=True, exist_ok=True)
            if not (self.path / HEAD).is_file():
                put(self.path / HEAD, json.dumps({"format": FORMAT, "version": VERSION}))
            probe = self.path / f".{uuid.uuid4().hex[:8]}.part"
            probe.write_text("writable")
            probe.unlink()

    def __contains__(self, key: str) -> bool:
        return (self.path / key / RUN).is_file()

    def keys(self) -> list[str]:
        """The runs that are there, sorted."""
        return sorted(file.parent.name for file in self.path.glob(f"*/{RUN}") if not file.parent.name.startswith("."))

    def read(self, key: str) -> Record:
        """The record of one run.

        Raises
        ------
        Damaged : it is cut short or was changed
        StoreError : it is of a newer format
        """
        file = self.path / key / RUN
        try:
            head = json.loads(file.read_text())
            body, version = str(head["run"]), int(head["version"])
        except (OSError, ValueError, KeyError, TypeError):
            raise Damaged(f"{file} is damaged: it cannot be read") from None
        if version > VERSION:
            raise StoreError(f"{file} has format version {version}, this ctsigprop reads up to {VERSION}: upgrade it")
        if digest(body) != head.get("digest"):
            raise Damaged(f"{file} is damaged: its checksum is not that of its contents")
        return Record(**json.loads(body))

    def found(self, key: str, settings: Mapping[str, Any], seed: int) -> Record:
        """The record of a planned run, or one that says that it is missing or damaged."""
        if key not in self:
            return Record(settings, seed, "missing", "This run has not been done yet.")
        try:
            return self.read(key)
        except Damaged as damaged:
            return Record(settings, seed, "damaged", f"{damaged}; it is done again when the sweep goes on")

    def intact(self, key: str) -> bool:
        """Whether the run is there and undamaged."""
        if key not in self:
            return False
        try:
            self.read(key)
        except Damaged:
            return False
        return True

    def write(self, key: str, record: Record, sol: Solution | None = None) -> None:
        """Add a run, or put it in the place of an earlier one; a reader sees the whole of either.

        Raises
        ------
        StoreError : the disk is full, or may not be written to; nothing of the run is left there
        """
        part = self.path / f".{key}.{uuid.uuid4().hex[:8]}.part"
        body = json.dumps(dataclasses.asdict(record), default=as_plain)
        with writing(self.path):
            try:
                part.mkdir(parents=True)
                text = json.dumps({"format": FORMAT, "version": VERSION, "digest": digest(body), "run": body})
                (part / RUN).write_text(text)
                if sol is not None:
                    sol.save(part / "solution")
                self._into_place(part, self.path / key)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise

    def _into_place(self, part: Path, place: Path) -> None:
        old = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.part")
        if place.exists():
            os.rename(place, old)
        os.rename(part, place)
        shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Whether this process may do the run now; no other one may until the block is left."""
        file = self.path / "locks" / f"{key}.lock"
        lock = FileLock(file, timeout=0, thread_local=False)
        try:
            with writing(self.path):
                lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            with suppress(OSError):  # whoever has opened the removed file finds the run done
                file.unlink()
            lock.release()

    def running(self) -> list[str]:
        """The runs that some process is at."""
        found = []
        for file in sorted((self.path / "locks").glob("*.lock")):
            lock = FileLock(file, timeout=0, thread_local=False)
            try:
                lock.acquire()
                lock.release()
            except Timeout:
                found.append(file.stem)
            except OSError:
                continue  # a store that may only be read: nobody is at it
        return found

    def plan(self, title: str, runs: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
        """Note what a sweep is made of, under the fingerprint of its runs."""
        body = json.dumps({"title": title, "about": about, "runs": list(runs)}, default=as_plain)
        name = digest("".join(run["key"] for run in runs))[:20]
        with writing(self.path):
            put(self.path / "plans" / f"{name}.json", body)

    def plans(self) -> list[dict[str, Any]]:
        """Every noted sweep, the latest last."""
        files = sorted((self.path / "plans").glob("*.json"), key=lambda file: file.stat().st_mtime)
        return [read_json(file) for file in files]

    def clean(self) -> None:
        """Remove what processes that died have left half-written."""
        for part in self.path.glob(".*.part"):
            key = part.name.split(".")[1]
            with self.claim(key) as mine:
                if mine:
                    shutil.rmtree(part, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about a full or read-only disk into one sentence."""
    try:
        yield
    except (StoreError, Timeout):
        raise
    except OSError as error:
        raise StoreError(
            error.errno,
            f"the store {path} cannot be written to ({error.strerror or error}); the runs that it holds are whole: "
            "make room or choose another folder, then start the same again",
        ) from error


def put(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.write_text(text)
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_json(file: Path) -> dict[str, Any]:
    """A file of one JSON object.

    Raises
    ------
    StoreError : it is not
    """
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise StoreError(f"{file} cannot be read: it is damaged, or of something else")
    return found


def check_head(head: dict[str, Any], path: Path) -> None:
    """Raise unless a store is of ours, and of a version that is known here."""
    if head.get("format") != FORMAT or not isinstance(head.get("version"), int):
        raise StoreError(f"{path} is not a store of runs: its {HEAD} is of something else")
    if head["version"] > VERSION:
        raise StoreError(
            f"{path} has format version {head['version']}, this ctsigprop reads up to {VERSION}: upgrade it"
        )


def digest(text: str) -> str:
    """Checksum of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def as_plain(value: Any) -> Any:
    """Settings that JSON has no word for: NumPy's numbers as numbers, anything else by its `repr`."""
    return value.item() if hasattr(value, "item") else repr(value)
