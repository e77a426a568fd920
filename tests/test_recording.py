"""Probes that scale: subsets, norms, singular values and projections are those of the weights, and bytes are known."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import ctsigprop as ct

SIZES = (4, 6, 3)
SOLVER = ct.solvers.Euler(dt=0.25)


def network(**settings: Any) -> ct.Network:
    given: dict[str, Any] = {"signal": ct.TargetStream(), "rule": ct.rules.ContrastiveHebbian(rate=2.0)}
    return ct.Network(SIZES, 3, **{**given, **settings})


def stimulus(**settings: Any) -> ct.Presentations:
    x = np.random.default_rng(0).standard_normal((6, SIZES[0]))
    return ct.Presentations(x, np.arange(6) % 3, 2, **settings)


def run(*probes: ct.Probe, **settings: Any) -> ct.Solution:
    given: dict[str, Any] = {"stimulus": stimulus(), "solver": SOLVER, "seed": 3, **settings}
    sol: ct.Solution = ct.simulate(given.pop("network", network()), probes=probes, **given)
    return sol


@pytest.fixture(scope="module")
def weights() -> dict[int, np.ndarray]:
    """All weights of each layer at every step."""
    record = run(ct.Probe("weights", every=0.25)).dataset["weights"]
    return {i + 1: record.sel(layer=i + 1).values[:, : SIZES[i + 1], : SIZES[i]] for i in range(2)}


def test_sampled_synapses_are_those_of_the_weights(weights: dict[int, np.ndarray]) -> None:
    data = run(ct.Probe("weights", every=0.25, select={"synapse": ct.Sample(7, seed=1)})).dataset
    assert data["weights"].dims == ("time", "layer", "synapse")
    for layer in (1, 2):
        part = data.sel(layer=layer)
        post, pre = part["synapse_post"].values, part["synapse_pre"].values
        assert len({*zip(post.tolist(), pre.tolist(), strict=True)}) == 7
        np.testing.assert_array_equal(part["weights"].values, weights[layer][:, post, pre])


def test_synapses_may_be_named(weights: dict[int, np.ndarray]) -> None:
    pairs = [(2, 1), (0, 3)]
    record = run(ct.Probe("weights", every=0.25, select={"synapse": pairs})).dataset["weights"]
    for layer in (1, 2):
        np.testing.assert_array_equal(record.sel(layer=layer, synapse=0), weights[layer][:, 2, 1])
        np.testing.assert_array_equal(record.sel(layer=layer, synapse=1), weights[layer][:, 0, 3])


def test_a_sample_of_units_is_the_same_in_every_layer_and_decided_by_its_seed() -> None:
    def kept(seed: int) -> list[int]:
        data = run(ct.Probe("rates", every=1.0, select={"post": ct.Sample(2, seed)})).dataset
        assert not np.isnan(data["rates"].values).any()
        return [int(k) for k in data["post"]]

    found = {seed: kept(seed) for seed in range(4)}
    assert found[0] == kept(0)
    assert all(len(set(units)) == 2 and max(units) < 3 for units in found.values())
    assert len({tuple(units) for units in found.values()}) > 1


@settings(max_examples=20)
@given(data=st.data())
def test_any_selection_is_that_part_of_the_whole(data: st.DataObject, weights: dict[int, np.ndarray]) -> None:
    """Indices in any order, slices and masks, of any layers, beside a record of everything."""
    layers = data.draw(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=2, unique=True).map(sorted))
    select: dict[str, Any] = {}
    kept: dict[str, np.ndarray] = {}
    for dim, least in (("post", 3), ("pre", 4)):
        chosen = data.draw(st.lists(st.integers(0, least - 1), min_size=1, max_size=least, unique=True))
        kind = data.draw(st.sampled_from(["indices", "slice", "mask"]))
        if kind == "slice":
            chosen = list(range(min(chosen), max(chosen) + 1))
        mask = np.isin(np.arange(least), chosen)
        select[dim] = {"indices": chosen, "slice": slice(min(chosen), max(chosen) + 1), "mask": mask}[kind]
        kept[dim] = np.unique(chosen)
    part = ct.Probe("weights", every=0.25, layers=layers, select=select, name="part")
    found = run(ct.Probe("biases", every=1.0), part).dataset["part"]
    for layer in layers:
        expected = weights[layer][:, kept["post"]][:, :, kept["pre"]]
        np.testing.assert_array_equal(found.sel(layer=layer).values, expected)


def test_norms_are_those_of_the_weights(weights: dict[int, np.ndarray]) -> None:
    record = run(ct.Probe("weights", every=0.25, reduce="norm")).dataset["weights_norm"]
    assert record.dims == ("time", "layer")
    assert record.attrs["long_name"] == "norm of the synaptic weight"
    for layer in (1, 2):
        np.testing.assert_allclose(record.sel(layer=layer), np.linalg.norm(weights[layer], axis=(1, 2)), rtol=1e-12)


def test_a_norm_may_be_that_of_a_selection(weights: dict[int, np.ndarray]) -> None:
    probe = ct.Probe("weights", every=0.25, select={"post": [1, 2]}, reduce="norm", name="part")
    for layer in (1, 2):
        expected = np.linalg.norm(weights[layer][:, [1, 2]], axis=(1, 2))
        np.testing.assert_allclose(run(probe).dataset["part"].sel(layer=layer), expected, rtol=1e-12)


@pytest.mark.parametrize("count", [None, 2])
def test_singular_values_are_numpys(weights: dict[int, np.ndarray], count: int | None) -> None:
    what: Any = "singular_values" if count is None else ct.reductions.SingularValues(count)
    record = run(ct.Probe("weights", every=0.25, reduce=what)).dataset["weights_singular_values"]
    for layer in (1, 2):
        expected = np.linalg.svd(weights[layer], compute_uv=False)[:, :count]
        found = record.sel(layer=layer).values
        np.testing.assert_allclose(found[:, : expected.shape[1]], expected, rtol=1e-9)
        assert np.isnan(found[:, expected.shape[1] :]).all()


def test_a_projection_is_linear_onto_orthonormal_bases_and_keeps_distances_of_a_full_rank(
    weights: dict[int, np.ndarray],
) -> None:
    """At the rank of the smaller side nothing but that side's basis changes: singular values of W B are kept."""
    probe = ct.Probe("weights", every=0.25, layers=[2], reduce=ct.reductions.Projection(rank=3, seed=5))
    record = run(probe).dataset["weights_projection"].sel(layer=2).values
    assert record.shape[1:] == (3, 3)
    right = np.linalg.svd(weights[2] - weights[2][0], compute_uv=False)[:, 0]
    found = np.linalg.svd(record - record[0], compute_uv=False)[:, 0]
    assert np.all(found <= right + 1e-12)
    assert found[-1] > 0.05 * right[-1]
    whole = ct.Probe("weights", every=0.25, layers=[1], select={"post": [0, 1, 2, 3]}, reduce="projection")
    with pytest.raises(ValueError, match=r"Projection\(rank=\) must be at most 4, got 8"):
        run(whole)
    square = ct.reductions.Projection(rank=4)
    probe = ct.Probe("weights", every=0.25, layers=[1], select={"post": [0, 1, 2, 3]}, reduce=square)
    rotated = run(probe).dataset["weights_projection"].sel(layer=1).values
    plain = np.linalg.svd(weights[1][:, :4], compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(rotated, compute_uv=False), plain, rtol=1e-9)


