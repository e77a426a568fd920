"""User code that raises inside a run: what is named, and what of the run is handed over, on every path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ctsigprop as ct

LATE = 3.1
X = torch.rand(16, 6, generator=torch.Generator().manual_seed(0))
SOLVERS: list[ct.solvers.Solver] = [
    ct.solvers.Euler(dt=0.1),
    ct.solvers.RK4(dt=0.1),
    ct.solvers.FactoredEuler(dt=0.1),
    ct.solvers.FactoredRK4(dt=0.1),
    ct.solvers.Dopri5(),
    ct.solvers.FactoredDopri5(),
    ct.solvers.Multirate(dt=0.5),
    ct.solvers.Hybrid(dt=0.1),
    ct.solvers.Hybrid(dt=0.1, flow="rk4"),
    ct.solvers.EventDriven(),
]
EVERY_SOLVER = pytest.mark.parametrize("solver", SOLVERS, ids=repr)


def shown(duration: float = 5.0, **settings: Any) -> ct.Presentations:
    return ct.Presentations(X, None, 8, duration=duration, **settings)


def hebb(**settings: Any) -> ct.Network:
    return ct.Network([6, 3], **{"rule": ct.rules.Hebb(rate=1e-3), "bias": False, **settings})


def raised_by(call: Callable[[], object]) -> tuple[ct.SimulationError, Any]:
    """The error of a run, and the solution that it hands over."""
    with pytest.raises(ct.SimulationError) as raised:
        call()
    return raised.value, raised.value.solution


def mild_rule(local: ct.rules.Local) -> ct.rules.Update:
    return ct.rules.Update(local.post, local.pre)


def late_rule(local: ct.rules.Local) -> ct.rules.Update:
    if local.t > LATE:
        raise KeyError("no such synapse")
    return mild_rule(local)


@EVERY_SOLVER
def test_a_rule_that_raises_is_named_and_the_run_so_far_is_that_of_a_shorter_one(solver: ct.solvers.Solver) -> None:
    net = hebb(rule=ct.rules.Custom(late_rule, rate=1e-3))
    probes = [ct.Probe("weights", every=0.5)]
    error, sol = raised_by(lambda: ct.simulate(net, shown(), solver, probes=probes))
    assert str(error).startswith("rule late_rule of layer 1 raised an error at t=3.")
    assert "KeyError: 'no such synapse'" in str(error)
    assert isinstance(error.__cause__, KeyError)
    assert sol.status is ct.Status.FAILED
    assert str(error) in sol.message
    assert 2.5 <= sol.final.t <= 3.3
    times = sol.dataset["time"].values
    assert times.tolist() == [0.5 * k for k in range(len(times))]
    assert sol.final.t - 0.5 < times[-1] <= sol.final.t
    net = hebb(rule=ct.rules.Custom(mild_rule, rate=1e-3))
    until = ct.simulate(net, shown(), solver, probes=probes, t_span=(0.0, sol.final.t))
    torch.testing.assert_close(sol.final["W.1"], until.final["W.1"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sol.dataset["weights"], until.dataset["weights"][: len(times)], rtol=1e-4, atol=1e-5)


def inverse(state: ct.State) -> float:
    return 1.0 / (3.0 - state.t)


@EVERY_SOLVER
def test_a_probe_that_raises_is_named_with_its_time(solver: ct.solvers.Solver) -> None:
    probes = [ct.Probe("rates", every=0.5), ct.Probe(inverse, every=0.5)]
    error, sol = raised_by(lambda: ct.simulate(hebb(), shown(), solver, probes=probes))
    assert str(error) == "probe 'inverse' raised an error at t=3: ZeroDivisionError: float division by zero"
    assert sol.dataset["time"].values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    np.testing.assert_allclose(sol.dataset["inverse"], [1 / (3 - t) for t in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)])
    assert sol.final.t >= 2.5


def test_scipy_keeps_the_presentations_done() -> None:
    net = hebb(rule=ct.rules.Custom(late_rule, rate=1e-3))
    _, sol = raised_by(lambda: ct.simulate(net, shown(2.0), ct.solvers.SciPy(), probes=[ct.Probe("rates", every=0.5)]))
    assert sol.final.t == 2.0
    assert sol.dataset["time"].values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


PROBE = ct.Probe(inverse, every=0.5)
PATHS: dict[str, Callable[[], object]] = {
    "in place": lambda: ct.simulate(hebb(), shown(40.0), ct.solvers.FactoredEuler(dt=0.1), probes=[PROBE]),
    "side by side": lambda: ct.simulate(hebb(), shown(), ct.solvers.Euler(dt=0.1), probes=[PROBE], ensemble=3),
    "batched": lambda: ct.simulate(hebb(), shown(), ct.solvers.RK4(dt=0.1), probes=[PROBE], ensemble=3),
    "one by one": lambda: ct.simulate(hebb(), shown(), ct.solvers.Dopri5(), probes=[PROBE], ensemble=3),
    "jumps in place": lambda: ct.simulate(
        hebb(neuron=ct.LIF()), shown(40.0), ct.solvers.Hybrid(dt=0.1), probes=[PROBE]
    ),
}


@pytest.mark.parametrize("path", PATHS)
def test_every_path_hands_over_what_it_has(path: str) -> None:
    error, result = raised_by(PATHS[path])
    assert str(error).startswith("probe 'inverse' raised an error at t=3: ZeroDivisionError")
    assert isinstance(error.__cause__, ZeroDivisionError)
    members = list(result) if isinstance(result, ct.Ensemble) else [result]
    assert all(member.status is ct.Status.FAILED for member in members)
    assert members[0].dataset["time"].values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert members[0].final.t >= 2.5
    solver = ct.solvers.Hybrid(dt=0.1) if path == "jumps in place" else ct.solvers.Euler(dt=0.1)
    net = hebb(neuron=ct.LIF()) if path == "jumps in place" else hebb()
    until = ct.simulate(net, shown(40.0 if "place" in path else 5.0), solver, t_span=(0.0, members[0].final.t))
    torch.testing.assert_close(members[0].final["W.1"], until.final["W.1"], rtol=1e-2, atol=1e-3)


def test_the_compiled_path_hands_over_what_it_has() -> None:
    pytest.importorskip("numba")
    solver = ct.solvers.Euler(dt=0.1, compile=True)
    error, result = raised_by(lambda: ct.simulate(hebb(), shown(), solver, probes=[PROBE], ensemble=2))
    assert "probe 'inverse' raised an error at t=3" in str(error)
    assert result[0].stats["path"] == "compiled"
    assert result[0].dataset["time"].values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


class Brittle:
    """A neuron that breaks at its n-th evaluation."""

    tau = 1.0

    def __init__(self) -> None:
        self.left = 20

    def variables(self) -> dict[str, float]:
        return {"r": 0.0}

    def flow(self, variables: Mapping[str, Tensor], drive: Tensor) -> dict[str, Tensor]:
        self.left -= 1
        if self.left == 0:
            raise StopIteration
        return {"r": torch.tanh(drive) - variables["r"]}

    def output(self, variables: Mapping[str, Tensor]) -> Tensor:
        return variables["r"]

    def gain(self, variables: Mapping[str, Tensor], drive: Tensor) -> Tensor:
        return 1 - torch.tanh(drive).square()


def breaking(after: int, function: Callable[[Any], Any], error: Exception) -> Callable[[Any], Any]:
    """The function, until it has been called `after` times."""
    left = [after]

    def brittle(value: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return function(value)

    return brittle


def reward(activities: Mapping[str, Tensor], labels: Tensor | None) -> float:
    raise OverflowError("too good")


WRONG = IndexError("no such thing")
CULPRITS: dict[str, tuple[Callable[[], object], str, type[Exception]]] = {
    "neuron": (
        lambda: ct.simulate(hebb(neuron=Brittle()), shown(), ct.solvers.Euler(dt=0.1)),
        "neuron Brittle of layer 1 raised an error at t=1.9: StopIteration",
        StopIteration,
    ),
    "activation": (
        lambda: ct.simulate(
            hebb(neuron=ct.Rate(activation=(breaking(30, torch.tanh, WRONG), lambda u: 1 - torch.tanh(u) ** 2))),
            shown(),
            ct.solvers.Euler(dt=0.1),
        ),
        "neuron Rate with activation brittle of layer 1 raised an error at t=2.8: IndexError: no such thing",
        IndexError,
    ),
    "stimulus": (
        lambda: ct.simulate(
            hebb(),
            ct.Stimulus.from_function(breaking(11, lambda t: X[:8], WRONG), duration=5.0),
            ct.solvers.Euler(dt=0.1),
        ),
        "the stimulus raised an error at t=1: IndexError: no such thing",
        IndexError,
    ),
    "gate": (
        lambda: ct.simulate(hebb(), shown(gate=breaking(10, float, WRONG)), ct.solvers.Euler(dt=0.1)),
        "the stimulus raised an error at t=1: IndexError: no such thing",
        IndexError,
    ),
    "modulator": (
        lambda: ct.simulate(
            hebb(rule=ct.rules.ThreeFactor(modulator=breaking(10, lambda t: 1e-3, WRONG))),
            shown(),
            ct.solvers.Euler(dt=0.1),
        ),
        "rule ThreeFactor of layer 1 raised an error at t=1: IndexError: no such thing",
        IndexError,
    ),
    "reward": (
        lambda: ct.simulate(
            hebb(rule=ct.rules.ThreeFactor(modulator=ct.rules.Reward(reward))), shown(), ct.solvers.Euler(dt=0.1)
        ),
        "rule ThreeFactor of layer 1 raised an error at t=0: OverflowError: too good",
        OverflowError,
    ),
    "first value of a probe": (
        lambda: ct.simulate(hebb(), shown(), probes=[ct.Probe(lambda s: s["nothing"], every=1.0, name="mine")]),
        "probe 'mine' raised an error at t=0: KeyError",
        KeyError,
    ),
}


@pytest.mark.parametrize("culprit", CULPRITS)
def test_who_raised_is_named_with_the_time(culprit: str) -> None:
    call, told, cause = CULPRITS[culprit]
    error, sol = raised_by(call)
    assert str(error).startswith(told)
    assert type(error.__cause__) is cause
    assert sol.status is ct.Status.FAILED
    assert all(bool(torch.isfinite(value).all()) for value in sol.final.values())


def test_an_error_that_is_a_value_error_can_be_caught_as_one() -> None:
    def picky(state: ct.State) -> float:
        if state.t >= 1.0:
            raise ValueError("too late")
        return 0.0

    with pytest.raises(ValueError, match=r"probe 'picky' raised an error at t=1: ValueError: too late"):
        ct.simulate(hebb(), shown(), ct.solvers.Euler(dt=0.1), probes=[ct.Probe(picky, every=1.0)])


def test_what_has_no_name_keeps_its_type_and_hands_over_the_solution() -> None:
    net = hebb(rule=ct.rules.Bounded(ct.rules.Hebb(rate=0.1)))
    with pytest.raises(TypeError, match=r"W\.1 returns a DenseUpdate") as raised:
        ct.simulate(net, shown(), ct.solvers.FactoredEuler(dt=0.1))
    assert not isinstance(raised.value, ct.SimulationError)
    assert vars(raised.value)["solution"].final.t == 0.0


def test_a_run_of_a_batch_that_raises_keeps_its_curve() -> None:
    x, y = X, torch.arange(16) % 2
    net = ct.Network([6, 4], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=0.1))
    calls: list[float] = []

    def size(state: ct.State) -> float:
        calls.append(state.t)
        if len(calls) > 3:
            raise ArithmeticError("too large")
        return float(state["W.1"].norm())

    stim = ct.Presentations(x, y, 4, epochs=2)
    runs = ct.sweep(lambda a: net, {"a": [1]}, stim, metrics={"size": size}, solver=ct.solvers.RK4(dt=0.5), n_jobs=1)
    assert runs.table["status"].tolist() == ["failed"]
    assert runs.table["message"].item() == "metric 'size' raised an error at t=3: ArithmeticError: too large"
    assert len(runs.records[0].curve["size"]) == 3
    assert np.isfinite(runs.records[0].curve["size"]).all()
    assert "ArithmeticError" in runs.records[0].traceback


# ---------------------------------------------------------------------------------- Ctrl-C


class Impatient:
    """A probe in front of which somebody presses Ctrl-C at t = 3."""

    __name__ = "impatient"

    def __call__(self, state: ct.State) -> float:
        if state.t >= 3.0:
            raise KeyboardInterrupt
        return state.t


INTERRUPTED: dict[str, tuple[ct.solvers.Solver, dict[str, Any]]] = {
    **{repr(solver): (solver, {}) for solver in SOLVERS},
    "side by side": (ct.solvers.Euler(dt=0.1), {"ensemble": 3}),
    "batched": (ct.solvers.RK4(dt=0.1), {"ensemble": 3}),
    "one by one": (ct.solvers.Dopri5(), {"ensemble": 3}),
}


def interrupted(name: str, store: Path | None = None) -> Any:
    solver, settings = INTERRUPTED[name]
    probes = [ct.Probe(Impatient(), every=0.5)]
    return ct.simulate(hebb(), shown(), solver, probes=probes, store=store, **settings)


@pytest.mark.parametrize("name", INTERRUPTED)
def test_ctrl_c_in_a_script_is_raised_with_the_solution(name: str, tmp_path: Path) -> None:
    assert not hasattr(sys, "ps1")
    with pytest.raises(KeyboardInterrupt) as raised:
        interrupted(name, tmp_path / "run")
    assert type(raised.value) is KeyboardInterrupt  # Python ends a process by the signal for this very type alone
    found = vars(raised.value)["solution"]
    first, place = (found, tmp_path / "run") if isinstance(found, ct.Solution) else (found[0], tmp_path / "run" / "0")
    back = ct.load(place)
    assert first.status is back.status is ct.Status.INTERRUPTED
    assert back.dataset["time"].values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert back.final.equal(first.final)


@pytest.mark.usefixtures("at_a_prompt")
@pytest.mark.parametrize("name", INTERRUPTED)
def test_ctrl_c_at_a_prompt_gives_the_solution_back(name: str) -> None:
    found = interrupted(name)
    members = list(found) if isinstance(found, ct.Ensemble) else [found]
    assert all(member.status is ct.Status.INTERRUPTED for member in members)
    assert members[0].dataset["time"].values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


LOOP = """
import signal, sys, torch, ctsigprop as ct
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
net = ct.Network([6, 3], rule=ct.rules.Hebb(rate=1e-6, decay=1.0), bias=False)
stim = ct.Presentations(torch.ones(4, 6), None, 4, duration=1e6)
probe = ct.Probe(lambda s: print("going", s.t, flush=True) or s.t, every=1.0, name="told")
for k, prompt in enumerate([True, False, False]):
    vars(sys).pop("ps1", None)
    if prompt:
        sys.ps1 = ">>> "
    sol = ct.simulate(net, stim, ct.solvers.Euler(dt=0.1), probes=[probe])
    print(f"\\nrun {k} {sol.status.name}", flush=True)  # the line before may have been interrupted
"""


def reads_until(lines: IO[str], wanted: str) -> None:
    while (line := lines.readline()).strip() != wanted:
        assert line, f"the process ended without {wanted!r}"


def test_ctrl_c_ends_one_run_at_a_prompt_and_the_process_in_a_script() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(ct.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LOOP]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert process.stdout is not None
        reads_until(process.stdout, "going 5.0")
        process.send_signal(signal.SIGINT)
        reads_until(process.stdout, "run 0 INTERRUPTED")
        reads_until(process.stdout, "going 5.0")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "run 1" not in out
    assert "run 2" not in out
