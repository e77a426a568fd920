"""What can happen to the files of a store: each mutation is drawn, done to a copy, and described in a word or two."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

VALUES: list[Any] = [None, -1, 0, 1, 10**9, 10**30, 1.5, "", "x" * 300, "../../etc/passwd", [], {}, [1], {"a": 1}, True]


def files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


def flip(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def cut(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: draw.randrange(file.stat().st_size)])


def grow(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes() + draw.randbytes(9))


def delete(file: Path, draw: random.Random) -> None:
    file.unlink()


def swap(file: Path, draw: random.Random) -> None:
    """With a file of the same kind and size, if there is one: sizes alone do not tell."""
    store = next(above for above in file.parents if above.name == "store")
    same = [f for f in files(store) if f != file and f.stat().st_size == file.stat().st_size]
    other = draw.choice(same or [f for f in files(store) if f != file])
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(mine)


def garble(file: Path, draw: random.Random) -> None:
    """Give some key of a JSON file another value; of any other file, some bytes."""
    try:
        whole = json.loads(file.read_text())
    except ValueError:
        content = bytearray(file.read_bytes())
        start = draw.randrange(len(content))
        content[start : start + 4] = draw.randbytes(4)
        file.write_bytes(content)
        return
    place = whole
    while isinstance(place, dict | list) and place:
        key: Any = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.3:
            place[key] = draw.choice(VALUES)
            break
        place = place[key]
    file.write_text(json.dumps(whole))


def nest(file: Path, draw: random.Random) -> None:
    """JSON that is nested more deeply than a parser goes."""
    file.write_text('{"a":' * 100_000)


def link_to_a_device(file: Path, draw: random.Random) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def link_outside(file: Path, draw: random.Random) -> None:
    outside = file.parent.parent / f"outside {file.name}"
    shutil.move(file, outside)
    file.symlink_to(outside)


def pipe(file: Path, draw: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def enormous(file: Path, draw: random.Random) -> None:
    """Every size in it a thousand million; of a file that has none, as `garble`."""
    text = file.read_text(errors="replace")
    try:
        meta = json.loads(text)
    except ValueError:
        meta = {}
    if not isinstance(meta, dict) or "shape" not in meta:
        garble(file, draw)
        return
    meta["shape"] = [10**9 for _ in meta["shape"]]
    file.write_text(json.dumps(meta, indent=2))


MUTATIONS: list[Callable[[Path, random.Random], None]] = [
    *(flip, flip, cut, grow, delete, swap, garble, garble, nest),
    *(link_to_a_device, link_outside, pipe, enormous),
]


def mutated(store: Path, copy: Path, seed: int) -> str:
    """Copy a store to a folder called "store", do something to one of its files, and say what."""
    draw = random.Random(seed)
    shutil.copytree(store, copy)
    file = draw.choice(files(copy))
    mutation = MUTATIONS[seed % len(MUTATIONS)]
    mutation(file, draw)
    return f"{mutation.__name__} {file.relative_to(copy)}"
