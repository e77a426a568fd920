"""One suite over every rule, contrast, activation and solver in its table: what is added there is covered here."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

import ctsigprop as ct
from ctsigprop.neurons.activations import ACTIVATIONS
from ctsigprop.rules.base import Rule
from ctsigprop.rules.contrasts import Contrast
from ctsigprop.rules.local import Local
from ctsigprop.rules.table import CONTRASTS, RULES
from ctsigprop.rules.update import DenseUpdate, Update
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.table import SOLVERS
from tests.networks import needs_spikes

SIZES = {"rows": 6, "pre_rows": 6, "post": 4, "pre": 5}
DTYPES = [torch.float32, torch.float64]
BATCHES = [(), (3,), (2, 3)]
Tensors = dict[str, Tensor]


def values(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers between 0.1 and 1.1, the same in every dtype up to rounding."""
    random = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=random, dtype=torch.float64) + 0.1).to(dtype)


def shape_of(annotation: object) -> tuple[int, ...] | None:
    """The shape, without batch dimensions, that an annotation of Local asks for; None where it is no tensor."""
    dims = re.search(r"Float\[Tensor, '([^']*)'\]", str(annotation).replace('"', "'"))
    if dims is None:
        return None
    return tuple(int(dim) if dim.isdigit() else SIZES[dim] for dim in dims[1].split() if "*" not in dim)


def local_for(rule: Rule, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Local:
    """All that a rule may see, made from the annotations of Local and the flags of the rule."""
    given: dict[str, Any] = {}
    for k, field in enumerate(dataclasses.fields(Local)):
        shape = shape_of(field.type)
        if shape is not None and wanted(field.name, rule):
            given[field.name] = values((*batch, *shape), k, dtype)
    given["share"] = given["share"] / SIZES["rows"]
    given["variables"] = {
        name: start + values((*batch, *shape), 50, dtype)
        for name, (shape, start) in rule.variables(SIZES["post"], SIZES["pre"]).items()
    }
    for k, (name, trace) in enumerate(rule.spike_traces().items()):
        given["variables"][name] = values((*batch, SIZES["rows"], SIZES[trace.side]), 60 + k, dtype)
    return Local(**given)


def wanted(name: str, rule: Rule) -> bool:
    flags = {
        "gain": rule.supervised,
        "delta": rule.supervised,
        "weight": rule.dense,
        "post_slope": rule.differential,
        "pre_slope": rule.differential,
        "distance": rule.potential,
        "post_spikes": rule.jumps,
        "pre_spikes": rule.jumps,
    }
    return flags.get(name, True)


def tensors_in(local: Local) -> Tensors:
    named = {field.name: getattr(local, field.name) for field in dataclasses.fields(Local)}
    return {**{name: value for name, value in named.items() if isinstance(value, Tensor)}, **local.variables}


def changes(rule: Rule, local: Local) -> Tensors:
    """Everything that a rule says about one population: dW/dt, db/dt and the slopes of its own variables.

    A rule that acts at spikes adds to dW/dt what the weights jump by.
    """
    batch, dtype = local.post.shape[:-2], local.post.dtype
    update = rule.update(local)
    weight = local.weight
    if weight is None:
        weight = values((*batch, SIZES["post"], SIZES["pre"]), 90, dtype)
    bias = values((*batch, SIZES["post"]), 91, dtype)
    change = update.derivative(weight)
    if rule.jumps:
        jumped, _ = rule.jump(local)
        assert jumped is not None
        change = change + jumped.derivative(weight)
    return {"W": change, "b": update.bias_derivative(bias), **rule.flow(local)}


def member(local: Local, index: tuple[int, ...]) -> Local:
    """One member of an ensemble."""
    parts = {
        field.name: getattr(local, field.name)[index]
        for field in dataclasses.fields(Local)
        if isinstance(getattr(local, field.name), Tensor)
    }
    return dataclasses.replace(
        local, **parts, variables={name: value[index] for name, value in local.variables.items()}
    )


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5 if a.dtype == torch.float32 else 1e-12, atol=1e-7)


