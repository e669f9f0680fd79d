"""Scales, verdicts and pair tokens; expected values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.errors import JudgmentError
from aisle.judging import Verdicts, nearest_levels, scale_of, spread_over_levels


def test_a_scale_is_the_whole_grades_between_the_ends() -> None:
    assert scale_of(0, 3) == (0.0, 1.0, 2.0, 3.0)
    assert scale_of(1, 2.67) == (1.0, 2.0, 3.0)
    with pytest.raises(JudgmentError, match="give 1 whole levels"):
        scale_of(2, 2)


def test_a_grade_counts_as_its_nearest_level_and_half_way_as_the_higher() -> None:
    grades = np.array([1.0, 1.33, 1.5, 2.33, 2.5, 3.0])
    assert nearest_levels(grades, (1.0, 2.0, 3.0)).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_mean_of_raters_is_spread_over_its_two_neighbours() -> None:
    levels = (1.0, 2.0, 3.0)
    grades = np.array([1.0, 1.25, 2.0, 2.67, 3.0])
    weights = spread_over_levels(grades, levels)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights @ np.array(levels), grades)
    assert weights[1].tolist() == [0.75, 0.25, 0.0]


def test_verdicts_say_grade_certainty_and_mean() -> None:
    verdicts = Verdicts((1.0, 2.0, 4.0), np.array([[0.2, 0.7, 0.1], [0.4, 0.4, 0.2]]))
    assert verdicts.grade.tolist() == [2.0, 1.0]  # of two equally probable levels the lower
    assert verdicts.probability.tolist() == [0.7, 0.4]
    assert verdicts.expected_grade.tolist() == [pytest.approx(2.0), pytest.approx(2.0)]
