"""The part of a quantity that a probe keeps: indices, slices, masks, random subsets, single synapses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctsigprop.rules.checks import Checked, whole

SYNAPSE = "synapse"
"""The dimension of single synapses, (post, pre) pairs, as `select=` calls it."""


@dataclass(frozen=True)
class Sample(metaclass=Checked):
    """A random subset: units, `select={"post": ct.Sample(20)}`, or synapses, `select={"synapse": ct.Sample(1000)}`.

    Every layer uses the same units, drawn from those of the probe's smallest layer. Synapses are drawn per layer.

    Parameters
    ----------
    count : int, how many, without repetition, >= 1
    seed : int, sets which ones; default 0

    Raises
    ------
    ValueError : a count below 1, a negative seed
    """

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        whole("Sample(count=)", self.count, 1)
        whole("Sample(seed=)", self.seed, 0)

    def draw(self, size: int, place: str, layer: int = 0) -> np.ndarray:
        """`count` different numbers of 0 ... size - 1, in order.

        Raises
        ------
        ValueError : there are fewer than `count`
        """
        if self.count > size:
            raise ValueError(f"{place}: Sample(count=) must be at most {size}, got {self.count}")
        random = np.random.default_rng([self.seed, layer])
        return np.sort(random.choice(size, self.count, replace=False)).astype(np.int64)


def indices(wanted: object, size: int, place: str) -> np.ndarray:
    """The indices meant along a dimension of this size, in the order given; some may be too large for it.

    Raises
    ------
    TypeError : neither indices, a slice, a mask nor a Sample
    ValueError : a negative index
    """
    if isinstance(wanted, slice):
        return np.arange(size)[wanted]
    if isinstance(wanted, Sample):
        return wanted.draw(size, place)
    index = np.atleast_1d(np.asarray(wanted))
    if index.dtype == bool and index.ndim == 1:
        return np.flatnonzero(index)
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer) or not len(index):
        raise TypeError(f"{place} must be indices, a slice, a mask or a ct.Sample, got {wanted!r}")
    if np.any(index < 0):
        raise ValueError(f"{place} must be in 0 ... {size - 1}, got {index[index < 0].tolist()}")
    return index.astype(np.int64)


def synapses(wanted: object, shape: tuple[int, int], layer: int, place: str) -> np.ndarray:
    """The (post, pre) pairs meant in a layer of this shape, as an array (synapses, 2).

    Raises
    ------
    TypeError : neither pairs of indices nor a Sample
    ValueError : a synapse that the layer does not have
    """
    post, pre = shape
    if isinstance(wanted, Sample):
        return np.stack(np.divmod(wanted.draw(post * pre, place, layer), pre), axis=1)
    pairs = np.asarray(wanted)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer) or not len(pairs):
        raise TypeError(f"{place} must be pairs (post, pre) or a ct.Sample, got {wanted!r}")
    outside = pairs[((pairs < 0) | (pairs >= np.array(shape))).any(axis=1)]
    if len(outside):
        raise ValueError(f"{place} must be within {post} x {pre} in layer {layer}, got {outside.tolist()}")
    return pairs.astype(np.int64)
