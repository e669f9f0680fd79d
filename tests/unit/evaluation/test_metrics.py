"""Oracles: trec_eval through ir-measures (pytrec_eval), and scikit-learn.

trec_eval takes the grade itself as gain, and whole numbers only, so it is given the exponential gains as grades,
scaled where grades are fractions (nDCG does not change with the scale).
"""

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, P, Qrel, R, ScoredDoc, nDCG
from sklearn.metrics import ndcg_score

from aisle.errors import JudgmentError
from aisle.evaluation.gains import exponential_gains
from aisle.evaluation.judgments import Judgments
from aisle.evaluation.metrics import (
    ndcg,
    ndcg_of_pairs,
    page_precision,
    recall,
    reciprocal_rank,
)
from aisle.evaluation.run import Run

RELEVANT_FROM = 2.33
FRACTIONS = [1.0, 1.33, 1.67, 2.0, 2.33, 2.67, 3.0]


def random_set(seed, levels, queries=40, judged=12, catalogue=60, depth=30):
    """Judgments and a run whose hits are judged and not judged, some queries missing from the run."""
    rng = np.random.default_rng(seed)
    rows, ranked = [], {}
    for i in range(queries):
        pool = rng.permutation(catalogue)
        count = int(rng.integers(1, judged))
        rows += [(f"q{i}", f"p{p:03d}", rng.choice(levels)) for p in pool[:count]]
        if i % 10:
            ranked[f"q{i}"] = [f"p{p:03d}" for p in rng.permutation(catalogue)[:depth]]
    query, product, grade = (list(column) for column in zip(*rows, strict=True))
    judgments = Judgments.from_columns(query, product, grade, relevant_from=RELEVANT_FROM)
    return judgments, Run.from_lists(ranked)


def oracle(measure, judgments, run, grade_of):
    """trec_eval's value for each query, in the order of the judgments; 0 where the run lacks the query."""
    qrels = [
        Qrel(query, product, grade_of(grade))
        for query, products, grades in judgments
        for product, grade in zip(products, grades, strict=True)
    ]
    docs = [
        ScoredDoc(query, product, float(-rank))
        for query in judgments.queries
        for rank, product in enumerate(run.of(query))
    ]
    values = {m.query_id: m.value for m in ir_measures.iter_calc([measure], qrels, docs)}
    return np.array([values.get(query, 0.0) for query in judgments.queries])


def scaled_gain(grade):
    return round((2 ** (grade - 1.0) - 1.0) * 1e6)


def is_relevant(grade):
    return int(grade >= RELEVANT_FROM)


def assert_equal_where_defined(ours, theirs, atol=1e-12):
    defined = ~np.isnan(ours)
    assert defined.any()
    np.testing.assert_allclose(ours[defined], theirs[defined], atol=atol)
    assert np.all(theirs[~defined] == 0.0)  # trec_eval says 0 where nothing can be found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 10, 50])
def test_ndcg_of_whole_grades_equals_trec_eval_on_exponential_gains(seed, k):
    judgments, run = random_set(seed, [1, 2, 3, 4])
    ours = ndcg(judgments, run, k)
    assert_equal_where_defined(
        ours, oracle(nDCG @ k, judgments, run, lambda g: int(2 ** (g - 1)) - 1)
    )


@pytest.mark.parametrize("seed", range(3))
def test_ndcg_of_fractional_grades_equals_trec_eval_on_scaled_gains(seed):
    judgments, run = random_set(seed, FRACTIONS)
    theirs = oracle(nDCG @ 10, judgments, run, scaled_gain)
    assert_equal_where_defined(ndcg(judgments, run), theirs, atol=1e-6)


@pytest.mark.parametrize("k", [1, 10, 30])
def test_recall_and_reciprocal_rank_equal_trec_eval(k):
    judgments, run = random_set(5, FRACTIONS)
    assert_equal_where_defined(
        recall(judgments, run, k), oracle(R @ k, judgments, run, is_relevant)
    )
    assert_equal_where_defined(
        reciprocal_rank(judgments, run, k), oracle(RR @ k, judgments, run, is_relevant)
    )