def unchanged(tensors: Mapping[str, Tensor], act: Callable[[], object]) -> None:
    before = {name: value.clone() for name, value in tensors.items()}
    act()
    assert all(torch.equal(value, before[name]) for name, value in tensors.items())


@pytest.fixture(params=list(RULES))
def rule(request: pytest.FixtureRequest) -> Rule:
    made: Rule = RULES[request.param]()
    return made


@pytest.fixture(params=list(CONTRASTS))
def contrast(request: pytest.FixtureRequest) -> Contrast:
    made: Contrast = CONTRASTS[request.param]()
    return made


# rules


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_a_rule_gives_one_slope_per_synapse_bias_and_variable_in_the_dtype_given(
    rule: Rule, batch: tuple[int, ...], dtype: torch.dtype
) -> None:
    found = changes(rule, local_for(rule, batch, dtype))
    shapes = {name: shape for name, (shape, _) in rule.variables(SIZES["post"], SIZES["pre"]).items()}
    shapes.update(W=(SIZES["post"], SIZES["pre"]), b=(SIZES["post"],))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        name: (*batch, *shape) for name, shape in shapes.items()
    }
    assert {value.dtype for value in found.values()} == {dtype}
    assert all(bool(torch.isfinite(value).all()) for value in found.values())


def test_a_rule_on_an_ensemble_is_the_rule_on_each_member(rule: Rule) -> None:
    local = local_for(rule, (2, 3))
    weight = values((2, 3, SIZES["post"], SIZES["pre"]), 90) if local.weight is None else local.weight
    moved = said(rule, local)
    flow = rule.flow(local)
    for index in np.ndindex(2, 3):
        one = member(local, index)
        for a, b in zip(moved, said(rule, one), strict=True):
            close(a.derivative(weight)[index], b.derivative(weight[index]))
        for name, slope in rule.flow(one).items():
            close(flow[name][index], slope)


def said(rule: Rule, local: Local) -> list[Update | DenseUpdate]:
    """What a rule says between spikes, and at them where it acts there."""
    jumped = rule.jump(local)[0] if rule.jumps else None
    return [rule.update(local), *([] if jumped is None else [jumped])]


def test_a_rule_changes_nothing_that_it_is_given(rule: Rule) -> None:
    local = local_for(rule, (2,))
    unchanged(tensors_in(local), lambda: changes(rule, local))


def test_a_rule_says_the_same_thing_twice(rule: Rule) -> None:
    local = local_for(rule)
    first, again = changes(rule, local), changes(type(rule)(), local_for(rule))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_rule_at_rate_zero_says_nothing(rule: Rule) -> None:
    still = dataclasses.replace(rule, rate=0.0)  # type: ignore[type-var]
    found = changes(still, local_for(still))
    assert torch.count_nonzero(found["W"]) == 0
    assert torch.count_nonzero(found["b"]) == 0


def test_the_rate_multiplies_the_whole_change_of_the_weights(rule: Rule) -> None:
    single, triple = (dataclasses.replace(rule, rate=rate) for rate in (0.5, 1.5))  # type: ignore[type-var]
    local = local_for(rule)
    one, three = changes(single, local), changes(triple, local)
    assert torch.count_nonzero(one["W"]) > 0
    for name in ("W", "b"):
        close(3 * one[name], three[name])


def test_a_rule_returns_factors_unless_it_says_that_it_is_dense(rule: Rule) -> None:
    for update in said(rule, local_for(rule)):
        assert isinstance(update, Update if not rule.dense else Update | DenseUpdate)
        if isinstance(update, Update):
            assert update.post.shape[-2] == update.pre.shape[-2]


def test_the_same_change_can_be_written_into_a_given_matrix(rule: Rule) -> None:
    local = local_for(rule)
    weight = values((SIZES["post"], SIZES["pre"]), 90) if local.weight is None else local.weight
    place = torch.full_like(weight, torch.nan)
    found = rule.update(local).derivative(weight, out=place)
    assert found.data_ptr() == place.data_ptr()
    assert torch.equal(place, rule.update(local).derivative(weight))


