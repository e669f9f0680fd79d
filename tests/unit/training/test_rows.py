from __future__ import annotations

import numpy as np
import pytest

from aisle.evaluation import Judgments, Run
from aisle.evaluation.metrics import ndcg, ndcg_of_pairs
from aisle.training.measure import measure_order
from aisle.training.rows import TrainingRows, draw


def test_measures_equal_those_of_the_evaluation(rows: TrainingRows) -> None:
    scores = np.random.default_rng(3).normal(size=len(rows.grades))
    ids = np.array([f"{i:06d}" for i in range(len(scores))])
    names = np.array(rows.queries)[rows.query_index]
    seen = rows.seen
    judged = Judgments.from_columns(
        names[seen].tolist(), ids[seen].tolist(), rows.grades[seen], relevant_from=2, lowest_grade=1
    )
    found = rows.place >= 0
    order = np.lexsort((-scores, rows.query_index))
    order = order[found[order]]
    rank = np.concatenate([np.arange(1, n + 1) for n in np.bincount(rows.query_index[order])])
    run = Run.from_columns(names[order].tolist(), ids[order].tolist(), rank)
    ours = measure_order(rows, scores, 1.0)
    np.testing.assert_allclose(ours.pairs, ndcg_of_pairs(judged, scores[seen]))
    np.testing.assert_allclose(ours.whole, ndcg(judged, run))


def test_thinning_keeps_what_was_judged_and_draws_the_rest_from_everywhere(
    rows: TrainingRows,
) -> None:
    thin = rows.thinned(6)
    assert thin.seen.sum() == rows.seen.sum()
    assert np.bincount(thin.query_index, weights=~thin.seen).tolist() == [6] * 60
    drawn = np.bincount(thin.place[~thin.seen], minlength=20)[8:]
    assert drawn.min() > 15  # 360 over 12 places: 30 each; the best places are no likelier
    assert drawn.max() < 45
    again = rows.thinned(6)
    np.testing.assert_array_equal(thin.place, again.place)


def test_few_places_are_all_drawn() -> None:
    places = np.array([3, 5, 8])
    np.testing.assert_array_equal(draw("lamp", places, 3), places)
    assert len(draw("lamp", np.arange(50), 0)) == 0
    assert draw("lamp", np.arange(50), 9).tolist() == draw("lamp", np.arange(50), 9).tolist()


def test_joined_rows_keep_their_queries_apart(rows: TrainingRows) -> None:
    other = rows.take(rows.query_index < 5)
    both = rows.joined(other)
    assert len(both.queries) == 120
    assert both.query_index[len(rows.grades) :].min() == 60
    np.testing.assert_array_equal(both.grades[len(rows.grades) :], other.grades)


@pytest.mark.parametrize("unjudged", [0, 3])
def test_no_query_loses_its_judged_rows(rows: TrainingRows, unjudged: int) -> None:
    thin = rows.thinned(unjudged)
    assert np.bincount(thin.query_index, weights=thin.seen).min() == 8
