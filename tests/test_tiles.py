"""Products in tiles against numpy, as machine code and without a compiler, for every length of a machine's vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

numba = pytest.importorskip("numba", reason="numba, which compiles, is not installed")
tiles = pytest.importorskip("ctsigprop.execution.numba.small_matmul", reason="numba, which compiles, is not installed")

sizes = st.integers(1, 40)
some, few = (
    settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    for count in (25, 12)
)
LENGTHS = pytest.mark.parametrize("bits", [128, 256, 512])
KINDS = pytest.mark.parametrize("kind", [np.float32, np.float64])


def carried_out(function: Any, memory: np.ndarray, *more: Any) -> np.ndarray:
    """The memory after a call from compiled code."""
    found = memory.copy()
    numba.njit(lambda m, *rest: function(m, *rest))(found, *more)
    return found


@LENGTHS
@KINDS
@some
@given(
    rows=sizes,
    inner=sizes,
    columns=sizes,
    turned=st.booleans(),
    gap=st.integers(0, 3),
    base=st.sampled_from(["none", "row", "self", "other"]),
)
def test_a_product_is_numpys_and_touches_nothing_else(
    bits: int, kind: Any, rows: int, inner: int, columns: int, turned: bool, gap: int, base: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(tiles, "bits", lambda: bits)
    at_b = rows * inner + gap
    at_out = at_b + inner * (columns + gap)
    at_base = at_out + rows * (columns + gap)
    memory = np.random.default_rng(0).standard_normal(at_base + rows * columns + 5).astype(kind)
    a = (0, 1, rows) if turned else (0, inner, 1)
    added = {"none": (), "row": (at_base, 0), "self": (at_out, columns + gap), "other": (at_base, columns)}[base]
    places = (*a, at_b, columns + gap, at_out, columns + gap, *added)
    factor = kind(0.5)
    found = carried_out(tiles.tiles(rows, inner, columns, *places), memory, factor)
    left = memory[: rows * inner].reshape((inner, rows)).T if turned else memory[: rows * inner].reshape((rows, inner))
    right = memory[at_b:at_out].reshape((inner, columns + gap))[:, :columns]
    wanted = memory.copy()
    out = wanted[at_out:at_base].reshape((rows, columns + gap))[:, :columns]
    product = left.astype(np.float64) @ right
    start = {
        "none": np.zeros(columns),
        "row": memory[at_base : at_base + columns],
        "self": out.copy(),
        "other": memory[at_base : at_base + rows * columns].reshape((rows, columns)),
    }[base]
    out[:] = start + (1.0 if base == "none" else factor) * product
    np.testing.assert_allclose(found, wanted, rtol=0, atol=np.finfo(kind).eps * 30 * inner**0.5)
    plain = memory.copy()
    tiles.Product(rows, inner, columns, a, places[3:5], places[5:7], places[7:]).interpreted(plain, factor)
    np.testing.assert_allclose(plain, wanted, rtol=0, atol=np.finfo(kind).eps * 30 * inner**0.5)


@LENGTHS
@KINDS
@few
@given(rows=sizes, columns=sizes, gap=st.integers(0, 3))
def test_a_matrix_is_turned(bits: int, kind: Any, rows: int, columns: int, gap: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(tiles, "bits", lambda: bits)
    at_out = rows * (columns + gap)
    memory = np.arange(at_out + rows * columns + 3, dtype=kind)
    wanted = memory.copy()
    wanted[at_out : at_out + rows * columns] = memory[:at_out].reshape((rows, -1))[:, :columns].T.ravel()
    found = carried_out(tiles.turned(rows, columns, 0, columns + gap, at_out), memory)
    np.testing.assert_array_equal(found, wanted)
    plain = memory.copy()
    tiles.Turn(rows, columns, 0, columns + gap, at_out).interpreted(plain)
    np.testing.assert_array_equal(plain, wanted)


@given(columns=st.integers(1, 300), lanes=st.sampled_from([2, 4, 8, 16]))
def test_panels_cover_every_column_and_vectors_overlap_only_within_one(columns: int, lanes: int) -> None:
    length, groups = tiles.panels(columns, lanes)
    covered = [{c for start in group for c in range(start, start + length)} for group in groups]
    assert set.union(*covered) == set(range(columns))
    assert sum(map(len, covered)) == columns
    assert all(1 <= len(group) <= tiles.PANEL for group in groups)