@pytest.mark.parametrize("traces", [True, False])
def test_every_rule_runs_in_a_network(rule: Rule, traces: bool) -> None:
    fields = {field.name for field in dataclasses.fields(rule)}  # type: ignore[arg-type]
    if "traces" in fields and not rule.differential:
        rule = dataclasses.replace(rule, traces=traces)  # type: ignore[type-var]
    spiking = needs_spikes(rule)
    neuron: Any = ct.LIF(threshold=0.2) if spiking else ct.Rate(activation="tanh")
    net = ct.Network([3, 4, 2], 2, signal=ct.TargetStream(), rule=rule, neuron=neuron)
    stimulus = tiny()
    if spiking:
        encoder = ct.Poisson(rate=4.0, dt=0.25)
        stimulus = ct.Presentations(np.full((3, 3), 0.9), [0, 1, 1], 2, duration=2.0, encoder=encoder)
    sol = ct.simulate(net, stimulus, ct.solvers.Hybrid(dt=0.25) if spiking else ct.solvers.Euler(dt=0.25), seed=5)
    assert sol.status.ok
    assert all(bool(torch.isfinite(value).all()) for value in sol.final.values())
    assert not torch.equal(sol.final["W.2"], net.initial_state(5, 2, torch.float64)["W.2"])


# contrasts


