"""The results of a batch: tables, labelled curves, plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ctsigprop.batch import tables
from ctsigprop.batch.job import COSTS, Budget, Record, Settings, as_budget
from ctsigprop.batch.measures import TRAINING
from ctsigprop.batch.records import StoreError, UnreadableStore
from ctsigprop.batch.remote import open_store
from ctsigprop.batch.statistics import TESTS, Level, Test, differences, summarise
from ctsigprop.plot import batches
from ctsigprop.rules.checks import lookup

COUNTED = ("completed", "stopped")
"""The status of runs whose last value counts: the others broke off."""


@dataclass(frozen=True, repr=False)
class Runs:
    """The runs of a batch, in the order they were planned.

    Parameters
    ----------
    records : one Record per run
    keys : for each run its folder in the store, which is also the name of its configuration
    metrics : names of the metrics; the first one is compared and drawn unless you name another
    factors : names of the settings
    compared : the setting to compare, or None
    budget : what each run could spend
    test : "t", "permutation" or "wilcoxon", the paired test
    reference : the level to compare all others with; default every pair
    """

    records: Sequence[Record] = field(repr=False)
    keys: Sequence[str] = field(repr=False)
    metrics: tuple[str, ...]
    factors: tuple[str, ...]
    compared: str | None = None
    budget: Budget = field(default_factory=Budget)
    test: Test = "t"
    reference: Level | None = None

    def __post_init__(self) -> None:
        if self.test not in TESTS:
            raise ValueError(f"test must be one of {', '.join(TESTS)}, got {self.test!r}")
        if self.compared is not None and self.compared not in self.factors:
            raise ValueError(f"compared must be one of {', '.join(self.factors)}, got {self.compared!r}")
        if self.reference is not None and self.compared is not None and self.records:
            lookup("reference", str(self.reference), {str(level): level for level in self.levels})

    @classmethod
    def load(cls, store: str | Path) -> Runs:
        """The runs of the comparison or sweep started last in a store; unfinished ones have the status "missing".

        Raises
        ------
        StoreError : there is no store. If it is damaged or in a newer format, also an `Unreadable` (a ValueError)
        """
        place = open_store(store)
        if place is None:
            raise StoreError("there is no store: give its folder or address")
        plans = place.plans()
        if not plans:
            raise StoreError(f"{place.place} is not a store of runs: no comparison or sweep was started in it")
        about, planned = plans[-1].about, plans[-1].runs
        records = [place.found(run.key, run.settings, run.seed, about.metrics) for run in planned]
        runs = cls(records, [run.key for run in planned], tuple(about.metrics), tuple(about.factors))
        try:
            return replace(
                runs,
                compared=about.compared,
                test=about.test,
                reference=about.reference,
                budget=as_budget(about.budget),
            )
        except ValueError as error:
            raise UnreadableStore(f"{place.place}/{place.plan_names()[-1]} is damaged: {error}") from None

    def noted(self) -> Settings:
        """The information, besides the records, that `load` needs from a store."""
        budget = (self.budget.kind, self.budget.amount)
        compared = {"compared": self.compared, "test": self.test, "reference": self.reference}
        return {"metrics": self.metrics, "factors": self.factors, **compared, "budget": budget}

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: settings, seed, status, message, metrics at the end or at the budget, and counts.

        It does not depend on when or where the runs were done, or how often they were interrupted.
        """
        rows = []
        for key, record, point in zip(self.keys, self.records, self._points, strict=True):
            ends = {name: record.curve[name][point] if record.curve else np.nan for name in self.metrics}
            counts = {name: record.counts.get(name, 0) for name in COSTS}
            told = {"seed": record.seed, "status": record.status, "message": record.message}
            rows.append({**record.settings, **told, **ends, **counts, "run": key})
        return pd.DataFrame(rows)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """One row per run: settings, seed, right-hand side evaluations, wall seconds and peak memory in MB."""
        rows = []
        for record, point in zip(self.records, self._points, strict=True):
            spent = {
                name: record.curve[name][point] if record.curve else np.nan for name in ("rhs_evaluations", "seconds")
            }
            rows.append({**record.settings, "seed": record.seed, **spent, "megabytes": record.megabytes})
        return pd.DataFrame(rows)

    @property
    def table(self) -> pd.DataFrame:
        """`summary()` if levels are compared, else `runs`."""
        return self.runs if self.compared is None else self.summary()

    @cached_property
    def levels(self) -> list[Level]:
        """The levels of the compared setting, in order."""
        if self.compared is None:
            raise ValueError(f"nothing is compared: choose with .compare_by(one of {', '.join(self.factors)})")
        return list(dict.fromkeys(tables.plain(record.settings[self.compared]) for record in self.records))

    def compare_by(self, name: str, reference: Level | None = None) -> Runs:
        """The same runs, comparing the levels of one setting. Runs that agree in everything else form a pair."""
        return replace(self, compared=name, reference=reference)

    @cached_property
    def _points(self) -> list[int]:
        """Index of the point of each run's curve that counts: the last one within the budget."""
        if self.budget.kind == "presentations" or self.budget.amount is not None:
            return [-1] * len(self.records)
        column = self.budget.column
        least: dict[int, float] = {}
        for record in self.records:
            if record.ok:
                least[record.seed] = min(least.get(record.seed, np.inf), record.curve[column][-1])
        points = []
        for record in self.records:
            spent = np.asarray(record.curve.get(column, [0.0]))
            points.append(max(0, int(np.searchsorted(spent, least.get(record.seed, np.inf), "right")) - 1))
        return points

    def values(self, metric: str | None = None) -> pd.DataFrame:
        """Final values of a metric, one row per level, one column per block (all else, including the seed).

        Runs that raised an error or diverged are NaN.
        """
        name = self._metric(metric)
        level = self.levels and self.compared
        others = [factor for factor in (*self.factors, "seed") if factor != level]
        runs = self._drawable(self.runs)
        runs[name] = runs[name].where(runs["status"].isin(COUNTED))
        block = runs[others].astype(str).agg(" ".join, axis=1)
        wide = runs.assign(block=block).pivot(index=level, columns="block", values=name)
        return wide.loc[self.levels, list(dict.fromkeys(block))]

    def summary(self, metric: str | None = None) -> pd.DataFrame:
        """One row per level: mean, its 95 % bootstrap interval, seeds, failures, and mean costs of a run.

        With a reference, also the paired difference from it, with its p-value before and after Holm's correction.
        """
        summary = summarise(self.values(metric))
        by = self._drawable(self.runs)[self.compared]
        broken = ~self.runs["status"].isin(COUNTED)
        summary["failed"] = broken.groupby(by, sort=False).sum().reindex(summary.index)
        costs = (
            self._drawable(self.costs)
            .groupby(self.compared, sort=False)[["rhs_evaluations", "seconds", "megabytes"]]
            .mean()
        )
        summary = summary.join(costs)
        if self.reference is not None:
            apart = self.differences(metric).set_index("a")[["difference", "p", "p_holm"]]
            summary = summary.join(apart)
        return summary

    def differences(self, metric: str | None = None) -> pd.DataFrame:
        """Paired differences a - b for all pairs of levels, or from the reference: mean, interval, p, p after Holm."""
        return differences(self.values(metric), self.reference, self.test)

    @cached_property
    def dataset(self) -> xr.Dataset:
        """Learning curves: metrics, evaluations and seconds spent, with one dimension per setting, seed and point."""
        return tables.curves(self.records, self.metrics, self.factors)

    def plot(self, metric: str | None = None, *, x: str | None = None, ax: Axes | None = None) -> Axes:
        """Learning curves with 95 % bands if levels are compared, else the final metric against the settings.

        Parameters
        ----------
        metric : default the first one
        x : for curves, "rhs_evaluations" or "seconds" instead of presentations; for a sweep, the setting on the x axis
        ax : Axes to draw on; default new ones
        """
        name = self._metric(metric)
        if self.compared is not None:
            return batches.comparison(self.dataset, name, self.compared, x, ax)
        return batches.sweep(self._drawable(self.runs), name, [x] if x else list(self.factors), ax)

    def to_markdown(self) -> str:
        """The table in GitHub's Markdown, followed by the paired differences if levels are compared."""
        return "\n\n".join(tables.markdown(part) for part in self._printed())

    def to_latex(self) -> str:
        """The table in LaTeX (booktabs), followed by the paired differences if levels are compared."""
        return "\n".join(part.to_latex(index=False, escape=True) for part in self._printed())

    def _repr_html_(self) -> str:
        return "\n".join(part.to_html(index=False) for part in self._printed())

    def __repr__(self) -> str:
        ended = self.runs["status"].value_counts().to_dict() if self.records else {}
        told = ", ".join(f"{count} {status}" for status, count in ended.items()) or "none"
        return f"Runs({told}; settings: {', '.join(self.factors)}; metrics: {', '.join(self.metrics)})"

    def __str__(self) -> str:
        return "\n\n".join(part.to_string(index=False) for part in self._printed())

    def _printed(self) -> list[pd.DataFrame]:
        if self.compared is None:
            return [tables.printed_runs(self.runs, self.metrics)]
        metric = self.metrics[0]
        return [
            tables.printed_summary(self.summary(), metric, self.compared),
            tables.printed_differences(self.differences(), metric),
        ]

    def _drawable(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table whose settings can be told apart and drawn: what is no number or word by its `repr`."""
        return table.assign(**{name: table[name].map(tables.plain) for name in self.factors})

    def _metric(self, name: str | None) -> str:
        if name is None:
            return self.metrics[0]
        trained = f"{TRAINING}{name}"
        return trained if trained in self.metrics else lookup("metric", name, {one: one for one in self.metrics})
