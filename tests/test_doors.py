"""Data, labels, numbers and devices at the door: taken where they are clear, else refused by name."""

from __future__ import annotations

import re
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

import ctsigprop as ct
from ctsigprop.batch.fingerprint import Fingerprint
from ctsigprop.batch.plan import as_seeds
from ctsigprop.batch.schedule import Options
from ctsigprop.cli import app
from ctsigprop.stimuli.validation import Mapped

X = np.linspace(0.0, 1.0, 18, dtype=np.float32).reshape(6, 3)
Y = np.array([0, 1, 0, 1, 0, 1])
NAMES = np.array(["cat", "dog", "cat", "dog", "cat", "dog"])


@pytest.fixture(autouse=True)
def as_a_user_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape checking, on in the other tests, would answer before the library does."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def shown(x: Any, y: Any = Y) -> ct.Presentations:
    return ct.Presentations(x, y, 2)


def network() -> ct.Network:
    return ct.Network([3, 4, 2], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())


def loader() -> Any:
    return DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=2)


def masked() -> Any:
    return np.ma.masked_greater(X, 0.9)


@pytest.mark.parametrize(
    ("error", "words", "x"),
    [
        (TypeError, "x must be a tensor or array of numbers, got a DataLoader: give x and y as two tensors", loader()),
        (TypeError, "x must be a tensor or array of numbers, got a TensorDataset", TensorDataset(torch.from_numpy(X))),
        (TypeError, "x must be dense, got a tensor of layout torch.sparse_coo", torch.from_numpy(X).to_sparse()),
        (TypeError, "x must be dense, got a sparse csr_matrix: give x.toarray()", scipy.sparse.csr_matrix(X)),
        (ValueError, "x must have a value everywhere, got a MaskedArray with masked ones", masked()),
        (TypeError, "x must be a tensor or array of numbers, got text such as 'cat'", [["cat"], ["dog"]]),
        (TypeError, "x must be a tensor or array of numbers, got generator, no array", (row for row in X)),
        (TypeError, "x must be a tensor or array of numbers, got dict, no array", {"x": X}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_samples_that_are_no_array_of_numbers_are_refused_by_name(error: type[Exception], words: str, x: Any) -> None:
    net = network()
    acts: list[Callable[[], Any]] = [
        lambda: shown(x),
        lambda: net.predict(net.initial_state(), x),
    ]
    for act in acts:
        with pytest.raises(error, match=re.escape(words)):
            act()


def test_functions_of_time_are_held_to_the_same() -> None:
    stim = ct.Stimulus.from_function(
        lambda t: torch.from_numpy(X) if t == 0 else torch.from_numpy(X).to_sparse(), duration=1.0
    )
    with pytest.raises(TypeError, match=re.escape("x(0.5) must be dense")):
        next(iter(stim.frames(0.0, 1.0))).at(0.5)


def test_an_array_without_masked_values_is_an_array() -> None:
    stim = shown(np.ma.masked_greater(X, 2.0))
    torch.testing.assert_close(stim.x, torch.from_numpy(X))


@pytest.mark.parametrize("y", [NAMES, list(NAMES), pd.Series(NAMES), pd.Series(NAMES, dtype="category")])
def test_names_as_labels_are_refused_with_what_to_do(y: Any) -> None:
    words = "got text such as 'cat': number the names, names, y = np.unique(y, return_inverse=True)"
    net = network()
    for act in (lambda: shown(X, y), lambda: net.score(net.initial_state(), X, y)):
        with pytest.raises(TypeError, match=re.escape(words)):
            act()
    names, numbers = np.unique(y, return_inverse=True)
    assert shown(X, numbers).y is not None
    assert list(names) == ["cat", "dog"]


@pytest.mark.parametrize("trains", [False, True])
def test_a_label_beyond_the_classes_is_told_with_argument_classes_and_sample(trains: bool) -> None:
    y = [0, 1, 0, 5, 0, 1]
    stim = ct.SpikeTrains([[[0.5]] * 3] * 6, 1.0, y=y) if trains else shown(X, y)
    net = ct.Network([3, 2], 2, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
    with pytest.raises(
        ValueError, match=r"y of the stimulus must be in 0 ... 1, as n_classes=2 says, got 5 for sample 3"
    ):
        ct.simulate(net, stim)


def test_a_name_that_a_state_has_not_is_told_with_the_nearest() -> None:
    state = ct.Network([3, 2], rule=ct.rules.Oja(), bias=False).initial_state()
    with pytest.raises(KeyError, match=r"no tensor 'W.2': did you mean 'W.1'\? this state has r.1, W.1"):
        state["W.2"]
    assert "W.2" not in state
    assert state.get("W.2") is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    for wanted in ("cuda", "cuda:3", torch.device("cuda"), "gpu"):
        with pytest.raises(ValueError, match=f"device must be one of this machine, cpu, got '{wanted}'"):
            network().initial_state(device=wanted)
    with pytest.raises(TypeError, match="device must be a name such as 'cpu'"):
        network().initial_state(device=0)  # type: ignore[arg-type]


def test_no_processes_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="n_jobs must be an integer >= 1, or -1 for one process per core, got 0"):
        Options(n_jobs=0)
    assert Options(n_jobs=-1).processes >= 1


@pytest.mark.parametrize("command", ["compare", "sweep"])
def test_the_command_line_refuses_no_processes_before_it_reads_anything(command: str) -> None:
    result = CliRunner().invoke(app, [command, "no_such_file.toml", "--n-jobs", "0"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "n_jobs must be an integer >= 1, or -1 for one process per core, got 0" in result.output


def same(a: ct.State, b: ct.State) -> bool:
    return a.equal(b)


def test_integers_and_times_of_numpy_are_those_of_python() -> None:
    net, stim = network(), ct.Presentations(X, Y, 2, duration=1.0)
    three: Any = np.int64(3)
    assert same(net.initial_state(three, rows=np.int64(2)), net.initial_state(3, rows=2))  # type: ignore[arg-type]
    span: Any = np.array([0.0, 2.0])
    solver = ct.solvers.Euler(dt=1.0)
    part = ct.simulate(net, stim, solver, t_span=span, seed=three).final
    assert same(part, ct.simulate(net, stim, solver, t_span=(0.0, 2.0), seed=3).final)
    seeds: Any = np.array([3, 4])
    members = ct.simulate(net, stim, solver, ensemble=np.int64(2), seed=seeds)  # type: ignore[call-overload]
    assert [member.dataset.attrs["seed"] for member in members] == [3, 4]
    assert as_seeds(np.int64(2)) == as_seeds(2) == [0, 1]  # type: ignore[arg-type]
    gate: Any = np.array([0.25, 0.5])
    assert ct.Presentations(X, Y, 2, gate=gate).gate == (0.25, 0.5)
    spaced: Any = np.array([5, 0.1])
    with pytest.raises(ValueError, match=r"Probe\(log_spaced=\) must be an integer >= 2, got"):
        ct.Probe("rates", log_spaced=spaced)
    assert net.transform(net.initial_state(), X, layer=np.int64(1)).shape == (6, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [True, 1.0, -1, "a"])
def test_a_seed_is_an_integer_from_0_on(seed: Any) -> None:
    with pytest.raises(ValueError, match="seed must be an integer >= 0"):
        network().initial_state(seed)


def test_bytes_are_told_and_taken_as_they_are() -> None:
    images = (X * 255).astype(np.uint8)
    with pytest.warns(UserWarning, match="x is uint8, up to 255, and is taken as it is, unscaled: divide") as told:
        stim = ct.Presentations(images, Y, 2)
    assert [str(warning.filename) for warning in told] == [__file__]
    torch.testing.assert_close(stim.x, torch.from_numpy(images).to(torch.float32))
    with pytest.warns(UserWarning, match="x is uint8"):
        network().predict(network().initial_state(), images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown((images > 99).astype(np.uint8))
        shown(images / 255)
        shown(X, Y.astype(np.uint8))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).random((4000, 250), dtype=np.float32))
    return (yield path)


class Counting(np.memmap[Any, Any]):
    """Counts the rows that are read."""

    rows_read = most_rows = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        Counting.rows_read += len(np.atleast_2d(found))
        Counting.most_rows = max(Counting.most_rows, len(np.atleast_2d(found)))
        return found


def test_a_memory_map_is_read_batch_by_batch(file: Path) -> None:
    whole = np.load(file)
    y = np.arange(4000) % 2
    net = ct.Network([250, 4], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    run: dict[str, Any] = {"solver": ct.solvers.Euler(dt=1.0), "t_span": (0.0, 3.0), "seed": 0}
    Counting.rows_read = 0
    mapped = np.load(file, mmap_mode="r").view(Counting)
    tracemalloc.start()
    stim = ct.Presentations(mapped, y, 8)
    final = ct.simulate(net, stim, **run).final
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert final.equal(ct.simulate(net, ct.Presentations(whole, y, 8), **run).final)
    assert 3 * 8 <= Counting.rows_read <= 3 * 8 + 2
    assert peak < whole.nbytes / 2


def test_prediction_reads_a_memory_map_piece_by_piece(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, mapped = np.load(file), np.load(file, mmap_mode="r").view(Counting)
    net = ct.Network([250, 4], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    state, y = net.initial_state(0), np.arange(4000) % 2
    monkeypatch.setattr("ctsigprop.model.network.AT_ONCE", 250 * 300)
    Counting.rows_read = Counting.most_rows = 0
    assert torch.equal(net.predict(state, mapped), net.predict(state, whole))
    assert 4000 <= Counting.rows_read <= 4002
    assert Counting.most_rows == 300
    assert net.score(state, mapped, y) == net.score(state, whole, y)
    with pytest.raises(ValueError, match=r"x must have 250 features, got shape \(4000, 100\)"):
        net.predict(state, mapped[:, :100])
    with pytest.raises(ValueError, match="x must"):
        net.predict(state, mapped[:0])


def test_contexts_in_a_memory_map_are_read_batch_by_batch(tmp_path: Path) -> None:
    contexts = np.random.default_rng(1).random((4000, 250), dtype=np.float32)
    np.save(tmp_path / "y.npy", contexts)
    x = np.random.default_rng(0).random((4000, 6), dtype=np.float32)
    net = ct.Network([6, 4], 250, signal=ct.TargetStream(per="sample"), rule=ct.rules.ContrastiveHebbian())
    run: dict[str, Any] = {"solver": ct.solvers.Euler(dt=1.0), "t_span": (0.0, 3.0), "seed": 0}
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    Counting.rows_read = 0
    stim = ct.Presentations(x, mapped.view(Counting), 8)
    assert stim.target_width == 250
    final = ct.simulate(net, stim, **run).final
    assert final.equal(ct.simulate(net, ct.Presentations(x, contexts, 8), **run).final)
    assert 3 * 8 <= Counting.rows_read <= 3 * 8 + 2
    part = Fingerprint().of(ct.Presentations(x[:9], mapped[:9], 8))
    assert part != Fingerprint().of(ct.Presentations(x[:9], mapped[9:18], 8))
    with pytest.raises(ValueError, match="y must have one entry for each of the 4000 samples, got 9"):
        ct.Presentations(x, mapped[:9], 8)
    with pytest.raises(TypeError, match="x and y must have the same float type"):
        ct.Presentations(x.astype(np.float64), mapped, 8)


def test_an_ensemble_reads_the_same_from_a_memory_map(file: Path) -> None:
    whole, mapped = np.load(file)[:64], np.load(file, mmap_mode="r")[:64]
    net = ct.Network([250, 4], rule=ct.rules.Oja(rate=1e-3), bias=False)
    finals = [
        [
            member.final["W.1"]
            for member in ct.simulate(
                net, [ct.Presentations(x, None, 16, seed=k) for k in (0, 1)], ct.solvers.Euler(dt=0.5), ensemble=2
            )
        ]
        for x in (whole, mapped)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*finals, strict=True))


def test_what_a_memory_map_holds_is_checked_when_it_is_shown(tmp_path: Path) -> None:
    values = np.ones((6, 3), dtype=np.float32)
    values[4, 1] = np.nan
    np.save(tmp_path / "x.npy", values)
    stim = ct.Presentations(np.load(tmp_path / "x.npy", mmap_mode="r"), None, 2, shuffle=False)
    net = ct.Network([3, 2], rule=ct.rules.Oja(), bias=False)
    with pytest.raises(ValueError, match="x must be finite, got nan in row 4, column 1"):
        ct.simulate(net, stim, ct.solvers.Euler(dt=1.0))
    loud = np.full((6, 3), 2.0)
    np.save(tmp_path / "loud.npy", loud)
    with pytest.raises(ValueError, match=r"Poisson needs inputs in 0 ... 1, got 2 ... 2"):
        ct.Presentations(np.load(tmp_path / "loud.npy", mmap_mode="r"), None, 2, encoder=ct.Poisson(rate=10.0, dt=0.1))


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "u1", "<i4"])
def test_a_memory_map_of_any_number_is_shown_as_its_array_is(dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", (X > 0.5).astype(dtype))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    stim, whole = (ct.Presentations(x, Y, 4, seed=1) for x in (mapped, np.array(mapped)))
    assert isinstance(stim.x, Mapped)
    assert stim.dtype == whole.dtype
    for a, b in zip(stim.frames(0.0, 2.0), whole.frames(0.0, 2.0), strict=True):
        assert torch.equal(a.at(0.0).x, b.at(0.0).x)
    with pytest.raises(ValueError, match="x must have two dimensions"):
        ct.Presentations(np.load(tmp_path / "x.npy", mmap_mode="r")[0])


def test_the_part_of_a_file_stands_for_its_values(file: Path) -> None:
    def told(x: Any) -> tuple[str, str]:
        stim = ct.Presentations(x, None, 8)
        assert isinstance(stim.x, Mapped)
        return stim.x.identity, Fingerprint().of(stim)

    mapped = np.load(file, mmap_mode="r")
    assert told(mapped) == told(np.load(file, mmap_mode="r"))
    assert len({told(mapped), told(mapped[:100]), told(mapped[100:200]), told(mapped[::2])}) == 4


def taught(local: ct.rules.Local) -> ct.rules.Update:
    return ct.rules.Update(local.share * local.post, local.pre)


INSTANT: dict[str, Any] = {
    "Hebb": ct.rules.Hebb(),
    "BCM": ct.rules.BCM(),
    "Covariance": ct.rules.Covariance(),
    "Custom": ct.rules.Custom(taught),
    "ContrastiveHebbian": ct.rules.ContrastiveHebbian(traces=False),
    "Oja": 0.5 * ct.rules.Oja() + ct.rules.STDP(),  # the STDP has no use for it, the rest has
    "AntiHebb": ct.rules.ThreeFactor(ct.rules.Bounded(ct.rules.AntiHebb(), -9.0, 9.0), tau_e=1.0),
}


@pytest.mark.parametrize("name", INSTANT)
def test_spikes_have_no_value_at_an_instant_in_any_layer(name: str) -> None:
    rule, signal = INSTANT[name], ct.TargetStream()
    words = re.escape(f"is {name}(traces=False), and its presynaptic side is spikes, which have no value at an instant")
    with pytest.raises(ValueError, match=f"rule of layer 2 {words}"):
        ct.Network([3, 4, 2], 2, neuron=ct.LIF(), signal=signal, rule=[None, rule])
    net = ct.Network([3, 4, 2], 2, neuron=ct.LIF(), signal=signal, rule=[rule, None])
    spikes: list[ct.Stimulus] = [
        ct.Presentations(X, Y, 2, duration=1.0, encoder=ct.Poisson()),
        ct.SpikeTrains([[[0.5]] * 3] * 2, 1.0, y=[0, 1]),
    ]
    for stim in spikes:
        with pytest.raises(ValueError, match=f"rule of layer 1 {words}"):
            ct.simulate(net, stim)
    if name != "Oja":  # currents do have a value, but a part of that one needs spikes
        assert ct.simulate(net, ct.Presentations(X, Y, 2, duration=0.5)).status is ct.Status.COMPLETED


@pytest.mark.parametrize("rule", [ct.rules.STDP(), ct.rules.Hebb(traces=True), ct.rules.WeightDecay()], ids=repr)
def test_rules_that_read_spikes_or_traces_or_nothing_go_on_under_an_encoder(rule: ct.rules.Rule) -> None:
    net = ct.Network([3, 2], neuron=ct.LIF(), rule=rule, bias=False)
    stim = ct.Presentations(X, None, 2, duration=1.0, encoder=ct.Poisson(rate=5.0))
    assert ct.simulate(net, stim).status is ct.Status.COMPLETED