def streams(batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Input stream (5, 4), target stream (3, 4), labels (5, 3) whose last row is empty."""
    y = torch.eye(3, dtype=dtype)[torch.tensor([0, 2, 1, 1, 0])]
    y[-1] = 0
    return values((*batch, 5, 4), 1, dtype), values((*batch, 3, 4), 2, dtype), y.expand(*batch, 5, 3).clone()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_a_contrast_gives_a_drive_per_row_in_the_dtype_given(
    contrast: Contrast, batch: tuple[int, ...], dtype: torch.dtype
) -> None:
    h, z, y = streams(batch, dtype)
    for found, like in zip((*contrast.drives(h, z, y), contrast.similarity(h, z)), (h, z, y), strict=True):
        assert found.shape == like.shape
        assert found.dtype == dtype
        assert bool(torch.isfinite(found).all())


def test_a_contrast_on_an_ensemble_is_the_contrast_on_each_member(contrast: Contrast) -> None:
    h, z, y = streams((2, 3))
    whole = (*contrast.drives(h, z, y), contrast.similarity(h, z))
    for index in np.ndindex(2, 3):
        one = (*contrast.drives(h[index], z[index], y[index]), contrast.similarity(h[index], z[index]))
        for a, b in zip(whole, one, strict=True):
            close(a[index], b)


def test_a_contrast_changes_nothing_and_repeats_itself(contrast: Contrast) -> None:
    h, z, y = streams()
    unchanged({"h": h, "z": z, "y": y}, lambda: (contrast.drives(h, z, y), contrast.similarity(h, z)))
    for a, b in zip(contrast.drives(h, z, y), type(contrast)().drives(h, z, y), strict=True):
        assert torch.equal(a, b)


def test_an_empty_row_is_neither_taught_nor_teaches(contrast: Contrast) -> None:
    h, z, y = streams()
    delta_h, delta_z = contrast.drives(h, z, y)
    assert torch.count_nonzero(delta_h[-1]) == 0
    moved = h.clone()
    moved[-1] = values((4,), 7)
    for a, b in zip((delta_h, delta_z), contrast.drives(moved, z, y), strict=True):
        assert torch.equal(a, b)


# activations


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_activation_and_its_derivative_keep_shape_and_dtype_and_their_argument(
    name: str, dtype: torch.dtype
) -> None:
    phi = ACTIVATIONS[name]
    u = values((2, 3, 4), 1, dtype) - 0.6
    for function in (phi.function, phi.derivative):
        found = function(u)
        assert found.shape == u.shape
        assert found.dtype == dtype
        close(found[1, 2], function(u[1, 2]))
        unchanged({"u": u}, lambda function=function: function(u))  # type: ignore[misc]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_derivative_is_that_of_its_function(name: str) -> None:
    phi = ACTIVATIONS[name]
    u = torch.linspace(-4, 4, 41, dtype=torch.float64).add(0.01).requires_grad_()
    (slope,) = torch.autograd.grad(phi.function(u).sum(), u)
    torch.testing.assert_close(phi.derivative(u.detach()), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("u", [-100.0, -30.0, 0.0, 30.0, 100.0])
def test_activations_stay_finite_far_out(name: str, u: float) -> None:
    phi = ACTIVATIONS[name]
    for dtype in DTYPES:
        drive = torch.tensor([u], dtype=dtype)
        assert bool(torch.isfinite(phi.function(drive)).all())
        assert 0.0 <= float(phi.derivative(drive)) <= 1.0


# solvers


def tiny(dtype: type[np.floating[Any]] = np.float64) -> ct.Presentations:
    """Three samples in two batches, a switch at 0.5 and the end at 1."""
    x = np.random.default_rng(0).standard_normal((3, 3)).astype(dtype)
    return ct.Presentations(x, [0, 1, 1], 2, duration=0.5, shuffle=False)


def tiny_network() -> ct.Network:
    return ct.Network([3, 4, 2], neuron=ct.Rate(activation="tanh"), rule=ct.rules.Oja(rate=1.0, traces=True))


def made(cls: type[Solver], **settings: Any) -> Solver:
    """A solver with those of the settings that it has; a step where it wants one, else loose tolerances."""
    fields = {field.name for field in dataclasses.fields(cls)}
    given = {"dt": 0.125, "rtol": 1e-4, "atol": 1e-5, **settings}
    return cls(**{name: value for name, value in given.items() if name in fields})


def run(solver: Solver | str, dtype: type[np.floating[Any]] = np.float64, **settings: Any) -> ct.Solution:
    sol: ct.Solution = ct.simulate(tiny_network(), tiny(dtype), solver, seed=4, **settings)
    return sol


def distance(a: ct.State, b: ct.State) -> float:
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


@pytest.fixture(scope="module")
def exact() -> ct.State:
    return run(ct.solvers.Dopri5(rtol=1e-9, atol=1e-11)).final


FIXED = [name for name, cls in SOLVERS.items() if "dt" in {field.name for field in dataclasses.fields(cls)}]


@pytest.fixture
def at_full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without shapes being checked: that is done where solvers sample and stop, below."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("at_full_speed")
@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_agrees_with_dopri5_within_its_accuracy(name: str, exact: ct.State) -> None:
    sol = run(made(SOLVERS[name]))
    assert sol.status is ct.Status.COMPLETED
    assert sol.final.t == 1.0
    assert distance(sol.final, exact) < (0.05 if name in FIXED else 5e-3)


@pytest.mark.usefixtures("at_full_speed")
@pytest.mark.parametrize("name", FIXED)
def test_half_the_step_is_as_much_better_as_the_order_says(name: str, exact: ct.State) -> None:
    cls: Any = SOLVERS[name]
    coarse, fine = (distance(run(cls(dt=dt)).final, exact) for dt in (0.0625, 0.03125))
    assert coarse / fine > 2 ** (cls.order - 0.3)


@pytest.mark.usefixtures("at_full_speed")
@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_keeps_the_dtype_and_repeats_itself_to_the_bit(name: str) -> None:
    solver = made(SOLVERS[name])
    first, again = run(solver, np.float32), run(solver, np.float32)
    assert first.final.equal(again.final)
    assert {value.dtype for value in first.final.values()} == {torch.float32}
    assert first.stats["rhs_evaluations"] == again.stats["rhs_evaluations"] > 0


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_samples_where_it_is_asked_to_and_leaves_the_state_it_is_given(name: str) -> None:
    start = tiny_network().initial_state(4, 2, torch.float64)
    before = {key: value.clone() for key, value in start.items()}
    times = [0.0, 0.1, 0.5, 0.7, 1.0]
    sol = run(made(SOLVERS[name]), state=start, probes=[ct.Probe("weights", times=times)])
    assert start.equal(before)
    assert sol.dataset["time"].values.tolist() == times
    record = sol.dataset["weights"].sel(layer=1).values
    np.testing.assert_array_equal(record[0, :, :3], start["W.1"].numpy())
    np.testing.assert_allclose(record[-1, :, :3], sol.final["W.1"].numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_stops_at_max_steps_with_a_sentence(name: str) -> None:
    sol = run(made(SOLVERS[name], max_steps=1))
    assert sol.status is ct.Status.MAX_STEPS
    assert not sol.status.ok
    assert "max_steps=1" in sol.message
    assert 0.0 <= sol.final.t < 1.0


def test_a_solver_is_chosen_by_name_or_by_itself(exact: ct.State) -> None:
    named, auto = run("dopri5"), run("auto")
    assert named.status.ok
    assert distance(named.final, exact) < 1e-4
    assert distance(auto.final, exact) < 1e-4
    assert named.stats["solver"].startswith("Dopri5(")


# what every class in a table is


CLASSES: dict[str, type] = {
    f"{kind} {name}": cls
    for kind, table in (("rule", RULES), ("contrast", CONTRASTS), ("signal", SIGNALS), ("solver", SOLVERS))
    for name, cls in typing.cast("dict[str, type]", table).items()
}


def sections(cls: type) -> set[str]:
    """Headings of a docstring: a line above a line of dashes."""
    return set(re.findall(r"^(\w+)\n-+$", inspect.getdoc(cls) or "", flags=re.MULTILINE))


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_a_frozen_dataclass_that_can_be_compared(name: str) -> None:
    cls: Any = CLASSES[name]
    assert dataclasses.is_dataclass(CLASSES[name])
    needed = {"dt": 0.5} if "dt" in inspect.signature(CLASSES[name]).parameters else {}
    one: Any = cls(**needed)
    same = cls(**{field.name: getattr(one, field.name) for field in dataclasses.fields(one) if field.init})
    assert one == same
    assert hash(one) == hash(same)
    for field in dataclasses.fields(one):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, field.name, 0)
    assert repr(one).startswith(f"{CLASSES[name].__name__}(")


@pytest.mark.parametrize("name", CLASSES)
def test_every_docstring_begins_with_what_the_class_is(name: str) -> None:
    doc = inspect.getdoc(CLASSES[name]) or ""
    first = doc.splitlines()[0]
    assert len(first) > 10
    assert not first.startswith(f"{CLASSES[name].__name__}(")


@pytest.mark.parametrize("name", RULES)
def test_every_rule_states_its_equation_its_parameters_and_where_it_is_from(name: str) -> None:
    cls: Any = RULES[name]
    doc = inspect.getdoc(cls) or ""
    assert re.search(r"dW/dt\s*=", doc)
    assert {"Parameters", "Raises", "References"} <= sections(cls)
    described = doc.split("Parameters\n")[1].split("Raises\n")[0]
    for field in dataclasses.fields(cls):
        assert re.search(rf"^[\w, ]*\b{field.name}\b[\w, ]* : ", described, flags=re.MULTILINE), field.name


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_a_rate(name: str) -> None:
    cls: Any = RULES[name]
    assert "rate" in {field.name for field in dataclasses.fields(cls)}
    assert isinstance(cls().traces, bool)


@pytest.mark.parametrize("name", CONTRASTS)
def test_every_contrast_states_its_equation_and_where_it_is_from(name: str) -> None:
    assert "delta_h" in (inspect.getdoc(CONTRASTS[name]) or "")
    assert "References" in sections(CONTRASTS[name])


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_states_its_order(name: str) -> None:
    cls: Any = SOLVERS[name]
    assert isinstance(cls.order, int)
    assert cls.order >= 1
