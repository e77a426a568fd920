"""Every execution either runs, and says truly which path it took and why, or is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.batch.config import read
from ctsigprop.execution.request import EXECUTIONS, Execution

pytestmark = pytest.mark.usefixtures("tiny_unchecked", "own_cache", "interpreted")
X, Y = np.random.default_rng(0).uniform(0.0, 1.0, (5, 4)), np.arange(5) % 3
TEST = X[::-1] / 2, Y
RATE = ct.Network([4, 5, 3], 3, neuron=ct.Rate(activation="tanh"), signal=ct.TargetStream(), rule=ct.rules.Oja())
LIF = ct.Network([4, 5, 3], 3, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
OWN = ct.Network(
    [4, 5], rule=ct.rules.Custom(lambda local: ct.rules.Update(local.share * local.post, local.pre), rate=0.1)
)
SHOWN = ct.Presentations(X, Y, 3, duration=1.0, epochs=2)
MOVING = ct.Stimulus.from_function(lambda t: torch.full((1, 4), t), duration=1.0)
EULER, DOPRI = ct.solvers.FactoredEuler(dt=0.1), ct.solvers.Dopri5()


class Case(NamedTuple):
    """What is run, and for each execution the path, or words of the obstacle for which it is refused."""

    network: ct.Network
    stimulus: ct.Stimulus
    solver: ct.solvers.Solver
    paths: dict[str, str]
    refused: Mapping[str, str] = MappingProxyType({})
    members: int | None = None


ADAPTIVE = "only FactoredEuler and Hybrid take their steps in place, and the solver is "
CASES = {
    "factored": Case(
        RATE,
        SHOWN,
        EULER,
        {"auto": "factored", "plain": "factored", "inplace": "factored, in place", "compiled": "compiled"},
    ),
    "factored, long": Case(
        RATE, SHOWN, ct.solvers.FactoredEuler(dt=0.01), {"auto": "factored, in place", "plain": "factored"}
    ),
    "torchdiffeq": Case(
        RATE,
        SHOWN,
        DOPRI,
        {"auto": "torchdiffeq", "plain": "torchdiffeq", "compiled": "compiled"},
        {"inplace": f"{ADAPTIVE}Dopri5"},
    ),
    "scipy": Case(
        RATE,
        SHOWN,
        ct.solvers.SciPy(),
        {"auto": "scipy", "plain": "scipy"},
        {"inplace": f"{ADAPTIVE}SciPy", "compiled": "only explicit Runge-Kutta methods"},
    ),
    "grid": Case(
        LIF,
        SHOWN,
        ct.solvers.Hybrid(dt=0.1),
        {"auto": "grid", "plain": "grid", "inplace": "grid, in place", "compiled": "compiled"},
    ),
    "grid without resets": Case(
        RATE,
        SHOWN,
        ct.solvers.Hybrid(dt=0.1),
        {"auto": "grid", "plain": "grid"},
        {"inplace": "the network has none", "compiled": "the network has none"},
    ),
    "grid by rk4": Case(
        LIF,
        SHOWN,
        ct.solvers.Hybrid(dt=0.1, flow="rk4"),
        {"auto": "grid", "plain": "grid"},
        {"inplace": "flow='rk4'", "compiled": "flow='rk4'"},
    ),
    "event driven": Case(
        LIF,
        ct.Presentations(X, Y, 3, duration=0.2),
        ct.solvers.EventDriven(rtol=1e-3, atol=1e-3),
        {"auto": "event driven", "plain": "event driven"},
        {"inplace": f"{ADAPTIVE}EventDriven", "compiled": "EventDriven has no compiled form"},
    ),
    "Euler's members": Case(
        RATE,
        SHOWN,
        ct.solvers.Euler(dt=0.1),
        {"auto": "side by side", "plain": "torchdiffeq", "inplace": "side by side", "compiled": "compiled"},
        members=2,
    ),
    "members in fixed steps": Case(
        RATE,
        SHOWN,
        ct.solvers.Heun2(dt=0.1),
        {"auto": "batched", "plain": "torchdiffeq", "compiled": "compiled"},
        {"inplace": "not side by side, because only steps of Euler go side by side"},
        2,
    ),
    "spiking members": Case(
        LIF,
        SHOWN,
        ct.solvers.Hybrid(dt=0.1),
        {"auto": "grid", "plain": "grid", "inplace": "grid, in place", "compiled": "compiled"},
        members=2,
    ),
    "a function of time": Case(
        ct.Network([4, 5], rule=ct.rules.Hebb()),
        MOVING,
        EULER,
        {"auto": "factored", "plain": "factored"},
        {"inplace": "the input is a function of time", "compiled": "the stimulus is a function of time"},
    ),
    "a rule of one's own": Case(
        OWN,
        ct.Presentations(X, None, 3),
        EULER,
        {"auto": "factored", "plain": "factored", "compiled": "compiled"},
        {"inplace": "rule Custom of layer 1 is not one of the library's own pure functions"},
    ),
}


def run(case: Case, execution: Any) -> ct.Solution:
    """The run of a case, or its first member."""
    state = case.network.initial_state(0, case.stimulus.rows, case.stimulus.dtype)
    members: Any = {} if case.members is None else {"ensemble": case.members}
    sol = ct.simulate(case.network, case.stimulus, case.solver, state=state, execution=execution, **members)
    first: ct.Solution = sol if case.members is None else sol[0]
    return first


@pytest.mark.parametrize(("name", "execution"), [(name, one) for name, case in CASES.items() for one in case.paths])
def test_it_runs_and_says_by_which_path_and_why(name: str, execution: str) -> None:
    case = CASES[name]
    sol = run(case, execution)
    assert sol.stats["path"] == case.paths[execution]
    reason = sol.stats["path_reason"]
    assert reason[0].isupper()
    assert reason.endswith(".")
    assert reason.count(".") == 1 + reason.count("(dt=...)") * 3
    assert sol.dataset.attrs["execution"] == execution
    plain = run(case, "plain")
    for key, value in plain.final.items():
        torch.testing.assert_close(sol.final[key], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "execution"), [(name, one) for name, case in CASES.items() for one in case.refused])
def test_what_cannot_be_had_is_refused_by_name_and_told_where_auto_goes_without_it(name: str, execution: str) -> None:
    case = CASES[name]
    with pytest.raises(ValueError, match=f"execution must be 'auto'.* or 'plain' here, got '{execution}': ") as refused:
        run(case, execution)
    assert case.refused[execution] in str(refused.value)
    if execution == "inplace":
        assert case.refused[execution] in run(case, "auto").stats["path_reason"]


def test_few_steps_are_not_recorded_and_the_reason_says_so() -> None:
    assert "40 steps are too few to record them" in run(CASES["factored"], "auto").stats["path_reason"]
    assert "execution='compiled'" in run(CASES["factored"], "auto").stats["path_reason"]


def test_frames_that_are_carried_out_plainly_are_told() -> None:
    """A rule that asks for the time cannot be recorded while it learns."""
    rule = ct.rules.ThreeFactor(ct.rules.STDP(), modulator=lambda t: 1.0 if t > 5.0 else 0.0)
    net = ct.Network([4, 5], neuron=ct.LIF(), rule=rule)
    stimulus = ct.Presentations(X, None, 5, duration=2.0, gate=(1.0, 2.0), encoder=ct.Poisson(1.0), epochs=2)
    sol = ct.simulate(net, stimulus, ct.solvers.Hybrid(dt=0.1), execution="inplace")
    assert sol.stats["path"] == "grid, in place"
    assert "not in place in 2 of 4 stretches" in sol.stats["path_reason"]


def test_the_execution_counts_more_than_the_solvers_compile() -> None:
    compiled = replace(EULER, compile=True)
    assert ct.simulate(RATE, SHOWN, compiled).stats["path"] == "compiled"
    assert ct.simulate(RATE, SHOWN, compiled, execution="plain").stats["path"] == "factored"
    alias = ct.simulate(RATE, SHOWN, EULER, execution="compiled")
    assert alias.stats["solver"] == repr(compiled)
    assert alias.final.equal(ct.simulate(RATE, SHOWN, compiled).final)


@pytest.mark.parametrize("execution", ["plian", "in place", ""])
def test_a_typo_is_refused_everywhere(execution: Any, tmp_path: Path) -> None:
    words = f"unknown execution '{execution}'"
    with pytest.raises(ValueError, match=words):
        ct.simulate(RATE, SHOWN, execution=execution)
    with pytest.raises(ValueError, match=words):
        ct.compare({"a": RATE}, SHOWN, seeds=1, test=TEST, execution=execution)
    with pytest.raises(ValueError, match=words):
        ct.sweep(lambda rate: RATE, {"rate": [1.0]}, SHOWN, test=TEST, execution=execution)
    with pytest.raises(ValueError, match=words):
        ct.SigPropClassifier(hidden=(3,), epochs=1, execution=execution).fit(X, Y)
    (tmp_path / "a.toml").write_text(f"execution = '{execution}'")
    with pytest.raises(Exception, match="execution"):
        read(tmp_path / "a.toml")


def test_an_execution_is_text() -> None:
    with pytest.raises(TypeError, match="execution must be one of 'auto', 'plain', 'inplace', 'compiled', got None"):
        ct.simulate(RATE, SHOWN, execution=None)  # type: ignore[call-overload]


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_batches_pass_it_on(execution: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = ct.simulate

    def listening(*args: Any, **settings: Any) -> Any:
        asked.append(settings["execution"])
        return original(*args, **settings)

    monkeypatch.setattr("ctsigprop.batch.course.simulate", listening)
    given: Any = {"solver": EULER, "seeds": 1, "test": TEST, "execution": execution}
    compared = ct.compare({"a": RATE}, SHOWN, **given)
    swept = ct.sweep(lambda rate: RATE, {"rate": [1.0]}, SHOWN, **given)
    assert [*compared.runs["status"], *swept.table["status"]] == ["completed"] * 2
    assert set(asked) == {execution}


def test_a_comparison_refuses_what_cannot_be_had_before_anything_runs() -> None:
    refused: tuple[tuple[Execution, str], ...] = (("inplace", ADAPTIVE), ("compiled", "only explicit Runge-Kutta"))
    for execution, words in refused:
        with pytest.raises(ValueError, match=words):
            ct.compare({"a": RATE}, SHOWN, seeds=1, test=TEST, solver=ct.solvers.Dopri8(), execution=execution)


def test_only_machine_code_gives_a_stored_run_another_name(tmp_path: Path) -> None:
    """The other executions end alike to rounding: what one has stored, another one takes."""
    given: Any = {"solver": EULER, "seeds": 1, "test": TEST, "store": tmp_path / "s"}
    stored: dict[Execution, int] = {"auto": 1, "plain": 1, "inplace": 1, "compiled": 2}
    for execution, number in stored.items():
        ct.sweep(lambda rate: RATE, {"rate": [1.0]}, SHOWN, execution=execution, **given)
        assert len(list((tmp_path / "s").glob("*/run.json"))) == number


def test_a_file_and_an_estimator_pass_it_on(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('execution = "plain"')
    assert read(tmp_path / "a.toml")[0].execution == "plain"
    model = ct.SigPropClassifier(hidden=(3,), epochs=1, execution="compiled").fit(X, Y)
    assert model.solution_.stats["path"] == "compiled"
    assert model.get_params()["execution"] == "compiled"
