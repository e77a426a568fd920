"""Designs: grids are complete, draws follow their distributions, Sobol points fill the space."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from ctsigprop.batch.designs import design_points

SPACE = {"rate": stats.loguniform(1e-3, 10.0), "units": stats.randint(4, 9), "kind": ["a", "b"]}


def test_a_grid_is_every_combination_in_order() -> None:
    points = design_points({"a": [1, 2], "b": np.array([0.5, 1.5]), "c": ["x"]})
    assert [tuple(point.values()) for point in points] == list(product([1, 2], [0.5, 1.5], ["x"]))
    assert all(type(point["b"]) is float for point in points)


@pytest.mark.parametrize("design", ["random", "sobol"])
def test_draws_follow_their_distributions(design: str) -> None:
    points = design_points(SPACE, design, n=512, seed=1)
    rates = [point["rate"] for point in points]
    assert stats.kstest(rates, SPACE["rate"].cdf).pvalue > 0.01
    units: list[Any] = [point["units"] for point in points]
    assert set(units) == {4, 5, 6, 7, 8}
    assert all(type(value) is int for value in units)
    assert stats.chisquare(np.bincount(units)[4:]).pvalue > 0.01
    assert 0.4 < np.mean([point["kind"] == "a" for point in points]) < 0.6


def test_sobol_points_fill_the_square_more_evenly_than_random_ones() -> None:
    square = {"x": stats.uniform(0, 1), "y": stats.uniform(0, 1)}
    spread = {
        design: qmc.discrepancy([list(point.values()) for point in design_points(square, design, n=100)])
        for design in ("random", "sobol")
    }
    assert spread["sobol"] < 0.3 * spread["random"]


@pytest.mark.parametrize("design", ["random", "sobol"])
def test_the_seed_decides_the_points(design: str) -> None:
    assert design_points(SPACE, design, n=5, seed=3) == design_points(SPACE, design, n=5, seed=3)
    assert design_points(SPACE, design, n=5, seed=3) != design_points(SPACE, design, n=5, seed=4)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (({},), TypeError, "settings must be a mapping"),
        (({"a": []},), ValueError, r"settings\['a'\] must have at least one value"),
        (({"a": "relu"},), TypeError, r"settings\['a'\] must be a list of values or a distribution"),
        (({"a": 1.0},), TypeError, r"settings\['a'\] must be a list"),
        (({"a": [1]}, "grd"), ValueError, "design must be one of grid, random, sobol, got 'grd'"),
        (({"a": [1]}, "grid", 5), ValueError, "leave n out, got n=5"),
        ((SPACE, "grid"), ValueError, "'rate' is a distribution: use 'random' or 'sobol'"),
        ((SPACE,), ValueError, "a random design needs the number of its points"),
        ((SPACE, "sobol", 0), ValueError, "n must be an integer >= 1"),
    ],
)
def test_mistakes_in_a_design_are_told(given: tuple[Any, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        design_points(*given)
