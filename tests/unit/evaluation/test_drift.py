from __future__ import annotations

import numpy as np
import pytest

from aisle.evaluation.drift import BINS, population_stability, relevance_histogram


def test_a_histogram_counts_every_finite_hit_once() -> None:
    values = np.array([0.0, 0.05, 0.1, 0.999, 1.0, np.nan, -0.2, 1.4])
    assert relevance_histogram(values) == [3, 1, 0, 0, 0, 0, 0, 0, 0, 3]


def test_the_index_is_zero_for_equal_shares_and_symmetric() -> None:
    one, other = [10] * BINS, [1, 1, 2, 2, 4, 5, 15, 20, 25, 25]
    assert population_stability(one, [20] * BINS) == pytest.approx(0.0, abs=1e-2)
    assert population_stability(one, other) == pytest.approx(population_stability(other, one))
    assert population_stability(one, other) > 0.25
    assert population_stability(one, [0] * BINS) == 0.0


def test_two_samples_of_one_distribution_stay_below_custom() -> None:
    rng = np.random.default_rng(0)
    one, other = (relevance_histogram(rng.beta(4, 2, 2000)) for _ in range(2))
    assert population_stability(one, other) < 0.1
