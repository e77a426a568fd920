"""The estimators: scikit-learn's own checks, what they learn, and that they are the machinery underneath."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import ctsigprop as ct
from ctsigprop.estimators import tuning_curves

DIGITS = ct.datasets.digits(seed=0)
X, Y = DIGITS.x_train.double().numpy()[:600], DIGITS.y_train.numpy()[:600]
X_TEST, Y_TEST = DIGITS.x_test.numpy(), DIGITS.y_test.numpy()
NAMES = np.array([f"digit {k}" for k in range(10)])


@pytest.fixture(scope="module")
def fitted() -> ct.SigPropClassifier:
    return ct.SigPropClassifier(hidden=(64, 64), epochs=10).fit(DIGITS.x_train.numpy(), NAMES[DIGITS.y_train.numpy()])


@parametrize_with_checks([ct.SigPropClassifier(), ct.SigPropRegressor()])  # type: ignore[untyped-decorator]
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_the_classifier_is_the_network_that_simulate_teaches() -> None:
    ours = ct.SigPropClassifier(hidden=(20, 10), epochs=2, rate=2.0, random_state=3).fit(X, Y)
    rule, signal = ct.rules.ContrastiveHebbian(rate=2.0), ct.TargetStream(per="class")
    net = ct.Network([64, 20, 10], n_classes=10, neuron=ct.Rate(), signal=signal, rule=rule)
    shown = ct.Presentations(X.astype(np.float32), Y, batch_size=64, epochs=2, seed=3)
    sol = ct.simulate(net, shown, ct.solvers.Euler(dt=1.0), seed=3)
    assert sol.final.equal(ours.solution_.final)
    assert ours.score(X, Y) == pytest.approx(net.score(sol.final, X.astype(np.float32), Y), abs=0.005)


def test_the_classifier_learns_digits_by_name(fitted: ct.SigPropClassifier) -> None:
    assert fitted.score(X_TEST, NAMES[Y_TEST]) > 0.93
    assert fitted.classes_.tolist() == sorted(NAMES)
    proba = fitted.predict_proba(X_TEST)
    assert proba.shape == (360, 10)
    np.testing.assert_allclose(proba.sum(1), 1.0)
    assert (fitted.classes_[proba.argmax(1)] == fitted.predict(X_TEST)).all()
    assert fitted.solution_.status.ok


def test_probabilities_are_high_where_it_is_right(fitted: ct.SigPropClassifier) -> None:
    proba = fitted.predict_proba(X_TEST)
    sure = proba.max(1) > np.median(proba.max(1))
    right = fitted.predict(X_TEST) == NAMES[Y_TEST]
    assert right[sure].mean() > right[~sure].mean()


def test_learning_piece_by_piece_goes_on_from_where_it_stood() -> None:
    model = ct.SigPropClassifier(hidden=(64,))
    scores = []
    for k in range(60):
        part = slice(100 * (k % 5), 100 * (k % 5) + 100)
        model.partial_fit(X[part], Y[part], classes=np.arange(10))
        scores.append(model.score(X[500:], Y[500:]))
    assert model.n_iter_ == 60
    assert scores[-1] > scores[0] + 0.3
    with pytest.raises(ValueError, match="y must hold classes of the first call"):
        model.partial_fit(X[:3], [1, 2, 11])
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        model.partial_fit(X[:3], Y[:3], classes=[0, 1])


def test_a_fit_forgets_the_one_before_and_the_seed_decides_it() -> None:
    model = ct.SigPropClassifier(hidden=(16,), epochs=1)
    first = model.fit(X, Y).predict_proba(X)
    assert np.array_equal(model.fit(X, Y).predict_proba(X), first)
    assert not np.array_equal(clone(model).set_params(random_state=1).fit(X, Y).predict_proba(X), first)


def test_they_work_in_pipelines_searches_and_pickles(fitted: ct.SigPropClassifier) -> None:
    pipe = make_pipeline(MinMaxScaler(), ct.SigPropClassifier(hidden=(32,), epochs=20))
    search = GridSearchCV(pipe, {"sigpropclassifier__rate": [0.001, 4.0]}, cv=2).fit(16 * X, Y)
    assert search.best_params_ == {"sigpropclassifier__rate": 4.0}
    assert cross_val_score(pipe, 16 * X, Y, cv=2).min() > 0.7
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_the_regressor_learns_what_a_line_cannot() -> None:
    x, y = make_friedman1(700, noise=1.0, random_state=0)
    ours = make_pipeline(StandardScaler(), ct.SigPropRegressor()).fit(x[:500], y[:500])
    line = make_pipeline(StandardScaler(), RidgeCV()).fit(x[:500], y[:500])
    assert ours.score(x[500:], y[500:]) > line.score(x[500:], y[500:]) + 0.05


def test_the_regressor_takes_several_outputs_and_goes_on() -> None:
    x, y = make_friedman1(400, noise=0.5, random_state=1)
    x, both = 2 * x - 1, np.stack([y, x[:, 5]], 1)
    model = ct.SigPropRegressor(hidden=(64,), epochs=10).fit(x, both)
    assert model.predict(x).shape == (400, 2)
    before = model.score(x, both)
    for _ in range(20):
        model.partial_fit(x, both)
    assert model.score(x, both) > before
    with pytest.raises(ValueError, match="y must have 2 outputs"):
        model.partial_fit(x, y)


def test_tuning_curves_cover_every_target() -> None:
    y = np.random.default_rng(0).exponential(size=(500, 1))
    centres, widths = tuning_curves(y, 12)
    response = np.exp(-0.5 * ((y[:, :, None] - centres) / widths) ** 2)
    assert response.max(-1).min() > 0.5
    assert (np.diff(centres) > 0).all()
    assert np.isfinite(tuning_curves(np.ones((5, 1)), 4)[1]).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hidden": ()}, "hidden must be the sizes of at least one layer"),
        ({"hidden": 3}, "hidden must be"),
        ({"rate": 0.0}, "rate must be a finite number > 0"),
        ({"epochs": 0}, "epochs must be an integer >= 1"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
    ],
)
def test_mistakes_are_told_when_it_is_fitted(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ct.SigPropClassifier(**given).fit(X, Y)


def test_inputs_that_are_far_off_scale_are_told() -> None:
    rule: dict[str, Any] = {"rate": 1e30, "activation": "linear", "kappa": 1e-3}
    with pytest.raises(ValueError, match=r"learning broke off: .* Scale the inputs, or lower rate"):
        ct.SigPropClassifier(**rule).fit(1e20 * X, Y)
