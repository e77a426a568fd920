"""Data from a run for a plot: a record with plain names, one layer, one row, and the meaning of a row."""

from __future__ import annotations

import json

import xarray as xr

from ctsigprop.files.unreadable import JsonObject
from ctsigprop.results.solution import Solution


def recorded(sol: Solution, name: str, *dims: str) -> xr.DataArray:
    """A variable of the solution's dataset with plain names of dimensions, or an error that says how to record it.

    Raises
    ------
    ValueError : nothing of that name, nothing in it yet, or something else of that name, without these dimensions
    """
    if name not in sol.dataset:
        has = ", ".join(map(str, sol.dataset)) or "nothing"
        raise ValueError(f"this run recorded {has}, not {name!r}: add a ct.Probe of that name to probes=[...]")
    record = sol.dataset[name]
    plain = {str(key): str(key).removesuffix(f"_{name}") for key in (*record.dims, *record.coords)}
    record = record.rename({key: new for key, new in plain.items() if new != key and not new.startswith("time")})
    missing = [dim for dim in dims if dim not in record.dims]
    if missing:
        raise ValueError(
            f"this plot needs {name!r} with a dimension {missing[0]!r}, "
            f"what was recorded under that name has {', '.join(map(str, record.dims))}"
        )
    if not record.sizes[time_of(record)]:
        raise ValueError(f"this run ended before {name!r} was recorded for the first time")
    return record


def of_layer(record: xr.DataArray, layer: int) -> xr.DataArray:
    """One layer of a record, without the rows and units that it does not have.

    Raises
    ------
    ValueError : a layer that was not recorded
    """
    clock = time_of(record)
    if layer in record["layer"].values:
        values = record.sel(layer=layer)
        for dim in values.dims:
            if dim != clock:
                values = values.dropna(str(dim), how="all")
        if values.size:
            return values
    there = [int(i) for i in record["layer"].values if record.sel(layer=i).notnull().any()]
    raise ValueError(f"layer must be one of the recorded layers {there}, got {layer!r}")


def of_row(record: xr.DataArray, row: int) -> xr.DataArray:
    """One row of one layer's record.

    Raises
    ------
    ValueError : a row that was not recorded of this layer
    """
    if row not in record["row"].values:
        raise ValueError(f"row must be one of the recorded rows {record['row'].values.tolist()}, got {row!r}")
    return record.sel(row=row).dropna("post" if "post" in record.dims else "pre", how="all")


def configuration(sol: Solution) -> JsonObject:
    """What a run says of itself: network, stimulus, solver, probes; empty where it says nothing."""
    text = sol.dataset.attrs.get("configuration")
    return dict(json.loads(text)) if text else {}


def row_name(sol: Solution, row: int) -> str:
    """What a row of the batch holds: a sample, or the target of a class or a sample."""
    said = configuration(sol)
    samples = said.get("stimulus", {}).get("rows")
    if samples is None:
        return f"row {row}"
    if row < samples:
        return f"sample {row}"
    per = "sample" if "per='sample'" in str(said["network"]["signal"]) else "class"
    return f"target of {per} {row - samples}"


def time_of(record: xr.DataArray) -> str:
    """Name of a record's time dimension."""
    return next(str(dim) for dim in record.dims if str(dim).startswith("time"))
