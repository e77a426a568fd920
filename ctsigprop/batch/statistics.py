"""Statistics for few samples: bootstrap intervals, paired tests, and a correction for multiple tests."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Test = Literal["t", "permutation", "wilcoxon"]
Level = bool | int | float | str
"""A value of the setting that is compared."""
TESTS = ("t", "permutation", "wilcoxon")


def interval(values: Array, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of the mean, bias-corrected and accelerated (BCa).

    Parameters
    ----------
    values : array (n,); fewer than two finite values have no interval
    level : float, share of such intervals that hold the true mean; default 0.95
    seed : int, decides the resampling; default 0

    Returns
    -------
    (low, high), NaN where there is no interval

    References
    ----------
    B. Efron, "Better bootstrap confidence intervals", J. Am. Stat. Assoc. 82, 1987.
    """
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return float("nan"), float("nan")
    if np.ptp(finite) == 0:
        return float(finite[0]), float(finite[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns and returns NaN where BCa is degenerate
        for method in ("BCa", "percentile"):
            result = stats.bootstrap(
                (finite,), np.mean, confidence_level=level, method=method, random_state=np.random.default_rng(seed)
            )
            low, high = result.confidence_interval
            if np.isfinite(low) and np.isfinite(high):
                break
    return float(low), float(high)


def paired_test(a: Array, b: Array, test: Test = "t") -> float:
    """Two-sided p-value of "a and b have the same mean", from pairs that share a seed.

    Parameters
    ----------
    a, b : arrays (n,), one value per seed; pairs with a value that is not finite are left out
    test : "t" (default), Student's paired test; "permutation", exact sign flips (needs six pairs to go below 0.05);
        "wilcoxon", signed ranks

    Returns
    -------
    float, NaN with fewer than two pairs; 1 where every difference is 0. Where all differences are one number, Student's
        test knows no spread and the sign flips' p-value, 2 / 2^n, is returned
    """
    both = np.isfinite(a) & np.isfinite(b)
    difference = (a - b)[both]
    n = len(difference)
    if n < 2:
        return float("nan")
    if not difference.any():
        return 1.0
    if np.ptp(difference) <= 1e-12 * np.abs(difference).max():
        return 2.0 / 2.0**n
    if test == "wilcoxon":
        return float(stats.wilcoxon(difference).pvalue)
    if test == "permutation":
        flips = stats.permutation_test(
            (difference,),
            np.mean,
            permutation_type="samples",
            n_resamples=9999,
            vectorized=True,
            random_state=np.random.default_rng(0),
        )
        return float(flips.pvalue)
    return float(stats.ttest_1samp(difference, 0.0).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are (S. Holm, Scand. J. Stat. 6, 1979); NaN stay and do not count."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    order = [i for i in np.argsort(values, kind="stable") if np.isfinite(values[i])]
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = worst
    return [float(value) for value in adjusted]


def summarise(values: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Mean and interval of each row of `values` (level of the factor x seed): columns mean, low, high, seeds."""
    rows = []
    for row in values.to_numpy(dtype=float):
        finite = row[np.isfinite(row)]
        low, high = interval(row, level)
        rows.append((finite.mean() if len(finite) else np.nan, low, high, len(finite)))
    return pd.DataFrame(rows, index=values.index, columns=["mean", "low", "high", "seeds"])


def differences(values: pd.DataFrame, reference: Level | None = None, test: Test = "t") -> pd.DataFrame:
    """Paired differences between the rows of `values`, with tests corrected together.

    Parameters
    ----------
    values : DataFrame, one row per level, one column per seed
    reference : the level that all others are compared with; default every pair
    test : as in `paired_test`

    Returns
    -------
    DataFrame with columns a, b, difference (mean of a - b), low, high, pairs, p, p_holm
    """
    names = list(values.index)
    pairs = list(combinations(names, 2)) if reference is None else [(a, reference) for a in names if a != reference]
    rows = []
    for a, b in pairs:
        x, y = (values.loc[name].to_numpy(dtype=float) for name in (a, b))
        apart = x - y
        finite = apart[np.isfinite(apart)]
        low, high = interval(apart)
        mean = finite.mean() if len(finite) else np.nan
        rows.append((a, b, mean, low, high, len(finite), paired_test(x, y, test)))
    table = pd.DataFrame(rows, columns=["a", "b", "difference", "low", "high", "pairs", "p"])
    return table.assign(p_holm=holm(table["p"].tolist()))
