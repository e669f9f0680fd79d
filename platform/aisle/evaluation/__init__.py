"""Measures of relevance: judgments, runs, metrics, calibration and comparisons with intervals."""

from aisle.evaluation.calibration import (
    PairMeasures,
    ReliabilityBin,
    average_precision,
    brier_skill,
    calibration_error,
    dropped_fraction,
    measure_pairs,
    precision_recall_curve,
    reliability_curve,
    threshold_for_precision,
    threshold_for_recall,
)
from aisle.evaluation.compare import (
    ComparedQuery,
    Interval,
    mean_interval,
    paired_difference,
    pooled_interval,
    worst_queries,
)
from aisle.evaluation.gains import exponential_gains
from aisle.evaluation.judgments import JudgmentCounts, Judgments, normalize_query
from aisle.evaluation.metrics import (
    PagePrecision,
    ndcg,
    ndcg_of_pairs,
    page_precision,
    recall,
    reciprocal_rank,
)
from aisle.evaluation.run import Run

__all__ = [
    "ComparedQuery",
    "Interval",
    "JudgmentCounts",
    "Judgments",
    "PagePrecision",
    "PairMeasures",
    "ReliabilityBin",
    "Run",
    "average_precision",
    "brier_skill",
    "calibration_error",
    "dropped_fraction",
    "exponential_gains",
    "mean_interval",
    "measure_pairs",
    "ndcg",
    "ndcg_of_pairs",
    "normalize_query",
    "page_precision",
    "paired_difference",
    "pooled_interval",
    "precision_recall_curve",
    "recall",
    "reciprocal_rank",
    "reliability_curve",
    "threshold_for_precision",
    "threshold_for_recall",
    "worst_queries",
]
