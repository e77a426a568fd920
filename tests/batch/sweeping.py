"""A small sweep that several test files, and processes that are killed, run."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import ctsigprop as ct

torch.set_num_threads(1)
MOONS = ct.datasets.two_moons(60, seed=0)
DATA = dataclasses.replace(MOONS, x_train=MOONS.x_train.double(), x_test=MOONS.x_test.double())
"""In float64: networks as small as these are chaotic, so that by the end a rounding error of float32 is of order 1."""
EULER = ct.solvers.Euler(dt=1.0)
SHOWN = ct.Presentations(DATA.x_train, DATA.y_train, 48, epochs=100)
GRID = {"rate": [0.5, 1.0, 2.0, 4.0], "units": [3, 4, 5, 6]}


def build(rate: float, units: int) -> ct.Network:
    rule = ct.rules.ContrastiveHebbian(rate=rate)
    return ct.Network([2, units], n_classes=2, signal=ct.TargetStream(), rule=rule)


def run(store: Path | None = None, **options: Any) -> ct.Runs:
    """The 64 runs of every test here."""
    given = {"seeds": 4, "test": DATA, "solver": EULER, "n_jobs": 1, **options}
    return ct.sweep(build, GRID, SHOWN, store=store, **given)


def noted_run(log: Path, store: Path) -> None:
    """A sweep that notes the key of every run it does."""
    true = ct.batch.schedule.run_group  # type: ignore[attr-defined]

    def noting(jobs: Any) -> Iterator[Any]:
        for result in true(jobs):
            with log.open("a") as file:
                file.write(result[0].key + "\n")
            yield result

    ct.batch.schedule.run_group = noting  # type: ignore[attr-defined]
    run(store)


def run_in_two_processes(store: Path) -> None:
    """A sweep that leads a group of processes of its own, its workers in it."""
    os.setsid()
    run(store, n_jobs=2)


class Slow(ct.Rate):
    """A neuron that takes its time, so that its runs go one after another."""

    def flow(self, variables: Any, drive: Any) -> Any:
        time.sleep(0.002)
        return super().flow(variables, drive)


def build_slow(rate: float) -> ct.Network:
    rule = ct.rules.ContrastiveHebbian(rate=rate)
    return ct.Network([2, 4], n_classes=2, neuron=Slow(), signal=ct.TargetStream(), rule=rule)


def run_slowly_in_two_processes(store: Path) -> None:
    """Runs of a quarter of a second or more each, many more than are waited for."""
    ct.sweep(build_slow, {"rate": [1.0]}, SHOWN, seeds=200, test=DATA, solver=EULER, store=store, n_jobs=2)
