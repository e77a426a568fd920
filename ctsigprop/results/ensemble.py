"""The result of simulating an ensemble: one solution per member."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import overload

import xarray as xr

from ctsigprop.results.solution import Solution


class Ensemble(Sequence[Solution]):
    """The solutions of an ensemble, one per member, in order.

    Parameters
    ----------
    members : the solutions
    seeds : seed of each member
    """

    def __init__(self, members: Sequence[Solution], seeds: Sequence[int]) -> None:
        self.members, self.seeds = tuple(members), tuple(seeds)

    @overload
    def __getitem__(self, index: int) -> Solution: ...

    @overload
    def __getitem__(self, index: slice) -> Ensemble: ...

    def __getitem__(self, index: int | slice) -> Solution | Ensemble:
        if isinstance(index, slice):
            return Ensemble(self.members[index], self.seeds[index])
        return self.members[index]

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        ended = [member.status for member in self.members]
        count = ", ".join(f"{ended.count(status)} {status.name.lower()}" for status in dict.fromkeys(ended))
        return f"Ensemble({len(self)} members: {count})"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    @property
    def dataset(self) -> xr.Dataset:
        """The records of all members, along a dimension `member` with their seeds; NaN after the end of a member."""
        label = xr.DataArray(list(self.seeds), dims="member", attrs={"long_name": "seed of the member"})
        parts = [member.dataset for member in self.members]
        dataset = xr.concat(parts, dim="member", join="outer", combine_attrs="drop_conflicts")
        return dataset.assign_coords(seed=label)