def test_log_spaced_times_stand_at_equal_ratios_from_the_start() -> None:
    data = run(ct.Probe("rates", log_spaced=(6, 0.1)), t_span=(1.0, 3.0)).dataset
    times = data["time"].values
    assert (len(times), times[0], times[-1]) == (6, 1.0, 3.0)
    np.testing.assert_allclose(times[1:] - 1.0, 0.1 * 20 ** (np.arange(5) / 4), rtol=1e-12)
    assert run(ct.Probe("rates", log_spaced=2)).dataset["time"].values.tolist() == [0.0, 3.0]
    np.testing.assert_allclose(run(ct.Probe("rates", log_spaced=20)).dataset["time"][1], 3e-3)


def test_a_small_selection_is_not_blown_up_by_a_full_record_beside_it() -> None:
    probes = [
        ct.Probe("rates", every=1.0),
        ct.Probe("weights", every=1.0, select={"post": [4], "pre": [1]}, layers=[1]),
    ]
    data = run(*probes).dataset
    assert data["rates"].dims == ("time", "layer", "row", "post")
    assert data["weights"].dims == ("time", "layer", "post_weights", "pre")
    assert data["weights"].shape == (4, 2, 1, 1)
    assert data["post_weights"].values.tolist() == [4]
    both = run(*reversed(probes)).dataset
    np.testing.assert_array_equal(both["weights"].values, data["weights"].values)
    np.testing.assert_array_equal(both["rates"].values, data["rates"].values)


