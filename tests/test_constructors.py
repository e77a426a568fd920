"""Every class that users make, asked with wrong arguments and with numbers of every kind."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
from fractions import Fraction
from typing import Any

import jaxtyping
import numpy as np
import pytest

import ctsigprop as ct
from ctsigprop import reductions
from ctsigprop.rules.checks import SMALLEST
from ctsigprop.rules.table import CONTRASTS, RULES
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.table import SOLVERS
from ctsigprop.stimuli.stimulus import Continuous

NEURONS: list[type] = [ct.Rate, ct.LIF, ct.IF, ct.AdaptiveLIF, ct.Izhikevich, ct.Theta]
TABLES: list[type] = [*RULES.values(), *SOLVERS.values(), *SIGNALS.values(), *CONTRASTS.values()]
DESCRIPTIONS: list[type] = [ct.Poisson, ct.Latency, ct.Probe, ct.Sample, ct.Conv2d, ct.Trial, ct.StopBelow]
OTHERS: list[type] = [ct.Network, ct.Presentations, ct.SpikeTrains, Continuous, ct.Activation, ct.rules.Reward]
REDUCTIONS: list[type] = [reductions.SingularValues, reductions.Projection]
EVERY = [*TABLES, *NEURONS, *DESCRIPTIONS, *OTHERS, *REDUCTIONS]
every = pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)

NEEDED: dict[type, dict[str, Any]] = {
    ct.Conv2d: {"channels": 8},
    ct.Sample: {"count": 5},
    ct.StopBelow: {"metric": "accuracy", "least": 0.5},
    ct.Probe: {"what": "rates", "every": 0.5},
}


@pytest.fixture(autouse=True)
def as_a_user_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape checking, on in the other tests, would answer before the library does."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def arguments(cls: type) -> list[str]:
    return list(inspect.signature(inspect.getattr_static(cls, "__init__")).parameters)[1:]


def made(cls: type, **settings: Any) -> Any:
    step = {"dt": 0.25} if cls in SOLVERS.values() and "dt" in arguments(cls) else {}
    return cls(**{**step, **NEEDED.get(cls, {}), **settings})


@every
def test_an_unknown_argument_is_told_with_the_class_the_nearest_and_the_allowed_ones(cls: type) -> None:
    names = arguments(cls)
    if not names:
        return
    wrong = f"{names[0]}x"
    with pytest.raises(TypeError) as caught:
        cls(**{wrong: 1})
    told = str(caught.value)
    assert told.startswith(f"{cls.__name__} has no argument {wrong!r}: did you mean {names[0]!r}")
    assert told.endswith(f"allowed are {', '.join(names)}")
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ct.solvers.Euler(step_size=1.0), "Euler has no argument 'step_size': did you mean 'dt'?"),  # type: ignore[call-arg]
        (lambda: ct.rules.Oja(lr=0.1), "Oja has no argument 'lr': did you mean 'rate'?"),  # type: ignore[call-arg]
        (lambda: ct.Presentations(np.eye(3), batchsize=1), "did you mean 'batch_size'?"),  # type: ignore[call-arg]
        (lambda: ct.Network([3, 3], nclasses=2), "Network has no argument 'nclasses': did you mean 'n_classes'?"),  # type: ignore[call-arg]
        (lambda: ct.solvers.Euler(), "Euler needs dt: allowed are dt, max_steps, compile"),  # type: ignore[call-arg]
        (lambda: ct.solvers.Euler(1.0, None, False, 3), "Euler takes at most 3 arguments without a name, got 4"),  # type: ignore[call-arg]
        (lambda: ct.solvers.Euler(1.0, dt=2.0), "Euler: multiple values for argument 'dt'"),  # type: ignore[misc]
        (lambda: ct.Network(), "Network needs sizes: allowed are"),  # type: ignore[call-arg]
    ],
)
def test_wrong_arguments_are_told_in_these_words(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


@every
def test_signatures_stay_those_that_an_editor_shows(cls: type) -> None:
    assert list(inspect.signature(cls).parameters) == arguments(cls)


@pytest.mark.parametrize("cls", [*TABLES, *NEURONS], ids=lambda cls: cls.__name__)
def test_copies_and_pickles_go_past_the_check(cls: type) -> None:
    thing = made(cls)
    assert repr(copy.deepcopy(thing)) == repr(thing)
    if cls is not ct.Rate:  # its activation is made of functions without a name
        assert pickle.loads(pickle.dumps(thing)) == thing


def alike(value: float) -> list[Any]:
    """The same number as other libraries write it."""
    if isinstance(value, int):
        return [np.int64(value), np.int32(value)]
    return [np.float64(value), Fraction(value), *([np.float32(value)] if float(np.float32(value)) == value else [])]


@pytest.mark.parametrize("cls", [*TABLES, *NEURONS, *DESCRIPTIONS, *REDUCTIONS], ids=lambda cls: cls.__name__)
def test_numbers_of_every_kind_make_the_same_thing(cls: type) -> None:
    if cls is ct.Trial:
        return
    thing = made(cls)
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if not field.init or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        for other in alike(value):
            same = made(cls, **{field.name: other})
            assert same == thing
            assert repr(same) == repr(thing)
            assert type(getattr(same, field.name)) is type(value)


@pytest.mark.parametrize("cls", NEURONS, ids=lambda cls: cls.__name__)
def test_a_time_constant_that_float32_takes_for_0_is_refused(cls: type) -> None:
    names = [name for name in arguments(cls) if name.startswith("tau")]
    assert names or cls is ct.Izhikevich
    for name in names:
        with pytest.raises(ValueError, match=rf"{cls.__name__}\({name}=\) must be at least 1.2e-38"):
            made(cls, **{name: 1e-300})


def test_the_limit_is_that_of_float32() -> None:
    assert float(np.finfo(np.float32).tiny) == SMALLEST
    assert ct.Rate(tau=1e-9).tau == 1e-9
