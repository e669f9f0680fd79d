"""Is a difference between two runs more than chance? Bootstrap over queries, since queries are what is sampled.

Percentile intervals (Efron and Tibshirani 1993; for retrieval Sakai 2006). Resampling is exact for its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its percentile interval and the number of queries behind it."""

    mean: float
    low: float
    high: float
    queries: int

    @property
    def excludes_zero(self) -> bool:
        """True where the sign is certain at the interval's level."""
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True, slots=True)
class ComparedQuery:
    """One query under two runs."""

    query: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """How much `after` gained, negative where it lost."""
        return self.after - self.before


def mean_interval(
    values: Floats, seed: int, *, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """Mean of float64 (q,) over the queries where it is defined (not NaN), with its bootstrap interval.

    Raises JudgmentError where no query is left.
    """
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        raise JudgmentError("the measure is defined on no query: nothing to compare")
    rng = np.random.default_rng(seed)
    rows = max(1, 4_000_000 // len(values))  # at most 32 MB of indices at a time
    means = np.concatenate(
        [
            values[rng.integers(0, len(values), (min(rows, resamples - start), len(values)))].mean(
                axis=1
            )
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def paired_difference(
    after: Floats, before: Floats, seed: int, *, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """Interval of the mean of after - before, float64 (q,) each over the same queries.

    A query with NaN in either is left out. Raises JudgmentError on unequal lengths and where no query is left.
    """
    if np.shape(after) != np.shape(before):
        raise JudgmentError(
            f"{np.shape(after)} and {np.shape(before)} values: compare the same queries"
        )
    return mean_interval(
        np.asarray(after, np.float64) - np.asarray(before, np.float64),
        seed,
        resamples=resamples,
        confidence=confidence,
    )


def pooled_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    query_index: NDArray[np.int64],
    seed: int,
    *,
    resamples: int = 300,
    confidence: float = 0.95,
) -> Interval:
    """Interval of a measure that pools pairs, resampling whole queries, because pairs of one query go together.

    `statistic` gets the row numbers of a resample, int64 (m,), and gives the measure; one that raises JudgmentError
    (a resample without a relevant pair) is left out.
    """
    order = np.argsort(query_index, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(np.asarray(query_index)[order])) + 1)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(groups), len(groups))
        try:
            values.append(statistic(np.concatenate([groups[i] for i in drawn])))
        except JudgmentError:
            continue
    if not values:
        raise JudgmentError("the measure is defined on no resample: too few queries")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(
        float(statistic(np.arange(len(query_index)))), float(low), float(high), len(groups)
    )


def worst_queries(
    queries: Sequence[str], after: Floats, before: Floats | None = None, n: int = 20
) -> list[ComparedQuery]:
    """The n queries that lost most against `before`, or have the lowest value where there is none.

    Ties go by query text; queries on which the measure is not defined are left out.
    """
    base = np.zeros(len(queries)) if before is None else np.asarray(before, np.float64)
    rows = [
        ComparedQuery(query, float(b) if before is not None else float("nan"), float(a))
        for query, a, b in zip(queries, after, base, strict=True)
        if not np.isnan(a) and not np.isnan(b)
    ]
    rows.sort(key=lambda row: (row.after if before is None else row.difference, row.query))
    return rows[:n]
