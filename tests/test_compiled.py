"""Machine code: a few networks compiled for good, what has no compiled form, and how runs end.

That the generated source says what the plain path does is shown in test_equivalence.py.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ctsigprop as ct
from ctsigprop.execution.numba import emitter as code
from ctsigprop.rules import ThreeFactor
from ctsigprop.solvers.table import SOLVERS
from ctsigprop.trace.passes import readers_first
from tests.networks import rates, shown

pytest.importorskip("numba", reason="numba, which compiles, is not installed")
pytestmark = pytest.mark.usefixtures("own_cache")


def both(net: ct.Network, solver: type[Any], stimulus: ct.Stimulus, **settings: Any) -> tuple[ct.Solution, ct.Solution]:
    """The same run compiled and not, with no word of warning."""
    given = {"dt": 0.25} if "dt" in solver.__dataclass_fields__ else {"rtol": 1e-6, "atol": 1e-8}
    runs = {k: settings.pop(k) for k in ("state", "t_span", "probes", "seed") if k in settings}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast = ct.simulate(net, stimulus, solver(**given, **settings, compile=True), **runs)
    plain: ct.Solution = ct.simulate(net, stimulus, solver(**given, **settings), **runs)
    assert fast.stats["path"] == "compiled"
    assert plain.stats["path"] in ("torchdiffeq", "factored", "factored, in place")
    return fast, plain


def same(fast: ct.Solution, plain: ct.Solution, rtol: float = 1e-10) -> None:
    assert fast.status is plain.status
    assert fast.final.t == pytest.approx(plain.final.t, rel=1e-12)
    assert list(fast.final) == list(plain.final)
    for name, value in plain.final.items():
        torch.testing.assert_close(fast.final[name], value, rtol=rtol, atol=rtol)


@pytest.mark.usefixtures("interpreted", "tiny_unchecked")
def test_a_neuron_of_ones_own_is_compiled_too(tiny_neuron: Any) -> None:
    net = rates(ct.rules.ContrastiveHebbian(), ct.TargetStream(), [ct.Rate(), tiny_neuron])
    try:
        same(*both(net, ct.solvers.Euler, shown(), seed=3))
    except UserWarning as warning:  # its parameters are tensors that the graph would have to hold
        assert "holds tensors of its own" in str(warning)  # noqa: PT017


@pytest.mark.parametrize("name", [name for name, cls in SOLVERS.items() if getattr(cls, "tableau", None) is None])
def test_a_method_without_a_tableau_is_not_compiled(name: str) -> None:
    solver: Any = SOLVERS[name]
    given = {"dt": 0.1} if "dt" in solver.__dataclass_fields__ else {}
    if "compile" not in solver.__dataclass_fields__ or solver is ct.solvers.Hybrid:
        pytest.skip("has no such setting, or compiles in its own way")
    with pytest.raises(ValueError, match=rf"{solver.__name__}\(compile=\) must be False"):
        solver(**given, compile=True)


@pytest.mark.usefixtures("interpreted")
def test_a_compiled_run_of_rates_that_goes_on_is_the_whole_run() -> None:
    net = rates(ct.rules.ContrastiveHebbian(), ct.TargetStream())
    solver = ct.solvers.Euler(dt=0.25, compile=True)
    whole = ct.simulate(net, shown(), solver, seed=1).final
    part = ct.simulate(net, shown(), solver, seed=1, t_span=(0.0, 0.5)).final
    rest = ct.simulate(net, shown(), solver, state=part, t_span=(0.5, 1.2)).final
    assert rest.equal(whole)


def test_machine_code_of_an_adaptive_method_says_the_same_as_the_source() -> None:
    """In double precision; few steps, as nothing has a kink."""
    random = np.random.default_rng(1)
    x, y = random.standard_normal((70, 20)), random.integers(0, 10, 70)
    rule, rate = ct.rules.ContrastiveHebbian(decay=0.1), ct.Rate(activation="tanh")
    net = ct.Network([20, 30, 10], 10, neuron=rate, signal=ct.TargetStream(), rule=rule)
    probes = [ct.Probe("weights", every=0.37)]
    fast, plain = both(net, ct.solvers.FactoredTsit5, ct.Presentations(x, y, 32, 1.3, 2), probes=probes)
    same(fast, plain, 1e-5)
    np.testing.assert_allclose(fast.dataset["weights"], plain.dataset["weights"], rtol=1e-4, atol=1e-4)


def test_the_same_run_twice_is_the_same_to_the_last_bit() -> None:
    net = rates(ct.rules.Oja(rate=0.1))
    solver = ct.solvers.Euler(dt=0.1, compile=True)
    first, again = (ct.simulate(net, shown(), solver, seed=2, ensemble=2) for _ in range(2))
    assert all(a.final.equal(b.final) for a, b in zip(first, again, strict=True))


GROWING: list[tuple[str, Callable[[bool], Any]]] = [
    ("euler", lambda fast: ct.solvers.Euler(dt=0.1, compile=fast)),
    ("rk4", lambda fast: ct.solvers.RK4(dt=0.1, compile=fast)),
    ("factored_dopri5", lambda fast: ct.solvers.FactoredDopri5(compile=fast)),
]


def test_machine_code_of_euler_says_the_same_as_the_source_and_members_have_the_bits_of_their_single_runs() -> None:
    """In single precision; sizes at which no matrix of a member lies as that of the next one does."""
    x = torch.rand(17, 5, generator=torch.Generator().manual_seed(0))
    net = ct.Network([5, 13, 15], 7, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(decay=0.1))
    stimulus, solver = ct.Presentations(x, torch.arange(17) % 7, 7), ct.solvers.Euler(dt=0.1, compile=True)
    given: dict[str, Any] = {"probes": [ct.Probe("weights", every=0.37)]}
    members = ct.simulate(net, stimulus, solver, ensemble=3, **given)
    for seed, member in zip(members.seeds, members, strict=True):
        fast, plain = (
            ct.simulate(net, stimulus, way, seed=seed, **given) for way in (solver, ct.solvers.Euler(dt=0.1))
        )
        assert [sol.stats["path"] for sol in (member, fast, plain)] == ["compiled", "compiled", "torchdiffeq"]
        assert member.final.equal(fast.final)
        same(fast, plain, 1e-4)
        np.testing.assert_array_equal(member.dataset["weights"], fast.dataset["weights"])
        np.testing.assert_allclose(fast.dataset["weights"], plain.dataset["weights"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "make"), GROWING)
@pytest.mark.usefixtures("interpreted")
@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")  # as intended here
def test_a_compiled_run_of_rates_that_diverges_ends_where_the_plain_one_does(
    name: str, make: Callable[[bool], Any]
) -> None:
    net = ct.Network([2, 2], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=2.0), bias=False)
    stimulus = ct.Presentations(np.ones((1, 2), np.float32), None, 1, duration=100.0)
    probe = ct.Probe("weights", every=1.0)
    fast, plain = (ct.simulate(net, stimulus, make(mode), seed=1, probes=[probe]) for mode in (True, False))
    assert fast.status is plain.status is ct.Status.DIVERGED
    assert fast.final.t == pytest.approx(plain.final.t, rel=0.02)
    assert "W.1" in fast.message or "r.1" in fast.message
    assert all(bool(torch.isfinite(value).all()) for value in fast.final.values())
    assert np.isfinite(fast.dataset["weights"]).all()
    assert abs(fast.dataset.sizes["time"] - plain.dataset.sizes["time"]) <= 1


@pytest.mark.usefixtures("interpreted")
def test_an_activation_that_interpolates_is_the_same_in_a_compiled_runge_kutta_step() -> None:
    """Of the functions pasted into its module, none may hide the one that `lerp` calls."""
    activation = (lambda u: torch.lerp(u, torch.tanh(u), 0.3), lambda u: 0.7 + 0.3 / torch.cosh(u) ** 2)
    net = ct.Network([4, 3], neuron=ct.Rate(activation=activation), rule=ct.rules.Oja(rate=0.1), bias=False)
    stimulus = ct.Presentations(np.random.default_rng(0).random((4, 4)), None, 4, duration=2.0)
    fast, plain = (
        ct.simulate(net, stimulus, ct.solvers.RK4(dt=0.1), seed=1, execution=execution)
        for execution in ("compiled", "plain")
    )
    assert fast.stats["path"] == "compiled"
    torch.testing.assert_close(fast.final["W.1"], plain.final["W.1"], rtol=1e-12, atol=1e-12)


def slope_of_erf(u: torch.Tensor) -> torch.Tensor:
    return (-u * u).exp().mul(2 / math.pi**0.5)


def no_compiled_form() -> dict[str, tuple[str, ct.Network, ct.Stimulus]]:
    oja = rates(ct.rules.Oja())
    return {
        "a function of time": ("depends on time", rates(ThreeFactor(modulator=np.cos)), shown()),
        "a stimulus of time": (
            "the stimulus is a function of time",
            ct.Network([4, 5], rule=ct.rules.Oja()),
            ct.Stimulus.from_function(lambda t: torch.full((1, 4), t), duration=1.0),
        ),
        "a gate of time": ("the stimulus is a function of time", oja, shown(gate=lambda t: t)),
        "an operation": (
            "aten.erf.default has no compiled form",
            rates(ct.rules.Oja(), None, ct.Rate(activation=(torch.erf, lambda u: 2 / np.pi**0.5 * torch.exp(-u * u)))),
            shown(),
        ),
    }


@pytest.mark.parametrize("case", ["a function of time", "a stimulus of time", "a gate of time", "an operation"])
@pytest.mark.usefixtures("interpreted")
def test_what_has_no_compiled_form_is_told_once_and_runs_all_the_same(case: str) -> None:
    words, net, stimulus = no_compiled_form()[case]
    state = net.initial_state(0, stimulus.rows, stimulus.dtype)
    with pytest.warns(UserWarning, match=f"compile=True is without effect: .*{words}") as caught:
        sol = ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.25, compile=True), state=state)
    assert len(caught) == 1
    assert sol.stats["path"] == "torchdiffeq"
    assert sol.final.equal(ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.25), state=state).final)


def test_without_numba_a_warning_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"numba is not installed: pip install"):
        assert ct.simulate(rates(ct.rules.Oja()), shown(), ct.solvers.Euler(dt=0.25, compile=True)).status.ok


def test_compile_is_true_or_false() -> None:
    with pytest.raises(TypeError, match=r"Euler\(compile=\) must be True or False, got 'yes'"):
        ct.solvers.Euler(dt=0.1, compile="yes")  # type: ignore[arg-type]


@pytest.mark.usefixtures("interpreted")
def test_a_folder_that_cannot_be_written_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file where a folder should be")
    monkeypatch.setenv("CTSIGPROP_CACHE", str(taken))
    same(*both(rates(ct.rules.Oja(rate=0.3)), ct.solvers.Euler, shown()))


@pytest.mark.usefixtures("interpreted")
def test_products_that_are_left_to_blas_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drives that start from biases, and changes of weights that are added to them."""
    monkeypatch.setattr(code, "LARGE", 0)
    x = torch.rand(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = ct.Network([5, 6, 4], 4, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    stimulus = ct.Presentations(x, torch.arange(8) % 4, 4, duration=2.0)
    fast, plain = (ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.1, compile=way)) for way in (True, False))
    assert fast.stats["path"] == "compiled"
    for name, value in plain.final.items():
        torch.testing.assert_close(fast.final[name], value, rtol=1e-11, atol=1e-13)


@given(st.dictionaries(st.sampled_from("abcde"), st.sets(st.sampled_from("abcde"))))
def test_whatever_is_written_over_was_read_or_put_aside_before(reads: dict[str, set[str]]) -> None:
    reads = {name: read & {*reads} for name, read in reads.items()}
    order, aside = readers_first(reads)
    assert sorted(order) == sorted(reads)
    written: set[str] = set()
    for name in order:
        assert name in aside or not reads[name] & written
        written.add(name)
    chain = {"a": {"b"}, "b": {"c"}, "c": {"c"}}
    assert readers_first(chain) == (["a", "b", "c"], [])
