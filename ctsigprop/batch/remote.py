"""A store of runs on any file system that fsspec reaches: an object store, a server, another machine's disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from ctsigprop.batch.job import Record
from ctsigprop.batch.records import HEAD, RUN, StoreError, check_head, encoded, head_text
from ctsigprop.batch.store import RunStore, Store, writing
from ctsigprop.results.solution import Solution


class RemoteStore(RunStore):
    """The runs under one address of a file system that fsspec supports, laid out as in `Store`.

    Object stores write a file whole or not at all; on other systems a checksum finds files that are incomplete. There
    are no locks: two sweeps at the same time may do the same run twice, and write the same result twice.

    Parameters
    ----------
    address : such as "s3://bucket/runs" or "sftp://host/runs"
    options : options of the file system, such as credentials

    Raises
    ------
    StoreError : the address cannot be reached, or holds a store of a newer format
    """

    def __init__(self, address: str, **options: object) -> None:
        self.place = address.rstrip("/")
        try:
            self.system, root = fsspec.core.url_to_fs(self.place, **options)
            self.root = str(root)
            head = self.text(HEAD)
        except (OSError, ValueError, ImportError) as error:
            raise StoreError(f"{address} cannot be reached: {error}") from None
        if head is not None:
            check_head(head, self.place)

    def prepare(self) -> None:
        if self.text(HEAD) is None:
            self.put(HEAD, head_text())

    def text(self, name: str) -> str | None:
        try:
            return str(self.system.cat_file(f"{self.root}/{name}").decode())
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            return ""  # there, but not to be read: damaged

    def put(self, name: str, text: str) -> None:
        path = f"{self.root}/{name}"
        with writing(self.place):
            self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.system.pipe_file(path, text.encode())

    def keys(self) -> list[str]:
        return sorted(str(path).split("/")[-2] for path in self.system.glob(f"{self.root}/*/{RUN}"))

    def plan_names(self) -> list[str]:
        names = self.system.glob(f"{self.root}/plans/*.json")
        return [f"plans/{str(path).rpartition('/')[2]}" for path in sorted(names, key=self._written)]

    def _written(self, path: str) -> tuple[str, str]:
        """Time at which a file was written, as far as the system tells, and its name."""
        about = self.system.info(path)
        when = next((about[key] for key in ("LastModified", "mtime", "created", "updated") if key in about), "")
        return str(when), path

    def write(self, key: str, record: Record, sol: Solution | None = None) -> None:
        if sol is not None:
            with tempfile.TemporaryDirectory() as folder, writing(self.place):
                saved = sol.save(Path(folder) / "solution")
                self.system.put(str(saved), f"{self.root}/{key}/solution", recursive=True)
        self.put(f"{key}/{RUN}", encoded(record, key))  # last: what has no record is not there

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        yield True

    def running(self) -> list[str]:
        return []


def open_store(place: str | Path | None) -> RunStore | None:
    """The store in a folder or at an address; None for none."""
    if place is None:
        return None
    return RemoteStore(place) if isinstance(place, str) and "://" in place else Store(place)
