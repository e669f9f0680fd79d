"""What the adapter has to beat: one cut on the raw cosine, on a calibrated cosine, on the ranker's score.

Calibrations are fitted on the training pairs and measured on others; none of them knows the query. The raw cosine is
clipped to [0, 1] and taken for a probability, which is what users of a plain score threshold do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError
from aisle.evaluation.calibration import PairMeasures, measure_pairs, threshold_for_recall
from aisle.relevance.pairs import JudgedPairs

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CutRow:
    """One way to cut, measured on pairs that it was not fitted on."""

    method: str
    measures: PairMeasures
    scores: Floats
    """(n,) relevance of each measured pair."""
    threshold: float
    """The cut that keeps the wanted recall of the measured pairs."""


def compare_cuts(
    train: JudgedPairs,
    test: JudgedPairs,
    adapters: Mapping[str, NDArray[np.floating]] | None = None,
    *,
    recall: float = 0.95,
) -> list[CutRow]:
    """Measures every baseline, then the given adapters' relevance float (n,) of the test pairs, in that order.

    The ranker's score is left out where train or test has none. Raises JudgmentError as `JudgedPairs.checked`.
    """
    train, test = train.checked("training"), test.checked("test")
    scores: dict[str, NDArray[np.floating]] = {
        "raw cosine": np.maximum(test.cosine, 0.0),
        "logistic of cosine": fit_logistic(train.cosine, train.relevant)(test.cosine),
        "isotonic of cosine": fit_isotonic(train.cosine, train.relevant)(test.cosine),
    }
    if train.score is not None and test.score is not None:
        scores["logistic of ranker score"] = fit_logistic(train.score, train.relevant)(test.score)
    for name, value in (adapters or {}).items():
        if np.shape(value) != test.cosine.shape:
            raise JudgmentError(
                f"adapter {name!r} gave {np.shape(value)} values for {len(test.cosine)} test pairs"
            )
        scores[name] = value
    return [
        CutRow(
            method,
            measure_pairs(s, test.relevant),
            np.asarray(s, np.float64),
            threshold_for_recall(s, test.relevant, recall),
        )
        for method, s in scores.items()
    ]


@dataclass(frozen=True, slots=True)
class LogisticMap:
    """sigmoid(slope x + offset); Platt 1999."""

    slope: float
    offset: float

    def __call__(self, x: NDArray[np.floating]) -> Floats:
        """Maps float (n,) to probabilities float64 (n,)."""
        z = self.slope * np.asarray(x, np.float64) + self.offset
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), np.float64)


@dataclass(frozen=True, slots=True)
class IsotonicMap:
    """A rising step function, linear between the middles of its steps."""

    x: Floats
    y: Floats

    def __call__(self, x: NDArray[np.floating]) -> Floats:
        """Maps float (n,) to probabilities float64 (n,), flat beyond the fitted range."""
        return np.asarray(np.interp(np.asarray(x, np.float64), self.x, self.y), np.float64)


def fit_logistic(x: NDArray[np.floating], relevant: NDArray[np.bool_]) -> LogisticMap:
    """Maximum likelihood by Newton steps, with Platt's smoothed targets so that separable data converges."""
    raw = np.asarray(x, np.float64)
    mean, std = float(raw.mean()), max(float(raw.std()), 1e-9)
    design = np.stack([(raw - mean) / std, np.ones(len(raw))], axis=1)
    positives = float(relevant.sum())
    high = (positives + 1.0) / (positives + 2.0)
    low = 1.0 / (len(raw) - positives + 2.0)
    target = np.where(relevant, high, low)
    weights = np.zeros(2)
    for _ in range(100):
        p = LogisticMap(1.0, 0.0)(design @ weights)
        curve = design.T @ (design * (p * (1.0 - p))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, design.T @ (target - p))
        weights = weights + step / max(1.0, float(np.abs(step).max()) / 2.0)
        if np.abs(step).max() < 1e-10:
            break
    return LogisticMap(float(weights[0] / std), float(weights[1] - weights[0] * mean / std))


def fit_isotonic(x: NDArray[np.floating], relevant: NDArray[np.bool_]) -> IsotonicMap:
    """Least squares among rising functions: pool adjacent violators (Ayer et al. 1955)."""
    values, place = np.unique(np.asarray(x, np.float64), return_inverse=True)
    weight = np.bincount(place).astype(np.float64)
    mean = np.bincount(place, weights=relevant) / weight
    blocks: list[tuple[float, float, float]] = []  # mean, weight, sum of weighted x
    for v, m, w in zip(values, mean, weight, strict=True):
        blocks.append((float(m), float(w), float(v * w)))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (m1, w1, s1), (m2, w2, s2) = blocks[-2:]
            blocks[-2:] = [((m1 * w1 + m2 * w2) / (w1 + w2), w1 + w2, s1 + s2)]
    return IsotonicMap(np.array([s / w for _, w, s in blocks]), np.array([m for m, _, _ in blocks]))
