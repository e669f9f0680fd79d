import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss

from aisle.errors import JudgmentError
from aisle.evaluation.calibration import (
    average_precision,
    brier_skill,
    calibration_error,
    dropped_fraction,
    measure_pairs,
    precision_recall_curve,
    reliability_curve,
    threshold_for_precision,
    threshold_for_recall,
)


def random_pairs(seed, n=500, decimals=3):
    rng = np.random.default_rng(seed)
    probability = rng.random(n).round(decimals)
    return probability, rng.random(n) < probability


@pytest.mark.parametrize("decimals", [1, 3])  # one decimal: many ties
def test_average_precision_equals_scikit_learn(decimals):
    for seed in range(5):
        score, relevant = random_pairs(seed, decimals=decimals)
        expected = average_precision_score(relevant, score)
        assert average_precision(score, relevant) == pytest.approx(expected, abs=1e-12)


def test_brier_skill_equals_scikit_learns_scores():
    probability, relevant = random_pairs(0)
    base = np.full(len(relevant), relevant.mean())
    expected = 1 - brier_score_loss(relevant, probability) / brier_score_loss(relevant, base)
    assert brier_skill(probability, relevant) == pytest.approx(expected, abs=1e-12)
    assert brier_skill(base, relevant) == pytest.approx(0.0, abs=1e-12)
    assert brier_skill(relevant.astype(float), relevant) == 1.0


def test_calibration_error_equals_a_loop_over_bins():
    probability, relevant = random_pairs(3)
    expected = 0.0
    for b in range(10):
        inside = [i for i, p in enumerate(probability) if min(int(p * 10), 9) == b]
        if inside:
            gap = np.mean(probability[inside]) - np.mean(relevant[inside])
            expected += len(inside) / len(probability) * abs(gap)
    assert calibration_error(probability, relevant) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_by_hand():
    probability = np.array([0.05, 0.05, 0.95, 1.0])
    relevant = np.array([False, True, True, True])
    assert calibration_error(probability, relevant) == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    bins = reliability_curve(probability, relevant)
    assert [(b.low, b.pairs, b.relevant_fraction) for b in bins] == [(0.0, 2, 0.5), (0.9, 2, 1.0)]


def test_the_threshold_for_a_recall_is_the_highest_that_reaches_it():
    for seed in range(20):
        score, relevant = random_pairs(seed, n=137, decimals=2)
        cut = threshold_for_recall(score, relevant, 0.95)
        kept = [np.mean(score[relevant] >= t) for t in sorted({*score, cut}, reverse=True)]
        assert np.mean(score[relevant] >= cut) == min(r for r in kept if r >= 0.95)


def test_a_recall_that_is_not_exact_in_binary_is_met_exactly():
    relevant = np.array([True] * 20 + [False])
    score = np.array([*np.linspace(1.0, 0.1, 20), 0.0])
    assert np.sum(score >= threshold_for_recall(score, relevant, 0.95)) == 19


def test_a_threshold_lies_half_way_to_the_next_score_below():
    score = np.array([0.9, 0.8, 0.4, 0.2])
    relevant = np.array([True, True, False, True])
    assert threshold_for_recall(score, relevant, 0.6) == pytest.approx(0.6)
    assert threshold_for_precision(score, relevant, 0.7) == pytest.approx(0.2, abs=1e-5)
    assert threshold_for_precision(score, relevant, 0.9) == pytest.approx(0.6)


def test_a_precision_out_of_reach_names_the_best():
    score = np.array([0.9, 0.8, 0.4])
    with pytest.raises(JudgmentError, match=r"no threshold reaches precision 0\.9.*0\.667"):
        threshold_for_precision(score, np.array([False, True, True]), 0.9)


def test_dropped_fraction_by_hand():
    relevant = np.array([True] * 20 + [False] * 4)
    score = np.array([*np.linspace(1.0, 0.5, 19), 0.0, 0.9, 0.4, 0.3, 0.2])
    assert dropped_fraction(score, relevant, 0.95) == 0.75  # one relevant pair may go
    assert dropped_fraction(score, relevant, 1.0) == 0.0


def test_equal_scores_are_one_step_of_the_curve():
    precision, recall, thresholds = precision_recall_curve(
        np.array([0.5, 0.5, 0.5, 0.1]), np.array([True, False, True, True])
    )
    np.testing.assert_allclose(precision, [2 / 3, 3 / 4])
    np.testing.assert_allclose(recall, [2 / 3, 1])
    np.testing.assert_allclose(thresholds, [0.5, 0.1])


def test_all_measures_come_together_and_clip_scores():
    score = np.array([-0.4, 1.3, 0.5, 0.2])
    measures = measure_pairs(score, np.array([False, True, True, False]))
    assert measures.pr_auc == 1.0
    assert measures.dropped_at_95 == 1.0
    assert measures.brier_skill == pytest.approx(1 - (0.25 + 0.04) / 1.0)
    assert measures.as_dict()["pairs"] == 4


@pytest.mark.parametrize(
    ("score", "relevant", "message"),
    [
        ([0.1, np.nan], [True, False], "1 of 2 scores are not finite"),
        ([0.1, 0.2], [True, True], "2 of 2 pairs are relevant"),
        ([0.1, 0.2], [False, False], "0 of 2 pairs are relevant"),
        ([], [], "0 of 0"),
        ([0.1], [True, False], "expected equal"),
    ],
)
def test_pairs_that_measure_nothing_are_refused(score, relevant, message):
    with pytest.raises(JudgmentError, match=message):
        measure_pairs(np.array(score), np.array(relevant, dtype=bool))
