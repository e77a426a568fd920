"""Intervals cover, paired tests are calibrated, several of them are corrected: against enumeration and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import ctsigprop as ct
from ctsigprop.batch.statistics import TESTS, Test, differences, holm, interval, paired_test, summarise

REPETITIONS = 200


def test_the_interval_of_the_mean_covers_it_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = [low <= 0.0 <= high for low, high in (interval(random.standard_normal(30)) for _ in range(REPETITIONS))]
    assert 0.90 <= np.mean(inside) <= 0.985


def test_the_interval_is_near_that_of_normal_theory() -> None:
    values = np.random.default_rng(1).standard_normal(200)
    wanted = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    np.testing.assert_allclose(interval(values), wanted, atol=0.02)


def test_intervals_of_few_equal_or_missing_values() -> None:
    assert np.isnan(interval(np.array([1.0]))).all()
    assert interval(np.array([2.0, 2.0, np.nan])) == (2.0, 2.0)
    assert interval(np.array([1.0, 2.0, 4.0, np.nan])) == interval(np.array([1.0, 2.0, 4.0]))


def test_the_paired_t_test_is_scipys() -> None:
    random = np.random.default_rng(2)
    a, b = random.standard_normal((2, 9))
    assert paired_test(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-12)


def test_the_permutation_test_counts_every_flip_of_signs() -> None:
    random = np.random.default_rng(3)
    a, b = random.standard_normal((2, 8))
    means = [np.mean((a - b) * signs) for signs in product((-1, 1), repeat=8)]
    share = np.mean(np.abs(means) >= abs(np.mean(a - b)) - 1e-12)
    assert paired_test(a, b, "permutation") == pytest.approx(share)


@pytest.mark.parametrize("test", TESTS)
def test_equal_runs_do_not_differ_and_too_few_pairs_have_no_p(test: Test) -> None:
    same = np.array([0.9, 0.8, 0.7])
    assert paired_test(same, same, test) == 1.0
    assert np.isnan(paired_test(np.array([0.9, np.nan]), np.array([0.8, 0.9]), test))


def test_a_difference_without_spread_has_the_p_value_of_its_signs() -> None:
    a = np.arange(8) / 10
    assert paired_test(a + 0.25, a) == pytest.approx(2 / 2**8)


@pytest.mark.parametrize("test", TESTS)
def test_a_rule_compared_with_itself_is_found_to_differ_in_one_of_twenty(test: Test) -> None:
    random = np.random.default_rng(4)
    shared = random.standard_normal((REPETITIONS, 10))  # a seed makes both of its runs good or bad
    a, b = (shared + 0.5 * random.standard_normal((REPETITIONS, 10)) for _ in range(2))
    rejected = np.mean([paired_test(x, y, test) < 0.05 for x, y in zip(a, b, strict=True)])
    assert 0.02 <= rejected <= 0.08


def test_real_runs_of_one_rule_are_found_to_differ_in_one_of_twenty() -> None:
    data = ct.datasets.two_moons(150, noise=0.3, seed=0)
    net = ct.Network([2, 6], n_classes=2, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=1.0))
    shown = ct.Presentations(data.x_train, data.y_train, 60, epochs=2)
    runs = ct.compare({"rule": net}, shown, seeds=200, test=data, solver=ct.solvers.Euler(dt=1.0), every=4)
    assert runs.runs["accuracy"].nunique() > 5
    random = np.random.default_rng(5)
    rejected = 0
    for _ in range(REPETITIONS):
        drawn = random.choice(len(runs.records), 20, replace=False)
        records = [
            ct.batch.Record(**{**vars(runs.records[i]), "settings": {"rule": "ab"[k // 10]}, "seed": k % 10})
            for k, i in enumerate(drawn)
        ]
        halves = ct.Runs(records, [runs.keys[i] for i in drawn], ("accuracy",), ("rule",), compared="rule")
        rejected += halves.differences()["p"].item() < 0.05
    assert 0.02 <= rejected / REPETITIONS <= 0.08


def test_holm_on_the_example_of_a_textbook() -> None:
    # R. H. Holm's procedure by hand: sorted 0.01, 0.02, 0.03, 0.04 are multiplied by 4, 3, 2, 1 and made increasing
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([float("nan"), 0.04]) == pytest.approx([float("nan"), 0.04], nan_ok=True)


def test_holm_keeps_the_chance_of_any_false_alarm_at_one_in_twenty() -> None:
    random = np.random.default_rng(6)
    alarms = np.mean([min(holm(random.random(6).tolist())) < 0.05 for _ in range(2000)])
    assert 0.03 <= alarms <= 0.065


def test_summaries_and_differences_leave_out_what_broke_off() -> None:
    values = pd.DataFrame([[1.0, 2.0, np.nan], [0.0, 0.5, 3.0]], index=["a", "b"])
    assert summarise(values)["seeds"].tolist() == [2, 3]
    found = differences(values)
    assert found[["a", "b", "pairs"]].to_numpy().tolist() == [["a", "b", 2]]
    assert found["difference"].item() == pytest.approx(1.25)


def test_every_pair_is_compared_or_each_with_the_reference() -> None:
    values = pd.DataFrame(np.random.default_rng(7).random((4, 5)), index=list("abcd"))
    assert len(differences(values)) == 6
    found = differences(values, "c")
    assert found["a"].tolist() == ["a", "b", "d"]
    assert set(found["b"]) == {"c"}
    assert (found["p_holm"] >= found["p"]).all()
