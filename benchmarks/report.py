"""Medians of times, and tables: printed row by row, and written to `benchmarks/results/` as CSV and as plots."""

from __future__ import annotations

import csv
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent / "results"


class Spent(NamedTuple):
    """What a call found, and the ms of its run alone, without the code generation that comes before."""

    ms: float
    found: Any


def medians(repeats: int, calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median wall time of each call in ms (`Spent` tells its own), taken in turns after one warm-up of each."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(repeats + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            found = call()
            wall = 1e3 * (time.perf_counter() - began)
            if k:
                times[name].append(found.ms if isinstance(found, Spent) else wall)
    return {name: statistics.median(kept) for name, kept in times.items()}


class Table:
    """One table; use it in a `with` block, and call it with the cells of each row.

    Parameters
    ----------
    title : str, names the files too
    columns : heads; the first ones say what was measured
    drawn : str, the column of numbers that the plot shows
    """

    def __init__(self, title: str, *columns: str, drawn: str) -> None:
        self.title, self.columns, self.drawn = title, columns, drawn
        self.rows: list[tuple[str, ...]] = []

    def __enter__(self) -> Table:
        print(f"\n**{self.title}**\n\n| {' | '.join(self.columns)} |\n|{'---|' * len(self.columns)}", flush=True)
        return self

    def __call__(self, *cells: object) -> None:
        """One row; numbers are written with three digits."""
        texts = tuple(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells)
        self.rows.append(texts)
        print(f"| {' | '.join(texts)} |", flush=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.rows:
            name = re.sub(r"[^a-z0-9]+", "_", self.title.lower()).strip("_")
            FOLDER.mkdir(exist_ok=True)
            with (FOLDER / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([self.columns, *self.rows])
            self.plot(FOLDER / f"{name}.png")

    def plot(self, path: Path) -> None:
        """A bar for every row that has a number in the drawn column."""
        place = self.columns.index(self.drawn)
        shown = [row for row in self.rows if re.fullmatch(r"[0-9.e+-]+", row[place])]
        named = [column for column in range(place) if len({row[column] for row in shown}) > 1] or [0]
        words = [k for k in named if not all(re.fullmatch(r"[0-9.e+-]+", row[k]) for row in shown)] or named[:1]
        labels = [", ".join(row[k] for k in words) for row in shown]
        values = [float(row[place]) for row in shown]
        figure, ax = plt.subplots(figsize=(7.0, 0.6 + 0.32 * len(shown)), layout="constrained")
        wide = bool(values) and max(values) > 10 * min(values) > 0
        if wide:  # bars would have no foot
            ax.plot(values, range(len(shown)), "o", color="#0072B2")
            ax.set_xscale("log")
            ax.grid(axis="x", alpha=0.3)
        else:
            ax.barh(range(len(shown)), values, color="#0072B2")
        for place_of, (value, row) in enumerate(zip(values, shown, strict=True)):
            ax.annotate(row[place], (value, place_of), (7, 0), textcoords="offset points", va="center")
        ax.set_yticks(range(len(shown)), labels)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        if values:
            ax.set_xlim(right=max(values) * (2.0 if wide else 1.15))
        ax.set_xlabel(self.drawn)
        ax.set_title(self.title, fontsize="medium")
        figure.savefig(path, dpi=120)
        plt.close(figure)
