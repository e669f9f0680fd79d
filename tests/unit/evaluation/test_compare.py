import numpy as np
import pytest
from scipy import stats

from aisle.errors import JudgmentError
from aisle.evaluation.calibration import brier_skill
from aisle.evaluation.compare import (
    mean_interval,
    paired_difference,
    pooled_interval,
    worst_queries,
)


def test_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(0).normal(0.4, 0.2, 400)
    interval = mean_interval(values, seed=1)
    low, high = stats.norm.interval(0.95, values.mean(), values.std() / 20)
    assert interval.mean == values.mean()
    assert interval.low == pytest.approx(low, abs=0.002)
    assert interval.high == pytest.approx(high, abs=0.002)
    assert interval.queries == 400


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        interval = mean_interval(rng.exponential(1.0, 100), seed, resamples=400)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values, 3) == mean_interval(values, 3)
    assert mean_interval(values, 3) != mean_interval(values, 4)


def test_pairing_sees_a_difference_that_the_spread_of_queries_hides():
    rng = np.random.default_rng(0)
    before = rng.random(200)
    after = before + rng.normal(0.02, 0.05, 200)
    difference = paired_difference(after, before, seed=0)
    assert difference.excludes_zero
    assert difference.mean == pytest.approx(np.mean(after - before))
    apart = mean_interval(after, 0)
    assert apart.low < before.mean() < apart.high


def test_queries_undefined_in_either_run_are_left_out():
    nan = np.nan
    difference = paired_difference(
        np.array([1.0, nan, 0.5, 1.0]), np.array([0.5, 0.5, nan, 0.5]), seed=0
    )
    assert (difference.mean, difference.queries) == (0.5, 2)
    with pytest.raises(JudgmentError, match="on no query"):
        mean_interval(np.array([nan, nan]), 0)
    with pytest.raises(JudgmentError, match="same queries"):
        paired_difference(np.zeros(2), np.zeros(3), 0)


def test_pooled_intervals_resample_whole_queries():
    rng = np.random.default_rng(0)
    query = np.repeat(np.arange(60), 10)
    # All pairs of a query share their fate, so 600 pairs hold no more than 60 observations.
    relevant = np.repeat(rng.random(60) < 0.5, 10)
    probability = np.clip(relevant * 0.4 + 0.3 + rng.normal(0, 0.3, 600), 0, 1)
    pooled = pooled_interval(lambda rows: float(relevant[rows].mean()), query, 0)
    naive = mean_interval(relevant.astype(float), 0)
    assert pooled.high - pooled.low > 2.5 * (naive.high - naive.low)  # sqrt(10) in theory
    skill = pooled_interval(lambda rows: brier_skill(probability[rows], relevant[rows]), query, 0)
    assert skill.low < skill.mean < skill.high
    assert skill.queries == 60


def test_worst_queries_are_those_that_lost_most():
    queries = ["a", "b", "c", "d"]
    after = np.array([0.1, 0.9, np.nan, 0.5])
    before = np.array([0.2, 0.9, 0.5, 0.9])
    worst = worst_queries(queries, after, before, n=2)
    assert [row.query for row in worst] == ["d", "a"]
    assert worst[0].difference == pytest.approx(-0.4)
    assert [row.query for row in worst_queries(queries, after, n=2)] == ["a", "d"]