def test_two_samples_of_synapses_keep_their_own_places(weights: dict[int, np.ndarray]) -> None:
    pick = [ct.Probe("weights", every=0.25, select={"synapse": ct.Sample(5, s)}, name=f"of_{s}") for s in (0, 1)]
    data = run(*pick).dataset
    for name, own in (("of_0", ""), ("of_1", "_of_1")):
        post, pre = (data[f"synapse_{side}{own}"].sel(layer=1).values for side in ("post", "pre"))
        np.testing.assert_array_equal(data[name].sel(layer=1), weights[1][:, post, pre])


def test_the_bytes_are_told_before_the_run_and_are_those_of_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    probes = [
        ct.Probe("weights", every=0.25),
        ct.Probe("rates", every=0.5),
        ct.Probe(lambda s: s["b.1"], 1.0, name="f"),
    ]
    sol = run(*probes, progress=True)
    line = capsys.readouterr().err.splitlines()[0]
    told = re.match(r"recording ([\d.]+) (kB|MB) to memory: weights .*, rates .*, f ", line)
    assert told is not None
    unit = {"kB": 1e3, "MB": 1e6}[told[2]]
    assert float(told[1]) * unit == pytest.approx(sum(v.nbytes for v in sol.dataset.data_vars.values()), rel=0.01)
    run(*probes)
    assert capsys.readouterr().err == ""


def test_a_recording_that_does_not_fit_is_refused_with_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2000))
    with pytest.raises(MemoryError) as caught:
        run(ct.Probe("weights", every=0.25))
    for words in ("7.49 kB and 2 kB of memory are free", "every=", "store='run.zarr'", "t_span="):
        assert words in str(caught.value)
    assert run(ct.Probe("weights", every=3.0)).status.ok


def test_a_function_may_not_change_its_shape() -> None:
    with pytest.raises(ValueError, match=r"Probe\(what=\) of grows must give the same shape at all times: .* at t=1"):
        run(ct.Probe(lambda state: np.ones(1 + int(state.t)), every=1.0, name="grows"))


def test_a_function_is_asked_once_for_each_time() -> None:
    seen: list[float] = []

    def note(state: ct.State) -> float:
        seen.append(state.t)
        return state.t

    data = run(ct.Probe(note, every=1.0)).dataset
    assert data["note"].values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert seen == [0.0, 1.0, 2.0, 3.0]


def test_the_dataset_says_all_that_decides_it() -> None:
    sol = run(ct.Probe("weights", every=1.0))
    attrs = sol.dataset.attrs
    config = json.loads(attrs["configuration"])
    assert config["network"]["sizes"] == [4, 6, 3]
    assert config["network"]["rules"] == ["ContrastiveHebbian(rate=2.0, decay=0.0, traces=True)"] * 2
    assert "batch_size=2" in config["stimulus"]["description"]
    assert config["solver"] == attrs["solver"] == repr(SOLVER)
    assert "every=1.0" in config["probes"][0]
    assert (attrs["seed"], attrs["status"], attrs["steps"]) == (3, "COMPLETED", 12)
    assert json.loads(attrs["versions"])["torch"] == torch.__version__
    assert {"units", "long_name"} <= set(sol.dataset["weights"].attrs)


def test_the_configuration_hash_is_that_of_what_decides_the_run() -> None:
    def hashed(**settings: Any) -> str:
        return str(run(ct.Probe("weights", every=1.0), **settings).dataset.attrs["configuration_hash"])

    start = network().initial_state(1, 2, torch.float64)
    different = [
        hashed(),
        hashed(seed=4),
        hashed(network=network(bias=False)),
        hashed(stimulus=stimulus(seed=1)),
        hashed(stimulus=ct.Presentations(np.ones((6, 4)), np.arange(6) % 3, 2)),
        hashed(solver=ct.solvers.Euler(dt=0.5)),
        hashed(state=start),
        hashed(state=start.replace({"W.1": start["W.1"] + 1})),
        hashed(t_span=(0.0, 2.0)),
    ]
    assert len(set(different)) == len(different)
    assert hashed() == different[0]
    rule = ct.rules.Custom(lambda local: ct.rules.Update(local.post, local.pre), rate=0.1)
    again = ct.rules.Custom(lambda local: ct.rules.Update(local.post, local.pre), rate=0.1)
    assert "0x" not in run(network=network(rule=rule)).dataset.attrs["configuration"]
    assert hashed(network=network(rule=rule)) == hashed(network=network(rule=again))


