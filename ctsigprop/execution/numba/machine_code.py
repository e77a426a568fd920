"""Machine code on disk, in numba's files, with checksums. A file that was cut short or changed is compiled again."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

from ctsigprop.execution.numba.module_cache import objection

LENGTH = hashlib.sha256().digest_size


class CheckedFiles(IndexDataCacheFile):
    """An index of a function's signatures and a file of machine code for each; a damaged one counts as missing."""

    def _load_index(self) -> dict[Any, str]:
        try:
            stamp, names = pickle.loads(self._checked(self._index_path))
        except OSError:
            return {}
        return names if stamp == self._source_stamp else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._put(self._index_path, self._dump((self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(self._checked(self._data_path(name)))

    def _save_data(self, name: str, data: Any) -> None:
        self._put(self._data_path(name), self._dump(data))

    def _digest(self, data: bytes) -> bytes:
        """Checksum of what this version of numba has written."""
        return hashlib.sha256(self._version.encode() + data).digest()

    def _put(self, path: str, data: bytes) -> None:
        with self._open_for_write(path) as file:
            file.write(self._digest(data) + data)

    def _checked(self, path: str) -> bytes:
        """What a file holds.

        Raises
        ------
        OSError : it is missing or damaged, or another version of numba wrote it
        """
        whole = Path(path).read_bytes()
        if whole[:LENGTH] != self._digest(whole[LENGTH:]):
            raise OSError(f"{path} is damaged")
        return whole[LENGTH:]


class CheckedCache(FunctionCache):
    """The machine code of one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = CheckedFiles(self._cache_path, self._impl.filename_base, stamp)

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Write it where that is possible: a full disk does not end a run."""
        with suppress(OSError):
            super().save_overload(signature, compiled)


def kept(function: Any) -> Any:
    """A function of numba's that keeps its machine code on disk, where its source is there too."""
    if hasattr(function, "py_func") and Path(function.py_func.__code__.co_filename).is_file():
        with suppress(OSError):
            code = CheckedCache(function.py_func)
            if objection(Path(code.cache_path)) is None:
                function._cache = code
    return function
