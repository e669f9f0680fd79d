"""Measures of a relevance score over pairs, pooled over all queries: is it a probability, and what does a cut cost?

One threshold serves every query, so these measures pool the pairs instead of averaging over queries. A pair is kept
where its score reaches the threshold. Average precision, Brier score and calibration error are the textbook's; tests
hold the first equal to scikit-learn's and the others to their formulas.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs whose probability lies in [low, high); the last bin holds 1 too."""

    low: float
    high: float
    pairs: int
    mean_probability: float
    relevant_fraction: float


@dataclass(frozen=True, slots=True)
class PairMeasures:
    """The pooled measures of one score over one set of pairs."""

    pairs: int
    relevant_fraction: float
    pr_auc: float
    dropped_at_95: float
    brier_skill: float
    calibration_error: float

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, for a report."""
        return asdict(self)


def measure_pairs(score: NDArray[np.floating], relevant: NDArray[np.bool_]) -> PairMeasures:
    """All measures at once; `score` float (n,) is clipped to [0, 1] where a probability is meant.

    Raises JudgmentError on a score that is not finite and where all pairs are relevant or none is.
    """
    score, relevant = _check(score, relevant)
    return PairMeasures(
        pairs=len(score),
        relevant_fraction=float(relevant.mean()),
        pr_auc=average_precision(score, relevant),
        dropped_at_95=dropped_fraction(score, relevant, 0.95),
        brier_skill=brier_skill(score, relevant),
        calibration_error=calibration_error(score, relevant),
    )


def reliability_curve(
    probability: NDArray[np.floating], relevant: NDArray[np.bool_], bins: int = 10
) -> list[ReliabilityBin]:
    """Predicted against observed in bins of equal width; empty bins are left out."""
    probability, relevant = _check(probability, relevant)
    place = np.minimum((np.clip(probability, 0.0, 1.0) * bins).astype(np.int64), bins - 1)
    pairs = np.bincount(place, minlength=bins)
    predicted = np.bincount(place, weights=np.clip(probability, 0.0, 1.0), minlength=bins)
    observed = np.bincount(place, weights=relevant, minlength=bins)
    return [
        ReliabilityBin(
            b / bins, (b + 1) / bins, int(n), float(predicted[b] / n), float(observed[b] / n)
        )
        for b, n in enumerate(pairs)
        if n
    ]


def calibration_error(
    probability: NDArray[np.floating], relevant: NDArray[np.bool_], bins: int = 10
) -> float:
    """Expected calibration error: mean of |predicted - observed| over bins of equal width, weighted by pairs."""
    curve = reliability_curve(probability, relevant, bins)
    total = sum(b.pairs for b in curve)
    return sum(b.pairs * abs(b.mean_probability - b.relevant_fraction) for b in curve) / total


def brier_skill(probability: NDArray[np.floating], relevant: NDArray[np.bool_]) -> float:
    """1 - Brier score / Brier score of always saying the set's own base rate; 0 is no skill, 1 perfect."""
    probability, relevant = _check(probability, relevant)
    outcome = relevant.astype(np.float64)
    brier = np.mean((np.clip(probability, 0.0, 1.0) - outcome) ** 2)
    return float(1.0 - brier / np.mean((outcome.mean() - outcome) ** 2))


def average_precision(score: NDArray[np.floating], relevant: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve as a step function; equal scores are one step, in no order."""
    precision, recall, _ = precision_recall_curve(score, relevant)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def precision_recall_curve(
    score: NDArray[np.floating], relevant: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and threshold, float64 (t,) each, one entry a distinct score, thresholds falling."""
    score, relevant = _check(score, relevant)
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    hits = np.cumsum(relevant[order])
    last = np.flatnonzero(np.append(falling[:-1] != falling[1:], True))
    return hits[last] / (last + 1.0), hits[last] / hits[-1], falling[last]


def threshold_for_recall(
    score: NDArray[np.floating], relevant: NDArray[np.bool_], recall: float
) -> float:
    """The highest cut that keeps at least `recall` of the relevant pairs; half way to the next score below.

    The half way leaves room for the last bits by which two runtimes differ.
    """
    _, reached, thresholds = precision_recall_curve(score, relevant)
    # 1e-12: a recall of 19/20 must count as .95 although neither is exact in binary.
    return _half_way(thresholds, int(np.argmax(reached >= recall - 1e-12)))


def threshold_for_precision(
    score: NDArray[np.floating], relevant: NDArray[np.bool_], precision: float
) -> float:
    """The lowest cut at which the kept pairs reach `precision`. Raises JudgmentError where no cut does."""
    reached, _, thresholds = precision_recall_curve(score, relevant)
    good = np.flatnonzero(reached >= precision - 1e-12)
    if not len(good):
        raise JudgmentError(
            f"no threshold reaches precision {precision:g}, the best is {reached.max():.3f}; ask for less"
        )
    return _half_way(thresholds, int(good[-1]))


def dropped_fraction(
    score: NDArray[np.floating], relevant: NDArray[np.bool_], recall: float = 0.95
) -> float:
    """Share of the irrelevant pairs under the cut that keeps `recall` of the relevant ones."""
    score, relevant = _check(score, relevant)
    return float(np.mean(score[~relevant] < threshold_for_recall(score, relevant, recall)))


def _half_way(thresholds: Floats, i: int) -> float:
    below = thresholds[i + 1] if i + 1 < len(thresholds) else thresholds[i] - 1e-6
    middle = float((thresholds[i] + below) / 2.0)
    return middle if middle > below else float(thresholds[i])


def _check(
    score: NDArray[np.floating], relevant: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    values = np.asarray(score, np.float64)
    flags = np.asarray(relevant, np.bool_)
    if values.shape != flags.shape or values.ndim != 1:
        raise JudgmentError(f"scores {values.shape} and labels {flags.shape}: expected equal (n,)")
    if not np.isfinite(values).all():
        raise JudgmentError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are not finite"
        )
    if not flags.any() or flags.all():
        raise JudgmentError(
            f"{int(flags.sum())} of {len(flags)} pairs are relevant: both kinds are needed; check relevant_from"
        )
    return values, flags
