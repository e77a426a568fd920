"""A store of runs: a folder with one folder per run, each written whole or not at all.

STORE/store.json        format and version
STORE/KEY/run.json      the record of one run, with a checksum; KEY is the fingerprint of its whole configuration
STORE/KEY/solution/     its last solution, with keep=True; `ct.load` reads it
STORE/plans/NAME.json   the plan of a sweep: keys, settings and seeds, in order
STORE/locks/KEY.lock    held by the process that does the run; the system releases it when the process dies
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ctsigprop.batch.job import Job, Record, Settings
from ctsigprop.batch.records import (
    HEAD,
    RUN,
    SPENT,
    Damaged,
    Plan,
    StoreError,
    as_plain,
    as_text,
    check_head,
    checked_plan,
    decoded,
    digest,
    encoded,
    head_text,
)
from ctsigprop.files.paths import clean, folders_above, local, part_of, remove, removed, replace_text
from ctsigprop.files.unreadable import Unreadable, read_text, sealed, size_of
from ctsigprop.results.solution import Solution

FOLDERS = ("plans", "locks")


class RunStore(ABC):
    """Where the runs of a batch are kept. Opening it for reading changes nothing."""

    place: str

    @abstractmethod
    def prepare(self) -> None:
        """Create it, check that it can be written to, and remove half-written files of processes that died.

        Raises
        ------
        StoreError : it cannot be created or written to; no trace of it is left
        """

    @abstractmethod
    def text(self, name: str) -> str | None:
        """The text stored under a name, or None."""

    @abstractmethod
    def put(self, name: str, text: str) -> None:
        """Store a text under a name, whole or not at all."""

    @abstractmethod
    def keys(self) -> list[str]:
        """The keys of the stored runs, sorted."""

    @abstractmethod
    def plan_names(self) -> list[str]:
        """Names of the recorded sweeps, the latest last."""

    @abstractmethod
    def write(self, key: str, record: Record, sol: Solution | None = None) -> None:
        """Add a run, or replace an earlier one. A reader sees one or the other, always complete.

        Raises
        ------
        StoreError : the disk is full or not writable; nothing of the run is left there
        """

    @abstractmethod
    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Whether this process may do the run now. No other process may until the `with` block ends."""

    @abstractmethod
    def running(self) -> list[str]:
        """The runs that some process is doing now, as far as can be known."""

    def __contains__(self, key: str) -> bool:
        return self.text(f"{key}/{RUN}") is not None

    def read(self, key: str) -> Record:
        """The record of one run.

        Raises
        ------
        Damaged : it is cut short or was changed
        StoreError : it is in a newer format
        """
        return decoded(self.text(f"{key}/{RUN}") or "", f"{self.place}/{key}/{RUN}", key)

    def read_planned(self, key: str, settings: Settings, seed: int) -> Record:
        """The record of a run with known settings and seed.

        Raises
        ------
        Damaged, StoreError : as in `read`; the record of another run also counts as damage
        """
        record = self.read(key)
        if seed != record.seed or as_text(settings) != as_text(record.settings):
            raise Damaged(f"{self.place}/{key}/{RUN} is damaged: it is the record of another run")
        return record

    def found(self, key: str, settings: Settings, seed: int, metrics: Sequence[str] = ()) -> Record:
        """The record of a planned run, or one that says the run is missing or damaged."""
        if key not in self:
            return Record(settings, seed, "missing", "This run has not been done yet.")
        try:
            record = self.read_planned(key, settings, seed)
            missing = sorted({*metrics, *SPENT} - record.curve.keys()) if record.curve else []
            if missing:
                raise Damaged(f"{self.place}/{key}/{RUN} is damaged: it has no {missing[0]}")
            return record
        except Damaged as damaged:
            return Record(settings, seed, "damaged", f"{damaged}; it is done again when the sweep goes on")

    def intact(self, key: str) -> bool:
        """Whether the run is stored and undamaged."""
        try:
            return key in self and bool(self.read(key))
        except Damaged:
            return False

    def plan(self, title: str, runs: Sequence[Job], about: Settings) -> None:
        """Record the plan of a sweep, under the fingerprint of its runs."""
        planned = [{"key": run.key, "settings": run.settings, "seed": run.seed} for run in runs]
        body = {"title": title, "about": about, "runs": planned}
        text = sealed(json.loads(json.dumps(body, default=as_plain)))
        self.put(f"plans/{digest(''.join(run.key for run in runs))[:20]}.json", text)

    def plans(self) -> list[Plan]:
        """Every recorded sweep, the latest last.

        Raises
        ------
        UnreadableStore : a plan that is damaged, or a file that is no plan
        """
        return [checked_plan(self.text(name) or "", f"{self.place}/{name}") for name in self.plan_names()]