@pytest.mark.parametrize("levels", [[1, 2, 3], FRACTIONS])
def test_ndcg_of_pairs_equals_trec_eval_also_with_tied_scores(levels):
    judgments, _ = random_set(7, levels, judged=25)
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, len(judgments)).astype(np.float32)  # four values: ties everywhere
    qrels, docs = [], []
    for row, (i, product) in enumerate(
        zip(judgments.query_index, judgments.product_ids, strict=True)
    ):
        # trec_eval breaks ties by name, falling; mirrored names make that ours, rising.
        mirrored = f"p{999 - int(product[1:]):03d}"
        qrels.append(Qrel(str(i), mirrored, scaled_gain(judgments.grades[row])))
        docs.append(ScoredDoc(str(i), mirrored, float(scores[row])))
    values = {m.query_id: m.value for m in ir_measures.iter_calc([nDCG @ 10], qrels, docs)}
    theirs = np.array([values[str(i)] for i in range(len(judgments.queries))])
    assert_equal_where_defined(ndcg_of_pairs(judgments, scores), theirs, atol=1e-6)


def test_ndcg_of_pairs_equals_scikit_learn_where_scores_differ():
    judgments, _ = random_set(11, FRACTIONS, judged=20)
    scores = np.random.default_rng(3).permutation(len(judgments)).astype(np.float64)
    ours = ndcg_of_pairs(judgments, scores, k=5)
    for i, (_, products, grades) in enumerate(judgments):
        if len(products) > 1 and grades.max() > 1.0:
            rows = slice(judgments.offsets[i], judgments.offsets[i + 1])
            theirs = ndcg_score([2 ** (grades - 1.0) - 1.0], [scores[rows]], k=5)
            assert ours[i] == pytest.approx(theirs, abs=1e-12)


def test_ndcg_by_hand():
    judgments = Judgments.from_columns(
        ["q"] * 3, ["a", "b", "c"], [0, 1, 2], relevant_from=2, lowest_grade=0
    )
    run = Run.from_lists({"q": ["x", "b", "c"]})  # gains 0, 1, 3 against the ideal 3, 1, 0
    expected = (1 / np.log2(3) + 3 / 2) / (3 + 1 / np.log2(3))
    np.testing.assert_allclose(ndcg(judgments, run), [expected])


def test_gains_are_exponential_above_the_sets_lowest_grade():
    grades = np.array([1.0, 2.0, 2.5, 3.0, np.nan])
    np.testing.assert_allclose(exponential_gains(grades, 1.0), [0, 1, 2**1.5 - 1, 3, 0])


def test_queries_without_relevant_products_are_left_out_of_recall():
    judgments = Judgments.from_columns(["a", "a", "b"], ["1", "2", "1"], [3, 1, 1], relevant_from=2)
    run = Run.from_lists({"a": ["1"], "b": ["1"]})
    assert recall(judgments, run).tolist()[0] == 1.0
    assert np.isnan(recall(judgments, run)[1])
    assert np.isnan(reciprocal_rank(judgments, run)[1])
    assert np.isnan(ndcg(judgments, run)[1])  # all of b's grades are the lowest


def test_pairs_without_a_score_are_refused():
    judgments = Judgments.from_columns(["a", "a"], ["1", "2"], [1, 2], relevant_from=2)
    with pytest.raises(JudgmentError, match="1 judged pairs have no finite score.*'2'"):
        ndcg_of_pairs(judgments, np.array([1.0, np.nan]))
    with pytest.raises(JudgmentError, match="2 judged pairs"):
        ndcg_of_pairs(judgments, np.zeros(3))


def test_precision_of_the_kept_page_rests_on_judged_products_only():
    judgments = Judgments.from_columns(
        ["q", "q", "q", "r"], ["a", "b", "c", "a"], [3, 1, 3, 3], relevant_from=2
    )
    run = Run.from_columns(
        ["q"] * 5 + ["r"],
        ["a", "x", "b", "c", "y", "a"],
        np.array([1, 2, 3, 4, 5, 1]),
        kept=np.array([True, True, True, False, True, False]),
    )
    page = page_precision(judgments, run, k=3)  # q keeps a, x, b, y: the first three are a, x, b
    assert page.kept.tolist() == [3, 0]
    np.testing.assert_allclose(page.precision, [1 / 2, np.nan])
    np.testing.assert_allclose(page.judged_fraction, [2 / 3, np.nan])


def test_page_precision_of_fully_judged_pages_equals_trec_eval_precision():
    rng = np.random.default_rng(1)
    rows = [(f"q{i}", f"p{j}", rng.choice(FRACTIONS)) for i in range(20) for j in range(15)]
    query, product, grade = (list(column) for column in zip(*rows, strict=True))
    judgments = Judgments.from_columns(query, product, grade, relevant_from=RELEVANT_FROM)
    run = Run.from_lists({f"q{i}": [f"p{j}" for j in rng.permutation(15)] for i in range(20)})
    page = page_precision(judgments, run, k=5)
    np.testing.assert_allclose(page.precision, oracle(P @ 5, judgments, run, is_relevant))
    np.testing.assert_array_equal(page.judged_fraction, np.ones(20))
