"""A solution says what happened and keeps every bit on disk without pickle; its state cannot change by accident."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import ctsigprop as ct


def simulated(dtype: type[np.floating[Any]] = np.float32, solver: Any = None, **settings: Any) -> ct.Solution:
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(dtype)
    net = ct.Network([4, 5, 3], 3, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    probes = [
        ct.Probe("weights", every=1.0),
        ct.Probe("rates", times=[0.5, 2.5]),
        ct.Probe(lambda state: state["W.1"].norm(), every=0.5, name="size"),
    ]
    stimulus = ct.Presentations(x, np.arange(6) % 3, 2)
    return ct.simulate(net, stimulus, solver or ct.solvers.Euler(dt=0.5), probes=settings.pop("probes", probes))


@pytest.fixture(scope="module")
def sol() -> ct.Solution:
    return simulated()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_saved_is_what_is_loaded(tmp_path: Path, dtype: type[np.floating[Any]]) -> None:
    sol = simulated(dtype)
    back = ct.load(sol.save(tmp_path / "run"))
    xr.testing.assert_identical(back.dataset.load(), sol.dataset)
    assert {name: value.dtype for name, value in back.dataset.variables.items()} == {
        name: value.dtype for name, value in sol.dataset.variables.items()
    }
    assert back.final.equal(sol.final)
    assert {value.dtype for value in back.final.values()} == {torch.from_numpy(np.zeros(1, dtype)).dtype}
    assert (back.stats, back.status, back.message) == (sol.stats, sol.status, sol.message)
    assert back.final.t == sol.final.t == 3.0


def test_bits_that_have_no_number_survive(tmp_path: Path, sol: ct.Solution) -> None:
    odd = torch.tensor([-0.0, torch.inf, -torch.inf, torch.nan, 1e-45], dtype=torch.float32)
    final = sol.final.replace({"b.1": odd})
    ct.Solution(sol.dataset, final, sol.stats, sol.status, sol.message).save(tmp_path / "run")
    found = ct.load(tmp_path / "run").final["b.1"]
    assert found.view(torch.int32).tolist() == odd.view(torch.int32).tolist()


def test_a_loaded_state_goes_on_as_the_saved_one_would(tmp_path: Path) -> None:
    sol = simulated(solver=ct.solvers.Euler(dt=0.5, max_steps=3), probes=())
    assert sol.status is ct.Status.MAX_STEPS
    net = ct.Network([4, 5, 3], 3, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    stimulus = ct.Presentations(x, np.arange(6) % 3, 2)
    ends = [
        ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.5), state=state, t_span=(state.t, 3.0)).final
        for state in (sol.final, ct.load(sol.save(tmp_path / "run")).final)
    ]
    assert ends[0].equal(ends[1])


@pytest.mark.parametrize("stop", ["MAX_STEPS", "DIVERGED"])
def test_a_run_that_stopped_says_so_after_loading(tmp_path: Path, stop: str) -> None:
    if stop == "MAX_STEPS":
        sol = simulated(solver=ct.solvers.Euler(dt=0.5, max_steps=2))
    else:
        net = ct.Network([1, 1], neuron=ct.Rate(activation="linear"), rule=ct.rules.Hebb(rate=1e3), bias=False)
        sol = ct.simulate(net, ct.Presentations(np.full((1, 1), 1e3), None, 1, 100.0), ct.solvers.Euler(dt=1.0))
    back = ct.load(sol.save(tmp_path / "run"))
    assert back.status is ct.Status[stop]
    assert not back.status.ok
    assert back.message == sol.message
    assert str(back.status) in back.message


def test_a_run_without_probes_is_saved_too(tmp_path: Path) -> None:
    sol = simulated(probes=())
    back = ct.load(sol.save(tmp_path / "run"))
    assert len(back.dataset.variables) == 0
    assert back.final.equal(sol.final)


@pytest.mark.parametrize("name", ["test accuracy", "größe", "W.1"])
def test_a_record_may_have_any_name(tmp_path: Path, name: str) -> None:
    sol = simulated(probes=[ct.Probe(lambda state: state.t, every=1.0, name=name)])
    back = ct.load(sol.save(tmp_path / "run"))
    assert back.dataset[name].values.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_saving_gives_back_the_path_and_makes_its_parents(tmp_path: Path, sol: ct.Solution) -> None:
    assert sol.save(str(tmp_path / "deep" / "down")) == tmp_path / "deep" / "down"
    assert ct.load(str(tmp_path / "deep" / "down")).final.equal(sol.final)


def test_a_saved_solution_can_be_moved(tmp_path: Path, sol: ct.Solution) -> None:
    sol.save(tmp_path / "here").rename(tmp_path / "there")
    xr.testing.assert_identical(ct.load(tmp_path / "there").dataset.load(), sol.dataset)


def test_saving_changes_nothing_in_memory(tmp_path: Path, sol: ct.Solution) -> None:
    before = sol.dataset.copy(deep=True)
    sol.save(tmp_path / "run")
    xr.testing.assert_identical(sol.dataset, before)


def test_no_file_of_a_saved_solution_is_a_pickle(tmp_path: Path, sol: ct.Solution) -> None:
    saved = files(sol.save(tmp_path / "run"))
    assert len(saved) > 5
    for path in saved:
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, IndexError, KeyError, AttributeError)):
            pickle.loads(path.read_bytes())


def test_loading_unpickles_nothing(tmp_path: Path, sol: ct.Solution, monkeypatch: pytest.MonkeyPatch) -> None:
    sol.save(tmp_path / "run")

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("pickle was asked to load something")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    back = ct.load(tmp_path / "run")
    xr.testing.assert_identical(back.dataset.load(), sol.dataset)


def test_an_existing_path_is_refused_and_stays_as_it_is(tmp_path: Path, sol: ct.Solution) -> None:
    for kind in ("file", "folder", "solution"):
        path = tmp_path / kind
        if kind == "file":
            path.write_text("mine")
        elif kind == "folder":
            path.mkdir()
        else:
            sol.save(path)
        before = {file: file.read_bytes() for file in files(tmp_path)}
        with pytest.raises(FileExistsError, match=f"{kind} exists: choose another path, or remove it first"):
            sol.save(path)
        assert {file: file.read_bytes() for file in files(tmp_path)} == before


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "moment", ["xarray.Dataset.to_zarr", "zarr.open_group", "pathlib.Path.write_text", "os.rename"]
)
def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, sol: ct.Solution, monkeypatch: pytest.MonkeyPatch, moment: str, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(moment, fail)
        with pytest.raises(type(error)):
            sol.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    assert ct.load(sol.save(tmp_path / "run")).final.equal(sol.final)


def test_the_manifest_is_text_that_a_person_can_read(tmp_path: Path, sol: ct.Solution) -> None:
    head = json.loads((sol.save(tmp_path / "run") / "manifest.json").read_text())
    assert head["format"] == "ctsigprop-solution"
    assert head["about"]["status"] == "COMPLETED"
    listed = set(head["files"]) | {"manifest.json"}
    assert listed == {str(path.relative_to(tmp_path / "run")) for path in files(tmp_path / "run")}


def test_the_dataset_opens_in_xarray_alone(tmp_path: Path, sol: ct.Solution) -> None:
    sol.save(tmp_path / "run")
    with xr.open_zarr(tmp_path / "run" / "dataset.zarr", consolidated=False) as found:
        xr.testing.assert_identical(found.load(), sol.dataset)


def test_the_statistics_count_what_was_done(sol: ct.Solution) -> None:
    assert {"steps", "rhs_evaluations", "rejected_steps", "wall_seconds", "solver"} <= set(sol.stats)
    assert (sol.stats["steps"], sol.stats["rhs_evaluations"], sol.stats["rejected_steps"]) == (6, 6, 0)
    assert sol.stats["wall_seconds"] > 0
    assert "Euler(dt=0.5" in sol.stats["solver"]


def test_a_solution_reads_as_a_sentence(sol: ct.Solution) -> None:
    text = repr(sol)
    assert text.startswith("Solution(The simulation reached its end. t=3")
    for word in ("steps=6", "rhs_evaluations=6", "weights", "rates", "size"):
        assert word in text
    assert len(text) < 400
    assert "tensor" not in text
    assert "recorded: nothing" in repr(simulated(probes=()))


def test_a_state_reads_as_names_and_shapes(sol: ct.Solution) -> None:
    text = repr(sol.final)
    assert text.startswith("State(t=3")
    assert "W.1 (5, 4)" in text
    assert "tensor" not in text


def test_a_state_is_a_mapping_of_names_to_tensors(sol: ct.Solution) -> None:
    assert isinstance(sol.final, Mapping)
    assert {"W.1", "W.2", "b.1", "b.2", "r.1", "r.2", "x.1", "y.1", "g.1", "S"} <= set(sol.final)
    assert len(sol.final) == len(dict(sol.final))
    assert "nothing" not in sol.final
    with pytest.raises(KeyError):
        sol.final["nothing"]


def test_a_state_cannot_be_assigned_to(sol: ct.Solution) -> None:
    state: Any = sol.final
    with pytest.raises(TypeError):
        state["W.1"] = torch.zeros(5, 4)
    with pytest.raises(TypeError):
        del state["W.1"]
    with pytest.raises(AttributeError):
        state.t = 7.0


def test_a_state_does_not_follow_the_mapping_it_was_made_from() -> None:
    tensors = {"a": torch.ones(2)}
    state = ct.State(tensors)
    tensors["b"] = torch.zeros(2)
    assert list(state) == ["a"]


def test_replace_gives_a_new_state_and_leaves_the_old_one(sol: ct.Solution) -> None:
    zeros = torch.zeros(5, 4)
    new = sol.final.replace({"W.1": zeros})
    assert torch.equal(new["W.1"], zeros)
    assert not torch.equal(sol.final["W.1"], zeros)
    assert new.t == sol.final.t
    assert all(torch.equal(new[name], sol.final[name]) for name in sol.final if name != "W.1")


def test_equality_is_of_names_and_bits(sol: ct.Solution) -> None:
    assert sol.final.equal(dict(sol.final))
    assert not sol.final.equal(sol.final.replace({"b.2": sol.final["b.2"] + 1e-6}))
    assert not sol.final.equal({"W.1": sol.final["W.1"]})


def test_states_and_solutions_can_be_copied_and_sent_to_another_process(sol: ct.Solution) -> None:
    for other in (copy.deepcopy(sol), pickle.loads(pickle.dumps(sol))):
        assert other.final.equal(sol.final)
        assert other.final.t == sol.final.t
        xr.testing.assert_identical(other.dataset, sol.dataset)


def test_the_final_state_is_of_ordinary_tensors_that_autograd_can_use(sol: ct.Solution) -> None:
    weight = sol.final["W.1"]
    assert not weight.is_inference()
    weight.clone().requires_grad_().square().sum().backward()


def test_a_run_changes_neither_network_nor_state() -> None:
    net = ct.Network([4, 5, 3], 3, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    stimulus = ct.Presentations(np.ones((2, 4)), [0, 2], 2)
    state = net.initial_state(rows=2, dtype=torch.float64)
    before = {name: value.clone() for name, value in state.items()}
    ends = [ct.simulate(net, stimulus, ct.solvers.Euler(dt=0.5), state=state).final for _ in range(2)]
    assert state.equal(before)
    assert ends[0].equal(ends[1])
    for end in ends:
        assert all(end[name].data_ptr() != state[name].data_ptr() for name in state)
