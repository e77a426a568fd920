"""Records as labelled arrays, and as readable tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ctsigprop.batch.job import Record
from ctsigprop.batch.statistics import Level
from ctsigprop.model.network import UNNAMED

SPENT = {"rhs_evaluations": "right-hand side evaluations", "seconds": "wall time"}


def curves(records: Sequence[Record], metrics: Sequence[str], factors: Sequence[str]) -> xr.Dataset:
    """Learning curves of all runs: dimensions of the settings (or `run`, where they are no full grid), seed and point.

    Runs that broke off are NaN from there on.
    """
    axes = {record.axis for record in records if record.curve}
    axis = axes.pop() if len(axes) == 1 else "shown"
    points = sorted({round(x, 9) for record in records for x in record.curve.get("shown", ())})
    place = {x: i for i, x in enumerate(points)}
    names = (*metrics, *SPENT)
    values = np.full((len(names), len(records), len(points)), np.nan)
    for r, record in enumerate(records):
        index = [place[round(x, 9)] for x in record.curve.get("shown", ())]
        for k, name in enumerate(names):
            values[k, r, index] = record.curve.get(name, [])
    columns = {name: [record.settings[name] for record in records] for name in factors}
    columns["seed"] = [record.seed for record in records]
    levels = {name: list(dict.fromkeys(map(plain, column))) for name, column in columns.items()}
    shape = [len(different) for different in levels.values()]
    full = int(np.prod(shape)) == len(records)
    if full:
        at = [[levels[name].index(plain(value)) for value in column] for name, column in columns.items()]
        order = np.argsort(np.ravel_multi_index(at, shape), kind="stable")
        dims, head = list(levels), shape
        coords: dict[str, object] = {**levels}
    else:
        order, dims, head = np.arange(len(records)), ["run"], [len(records)]
        coords = {name: ("run", list(map(plain, column))) for name, column in columns.items()}
    data: dict[str, object] = {
        name: ([*dims, axis], values[k][order].reshape(*head, len(points))) for k, name in enumerate(names)
    }
    data["status"] = (dims, np.array([record.status for record in records])[order].reshape(head))
    dataset = xr.Dataset(data, {**coords, axis: points})
    units = {record.time_unit for record in records if record.curve}
    unit = units.pop() if len(units) == 1 else UNNAMED
    dataset[axis].attrs = (
        {"long_name": "presentations"} if axis == "presentation" else {"long_name": axis, "units": unit}
    )
    for name, words in SPENT.items():
        dataset[name].attrs["long_name"] = words
    dataset["seconds"].attrs["units"] = "s"
    return dataset


def plain(value: object) -> Level:
    """A setting that a coordinate can hold: numbers and words as they are, anything else by its `repr`."""
    return value if isinstance(value, bool | int | float | str) else repr(value)


def markdown(table: pd.DataFrame) -> str:
    """A table of words as GitHub's Markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def printed_summary(table: pd.DataFrame, metric: str, compared: str) -> pd.DataFrame:
    """A summary in words: one row per level."""
    printed = pd.DataFrame({compared: table.index.astype(str)})
    printed[f"{metric}, mean [95 %]"] = [
        spread(mean, low, high) for mean, low, high in table[["mean", "low", "high"]].to_numpy()
    ]
    printed["runs"] = [
        f"{ok}" + (f" ({bad} failed)" if bad else "") for ok, bad in zip(table.seeds, table.failed, strict=True)
    ]
    printed["right-hand sides"] = [short(value, "{:.0f}") for value in table.rhs_evaluations]
    printed["seconds"] = [short(value, "{:.3g}") for value in table.seconds]
    printed["peak MB"] = [short(value, "{:.0f}") for value in table.megabytes]
    return printed


def printed_differences(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Paired differences in words: one row per pair."""
    printed = pd.DataFrame({"pair": [f"{a} - {b}" for a, b in zip(table.a, table.b, strict=True)]}, dtype=object)
    printed[f"difference of {metric} [95 %]"] = [
        spread(mean, low, high, "+") for mean, low, high in table[["difference", "low", "high"]].to_numpy(dtype=float)
    ]
    printed["pairs"] = table.pairs.astype(str)
    for name, words in (("p", "p"), ("p_holm", "p (Holm)")):
        printed[words] = [short(value, "{:.2g}") for value in table[name]]
    return printed


def printed_runs(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Runs in words: one row each, without what is the same in all."""
    printed = table.drop(columns=["run", "steps", "rejected_steps"])
    for name in metrics:
        printed[name] = [short(value, "{:.4f}") for value in printed[name]]
    printed["message"] = [
        "" if ok else text for ok, text in zip(table.status == "completed", table.message, strict=True)
    ]
    return printed.astype(str)


def spread(mean: float, low: float, high: float, sign: str = "") -> str:
    """A mean with its interval."""
    if not np.isfinite(mean):
        return "-"
    inside = f" [{low:{sign}.4f}, {high:{sign}.4f}]" if np.isfinite(low) else ""
    return f"{mean:{sign}.4f}{inside}"


def short(value: float, form: str) -> str:
    """A number in a form, or a dash."""
    return form.format(value) if np.isfinite(value) else "-"
