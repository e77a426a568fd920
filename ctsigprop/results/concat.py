"""Several runs as one dataset, along the seed or another parameter."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import pandas as pd
import xarray as xr

from ctsigprop.results.solution import Solution

Value = TypeVar("Value", bound=Hashable)


def concat(runs: Sequence[Solution] | Mapping[Value, Solution], dim: str = "seed") -> xr.Dataset:
    """The records of several runs in one dataset, with an extra dimension.

    Runs that recorded at other times, or ended early, are filled with NaN. Attributes that all runs share are kept;
    `status` and `configuration_hash` become coordinates along the new dimension.

    Parameters
    ----------
    runs : solutions with one seed each, for dim="seed"; or a mapping from the parameter's values to solutions
    dim : str, name of the new dimension; default "seed"

    Raises
    ------
    ValueError : no runs, a sequence for a parameter with unknown values, a dimension that a record already has
    TypeError : an object that is not a Solution

    Example
    -------
    `ct.concat({rate: ct.simulate(build(rate), stim, probes=probes) for rate in (1.0, 2.0, 4.0)}, "rate")`
    """
    named = isinstance(runs, Mapping)
    solutions = list(runs.values()) if isinstance(runs, Mapping) else list(runs)
    if not solutions:
        raise ValueError("runs must hold at least one Solution, got none")
    for one in solutions:
        if not isinstance(one, Solution):
            raise TypeError(f"runs must be solutions of ct.simulate, got {type(one).__name__}")
        if dim in one.dataset.dims:
            raise ValueError(f"dim must be a new dimension, the records have {dim!r} already")
    if not named and dim != "seed":
        raise ValueError(f"runs along {dim!r} must be a mapping of its values to solutions, got a sequence")
    values = list(runs) if named else [one.dataset.attrs.get("seed") for one in solutions]
    dataset = xr.concat(
        [one.dataset for one in solutions],
        dim=pd.Index(values, name=dim),
        data_vars="all",
        coords="different",
        compat="equals",
        join="outer",
        combine_attrs="drop_conflicts",
    )
    attrs = [one.dataset.attrs for one in solutions]
    told = ("configuration_hash", "status")
    return dataset.assign_coords({name: (dim, [one.get(name, "") for one in attrs]) for name in told})
