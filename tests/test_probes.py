"""What a probe records is the state at its times, labelled with true indices, and recording changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import ctsigprop as ct
from ctsigprop.recording.probes import KINDS
from ctsigprop.stimuli.validation import as_inputs

ROWS, CLASSES, SIZES = 2, 3, (4, 5, 3)
SOLVER = ct.solvers.RK4(dt=0.25)
TIMES = [0.0, 0.75, 1.0, 2.5, 3.0]
SPIKING = ("voltages", "spikes")
TENSORS = {"weights": "W", "biases": "b", "traces": "x", "rates": "r"}


def network(**settings: Any) -> ct.Network:
    given: dict[str, Any] = {
        "neuron": ct.Rate(activation="tanh"),
        "signal": ct.TargetStream(),
        "rule": ct.rules.ContrastiveHebbian(rate=2.0),
    }
    return ct.Network(SIZES, CLASSES, **{**given, **settings})


def stimulus(dtype: type[np.floating[Any]] = np.float64, **settings: Any) -> ct.Presentations:
    """Five samples in batches of two, shown for one unit of time each: switches at 1 and 2, the end at 3."""
    x = np.random.default_rng(0).standard_normal((5, SIZES[0])).astype(dtype)
    return ct.Presentations(x, np.arange(5) % CLASSES, ROWS, **settings)


def run(*probes: ct.Probe, net: ct.Network | None = None, **settings: Any) -> ct.Solution:
    net = net or network()
    solver = ct.solvers.Hybrid(dt=0.25) if net.jumps else SOLVER
    given: dict[str, Any] = {"stimulus": stimulus(), "solver": solver, "seed": 3, **settings}
    sol: ct.Solution = ct.simulate(net, probes=probes, **given)
    return sol


@cache
def stepwise(t: float) -> ct.State:
    """The state at time t, from a run that ends there."""
    if t == 0:
        return network().initial_state(3, ROWS, torch.float64)
    return run(t_span=(0.0, t)).final


def part(record: xr.DataArray, layer: int, shape: tuple[int, ...]) -> np.ndarray:
    """What stands where a layer of that shape is, after a check that all around it is padding."""
    values = record.sel(layer=layer).values
    inside = (slice(None), *(slice(0, size) for size in shape))
    around = np.ones(values.shape, dtype=bool)
    around[inside] = False
    assert np.isnan(values[around]).all()
    assert not np.isnan(values[inside]).any()
    return np.asarray(values[inside])


def answering(what: str) -> ct.Network:
    """A network that has the quantity: only feedback signals have feedback weights."""
    if what in SPIKING:
        return network(neuron=ct.LIF())
    return network(signal=ct.FeedbackAlignment()) if what == "feedback" else network()


@pytest.mark.parametrize("what", KINDS)
def test_every_quantity_has_its_dimensions_and_coordinates(what: str) -> None:
    record = run(ct.Probe(what, times=TIMES), net=answering(what)).dataset[what]
    rows = ROWS + CLASSES
    expected: dict[str, tuple[dict[str, int], list[int]]] = {
        "weights": ({"post": 5, "pre": 5}, [1, 2]),
        "biases": ({"post": 5}, [1, 2]),
        "rates": ({"row": rows, "post": 5}, [1, 2]),
        "signal": ({"row": rows, "post": 5}, [1, 2]),
        "traces": ({"row": rows, "pre": 5}, [1, 2]),
        "target_generator": ({"post": 5, "context": CLASSES}, [1]),
        "feedback": ({"post": 3, "pre": 5}, [2]),
        "voltages": ({"row": rows, "post": 5}, [1, 2]),
        "spikes": ({"row": rows, "post": 5}, [1, 2]),
    }
    sizes, layers = expected[what]
    assert record.dims == ("time", "layer", *sizes)
    assert record["time"].values.tolist() == TIMES
    assert record["layer"].values.tolist() == layers
    for dim, size in sizes.items():
        assert record[dim].values.tolist() == list(range(size))


@pytest.mark.parametrize("what", ["weights", "biases", "rates", "traces"])
def test_values_are_those_of_the_state_at_each_time(what: str) -> None:
    record = run(ct.Probe(what, times=TIMES)).dataset[what]
    for k, t in enumerate(TIMES):
        state = stepwise(t)
        for layer in (1, 2):
            expected = state[f"{TENSORS[what]}.{layer}"].numpy()
            np.testing.assert_allclose(part(record, layer, expected.shape)[k], expected, rtol=1e-12, atol=1e-14)


def test_the_target_generator_is_that_of_the_state() -> None:
    record = run(ct.Probe("target_generator", times=TIMES)).dataset["target_generator"]
    for k, t in enumerate(TIMES):
        np.testing.assert_allclose(record.values[k, 0], stepwise(t)["S"].numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("contrast", ["cosine", "dot", "difference"])
@pytest.mark.parametrize("traces", [True, False])
def test_the_signal_is_the_contrasts_drives_on_the_layers_own_streams(contrast: str, traces: bool) -> None:
    signal = ct.TargetStream(contrast=contrast)
    net = network(signal=signal, rule=ct.rules.ContrastiveHebbian(traces=traces))
    sol = run(ct.Probe("signal", times=[3.0]), net=net)
    labels = torch.zeros(ROWS, CLASSES, dtype=torch.float64)
    labels[0, stimulus().order(0)[-1] % CLASSES] = 1.0  # the last batch has one sample and one empty row
    for layer, n in ((1, 5), (2, 3)):
        activity = sol.final[f"r.{layer}"]
        match = sol.final[f"y.{layer}"] if traces else labels
        expected = torch.cat(signal.contrast.drives(activity[:ROWS], activity[ROWS:], match)).numpy()
        found = part(sol.dataset["signal"], layer, (ROWS + CLASSES, n))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_the_signal_of_an_unsupervised_layer_is_that_of_what_is_shown() -> None:
    mixed = network(rule=[ct.rules.Hebb(), ct.rules.ContrastiveHebbian()])
    frozen = network(rule=None)
    for net in (mixed, frozen):
        assert np.isfinite(run(ct.Probe("signal", every=1.0, layers=[1]), net=net).dataset["signal"].values).all()


def test_layers_that_were_asked_for_are_recorded_and_no_padding_is_left_around_one() -> None:
    record = run(ct.Probe("weights", every=1.0, layers=[2])).dataset["weights"]
    assert record.dims == ("time", "layer", "post", "pre")
    assert record["layer"].values.tolist() == [2]
    assert record.shape == (4, 1, 3, 5)
    assert not np.isnan(record.values).any()


@pytest.mark.parametrize(
    ("chosen", "kept"), [([3, 1], [1, 3]), (2, [2]), (slice(1, None, 2), [1, 3]), (np.array([4]), [4])]
)
def test_a_selection_keeps_true_indices_as_coordinates(chosen: Any, kept: list[int]) -> None:
    select = {"post": chosen, "pre": [0, 2]}
    every = run(ct.Probe("weights", times=TIMES)).dataset["weights"]
    some = run(ct.Probe("weights", times=TIMES, select=select)).dataset["weights"]
    assert some["post"].values.tolist() == kept
    assert some["pre"].values.tolist() == [0, 2]
    np.testing.assert_array_equal(some.values, every.sel(post=kept, pre=[0, 2]).values)


def test_a_selection_of_rows_and_contexts_keeps_true_indices() -> None:
    dims = {"rates": "row", "signal": "row", "traces": "row", "target_generator": "context"}
    every = run(*[ct.Probe(what, times=[3.0]) for what in dims]).dataset
    some = run(*[ct.Probe(what, times=[3.0], select={dim: [1, 2]}) for what, dim in dims.items()]).dataset
    for what, dim in dims.items():
        assert some[what][dim].values.tolist() == [1, 2]
        np.testing.assert_array_equal(some[what].values, every[what].sel({dim: [1, 2]}).values)


def test_probes_of_the_same_times_share_the_clock_and_others_have_their_own() -> None:
    data = run(
        ct.Probe("weights", every=1.0),
        ct.Probe("rates", times=[0.5]),
        ct.Probe("biases", times=[0.0, 1.0, 2.0, 3.0]),
        ct.Probe(lambda state: state.t, every=1.5, name="clock"),
    ).dataset
    assert [data[name].dims[0] for name in data] == ["time", "time_rates", "time", "time_clock"]
    assert data["time"].values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert data["time_rates"].values.tolist() == [0.5]
    assert data["time_clock"].values.tolist() == [0.0, 1.5, 3.0]


def test_two_records_of_one_quantity_may_have_two_names() -> None:
    early = ct.Probe("rates", times=[0.5], name="early")
    data = run(early, ct.Probe("rates", times=[2.5])).dataset
    assert set(data) == {"early", "rates"}
    assert not np.array_equal(data["early"].values[0], data["rates"].values[0])


def test_a_function_is_given_the_state_at_each_time() -> None:
    def mean_weight(state: ct.State) -> float:
        return float(state["W.1"].mean())

    data = run(ct.Probe(mean_weight, times=TIMES), ct.Probe(lambda state: state.t, times=TIMES, name="clock")).dataset
    assert data["mean_weight"].dims == ("time",)
    np.testing.assert_allclose(data["mean_weight"], [float(stepwise(t)["W.1"].mean()) for t in TIMES], rtol=1e-12)
    assert data["clock"].values.tolist() == TIMES


@pytest.mark.parametrize("kind", ["tensor", "array", "list"])
def test_a_function_may_give_an_array(kind: str) -> None:
    functions: dict[str, Callable[[ct.State], Any]] = {
        "tensor": lambda state: state["W.1"],
        "array": lambda state: state["W.1"].numpy(),
        "list": lambda state: state["W.1"].tolist(),
    }
    both = [ct.Probe(functions[kind], times=TIMES, name="mine"), ct.Probe("weights", times=TIMES, layers=[1])]
    data = run(*both).dataset
    assert data["mine"].dims == ("time", "mine_0", "mine_1")
    np.testing.assert_array_equal(data["mine"].values, data["weights"].sel(layer=1, pre=slice(0, 3)).values)


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_alignment_may_be_measured_on_the_way(kind: str) -> None:
    x, y = as_inputs("x", stimulus().x), torch.arange(5) % CLASSES
    samples, labels = (x, y) if kind == "tensor" else (x.numpy(), y.numpy())
    net = network()
    probe = ct.Probe(lambda state: ct.alignment(state, samples, labels, net), every=1.5, name="alignment")
    record = run(probe, net=net).dataset["alignment"]
    assert record.dims == ("time", "layer")
    np.testing.assert_allclose(record.values[-1], ct.alignment(run(net=net).final, x, y, net).values, rtol=1e-9)


@pytest.mark.parametrize("probe", ["weights", "function"])
def test_a_record_is_a_copy_of_the_state_it_was_taken_from(probe: str) -> None:
    start = network().initial_state(3, ROWS, torch.float64)
    what: Any = {"weights": "weights", "function": lambda state: state["W.1"]}[probe]
    sol = run(ct.Probe(what, every=1.0, name="mine"), state=start)
    before = sol.dataset["mine"].values.copy()
    for state in (start, sol.final):
        for value in state.values():
            value.fill_(7.0)
    np.testing.assert_array_equal(sol.dataset["mine"].values, before)


@settings(max_examples=25)
@given(intervals=st.integers(1, 40), every=st.sampled_from([0.1, 0.3, 0.7, 0.05, 1.1, 1.0]), start=st.integers(0, 4))
def test_a_regular_probe_samples_the_start_and_the_end(intervals: int, every: float, start: int) -> None:
    """The end of the run is a whole number of intervals away, up to rounding: that sample belongs to the record."""
    stop = start + round(intervals * every, 10)
    shown = ct.Presentations(torch.ones(1, 1), None, 1, duration=stop)
    probe = ct.Probe(lambda state: 1.0, every, name="one")
    sol = ct.simulate(ct.Network([1, 1]), shown, ct.solvers.Hybrid(dt=stop), probes=[probe], t_span=(start, stop))
    np.testing.assert_allclose(sol.dataset["time"], start + every * np.arange(intervals + 1), rtol=1e-9)


@pytest.mark.parametrize(
    "solver",
    [ct.solvers.Euler(dt=0.1), ct.solvers.RK4(dt=0.25), ct.solvers.Dopri5(), ct.solvers.FactoredEuler(dt=0.1)],
)
@pytest.mark.parametrize(("first", "second"), [(0.1, 0.3), (0.05, 0.7), (0.1, 0.7)])
def test_regular_probes_may_meet_up_to_rounding(solver: ct.solvers.Solver, first: float, second: float) -> None:
    """3 x 0.1 is not 0.3, but a run cannot tell them apart."""
    shown = ct.Presentations(torch.ones(5, 1), None, 1, duration=0.7)
    probes = [ct.Probe(lambda state: 1.0, every, name=f"every {every}") for every in (first, second)]
    data = ct.simulate(ct.Network([1, 1], bias=False), shown, solver, probes=probes).dataset
    for every in (first, second):
        record = data[f"every {every}"]
        expected = every * np.arange(int(3.5 / every + 1e-9) + 1)
        np.testing.assert_allclose(record[str(record.dims[0])], expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=10)
@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=12, unique=True).map(sorted))
def test_every_time_that_was_asked_for_is_recorded_once(times: list[float]) -> None:
    clock = ct.Probe(lambda state: state.t, times=times, name="clock")
    data = run(clock, net=ct.Network([4, 1]), solver=ct.solvers.Euler(dt=0.5)).dataset
    assert data["time"].values.tolist() == times
    np.testing.assert_allclose(data["clock"], times, atol=4e-9)  # times within 1e-9 of the 3 that it lasts are one


def test_times_count_from_the_stimulus_and_intervals_from_the_start_of_the_run() -> None:
    later = ct.Probe(lambda state: 0.0, every=0.5, name="every")
    fixed = ct.Probe(lambda state: 0.0, times=[1.5, 2.0], name="times")
    data = run(later, fixed, t_span=(1.25, 2.5)).dataset
    assert data["time"].values.tolist() == [1.25, 1.75, 2.25]
    assert data["time_times"].values.tolist() == [1.5, 2.0]


def test_between_its_grid_points_euler_is_read_off_the_line() -> None:
    times = [0.25, 0.3, 0.5]
    solver = ct.solvers.Euler(dt=0.25)
    values = run(ct.Probe("rates", times=times), solver=solver).dataset["rates"].sel(layer=1).values
    np.testing.assert_allclose(values[1], 0.8 * values[0] + 0.2 * values[2], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("solver", [ct.solvers.Dopri5(rtol=1e-7, atol=1e-9), ct.solvers.RK4(dt=0.05)])
def test_values_between_steps_are_as_good_as_the_steps(solver: ct.solvers.Solver) -> None:
    times, shown = [0.123, 0.25, 0.4], stimulus(duration=0.25)
    probe = ct.Probe("weights", times=times, layers=[1])
    record = run(probe, stimulus=shown, solver=solver, t_span=(0.0, 0.45)).dataset["weights"]
    for k, t in enumerate(times):
        exact = run(stimulus=shown, t_span=(0.0, t), solver=ct.solvers.Dopri8(rtol=1e-7, atol=1e-9)).final
        np.testing.assert_allclose(record.values[k, 0], exact["W.1"].numpy(), atol=1e-6)


def test_recording_changes_nothing() -> None:
    probes = [ct.Probe(what, every=0.25) for what in KINDS if what not in ("feedback", *SPIKING)]
    assert run(*probes).final.equal(run().final)
    probes = [ct.Probe(what, every=0.13) for what in KINDS if what != "feedback"]
    spiking = network(neuron=ct.LIF())
    assert run(*probes, net=spiking).final.equal(run(net=spiking).final)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_records_have_the_dtype_of_the_data(dtype: type[np.floating[Any]]) -> None:
    probes = [ct.Probe(what, every=1.0) for what in KINDS if what != "feedback"]
    data = run(*probes, stimulus=stimulus(dtype), net=network(neuron=ct.LIF())).dataset
    assert {data[name].dtype for name in data} == {np.dtype(dtype)}
    assert data["time"].dtype == np.float64


def test_spikes_are_counted_from_record_to_record_and_potentials_are_those_of_the_state() -> None:
    net = network(neuron=ct.LIF())
    start = net.initial_state(3, ROWS, torch.float64)
    start = start.replace({name: 3 * start[name].abs() for name in net.weight_shapes})
    clock = [0.0, 0.5, 1.25, 3.0]
    probes = [ct.Probe("spikes", times=clock), ct.Probe("voltages", times=clock)]
    sol = run(*probes, net=net, state=start)
    counts = part(sol.dataset["spikes"], 1, (5, 5))
    assert counts[0].max() == 0
    assert counts.sum() > 5
    np.testing.assert_array_equal(counts.sum(0), sol.final["n.1"].numpy())
    early = run(net=net, state=start, t_span=(0.0, 0.5)).final
    np.testing.assert_array_equal(counts[1], early["n.1"].numpy())
    np.testing.assert_array_equal(part(sol.dataset["voltages"], 1, (5, 5))[1], early["v.1"].numpy())


@pytest.mark.parametrize("what", SPIKING)
def test_rates_have_no_spikes_to_record(what: str) -> None:
    with pytest.raises(ValueError, match="needs a neuron with a reset"):
        run(ct.Probe(what, every=1.0))


def test_a_run_that_stops_early_keeps_what_it_has() -> None:
    solver = ct.solvers.RK4(dt=0.25, max_steps=6)
    sol = run(ct.Probe("rates", every=0.25), ct.Probe("biases", times=[2.75]), solver=solver)
    assert sol.status is ct.Status.MAX_STEPS
    times = sol.dataset["time"].values
    assert times.tolist() == [0.25 * k for k in range(round(sol.final.t / 0.25) + 1)]
    np.testing.assert_array_equal(part(sol.dataset["rates"], 2, (5, 3))[-1], sol.final["r.2"].numpy())
    assert sol.dataset["biases"].shape == (0, 2, 5)


def test_the_clock_and_the_indices_say_what_they_are() -> None:
    data = run(ct.Probe("rates", every=1.0), ct.Probe("weights", every=1.5)).dataset
    for clock in ("time", "time_weights"):
        assert data[clock].attrs == {"units": "tau", "long_name": "simulated time"}
    assert data["rates"].attrs["long_name"] == "activity"
    assert data["weights"].attrs["long_name"] == "synaptic weight"
    assert data["post"].attrs["long_name"] == "postsynaptic unit"


def test_without_probes_the_dataset_is_empty() -> None:
    assert len(run().dataset.variables) == 0


def test_unsupervised_rows_are_the_samples_alone() -> None:
    net = ct.Network([4, 2], rule=ct.rules.Oja(), bias=False)
    record = run(ct.Probe("rates", every=1.0), net=net).dataset["rates"]
    assert record["row"].values.tolist() == [0, 1]
