"""Designs: the settings that a sweep tries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.stats import qmc

from ctsigprop.rules.checks import whole

DESIGNS = ("grid", "random", "sobol")


@runtime_checkable
class Distribution(Protocol):
    """A distribution of SciPy's, or any other that has quantiles."""

    def ppf(self, q: np.ndarray) -> np.ndarray:
        """The values below which shares q of all draws lie."""
        ...


@runtime_checkable
class Frozen(Protocol):
    """A distribution of SciPy's with its parameters."""

    dist: object


@runtime_checkable
class Discrete(Protocol):
    """A distribution of integers."""

    def pmf(self, k: np.ndarray) -> np.ndarray:
        """The probability of each."""
        ...


def design_points(
    settings: Mapping[str, object], design: str | None = None, n: int | None = None, seed: int = 0
) -> list[dict[str, object]]:
    """The settings of every point of a design.

    Parameters
    ----------
    settings : mapping of names to lists of values, or to distributions with a `ppf`, such as
        `scipy.stats.loguniform(1e-3, 1)` or `scipy.stats.randint(16, 257)`
    design : "grid", every combination of listed values; "random", `n` independent draws; "sobol", `n` points of a
        scrambled Sobol sequence, which fill the space more evenly. Default: a grid where all are lists, else random
    n : int, points of a random or Sobol design
    seed : int, decides the draws; default 0

    Raises
    ------
    ValueError, TypeError : no settings, an empty list, a distribution in a grid, no or a needless `n`

    References
    ----------
    I. M. Sobol, USSR Comput. Math. Math. Phys. 7, 1967; J. Bergstra and Y. Bengio, JMLR 13, 2012 (random search).
    """
    if not isinstance(settings, Mapping) or not settings:
        raise TypeError(f"settings must be a mapping of names to lists or distributions, got {settings!r}")
    listed = {name: listed_values(name, values) for name, values in settings.items()}
    if design is None:
        design = "random" if None in listed.values() else "grid"
    if design not in DESIGNS:
        raise ValueError(f"design must be one of {', '.join(DESIGNS)}, got {design!r}")
    if design == "grid":
        if n is not None:
            raise ValueError(f"a grid has as many points as there are combinations: leave n out, got n={n}")
        levels = [values for values in listed.values() if values is not None]
        if len(levels) < len(listed):
            name = next(name for name, values in listed.items() if values is None)
            raise ValueError(f"a grid needs lists of values, but {name!r} is a distribution: use 'random' or 'sobol'")
        return [dict(zip(listed, point, strict=True)) for point in itertools.product(*levels)]
    if n is None:
        raise ValueError(f"a {design} design needs the number of its points, n=")
    whole("n", n, 1)
    whole("design_seed", seed, 0)
    unit = unit_points(design, n, len(settings), seed)
    columns = [at(settings[name], listed[name], column) for name, column in zip(settings, unit.T, strict=True)]
    return [dict(zip(settings, point, strict=True)) for point in zip(*columns, strict=True)]


def listed_values(name: str, values: object) -> list[object] | None:
    """Listed values, or None for a distribution."""
    if isinstance(values, Distribution):
        return None
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence | np.ndarray | range):
        raise TypeError(f"settings[{name!r}] must be a list of values or a distribution with ppf, got {values!r}")
    if not len(values):
        raise ValueError(f"settings[{name!r}] must have at least one value, got none")
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def unit_points(design: str, n: int, d: int, seed: int) -> np.ndarray:
    """Points (n, d) strictly inside the unit cube."""
    random = np.random.default_rng(seed)
    if design == "random":
        points = random.random((n, d))
    else:
        points = qmc.Sobol(d, seed=random).random_base2(math.ceil(math.log2(n)))[:n]
    return np.asarray(np.clip(points, 1e-12, 1 - 1e-12))


def at(values: object, listed: list[object] | None, u: np.ndarray) -> list[object]:
    """Values at the quantiles u (n,) of a list or a distribution."""
    if isinstance(values, Distribution):
        quantiles = np.asarray(values.ppf(u))
        whole_numbers = isinstance(values, Frozen) and isinstance(values.dist, Discrete)
        return [int(value) if whole_numbers else value for value in quantiles.tolist()]
    levels = listed or []
    return [levels[min(int(x * len(levels)), len(levels) - 1)] for x in u]
