"""Kappa against scikit-learn's on random markings, and the interval's own rules."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from aisle.errors import JudgmentError
from aisle.judging.agreement import agreement, cohens_kappa, confusion

Labels = NDArray[np.int64]


def markings(seed: int, n: int = 400, levels: int = 4, agree: float = 0.6) -> tuple[Labels, Labels]:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, levels, n)
    second = np.where(rng.random(n) < agree, first, rng.integers(0, levels, n))
    return first, second


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_kappa_equals_scikit_learns(seed: int, levels: int) -> None:
    first, second = markings(seed, levels=levels)
    names = list(range(levels))
    assert cohens_kappa(first, second, levels) == pytest.approx(
        cohen_kappa_score(first, second, labels=names), abs=1e-12
    )
    assert cohens_kappa(first, second, levels, "quadratic") == pytest.approx(
        cohen_kappa_score(first, second, labels=names, weights="quadratic"), abs=1e-12
    )


def test_perfect_agreement_is_one_and_a_constant_judge_is_chance() -> None:
    first, _ = markings(0)
    assert cohens_kappa(first, first, 4) == 1.0
    assert cohens_kappa(first, np.zeros_like(first), 4) == pytest.approx(0.0)
    assert cohens_kappa(first, np.full_like(first, 3), 4, "quadratic") == pytest.approx(0.0)


def test_quadratic_weights_forgive_a_miss_by_one() -> None:
    first, _ = markings(1)
    near, far = np.clip(first + 1, 0, 3), 3 - first
    assert cohens_kappa(first, near, 4, "quadratic") > 0.6 > cohens_kappa(first, near, 4)
    assert cohens_kappa(first, far, 4, "quadratic") < 0


def test_kappa_is_not_defined_where_both_always_say_the_same() -> None:
    same = np.ones(5, np.int64)
    with pytest.raises(JudgmentError, match="not defined over 5 pairs"):
        cohens_kappa(same, same, 3)
    with pytest.raises(JudgmentError, match="not defined over 0 pairs"):
        cohens_kappa(same[:0], same[:0], 3)


def test_the_interval_resamples_queries_and_so_is_wider_than_one_over_pairs() -> None:
    rng = np.random.default_rng(3)
    queries = np.repeat(np.arange(40), 20)
    good = np.repeat(rng.random(40) < 0.5, 20)  # the judge is right on whole queries or on none
    people = rng.integers(0, 3, 800)
    judge = np.where(good, people, rng.integers(0, 3, 800))
    by_query = agreement(people, judge, queries, 3)
    by_pair = agreement(people, judge, np.arange(800), 3)
    assert by_query.kappa.low < by_query.kappa.mean < by_query.kappa.high
    width = by_query.kappa.high - by_query.kappa.low
    assert width > 1.3 * (by_pair.kappa.high - by_pair.kappa.low)
    assert by_query.exact_fraction == pytest.approx(float((people == judge).mean()))
    assert (by_query.pairs, by_query.queries) == (800, 40)


def test_confusion_counts_people_by_row() -> None:
    table = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    assert table.tolist() == [[1, 1], [0, 1]]
