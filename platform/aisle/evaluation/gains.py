"""What a grade is worth in nDCG: exponential in the grade, or a set's own table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError

Floats = NDArray[np.float64]
Gains = tuple[tuple[float, float], ...]
"""(grade, gain), by grade; empty for exponential gains."""


def exponential_gains(grades: NDArray[np.floating], lowest_grade: float) -> Floats:
    """2^(grade - lowest) - 1, element by element; a NaN grade (not judged) gains 0."""
    gains = np.exp2(np.asarray(grades, np.float64) - lowest_grade) - 1.0
    return np.where(np.isnan(gains), 0.0, gains)


def gains_by_table(grades: NDArray[np.floating], table: Gains) -> Floats:
    """Gains of a set's own table; a grade between two of it takes the value between, a NaN grade gains 0."""
    values = np.asarray(grades, np.float64)
    known, worth = zip(*table, strict=True)
    return np.where(np.isnan(values), 0.0, np.interp(values, known, worth))


def checked_gains(gains: Mapping[float, float], grades: NDArray[np.float64]) -> Gains:
    """A set's own gains by grade. Raises JudgmentError where they fall with the grade or leave a grade without one."""
    table = tuple(sorted((float(grade), float(gain)) for grade, gain in gains.items()))
    if not table:
        return ()
    values = [gain for _, gain in table]
    if values != sorted(values) or values[0] == values[-1]:
        raise JudgmentError(
            f"gains {dict(table)} do not rise with the grade; correct evaluation.gains"
        )
    lowest, highest = table[0][0], table[-1][0]
    if grades.min() < lowest or grades.max() > highest:
        raise JudgmentError(
            f"grades run from {grades.min():g} to {grades.max():g}, evaluation.gains from {lowest:g} to {highest:g}; "
            "give every grade a gain"
        )
    return table
