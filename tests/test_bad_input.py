"""Each mistake gets one error: it names the argument, what came and what is allowed, before anything runs."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules.table import RULES
from ctsigprop.solvers.table import SOLVERS
from ctsigprop.stimuli.validation import as_inputs

Act = Callable[[], Any]
NAN, INF = math.nan, math.inf
X = np.linspace(-1, 1, 18, dtype=np.float32).reshape(6, 3)
Y = np.array([0, 1, 0, 1, 0, 1])


@pytest.fixture(autouse=True)
def as_a_user_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape checking, on in the other tests, would answer before the library does."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert list(here.iterdir()) == []


def shown(x: Any = X, y: Any = Y, batch_size: Any = 2, **settings: Any) -> ct.Presentations:
    return ct.Presentations(x, y, batch_size, **settings)


def supervised(**settings: Any) -> ct.Network:
    given = {"signal": ct.TargetStream(), "rule": ct.rules.ContrastiveHebbian(), **settings}
    return ct.Network([3, 4, 2], n_classes=2, **given)


def unsupervised() -> ct.Network:
    return ct.Network([3, 2], rule=ct.rules.Oja(), bias=False)


def refused(error: type[Exception], words: str, act: Act) -> None:
    """One error of exactly this type, not the consequence of another one."""
    with pytest.raises(error, match=words) as caught:
        act()
    assert type(caught.value) is error
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def stopped_at_the_door(error: type[Exception], words: str, **arguments: Any) -> None:
    """`simulate` raises before it asks the stimulus for its first frame."""
    stimulus = arguments.setdefault("stimulus", shown())
    arguments.setdefault("network", supervised())
    begun: list[float] = []
    if isinstance(stimulus, ct.Stimulus):
        stimulus.frames = lambda start, stop: iter(begun.append(start) or ())  # type: ignore[method-assign,func-returns-value]
    refused(error, words, lambda: ct.simulate(**arguments))
    assert begun == []


def sizes(values: Any) -> Act:
    return lambda: ct.Network(values)


def probe(*args: Any, **kwargs: Any) -> Act:
    return lambda: ct.Probe(*args, **kwargs)


def dopri5(**settings: Any) -> Act:
    return lambda: ct.solvers.Dopri5(**settings)


def with_value(value: float) -> np.ndarray:
    x = X.copy()
    x[4, 1] = value
    return x


DATA: dict[str, tuple[type[Exception], str, Act]] = {
    "nan": (ValueError, r"x must be finite, got nan in row 4, column 1", lambda: shown(with_value(NAN))),
    "infinite": (ValueError, r"x must be finite, got -inf in row 4, column 1", lambda: shown(with_value(-INF))),
    "nan in a tensor": (ValueError, r"x .*nan in row 4, col", lambda: shown(torch.from_numpy(with_value(NAN)))),
    "one dimension": (ValueError, r"x must have two dimensions .*got shape \(3,\)", lambda: shown(X[0])),
    "images": (ValueError, r"x must have two dimensions .*got shape \(6, 3, 1\)", lambda: shown(X[..., None])),
    "no samples": (ValueError, r"x must not be empty, got shape \(0, 3\)", lambda: shown(X[:0], Y[:0])),
    "no features": (ValueError, r"x must not be empty, got shape \(6, 0\)", lambda: shown(X[:, :0])),
    "words": (TypeError, r"x must be a tensor or array of numbers", lambda: shown([["a", "b"]])),
    "ragged": (TypeError, r"x must be a tensor or array of numbers", lambda: shown([[1.0], [1.0, 2.0]])),
    "complex": (TypeError, r"x must be float32 or float64, got torch.complex", lambda: shown(X.astype(complex))),
    "half precision": (TypeError, r"x must be float32 or float64, got torch.float16", lambda: shown(X.astype("f2"))),
    "negative label": (ValueError, r"y must be >= 0, got -3 for sample 2", lambda: shown(y=[0, 1, -3, 1, 0, 1])),
    "float labels": (TypeError, r"y must be integer class labels, got torch.float64", lambda: shown(y=Y * 1.0)),
    "boolean labels": (TypeError, r"y must be integer class labels, got torch.bool", lambda: shown(y=Y > 0)),
    "labels in words": (TypeError, r"y must be integer", lambda: shown(y=np.array(list("ababab")))),
    "too few labels": (ValueError, r"y must have one entry for each of the 6 samples, got 5", lambda: shown(y=Y[:5])),
    "nan in contexts": (ValueError, r"y must be finite, got nan in row 4, column 1", lambda: shown(y=with_value(NAN))),
    "contexts of another type": (
        TypeError,
        r"x and y must have the same float type, got torch.float32 and torch.float64",
        lambda: shown(y=np.eye(2)[Y]),
    ),
    "batch of zero": (ValueError, r"batch_size must be an integer >= 1, got 0", lambda: shown(batch_size=0)),
    "batch of a half": (ValueError, r"batch_size must be an integer >= 1, got 0.5", lambda: shown(batch_size=0.5)),
    "no epochs": (ValueError, r"epochs must be an integer >= 1, got 0", lambda: shown(epochs=0)),
    "negative seed": (ValueError, r"seed must be an integer >= 0, got -1", lambda: shown(seed=-1)),
    "no duration": (ValueError, r"duration must be a finite number > 0, got 0", lambda: shown(duration=0)),
    "endless": (ValueError, r"duration must be a finite number > 0, got inf", lambda: shown(duration=INF)),
    "duration in words": (TypeError, r"duration must be a number, got '1'", lambda: shown(duration="1")),
    "gate too long": (
        ValueError,
        r"gate must lie within the presentation, 0 ... 1, got \(0.5, 2.0\)",
        lambda: shown(gate=(0.5, 2.0)),
    ),
    "gate too early": (ValueError, r"gate start must be .*>= 0, got -0.5", lambda: shown(gate=(-0.5, 0.5))),
    "gate reversed": (ValueError, r"gate stop must be .*> 0.5, got 0.2", lambda: shown(gate=(0.5, 0.2))),
    "gate of one": (TypeError, r"gate must be a pair \(start, stop\)", lambda: shown(gate=0.5)),
}

FUNCTIONS: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "no function": (TypeError, r"x must be a function of time", {"x": torch.ones(1, 3)}),
    "context is no function": (TypeError, r"context must be a function of time", {"context": torch.ones(1, 3)}),
    "gate is no function": (TypeError, r"gate must be a function of time", {"gate": (0.0, 0.5)}),
    "one dimension": (ValueError, r"x\(0\) must have two dimensions", {"x": lambda t: torch.ones(3)}),
    "nan": (ValueError, r"x\(0\) must be finite, got nan in row 0, col", {"x": lambda t: torch.full((1, 3), NAN)}),
    "rows differ": (ValueError, r"context\(0\) must have 1 rows .*got 2", {"context": lambda t: torch.ones(2, 2)}),
    "types differ": (ValueError, r"context\(0\) .*float32.*float64", {"context": lambda t: torch.ones(1, 2).double()}),
    "no duration": (ValueError, r"duration must be a finite number > 0, got 0", {"duration": 0}),
    "switches fall": (ValueError, r"switches must be increasing times, got \[2.0, 1.0\]", {"switches": [2, 1]}),
}

NETWORKS: dict[str, tuple[type[Exception], str, Act]] = {
    "no units": (ValueError, r"sizes\[1\] must be an integer >= 1, got 0", sizes([3, 0, 2])),
    "negative units": (ValueError, r"sizes\[2\] must be an integer >= 1, got -2", sizes([3, 4, -2])),
    "half a unit": (ValueError, r"sizes\[0\] must be an integer >= 1, got 3.5", sizes([3.5, 2])),
    "one size": (ValueError, r"sizes must name the inputs and at least one layer, got \[3\]", sizes([3])),
    "a number": (TypeError, r"sizes must be a sequence of integers", sizes(3)),
    "no tau": (ValueError, r"Rate\(tau=\) must be a finite number > 0, got 0", lambda: ct.Rate(tau=0)),
    "negative tau": (ValueError, r"Rate\(tau=\) must be a finite number > 0, got -1", lambda: ct.Rate(tau=-1)),
    "nan tau": (ValueError, r"Rate\(tau=\) must be a finite number > 0, got nan", lambda: ct.Rate(tau=NAN)),
    "tau in words": (TypeError, r"Rate\(tau=\) must be a number, got '1'", lambda: ct.Rate(tau="1")),  # type: ignore[arg-type]
    "signal without rows": (
        ValueError,
        r"n_classes .*must be given with a signal, got None",
        lambda: ct.Network([3, 2], signal=ct.TargetStream()),
    ),
    "no classes": (ValueError, r"n_classes must be an integer >= 1, got 0", lambda: ct.Network([3, 2], n_classes=0)),
    "rule without signal": (
        ValueError,
        r"rule of layer 1 is ContrastiveHebbian, which needs a learning signal: give signal=ct.TargetStream\(\)",
        lambda: ct.Network([3, 2], rule=ct.rules.ContrastiveHebbian()),
    ),
    "one rule of two without signal": (
        ValueError,
        r"rule of layer 2 is ContrastiveHebbian, which needs a learning signal",
        lambda: ct.Network([3, 4, 2], rule=[ct.rules.Oja(), ct.rules.ContrastiveHebbian()]),
    ),
    "rule by name": (TypeError, r"rule of layer 1 must be a rule such as .*got 'oja'", lambda: supervised(rule="oja")),
    "class of a rule": (TypeError, r"rule of layer 1 must be a rule such as", lambda: supervised(rule=ct.rules.Oja)),
    "rules for three layers": (
        ValueError,
        r"rule must be one for all layers or a list of 2, got a list of 3",
        lambda: supervised(rule=[None] * 3),
    ),
    "neuron by name": (TypeError, r"neuron of layer 1 must be a neuron such as", lambda: supervised(neuron="rate")),
    "class of a neuron": (TypeError, r"neuron of layer 1 must be a neuron such as", lambda: supervised(neuron=ct.Rate)),
    "signal by name": (TypeError, r"signal must be .*got 'class'", lambda: supervised(signal="class")),
    "class of a signal": (TypeError, r"signal must be .*TargetStream\(\)", lambda: supervised(signal=ct.TargetStream)),
    "rows per batch": (
        ValueError,
        r"TargetStream\(per=\) must be 'class' or 'sample', got 'batch'",
        lambda: ct.TargetStream(per="batch"),  # type: ignore[arg-type]
    ),
    "frozen generator": (
        ValueError,
        r"TargetStream\(generator=\) must be 'learned' or 'fixed', got 'frozen'",
        lambda: ct.TargetStream(generator="frozen"),  # type: ignore[arg-type]
    ),
    "matches of a class": (
        ValueError,
        r"TargetStream\(match='all'\) needs per='sample'",
        lambda: ct.TargetStream(match="all"),
    ),
    "no match": (
        ValueError,
        r"TargetStream\(match=\) must be 'one', 'all' or an integer >= 1, got 0",
        lambda: ct.TargetStream(per="sample", match=0),
    ),
    "loss": (
        ValueError,
        r"Backprop\(loss=\) must be 'cross_entropy' or 'squared', got 'mse'",
        lambda: ct.Backprop(loss="mse"),  # type: ignore[arg-type]
    ),
    "no time for errors": (ValueError, r"Backprop\(tau_e=\) .*> 0, got 0", lambda: ct.Backprop(tau_e=0)),
    "no decay of feedback": (ValueError, r"KolenPollack\(decay=\) .*> 0", lambda: ct.KolenPollack(decay=0)),
    "no output layer": (
        ValueError,
        r"Backprop needs an output layer: the top layer must have n_classes=5 units, got 2",
        lambda: ct.Network([3, 2], 5, signal=ct.Backprop()),
    ),
    "class of a contrast": (
        TypeError,
        r"TargetStream\(contrast=\) must be one of cosine",
        lambda: ct.TargetStream(contrast=ct.rules.SoftmaxCosine),
    ),
    "no temperature": (ValueError, r"SoftmaxCosine\(beta=\) .*> 0, got 0", lambda: ct.rules.SoftmaxCosine(beta=0)),
    "no floor": (ValueError, r"SoftmaxCosine\(kappa=\) .*> 0, got 0", lambda: ct.rules.SoftmaxCosine(kappa=0)),
    "wrong derivative": (
        ValueError,
        r"activation derivative does not fit its function: at drive .*differences give",
        lambda: ct.Rate(activation=(torch.tanh, torch.cos)),
    ),
    "derivative of another shape": (
        ValueError,
        r"activation derivative does not fit its function",
        lambda: ct.Rate(activation=(torch.relu, lambda u: torch.tensor(1.0))),
    ),
    "no derivative": (
        TypeError,
        r"activation must be .*or a pair \(function, derivative\)",
        lambda: ct.Rate(activation=torch.tanh),  # type: ignore[arg-type]
    ),
}

NEAREST: dict[str, tuple[str, Act]] = {
    "rule": (r"unknown rule 'ojja': did you mean 'oja'", lambda: ct.rules.get("ojja")),
    "rule's case": (r"unknown rule 'Hebb': did you mean 'hebb'", lambda: ct.rules.get("Hebb")),
    "solver": (r"unknown solver 'dopri6': did you mean .*'dopri5'", lambda: ct.solvers.get("dopri6")),
    "SciPy's solver": (
        r"unknown SciPy\(solver=\) 'RK46': did you mean 'RK45'",
        lambda: ct.solvers.SciPy(solver="RK46"),
    ),
    "signal": (r"unknown signal 'backpop': did you mean 'backprop'", lambda: ct.signals.get("backpop")),
    "activation": (r"unknown activation 'rellu': did you mean 'relu'", lambda: ct.Rate(activation="rellu")),
    "contrast": (r"unknown contrast 'cosin': did you mean 'cosine'", lambda: ct.TargetStream(contrast="cosin")),
    "quantity": (r"unknown quantity .*'weigths': did you mean 'weights'", probe("weigths", every=1.0)),
    "nothing near": (r"unknown rule 'xyz': known are .*oja", lambda: ct.rules.get("xyz")),
}

PROBES: dict[str, tuple[type[Exception], str, Act]] = {
    "a number": (TypeError, r"Probe\(what=\) must be a name or a function of a State, got 3", probe(3, every=1.0)),
    "never": (ValueError, r"Probe needs one of every=, times= and log_spaced=, got none", probe("rates")),
    "twice": (ValueError, r"Probe needs one of every=.* got every and times", probe("rates", 1.0, [1.0])),
    "every zero": (ValueError, r"Probe\(every=\) must be a finite number > 0, got 0", probe("rates", every=0)),
    "times fall": (ValueError, r"Probe\(times=\) must be increasing.*got \[2, 1\]", probe("rates", times=[2, 1])),
    "times stand": (ValueError, r"Probe\(times=\) must be increasing.*got \[1, 1\]", probe("rates", times=[1, 1])),
    "nan": (ValueError, r"Probe\(times=\) must be increasing finite", probe("rates", times=[0.0, NAN])),
    "no times": (ValueError, r"Probe\(times=\) must be increasing finite times, got \[\]", probe("rates", times=[])),
    "times in words": (ValueError, r"Probe\(times=\) must be", probe("rates", times=["soon"])),
    "name that no folder can have": (ValueError, r"Probe\(name=\) .*'a/b'", probe("rates", every=1.0, name="a/b")),
    "name of the folder above": (ValueError, r"Probe\(name=\) .*'\.\.'", probe("rates", every=1.0, name="..")),
    "dimension": (
        ValueError,
        r"Probe\(select=\) of rates may name row, post, got 'pre'",
        probe("rates", every=1.0, select={"pre": [0]}),
    ),
}

OUT_OF_RANGE: dict[str, tuple[type[Exception], str, Act]] = {
    f"{name} {value}": (
        ValueError,
        rf"Dopri5\({name}=\) must be {allowed}, got {value}",
        dopri5(**{name: value}),
    )
    for name, allowed in (
        *((name, "a finite number > 0") for name in ("rtol", "atol", "rtol_weights", "atol_weights")),
        ("max_steps", "an integer >= 1"),
    )
    for value in (0, -1, NAN, INF)
}
OUT_OF_RANGE["max_steps of a fixed step"] = (
    ValueError,
    r"Euler\(max_steps=\) must be an integer >= 1, got 0",
    lambda: ct.solvers.Euler(dt=1.0, max_steps=0),
)
OUT_OF_RANGE["dt"] = (
    ValueError,
    r"RK4\(dt=\) must be a finite number > 0, got -0.1",
    lambda: ct.solvers.RK4(dt=-0.1),
)
OUT_OF_RANGE["dt in words"] = (
    TypeError,
    r"Euler\(dt=\) must be a number, got '1'",
    lambda: ct.solvers.Euler(dt="1"),  # type: ignore[arg-type]
)
OUT_OF_RANGE["tolerance in words"] = (
    TypeError,
    r"Dopri5\(rtol=\) must be a number, got 'low'",
    lambda: ct.solvers.Dopri5(rtol="low"),  # type: ignore[arg-type]
)


@pytest.mark.parametrize("case", DATA)
def test_presentations_refuse_data(case: str) -> None:
    refused(*DATA[case])


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions_of_time_are_refused(case: str) -> None:
    error, words, given = FUNCTIONS[case]
    arguments = {"x": lambda t: torch.ones(1, 3), "duration": 1.0, **given}
    refused(error, words, lambda: ct.Stimulus.from_function(**arguments))


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_refuse(case: str) -> None:
    refused(*NETWORKS[case])


@pytest.mark.parametrize("case", NEAREST)
def test_an_unknown_name_is_answered_with_the_nearest(case: str) -> None:
    words, act = NEAREST[case]
    refused(ValueError, words, act)


@pytest.mark.parametrize("case", PROBES)
def test_probes_refuse(case: str) -> None:
    refused(*PROBES[case])


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_solvers_refuse(case: str) -> None:
    refused(*OUT_OF_RANGE[case])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("rate", [-1.0, NAN, INF])
def test_every_rule_refuses_a_rate_below_zero_or_not_finite(name: str, rate: float) -> None:
    cls: Any = RULES[name]
    refused(ValueError, rf"{cls.__name__}\(rate=\) must be a finite number >= 0, got {rate}", lambda: cls(rate=rate))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_takes_a_rate_of_zero_and_no_word(name: str) -> None:
    cls: Any = RULES[name]
    assert cls(rate=0).rate == 0
    refused(TypeError, rf"{cls.__name__}\(rate=\) must be a number, got 'fast'", lambda: cls(rate="fast"))


def test_a_batch_larger_than_the_data_is_allowed_and_said_in_one_warning() -> None:
    with pytest.warns(UserWarning, match="batch_size=100 is larger than the data: each batch holds all 6") as caught:
        stimulus = shown(batch_size=100)
    assert len(caught) == 1
    assert stimulus.rows == 6
    assert ct.simulate(supervised(), stimulus).status.ok


def test_a_batch_as_large_as_the_data_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown(batch_size=6)


@pytest.mark.parametrize("view", ["reversed", "read-only", "big-endian", "Fortran order", "nested list"])
def test_arrays_of_any_layout_are_taken_without_a_word(view: str) -> None:
    frozen = X.copy()
    frozen.setflags(write=False)
    x = {
        "reversed": X[::-1],
        "read-only": frozen,
        "big-endian": X.astype(">f4"),
        "Fortran order": np.asfortranarray(X),
        "nested list": X.tolist(),
    }[view]
    np.testing.assert_allclose(as_inputs("x", shown(x).x).numpy(), np.asarray(x, dtype=np.float32), rtol=1e-6)


@pytest.mark.parametrize("number", [np.float32(2), np.int64(2), np.float64(2)])
def test_numbers_of_numpy_are_numbers(number: Any) -> None:
    assert ct.Rate(tau=number).tau == 2
    assert ct.solvers.Euler(dt=number).dt == 2
    assert ct.rules.Hebb(rate=number).rate == 2


def test_a_class_count_of_numpy_is_a_class_count() -> None:
    assert ct.Network([3, 2], n_classes=Y.max() + 1, signal=ct.TargetStream()).n_classes == 2


def test_wrong_feature_width_is_refused_everywhere() -> None:
    network = supervised()
    state = network.initial_state()
    stopped_at_the_door(ValueError, "must have 3 features, as .* says, got 2", stimulus=shown(X[:, :2]))
    refused(ValueError, r"x must have 3 features, got shape \(6, 2\)", lambda: network.predict(state, X[:, :2]))
    refused(ValueError, r"x must have 3 features, got shape \(6, 2\)", lambda: network.score(state, X[:, :2], Y))
    refused(ValueError, r"candidates must have 2 features", lambda: network.predict(state, X, candidates=np.eye(3)))


def test_prediction_refuses_bad_samples_and_labels() -> None:
    network = supervised()
    state = network.initial_state()
    refused(ValueError, "x must be finite, got nan in row 4", lambda: network.predict(state, with_value(NAN)))
    refused(
        ValueError,
        r"y must be in 0 ... 1, as n_classes=2 says, got 2 for sample 1",
        lambda: network.score(state, X[:2], [0, 2]),
    )
    refused(TypeError, r"y must be integer class labels", lambda: network.score(state, X, Y * 1.0))
    refused(ValueError, r"x and y must have as many samples", lambda: network.score(state, X, Y[:5]))
    refused(ValueError, r"layer must be between 1 and 2, got 3", lambda: network.predict(state, X, layer=3))
    for dt in (0, -1.0, NAN):
        refused(ValueError, r"dt must be a finite number > 0, got", partial(network.predict, state, X, dt=dt))
    resting = ct.Network([3, 4], 2, neuron=ct.LIF(refractory=0.2), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
    message = r"dt must be at most the refractory time of layer 1, 0.2, got 0.5"
    refused(ValueError, message, lambda: resting.score(resting.initial_state(0), X, Y, dt=0.5))
    refused(ValueError, r"layer must be between 1 and 2, got 0", lambda: network.transform(state, X, layer=0))


def test_prediction_without_a_signal_is_refused() -> None:
    network = unsupervised()
    state = network.initial_state()
    refused(ValueError, "this network has signal=None", lambda: network.predict(state, X))
    refused(ValueError, "this network has n_classes=None", lambda: network.score(state, X, Y))


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (TypeError, "network must be a ct.Network, got", {"network": "mlp"}),
        (TypeError, "stimulus must be ct.Presentations or made by ct.Stimulus.from_function", {"stimulus": X}),
        (TypeError, r"solver must be a solver such as ct.solvers.Dopri5\(\) or a name", {"solver": 5}),
        (TypeError, "solver must be a solver such as", {"solver": ct.solvers.Dopri5}),
        (ValueError, "unknown solver 'dopri55': did you mean .*'dopri5'", {"solver": "dopri55"}),
        (ValueError, r"solver 'euler' needs a step: use ct.solvers.Euler\(dt=...\)", {"solver": "euler"}),
        (TypeError, "state must be a ct.State such as sol.final, got dict", {"state": {}}),
        (TypeError, "probes must be a list of ct.Probe", {"probes": ct.Probe("rates", every=1.0)}),
        (TypeError, "probes must be a list of ct.Probe, got 'rates' in it", {"probes": ["rates"]}),
        (TypeError, r"t_span must be a pair \(start, stop\), got 2.0", {"t_span": 2.0}),
        (TypeError, "t_span stop must be a number, got 'end'", {"t_span": (0.0, "end")}),
        (ValueError, "t_span start must be .*>= 0, got -1", {"t_span": (-1.0, 2.0)}),
        (ValueError, "t_span stop must be .*> 2, got 2", {"t_span": (2.0, 2.0)}),
        (ValueError, r"t_span must lie within the stimulus, 0 ... 3, got \(0.0, 4.0\)", {"t_span": (0.0, 4.0)}),
    ],
)
def test_simulate_refuses_arguments(error: type[Exception], words: str, arguments: dict[str, Any]) -> None:
    stopped_at_the_door(error, words, **arguments)


def test_labels_beyond_the_classes_are_refused() -> None:
    stopped_at_the_door(
        ValueError,
        r"y of the stimulus must be in 0 ... 1, as n_classes=2 says, got 5 for sample 2",
        stimulus=shown(y=[0, 1, 5, 1, 0, 1]),
    )


def test_a_signal_without_labels_is_refused() -> None:
    stopped_at_the_door(ValueError, "stimulus must have labels or contexts, got none", stimulus=shown(y=None))


@pytest.mark.parametrize("width", [1, 3])
def test_contexts_of_another_width_are_refused(width: int) -> None:
    contexts = np.zeros((6, width), dtype=np.float32)
    stopped_at_the_door(
        ValueError, f"contexts must have 2 values, as n_classes says, got {width}", stimulus=shown(y=contexts)
    )


def other_states() -> dict[str, tuple[str, ct.State]]:
    state = supervised().initial_state(rows=2)
    tensors = dict(state)
    wider = ct.Network([3, 5, 2], 2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian())
    return {
        "sizes": (r"has shape \(5,.* needs shape \(4,", wider.initial_state()),
        "layers": ("no tensor", unsupervised().initial_state()),
        "empty": ("no tensor", ct.State({})),
        "without traces": ("x.1", ct.State({name: value for name, value in tensors.items() if name != "x.1"})),
        "with more": ("theta.1", ct.State({**tensors, "theta.1": torch.zeros(4)})),
        "biases of another width": ("b.2", ct.State({**tensors, "b.2": torch.zeros(3)})),
    }


@pytest.mark.parametrize("case", ["sizes", "layers", "empty", "without traces", "with more", "biases of another width"])
def test_the_state_of_another_network_is_refused(case: str) -> None:
    words, state = other_states()[case]
    stopped_at_the_door(ValueError, f"the state is of another network.*{words}", state=state)


def test_float64_weights_under_float32_data_are_told_which_to_change() -> None:
    state = supervised().initial_state(dtype=torch.float64)
    stopped_at_the_door(
        TypeError,
        r"the state is torch.float64 and the stimulus torch.float32: give the stimulus x as torch.float64, "
        r"or make the state with network.initial_state\(dtype=torch.float32\)",
        state=state,
    )


@pytest.mark.parametrize(
    ("error", "words", "given"),
    [
        (ValueError, r"Probe\(layers=\) of weights must be between 1 and 2, got 3", {"layers": [1, 3]}),
        (ValueError, r"Probe\(layers=\) of weights must be between 1 and 2, got 0", {"layers": [0]}),
        (ValueError, r"Probe\(layers=\) of weights", {"layers": []}),
        (TypeError, r"Probe\(layers=\)", {"layers": 1}),
        (ValueError, r"Probe\(times=\) of weights must lie within 0 ... 3, got 4", {"times": [1.0, 4.0]}),
        (ValueError, r"Probe\(select=\) of weights: post .*got \[9\]", {"select": {"post": [9]}, "layers": [1]}),
        (ValueError, r"Probe\(select=\) of weights: post .*got \[9\]", {"select": {"post": [9]}}),
        (ValueError, r"Probe\(select=\) of weights: pre .*got \[-1\]", {"select": {"pre": [-1]}}),
        (TypeError, r"Probe\(select=\) of weights", {"select": {"pre": [0.7]}}),
    ],
)
def test_probes_that_the_network_cannot_answer_are_refused(
    error: type[Exception], words: str, given: dict[str, Any]
) -> None:
    probe = ct.Probe("weights", **{"times": [2.0], **given})
    stopped_at_the_door(error, words, probes=[probe])


def test_a_mask_selects_the_units_it_marks() -> None:
    probe = ct.Probe("weights", every=1.0, layers=[1], select={"post": np.array([False, False, True, True])})
    sol = ct.simulate(supervised(), shown(), ct.solvers.Euler(dt=1.0), probes=[probe])
    assert sol.dataset["post"].values.tolist() == [2, 3]


@pytest.mark.parametrize("name", ["time", "layer", "post", "pre"])
def test_a_probe_called_like_a_dimension_is_refused(name: str) -> None:
    both = [ct.Probe("weights", every=1.0), ct.Probe(lambda state: 1.0, every=1.0, name=name)]
    stopped_at_the_door(ValueError, rf"name.*{name}", probes=both)


def test_two_probes_of_one_name_are_refused() -> None:
    both = [ct.Probe("weights", every=1.0), ct.Probe("weights", every=2.0)]
    stopped_at_the_door(ValueError, "two probes are called 'weights': give one of them another name=", probes=both)


@pytest.mark.parametrize("what", ["signal", "target_generator", "traces", "biases"])
def test_a_quantity_that_the_network_does_not_have_is_refused(what: str) -> None:
    words = {
        "signal": r"Probe\('signal'\) needs a network with a signal",
        "target_generator": r"Probe\('target_generator'\) needs a network with a signal",
        "traces": r"Probe\('traces'\) needs a layer whose rule has traces=True",
        "biases": r"Probe\('biases'\) needs a network with biases",
    }
    probes = [ct.Probe(what, every=1.0)]
    stopped_at_the_door(ValueError, words[what], network=unsupervised(), stimulus=shown(y=None), probes=probes)


@pytest.mark.parametrize("kind", ["array", "integers"])
def test_what_a_function_of_time_may_give_at_the_door_it_may_give_later(kind: str) -> None:
    values: dict[str, Any] = {"array": np.ones((1, 3), np.float32), "integers": torch.ones(1, 3, dtype=torch.int64)}
    try:
        stimulus = ct.Stimulus.from_function(lambda t: values[kind], duration=1.0)
    except TypeError as error:
        assert "x(0)" in str(error)  # noqa: PT017
        return
    assert ct.simulate(unsupervised(), stimulus).status.ok


def test_a_state_takes_only_its_own_tensors_in_exchange() -> None:
    state = supervised().initial_state()
    with pytest.raises(KeyError, match=r"no tensor 'W.9': did you mean 'W.2' or 'W.1'\? this state has r.1"):
        state.replace({"W.9": torch.ones(1)})
    refused(
        ValueError, r"W.2 must have shape \(2, 4\) .*got \(4, 2\)", lambda: state.replace({"W.2": torch.ones(4, 2)})
    )
    refused(ValueError, r"dtype torch.float32, got .*float64", lambda: state.replace({"W.2": state["W.2"].double()}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    probes = [ct.Probe("weights", every=1.0)]
    return ct.simulate(supervised(), shown(), ct.solvers.Euler(dt=1.0), probes=probes).save(tmp_path / "run")


def test_a_path_with_nothing_there_is_told(tmp_path: Path) -> None:
    refused(FileNotFoundError, "absent does not exist", lambda: ct.load(tmp_path / "absent"))


def test_a_folder_or_file_that_is_not_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("{}")
    for name in ("folder", "file"):
        refused(ct.Unreadable, f"{name} is not a saved ctsigprop solution", partial(ct.load, tmp_path / name))


@pytest.mark.parametrize(
    "text", ["[]", '{"format": "other"}', "null", '{"format": "ctsigprop-sol', '{"format": "ctsigprop-solution"}']
)
def test_a_manifest_that_is_not_ours_is_told(saved: Path, text: str) -> None:
    (saved / "manifest.json").write_text(text)
    refused(ct.Unreadable, "run is not a saved ctsigprop solution", lambda: ct.load(saved))


def test_a_newer_format_is_told(saved: Path) -> None:
    head = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps({**head, "version": head["version"] + 1}))
    newer, known = head["version"] + 1, head["version"]
    words = f"run has format version {newer}, this ctsigprop reads up to {known}: upgrade"
    refused(ct.Unreadable, words, lambda: ct.load(saved))


@pytest.mark.parametrize("part", ["final.zarr", "dataset.zarr"])
def test_a_file_cut_short_or_lost_is_told_by_name(saved: Path, part: str) -> None:
    victim = max((f for f in (saved / part).rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    name, size = re.escape(str(victim.relative_to(saved))), victim.stat().st_size
    victim.write_bytes(victim.read_bytes()[:-1])
    words = f"run is cut short: {name} is {size - 1} bytes long instead of {size}"
    refused(ct.Unreadable, words, lambda: ct.load(saved))
    victim.unlink()
    refused(ct.Unreadable, f"run is cut short: {name} is missing", lambda: ct.load(saved))


def test_a_plot_of_something_not_recorded_is_told_what_was() -> None:
    sol = ct.simulate(supervised(), shown(), ct.solvers.Euler(dt=1.0), probes=[ct.Probe("weights", every=1.0)])
    for act, words in (
        (lambda: ct.plot.rates(sol), r"this run recorded weights, not 'rates': add a ct.Probe"),
        (lambda: ct.plot.learning(sol, ["accuracy"]), r"this run recorded weights, not 'accuracy'"),
        (lambda: ct.plot.weights(sol, layer=3), r"layer must be one of the recorded layers \[1, 2\], got 3"),
        (lambda: ct.plot.learning(sol, ["weights"]), r"weights must be one number at each time"),
        (lambda: ct.plot.receptive_fields(sol, (2, 2)), r"shape must have 3 pixels.*got \(2, 2\)"),
        (lambda: ct.plot.receptive_fields(sol, (1, 3), layer=5), r"layer must be one of the network's layers, got 5"),
    ):
        refused(ValueError, words, act)
    refused(TypeError, "a plot takes the ct.Solution of a run, got State", lambda: ct.plot.weights(sol.final))
    refused(TypeError, "ax must be matplotlib Axes, got str", lambda: ct.plot.weights(sol, ax="here"))


def test_every_plot_wants_axes() -> None:
    state: Any = supervised().initial_state()
    record: Any = ct.alignment(state, X, Y, supervised()).expand_dims(time=[0.0])
    for act in (
        partial(ct.plot.receptive_fields, state, (1, 3), ax="here"),  # type: ignore[arg-type]
        partial(ct.plot.alignment, record, ax="here"),  # type: ignore[arg-type]
    ):
        refused(TypeError, "ax must be matplotlib Axes, got str", act)


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (ValueError, "of must be 'weights' or 'drive', got 'bias'", {"of": "bias"}),
        (ValueError, "network must be given with a State", {"network": None}),
        (ValueError, "alignment compares learning signals: this network has signal=None", {"network": unsupervised()}),
        (TypeError, "alignment takes a ct.Solution or a ct.State, got dict", {"sol_or_state": {}}),
        (ValueError, "x must have 3 features", {"x": X[:, :2]}),
        (ValueError, "y must have one entry for each of the 6 samples, got 5", {"y": Y[:5]}),
        (ValueError, "y must be in 0 ... 1, as n_classes=2 says, got 7 for sample 1", {"y": [0, 7, 0, 1, 0, 1]}),
        (ValueError, "y must have 2", {"y": np.zeros((6, 3), np.float32)}),
    ],
)
def test_alignment_refuses(error: type[Exception], words: str, arguments: dict[str, Any]) -> None:
    net = supervised()
    given = {"sol_or_state": net.initial_state(), "x": X, "y": Y, "network": net, **arguments}
    refused(error, words, lambda: ct.alignment(**given))


def test_one_name_for_two_variables_of_a_layer_is_told() -> None:
    class Clash(ct.rules.Hebb):
        def variables(self, n_post: int, n_pre: int) -> dict[str, tuple[tuple[int, ...], float]]:
            return {"r": ((n_post,), 0.0)}

    refused(ValueError, "layer 1: the variable name 'r' is taken", lambda: ct.Network([3, 2], rule=Clash()))


def test_a_rule_that_returns_something_else_is_told_by_name() -> None:
    class Wrong(ct.rules.Hebb):
        def update(self, local: ct.rules.Local) -> Any:
            return local.post

    network = ct.Network([3, 2], rule=Wrong())
    refused(TypeError, "rule Wrong of layer 1 must return rules.Update", lambda: ct.simulate(network, shown(y=None)))


def test_every_solver_that_needs_a_step_says_so() -> None:
    for name, cls in SOLVERS.items():
        if "dt" in getattr(cls, "__dataclass_fields__", {}):
            stopped_at_the_door(ValueError, rf"{name}.*{cls.__name__}\(dt=...\)", solver=name)


def test_tensors_elsewhere_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    state = supervised().initial_state(device="meta")
    stopped_at_the_door(ValueError, "the state is on meta and the stimulus on cpu", state=state)


def test_labels_may_be_tensors_arrays_or_lists() -> None:
    for y in (Y, Y.tolist(), torch.from_numpy(Y), Y.astype(np.uint8)):
        kept = shown(y=y).y
        assert isinstance(kept, Tensor)
        assert kept.tolist() == Y.tolist()
