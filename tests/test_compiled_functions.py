"""The functions of compiled modules agree with NumPy's in extended precision, and keep what is not a number."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctsigprop.execution.numba.math_functions import header

pytest.importorskip("numba", reason="numba, which compiles, is not installed")
TRUE: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
    "softplus": lambda u: np.where(u > 20, u, np.log1p(np.exp(u))),
}
LOOP = """

@fast
def every(x, out):
    for i in range(len(x)):
        out[i] = {name}(x[i])
"""


def compiled(name: str, kind: str, folder: Path) -> Callable[[Any], Any]:
    """A function of the header, over arrays."""
    path = folder / f"{name}_{kind}.py"
    path.write_text(header(kind, 2048, 64, 1e-9) + LOOP.format(name=name))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def over(values: Any) -> Any:
        x = np.asarray(values, kind)
        out = np.empty_like(x)
        module.every(x, out)
        return out

    return over


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", TRUE)
def test_a_function_is_right_to_the_last_bits_and_not_finite_where_it_has_to_be(
    name: str, kind: str, tmp_path: Path
) -> None:
    function = compiled(name, kind, tmp_path)
    x = np.concatenate([np.linspace(-80, 80, 20_001), np.linspace(-1, 1, 2_001), [0.0, 1e-10, -1e-10]]).astype(kind)
    true = TRUE[name](x.astype(np.longdouble))
    normal = np.abs(true) > np.finfo(kind).tiny
    error = np.abs(function(x) - true)[normal] / np.abs(true)[normal]
    assert float(error.max()) < 3 * np.finfo(kind).eps
    assert np.isnan(function([np.nan])).all()
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(function([np.inf, -np.inf]), TRUE[name](np.array([np.inf, -np.inf])))