def test_runs_concatenate_along_the_seed_and_along_a_parameter() -> None:
    probes = [ct.Probe("weights", every=1.0), ct.Probe("rates", every=0.5)]
    runs = [run(*probes, seed=seed) for seed in (3, 5, 4)]
    data = ct.concat(runs)
    assert data["seed"].values.tolist() == [3, 5, 4]
    for one in runs:
        seed = one.dataset.attrs["seed"]
        xr.testing.assert_equal(
            data["weights"].sel(seed=seed, drop=True).reset_coords(drop=True), one.dataset["weights"]
        )
    assert "seed" not in data.attrs
    assert data.attrs["solver"] == repr(SOLVER)
    rates = {rate: run(*probes, network=network(rule=ct.rules.ContrastiveHebbian(rate=rate))) for rate in (1.0, 2.0)}
    data = ct.concat(rates, "rate")
    np.testing.assert_array_equal(data["rates"].sel(rate=2.0).values, rates[2.0].dataset["rates"].values)
    assert len(set(data["configuration_hash"].values)) == 2


def test_a_run_that_ended_early_is_filled_up() -> None:
    probe = ct.Probe("rates", every=1.0)
    short = run(probe, solver=ct.solvers.Euler(dt=0.25, max_steps=6), seed=1)
    data = ct.concat([run(probe, seed=0), short])
    assert data["rates"].sizes["time"] == 4
    assert np.isnan(data["rates"].sel(seed=1, time=3.0)).all()
    assert data["status"].values.tolist() == ["COMPLETED", "MAX_STEPS"]


def weights_with(**settings: Any) -> ct.Probe:
    return ct.Probe("weights", **{"every": 1.0, **settings})


REFUSED: dict[str, tuple[type[Exception], str, Any]] = {
    "one time": (ValueError, r"Probe\(log_spaced=\) must be .* >= 2, got 1", lambda: ct.Probe("rates", log_spaced=1)),
    "no interval": (ValueError, "first interval of .* > 0, got 0", lambda: ct.Probe("rates", log_spaced=(5, 0.0))),
    "too long": (ValueError, "must be below 3", lambda: run(ct.Probe("rates", log_spaced=(5, 3.0)))),
    "two clocks": (ValueError, "got every and log_spaced", lambda: weights_with(log_spaced=5)),
    "misspelt": (ValueError, "reduction .*'nrm': did you mean 'norm'", lambda: weights_with(reduce="nrm")),
    "a number": (TypeError, r"Probe\(reduce=\) must be one of", lambda: weights_with(reduce=3)),
    "a vector": (
        ValueError,
        "singular_values needs a matrix",
        lambda: ct.Probe("biases", 1.0, reduce="singular_values"),
    ),
    "a function": (ValueError, "norm needs a matrix", lambda: ct.Probe(lambda s: 1.0, 1.0, reduce="norm")),
    "both": (ValueError, "synapse stands alone", lambda: weights_with(select={"synapse": [[0, 0]], "post": [0]})),
    "no synapse": (ValueError, "got 'synapse'", lambda: ct.Probe("rates", 1.0, select={"synapse": [[0, 0]]})),
    "none": (ValueError, r"Sample\(count=\) must be an integer >= 1, got 0", lambda: ct.Sample(0)),
    "many": (ValueError, "must be at most 3, got 4", lambda: run(weights_with(select={"post": ct.Sample(4)}))),
    "outside": (ValueError, "within 6 x 4 in layer 1", lambda: run(weights_with(select={"synapse": [[6, 0]]}))),
    "no pairs": (TypeError, r"pairs \(post, pre\)", lambda: run(weights_with(select={"synapse": [1, 2]}))),
    "no runs": (ValueError, "runs must hold at least one", lambda: ct.concat([])),
    "no values": (ValueError, "must be a mapping", lambda: ct.concat([run()], "rate")),
    "no solution": (TypeError, "must be solutions", lambda: ct.concat([3])),  # type: ignore[list-item]
    "old dimension": (ValueError, "'time' already", lambda: ct.concat({1: run(weights_with())}, "time")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case: str) -> None:
    error, words, make = REFUSED[case]
    with pytest.raises(error, match=words):
        make()


def test_times_may_be_an_array() -> None:
    times = np.linspace(0.0, 3.0, 5)
    assert run(ct.Probe("rates", times=times)).dataset["time"].values.tolist() == times.tolist()
