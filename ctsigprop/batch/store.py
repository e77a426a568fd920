"""A store of runs: a folder with one folder per run, each written whole or not at all.

STORE/store.json        format and version
STORE/KEY/run.json      the record of one run, with a checksum; KEY is the fingerprint of its whole configuration
STORE/KEY/solution/     its last solution, where asked for; `ct.load` reads it
STORE/plans/NAME.json   what a sweep is made of: keys, settings and seeds, in order
STORE/locks/KEY.lock    held by the process that is at it; the system lets go of it when the process dies
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ctsigprop.batch.job import Record
from ctsigprop.batch.records import (
    HEAD,
    RUN,
    Damaged,
    StoreError,
    as_object,
    as_plain,
    check_head,
    decoded,
    digest,
    encoded,
    head_text,
)
from ctsigprop.solution import Solution


class RunStore(ABC):
    """Where the runs of a batch are kept. Opening it for reading changes nothing there."""

    place: str

    @abstractmethod
    def prepare(self) -> None:
        """Make it, and see that it can be written to; raise StoreError where it cannot."""

    @abstractmethod
    def text(self, name: str) -> str | None:
        """What stands under a name, or None."""

    @abstractmethod
    def put(self, name: str, text: str) -> None:
        """Put a text under a name, whole or not at all."""

    @abstractmethod
    def keys(self) -> list[str]:
        """The runs that are there, sorted."""

    @abstractmethod
    def plan_names(self) -> list[str]:
        """Names of the noted sweeps, the latest last."""

    @abstractmethod
    def write(self, key: str, record: Record, sol: Solution | None = None) -> None:
        """Add a run, or put it in the place of an earlier one; a reader sees the whole of either.

        Raises
        ------
        StoreError : the disk is full, or may not be written to; nothing of the run is left there
        """

    @abstractmethod
    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Whether this process may do the run now; no other one may until the block is left."""

    @abstractmethod
    def running(self) -> list[str]:
        """The runs that some process is at, as far as can be told."""

    @abstractmethod
    def clean(self) -> None:
        """Remove what processes that died have left half-written."""

    def __contains__(self, key: str) -> bool:
        return self.text(f"{key}/{RUN}") is not None

    def read(self, key: str) -> Record:
        """The record of one run.

        Raises
        ------
        Damaged : it is cut short or was changed
        StoreError : it is of a newer format
        """
        return decoded(self.text(f"{key}/{RUN}") or "", f"{self.place}/{key}/{RUN}")

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
        try:
            return key in self and bool(self.read(key))
        except Damaged:
            return False

    def plan(self, title: str, runs: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
        """Note what a sweep is made of, under the fingerprint of its runs."""
        body = json.dumps({"title": title, "about": about, "runs": list(runs)}, default=as_plain)
        self.put(f"plans/{digest(''.join(run['key'] for run in runs))[:20]}.json", body)

    def plans(self) -> list[dict[str, Any]]:
        """Every noted sweep, the latest last."""
        return [as_object(self.text(name) or "", f"{self.place}/{name}") for name in self.plan_names()]


class Store(RunStore):
    """The runs in one folder.

    Parameters
    ----------
    path : folder; made by the first `prepare`

    Raises
    ------
    StoreError : the folder is something else, or of a newer format
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()  # workers may start elsewhere
        self.place = str(path)
        head = self.text(HEAD)
        if head is not None:
            check_head(head, self.place)
        elif self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{path} is not a store of runs: it is no folder")
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise StoreError(f"{path} is not a store of runs: it has files, but no {HEAD}")

    def prepare(self) -> None:
        with writing(self.place):
            for part in ("plans", "locks"):
                (self.path / part).mkdir(parents=True, exist_ok=True)
            probe = self.path / f".{uuid.uuid4().hex[:8]}.part"
            probe.write_text("writable")
            probe.unlink()
        if self.text(HEAD) is None:
            self.put(HEAD, head_text())

    def text(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError):
            return ""  # there, but not to be read: damaged

    def put(self, name: str, text: str) -> None:
        file = self.path / name
        part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.part")
        with writing(self.place):
            try:
                part.write_text(text)
                os.replace(part, file)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def keys(self) -> list[str]:
        return sorted(file.parent.name for file in self.path.glob(f"*/{RUN}") if not file.parent.name.startswith("."))

    def plan_names(self) -> list[str]:
        files = sorted((self.path / "plans").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        return [f"plans/{file.name}" for file in files if not file.name.startswith(".")]

    def write(self, key: str, record: Record, sol: Solution | None = None) -> None:
        part = self.path / f".{key}.{uuid.uuid4().hex[:8]}.part"
        with writing(self.place):
            try:
                part.mkdir(parents=True)
                (part / RUN).write_text(encoded(record))
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
        file = self.path / "locks" / f"{key}.lock"
        lock = FileLock(file, timeout=0, thread_local=False)
        try:
            with writing(self.place):
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

    def clean(self) -> None:
        for part in self.path.glob(".*.part"):
            with self.claim(part.name.split(".")[1]) as mine:
                if mine and part.is_dir():
                    shutil.rmtree(part, ignore_errors=True)


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Turn what the system says about a full or read-only disk into one sentence."""
    try:
        yield
    except (StoreError, Timeout):
        raise
    except OSError as error:
        raise StoreError(
            error.errno,
            f"the store {place} cannot be written to ({error.strerror or error}); the runs that it holds are whole: "
            "make room or choose another folder, then start the same again",
        ) from error
