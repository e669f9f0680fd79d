from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from aisle.errors import JudgmentError
from aisle.evaluation.calibration import measure_pairs
from aisle.relevance.baselines import compare_cuts, fit_isotonic, fit_logistic
from aisle.relevance.train import train_relevance


def test_the_logistic_map_equals_scikit_learns(train_pairs):
    x, relevant = train_pairs.cosine, train_pairs.relevant
    fitted = fit_logistic(x, relevant)
    theirs = LogisticRegression(C=1e9, tol=1e-10).fit(x[:, None].astype(float), relevant)
    expected = theirs.predict_proba(x[:, None])[:, 1]
    # Platt's targets are 1 / (n + 2) off 0 and 1, which moves probabilities by about as much.
    np.testing.assert_allclose(fitted(x), expected, atol=2e-3)


def test_the_logistic_map_of_separable_pairs_is_steep_but_finite():
    x = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    fitted = fit_logistic(x, x > 0.5)
    assert np.isfinite([fitted.slope, fitted.offset]).all()
    assert fitted(x)[2] < 0.35
    assert fitted(x)[3] > 0.65


def test_the_isotonic_map_equals_scikit_learns_where_it_was_fitted(train_pairs):
    x, relevant = train_pairs.cosine.astype(np.float64), train_pairs.relevant
    fitted = fit_isotonic(x, relevant)
    expected = IsotonicRegression().fit(x, relevant).predict(x)
    levels = np.unique(expected.round(9))
    np.testing.assert_allclose(np.unique(fitted.y.round(9)), levels, atol=1e-8)
    assert np.all(np.diff(fitted.y) > 0)
    assert np.mean((fitted(x) - expected) ** 2) < 1e-3  # ours is linear between the steps' middles


def test_the_table_holds_every_cut_and_the_adapter_wins(train_pairs, dev_pairs, test_pairs):
    model = train_relevance(train_pairs, valid=dev_pairs)
    value = model.relevance(
        test_pairs.query_vectors, test_pairs.query_index, test_pairs.cosine, test_pairs.score
    )
    rows = compare_cuts(train_pairs, test_pairs, {"blend": value})
    assert [row.method for row in rows] == [
        "raw cosine",
        "logistic of cosine",
        "isotonic of cosine",
        "logistic of ranker score",
        "blend",
    ]
    *baselines, ours = (row.measures for row in rows)
    assert ours.pr_auc > max(row.pr_auc for row in baselines) + 0.05
    assert ours.dropped_at_95 > max(row.dropped_at_95 for row in baselines) + 0.1
    assert ours.brier_skill > max(row.brier_skill for row in baselines) + 0.1
    assert rows[0].measures == measure_pairs(np.maximum(test_pairs.cosine, 0), test_pairs.relevant)
    # A calibration that does not read the query keeps the order, hence what a cut can drop.
    assert rows[1].measures.dropped_at_95 == rows[0].measures.dropped_at_95


def test_thresholds_keep_the_wanted_recall(train_pairs, test_pairs):
    for row in compare_cuts(train_pairs, replace(test_pairs, score=None), recall=0.8)[:1]:
        kept = np.maximum(test_pairs.cosine, 0) >= row.threshold
        assert kept[test_pairs.relevant].mean() >= 0.8


def test_pairs_without_scores_are_compared_without_the_ranker(train_pairs, test_pairs):
    rows = compare_cuts(replace(train_pairs, score=None), test_pairs)
    assert [row.method for row in rows][-1] == "isotonic of cosine"


def test_an_adapter_with_other_pairs_is_refused(train_pairs, test_pairs):
    with pytest.raises(JudgmentError, match=r"adapter 'mine' gave \(3,\) values"):
        compare_cuts(train_pairs, test_pairs, {"mine": np.zeros(3)})
