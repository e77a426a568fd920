"""One experiment ends alike whoever carries it out: every case of tests/cases.py, by every way that it names.

Generated source runs as plain Python, which shows that it says the right thing without waiting for machine code; the
tests that compile it stand in test_compiled.py and test_jump_kernel.py.
"""

from __future__ import annotations

import warnings
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from tests.cases import CASES, Case

pytestmark = pytest.mark.usefixtures("tiny_unchecked", "own_cache", "interpreted")

TOLERANCES: dict[tuple[str, str, torch.dtype], float] = {
    ("in place", "fixed", torch.float64): 1e-10,  # sums of products are added in another order
    ("in place", "fixed", torch.float32): 1e-4,
    ("in place", "diverging", torch.float32): 1e-4,  # relative, of numbers that explode
    ("in place", "spikes", torch.float64): 0.0,  # the same calls of torch, in memory of their own
    ("in place", "spikes", torch.float32): 0.0,
    ("compiled", "fixed", torch.float64): 1e-10,  # as in place, and NumPy's exp and tanh
    ("compiled", "fixed", torch.float32): 1e-4,
    ("compiled", "adaptive", torch.float64): 1e-4,  # two runs within tolerance: the control of steps is its own
    ("compiled", "spikes", torch.float64): 1e-9,  # rounding grows from spike to spike
    ("members", "fixed", torch.float64): 1e-10,  # products of batches of matrices
    ("members", "fixed", torch.float32): 1e-4,
    ("members", "adaptive", torch.float64): 0.0,  # one after another: the same run
    ("members", "spikes", torch.float64): 0.0,
    ("compiled members", "fixed", torch.float64): 1e-10,
    ("compiled members", "spikes", torch.float64): 1e-9,
}
"""How far numbers may be apart, relative and absolute, from those of the plain run."""


WAYS: dict[str, dict[str, Any]] = {
    "in place": {"execution": "inplace"},
    "compiled": {"execution": "compiled"},
    "members": {"ensemble": True},
    "compiled members": {"execution": "compiled", "ensemble": True},
}


def member(case: Case, k: int) -> tuple[ct.Network, ct.Stimulus, ct.State]:
    """What member k of a case is, is shown, and starts from."""
    network, stimulus = case.networks[min(k, len(case.networks) - 1)], case.stimuli[min(k, len(case.stimuli) - 1)]
    state = network.initial_state(k + 1, stimulus.rows, stimulus.dtype)
    return network, stimulus, case.start(state)


@cache
def plain(name: str, k: int) -> ct.Solution:
    """Member k on the plain path."""
    network, stimulus, state = member(CASES[name], k)
    sol: ct.Solution = ct.simulate(
        network, stimulus, CASES[name].solver, state=state, execution="plain", **CASES[name].settings
    )
    return sol


def carried_out(name: str, way: str) -> list[ct.Solution]:
    """The members of a case by a way, with no word of warning."""
    case, given = CASES[name], dict(WAYS[way])
    members = [member(case, k) for k in range(max(len(case.networks), 2) if given.pop("ensemble", False) else 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*encountered in", RuntimeWarning)  # NumPy's, as nothing is compiled
        if len(members) == 1:
            network, stimulus, state = members[0]
            return [ct.simulate(network, stimulus, case.solver, state=state, **given, **case.settings)]
        networks, stimuli, states = (list(column) for column in zip(*members, strict=True))
        several: Any = {"state": states, "ensemble": len(members)}
        return list(ct.simulate(networks, stimuli, case.solver, **several, **given, **case.settings))


def path_of(way: str, case: Case, plainly: str) -> str:
    """What a run tells of who carried it out, so that no case goes another way without a word."""
    if way == "in place":
        return f"{plainly}, in place"
    if way != "members":
        return "compiled"
    if case.steps != "fixed":
        return plainly  # one after another
    return "side by side" if isinstance(case.solver, ct.solvers.Euler | ct.solvers.FactoredEuler) else "batched"


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, case in CASES.items() for way in case.ways])
def test_a_case_ends_alike_by_every_way(name: str, way: str) -> None:
    case = CASES[name]
    for k, fast in enumerate(carried_out(name, way)):
        expected = plain(name, k)
        assert fast.stats["path"] == path_of(way, case, expected.stats["path"]), fast.stats["path_reason"]
        same_end(fast, expected, case)
        same_numbers(fast, expected, TOLERANCES[way, case.steps, expected.final["W.1"].dtype])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.steps != "diverging"])
def test_weights_learn_and_units_spike_in_every_case(name: str) -> None:
    """Else any two runs of it would be the same."""
    _, _, state = member(CASES[name], 0)
    end = plain(name, 0).final
    assert any(not torch.equal(end[key], state[key]) for key in end if key.startswith("W."))
    assert CASES[name].steps != "spikes" or any(float(end[key].sum()) > 0 for key in end if key.startswith("n."))


def same_end(fast: ct.Solution, expected: ct.Solution, case: Case) -> None:
    """Both ended in the same way, at the same time, after as much work."""
    assert fast.status is expected.status
    assert fast.message == expected.message
    assert fast.final.t == pytest.approx(expected.final.t, rel=1e-9 if case.steps == "adaptive" else 0.0, abs=0.0)
    assert [fast.stats[name] for name in case.counted] == [expected.stats[name] for name in case.counted]


def same_numbers(fast: ct.Solution, expected: ct.Solution, tolerance: float) -> None:
    """The same final state and samples; spikes are counted, and their number is the same."""
    assert list(fast.final) == list(expected.final)
    for name, value in expected.final.items():
        own = 0.0 if name.startswith("n.") else tolerance
        torch.testing.assert_close(fast.final[name], value, rtol=own, atol=own, msg=partial("{}: {}".format, name))
    assert list(fast.dataset or ()) == list(expected.dataset or ())
    for name in map(str, expected.dataset or ()):
        record, right = fast.dataset[name], expected.dataset[name]
        assert record.dims == right.dims
        np.testing.assert_allclose(record, right, rtol=tolerance, atol=tolerance, err_msg=name)
