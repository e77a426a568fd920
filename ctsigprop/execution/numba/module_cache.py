"""Compiled modules on disk, so that numba can keep their machine code next to them. The files are never executed:
each is compared with the source that it is named after, and written again if it differs.
"""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

MACHINE_CODE = "__pycache__"
"""Where numba keeps machine code, beside the source."""
OTHERS_WRITE = 0o022
"""Permission of the group and of all others to write."""


def load(source: str) -> ModuleType:
    """The module of some source, which is executed once in each process."""
    name = "ctsigprop_" + hashlib.sha256(source.encode()).hexdigest()[:24]
    if name not in sys.modules:
        folder = cache_folder()
        file = None if folder is None else kept(folder / f"{name}.py", source)
        module = ModuleType(name)
        module.__file__ = f"<{name}>" if file is None else str(file)
        exec(compile(source, module.__file__, "exec"), vars(module))
        sys.modules[name] = module
    return sys.modules[name]


def cache_folder() -> Path | None:
    """Where compiled modules are kept: $CTSIGPROP_CACHE, else ~/.cache/ctsigprop/compiled; None where that cannot be
    written to, or, after a warning, where others can: networks are then compiled anew in every process.
    """
    wanted = os.environ.get("CTSIGPROP_CACHE")
    return trusted(Path(wanted).expanduser() if wanted else Path.home() / ".cache" / "ctsigprop" / "compiled")


@cache
def trusted(folder: Path) -> Path | None:
    """The folder, made where it is missing; looked at once in each process."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / MACHINE_CODE).mkdir(mode=0o700, exist_ok=True)
        reason = objection(folder) or objection(folder / MACHINE_CODE)
    except OSError:
        return None
    if reason is None:
        return folder
    warnings.warn(
        f"machine code is not kept in {folder}, as {reason}: networks are compiled anew in every process. "
        f"Run `chmod -R go-w {folder}`, or set CTSIGPROP_CACHE to a folder of your own",
        stacklevel=2,
    )
    return None


def objection(folder: Path) -> str | None:
    """Why code must not be loaded from a folder, or None: it is another user's, or others may write to it."""
    if sys.platform == "win32":
        return None  # what is below a user's profile is that user's
    about = folder.stat()
    if about.st_uid != os.getuid():
        return f"{folder.name} belongs to another user"
    if about.st_mode & OTHERS_WRITE:
        return f"others may write to {folder.name} (mode {about.st_mode & 0o777:o})"
    return None


def kept(file: Path, source: str) -> Path | None:
    """The file, which holds the source from now on; None where it cannot be written."""
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.part")
    text = source.encode()
    try:
        if not file.is_file() or file.read_bytes() != text:
            part.write_bytes(text)
            os.replace(part, file)  # whole or not at all, whoever else writes it
    except OSError:
        part.unlink(missing_ok=True)
        return None
    return file
