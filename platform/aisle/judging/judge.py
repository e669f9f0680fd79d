"""Judges grade (query, product) pairs that no person has graded, on the scale that the people used.

A judge's grades are for measuring, never for serving: they say how good the hits are that nobody judged. They are kept
apart from people's grades everywhere (`judged_by`), and a judge is worth as much as its agreement with people on pairs
that it did not learn from (`aisle.judging.agreement`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError

Floats = NDArray[np.float64]

_MOST_LEVELS = 12


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a judge says of n pairs: how probable each level of the scale is."""

    levels: tuple[float, ...]
    """The scale, ascending."""
    probabilities: Floats
    """(n, levels), rows sum to 1."""

    @property
    def grade(self) -> Floats:
        """(n,) the most probable level; the lower of two that are equally probable."""
        grades: Floats = np.asarray(self.levels)[self.probabilities.argmax(axis=1)]
        return grades

    @property
    def probability(self) -> Floats:
        """(n,) of that level: how sure the judge is."""
        best: Floats = self.probabilities.max(axis=1)
        return best

    @property
    def expected_grade(self) -> Floats:
        """(n,) the mean of the scale under the probabilities; orders finer than `grade`."""
        mean: Floats = self.probabilities @ np.asarray(self.levels)
        return mean


class Judge(Protocol):
    """Grades pairs. Deterministic for equal input; a pair's grade does not depend on its neighbours in the call."""

    name: str
    """Goes into the column `judged_by`: kind and fingerprint, so that two models never share a name."""
    levels: tuple[float, ...]
    """The scale, ascending."""

    def judge(self, queries: Sequence[str], products: Sequence[str]) -> Verdicts:
        """Grades pair by pair: a query as typed and a product as text, lists of equal length n, n may be 0."""

    def close(self) -> None:
        """Gives up processes and memory; a second call does nothing."""


def scale_of(lowest_grade: float, highest_grade: float) -> tuple[float, ...]:
    """The whole grades from lowest to highest, the scale on which the raters of a set marked.

    Means of several raters lie between them. Raises JudgmentError where there are fewer than two or too many.

    >>> scale_of(1.0, 3.0)
    (1.0, 2.0, 3.0)
    """
    levels = tuple(float(g) for g in range(math.floor(lowest_grade), math.ceil(highest_grade) + 1))
    if not 2 <= len(levels) <= _MOST_LEVELS:
        raise JudgmentError(
            f"grades from {lowest_grade:g} to {highest_grade:g} give {len(levels)} whole levels, a judge needs 2 to "
            f"{_MOST_LEVELS}; check the grades and evaluation.lowest_grade"
        )
    return levels


def nearest_levels(grades: NDArray[np.floating], levels: Sequence[float]) -> NDArray[np.int64]:
    """int64 (n,): the index of each grade's nearest level; half way goes to the higher, as people round."""
    scale = np.asarray(levels, np.float64)
    middles = (scale[1:] + scale[:-1]) / 2
    return np.searchsorted(middles, np.asarray(grades, np.float64), side="right").astype(np.int64)


def spread_over_levels(grades: NDArray[np.floating], levels: Sequence[float]) -> Floats:
    """(n, levels): each grade as weights on its two neighbouring levels, so that their mean is the grade.

    >>> spread_over_levels(np.array([2.25]), (1.0, 2.0, 3.0)).tolist()
    [[0.0, 0.75, 0.25]]
    """
    scale = np.asarray(levels, np.float64)
    values = np.clip(np.asarray(grades, np.float64), scale[0], scale[-1])
    above = np.clip(np.searchsorted(scale, values, side="left"), 1, len(scale) - 1)
    share = (values - scale[above - 1]) / (scale[above] - scale[above - 1])
    weights = np.zeros((len(values), len(scale)))
    rows = np.arange(len(values))
    weights[rows, above - 1] = 1.0 - share
    weights[rows, above] = share
    return weights