class Store(RunStore):
    """The runs in one folder.

    Parameters
    ----------
    path : the folder; the first `prepare` creates it

    Raises
    ------
    StoreError : the folder is not a store, or is in a newer format
    """

    def __init__(self, path: str | Path) -> None:
        self.path = local("store", path)  # absolute: workers may start elsewhere
        self.place = str(path)
        head = self.text(HEAD)
        if head is not None:
            check_head(head, self.place)
        elif self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{path} is not a store of runs: it is no folder")
        elif self.path.is_dir() and not all(of_a_start(entry.name) for entry in self.path.iterdir()):
            raise StoreError(f"{path} is not a store of runs: it has files, but no {HEAD}")

    def prepare(self) -> None:
        plans, locks = (self.path / part / HEAD for part in FOLDERS)
        with writing(self.place), folders_above(plans), folders_above(locks):
            if self.text(HEAD) is None:
                replace_text(self.path / HEAD, head_text())
            probe = part_of(self.path / "writable")
            with removed(probe):
                probe.write_text("writable")
        self.clean()

    def text(self, name: str) -> str | None:
        try:
            return read_text(self.path, name)
        except Unreadable:
            return ""  # there, but not to be read: damaged

    def put(self, name: str, text: str) -> None:
        with writing(self.place):
            replace_text(self.path / name, text)

    def keys(self) -> list[str]:
        return sorted(file.parent.name for file in self.path.glob(f"*/{RUN}") if not file.parent.name.startswith("."))

    def plan_names(self) -> list[str]:
        files = sorted((self.path / "plans").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        return [f"plans/{file.name}" for file in files if not file.name.startswith(".")]

    def write(self, key: str, record: Record, sol: Solution | None = None) -> None:
        part = part_of(self.path / key)
        with writing(self.place), removed(part):
            part.mkdir(parents=True)
            (part / RUN).write_text(encoded(record, key))
            if sol is not None:
                sol.save(part / "solution")
            self._into_place(part, self.path / key)

    def _into_place(self, part: Path, place: Path) -> None:
        old = part_of(place)
        if place.exists():
            os.rename(place, old)
        os.rename(part, place)
        remove(old)

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        size_of(self.path, f"locks/{key}.lock")  # no link to what is not to be touched
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
        held = []
        for file in self._locks():
            lock = FileLock(file, timeout=0, thread_local=False)
            try:
                lock.acquire()
                lock.release()
            except Timeout:
                held.append(file.stem)
            except OSError:
                continue  # a store that may only be read: nobody is at it
        return held

    def _locks(self) -> list[Path]:
        """The lock files: no links, which may point anywhere."""
        return [
            file for file in sorted((self.path / "locks").glob("*.lock")) if not file.is_symlink() and file.is_file()
        ]

    def clean(self) -> None:
        """Remove what processes that died left behind: parts of runs, of plans and of store.json, and locks."""
        for part in self.path.glob(".*.part"):
            with self.claim(part.name.split(".")[1]) as mine:
                if mine and part.is_dir():
                    remove(part)
        for folder in (self.path, *(self.path / part for part in FOLDERS)):
            clean(folder)
        for lock in self._locks():
            with self.claim(lock.stem):
                pass  # one that nobody holds is removed when it is let go


def of_a_start(name: str) -> bool:
    """Whether a file or folder is what a process leaves that dies while it makes a store."""
    return name in FOLDERS or name.endswith(".part")


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
