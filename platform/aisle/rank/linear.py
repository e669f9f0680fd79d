"""A linear blend of features: what a set of a hundred queries can teach without learning its noise by heart.

Ridge regression of the normalised gain, everything taken relative to the mean of its query, because only differences
inside a query order anything. A column that is constant inside every query gets no weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearPart:
    """score = offset + features @ weights."""

    weights: NDArray[np.float32]
    """(f,)."""
    offset: float

    def score(self, features: NDArray[np.float32]) -> Floats:
        """float32 (n, f) -> float64 (n,)."""
        return np.asarray(features.astype(np.float64) @ self.weights + self.offset, np.float64)

    def scaled(self, by: float) -> LinearPart:
        """The same order with other distances."""
        return LinearPart((self.weights * by).astype(np.float32), self.offset * by)


def fit_linear(
    features: NDArray[np.float32],
    target: Floats,
    query_index: NDArray[np.int64],
    row_weight: Floats,
    penalty: float,
) -> LinearPart:
    """Fits rows (n, f) with targets (n,), queries (n,) and weights (n,); `penalty` in units of rows / 100.

    Columns are standardised first, so that the penalty treats them alike. Deterministic.
    """
    rows = features.astype(np.float64)
    deviation = rows.std(axis=0)
    used = deviation > 1e-9
    scaled = np.where(used, rows / np.where(used, deviation, 1.0), 0.0)
    _, query = np.unique(query_index, return_inverse=True)
    within = _centred(scaled, query, row_weight)
    wanted = _centred(target[:, None], query, row_weight)[:, 0]
    weighted = within * row_weight[:, None]
    ridge = penalty * row_weight.sum() / 100.0 * np.eye(rows.shape[1])
    solved = np.linalg.solve(weighted.T @ within + ridge, weighted.T @ wanted)
    weights = np.where(used, solved / np.where(used, deviation, 1.0), 0.0)
    return LinearPart(weights.astype(np.float32), -float(rows.mean(axis=0) @ weights))


def _centred(values: Floats, query: NDArray[np.int64], weight: Floats) -> Floats:
    """Each column minus its weighted mean in the row's query."""
    total = np.bincount(query, weights=weight)
    means = np.stack(
        [np.bincount(query, weights=weight * column) / total for column in values.T], axis=1
    )
    return np.asarray(values - means[query], np.float64)
