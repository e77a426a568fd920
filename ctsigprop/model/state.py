"""The state of a network: tensors by name, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

import torch
from torch import Tensor

from ctsigprop.display import html
from ctsigprop.rules.checks import did_you_mean

FORMER_NAMES = {"eligibility": "e", "eligibility_bias": "e_bias"}
"""What earlier versions called parts of a state, by the names of today."""


class State(Mapping[str, Tensor]):
    """An immutable mapping of names to tensors.

    `r.1` is the activity of layer 1 (rows, n), `W.1` its weights (post, pre), `b.1` its biases (post,),
    `x.1`, `g.1`, `y.1` its presynaptic, gain and label traces, and `S` the target generator (post, context).

    Parameters
    ----------
    tensors : mapping of names to tensors
    t : float, time of the stimulus at which the network was in this state, in units of time; default 0
    """

    def __init__(self, tensors: Mapping[str, Tensor], t: float = 0.0) -> None:
        self._tensors = dict(tensors)
        self._t = t

    @property
    def t(self) -> float:
        """The time of the stimulus, in units of time."""
        return self._t

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise KeyError(f"no tensor {name!r}: {did_you_mean(name, self)}this state has {', '.join(self)}")
        return self._tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {tuple(value.shape)}" for name, value in self.items())
        return f"State(t={self.t:g}: {parts})"

    def _repr_html_(self) -> str:
        return html.of_state(self, self.t)

    def replace(self, tensors: Mapping[str, Tensor]) -> State:
        """A new state in which some tensors are replaced by others of the same shape and dtype.

        Raises
        ------
        KeyError, ValueError : a name that is not in this state, a tensor of the wrong shape or dtype
        """
        for name, value in tensors.items():
            mine = self[name]
            if value.shape != mine.shape or value.dtype != mine.dtype:
                raise ValueError(
                    f"{name} must have shape {tuple(mine.shape)} and dtype {mine.dtype}, "
                    f"got {tuple(value.shape)} and {value.dtype}"
                )
        return State({**self._tensors, **tensors}, self.t)

    def under_new_names(self, needed: Set[str]) -> State:
        """The state with the current names of those tensors in `needed` that had another name in an earlier version."""
        tensors = dict(self._tensors)
        for name in needed - tensors.keys():
            variable, _, place = name.rpartition(".")
            former = f"{FORMER_NAMES.get(variable, '')}.{place}"
            if former in tensors and former not in needed:
                tensors[name] = tensors.pop(former)
        return self if tensors.keys() == self._tensors.keys() else State(tensors, self.t)

    def equal(self, other: Mapping[str, Tensor]) -> bool:
        """Whether both states have the same names and bit-identical tensors."""
        return self.keys() == other.keys() and all(torch.equal(self[name], other[name]) for name in self)
