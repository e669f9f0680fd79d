"""The two measures of an order, on training rows: over all judged pairs, and over what retrieval found.

The same definitions as `aisle.evaluation.metrics`, on arrays that are at hand thousands of times while choosing. A
test holds both equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.training.rows import TrainingRows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OrderMeasures:
    """ndcg@10 of each measurable query: (q,)."""

    pairs: Floats
    """Judged pairs alone."""
    whole: Floats
    """Retrieved candidates, unjudged ones gain nothing; the ideal is that of all judged products."""

    @property
    def mean(self) -> float:
        """Of both means: a ranker must order what was judged and also keep out what was not."""
        return float((self.pairs.mean() + self.whole.mean()) / 2)


def measure_order(rows: TrainingRows, scores: NDArray[np.floating], lowest: float) -> OrderMeasures:
    """Measures scores (n,) of rows; queries whose grades are all lowest are left out, as everywhere."""
    queries = len(rows.queries)
    gains = np.where(rows.seen, np.exp2(np.nan_to_num(rows.grades, nan=lowest) - lowest) - 1.0, 0.0)
    ideal = _dcg(rows.query_index, gains, gains, rows.seen, queries)
    found = rows.place >= 0
    measurable = ideal > 0
    value = np.asarray(scores, np.float64)
    return OrderMeasures(
        pairs=_dcg(rows.query_index, gains, value, rows.seen, queries)[measurable]
        / ideal[measurable],
        whole=_dcg(rows.query_index, gains, value, found, queries)[measurable] / ideal[measurable],
    )


def _dcg(
    query: NDArray[np.int64], gains: Floats, scores: Floats, among: NDArray[np.bool_], queries: int
) -> Floats:
    """DCG@10 of each query over some rows, best score first, ties in the rows' order: (queries,)."""
    at = np.flatnonzero(among)
    at = at[np.lexsort((-scores[at], query[at]))]
    first = np.searchsorted(query[at], np.arange(queries))
    rank = np.arange(len(at)) - first[query[at]]
    worth = np.where(rank < 10, gains[at] / np.log2(rank + 2.0), 0.0)
    dcg = np.bincount(query[at], weights=worth, minlength=queries)
    return np.asarray(dcg, np.float64)
