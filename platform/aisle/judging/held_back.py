"""A judge against people on pairs that it did not learn from: agreement of grades, and the order that it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aisle.evaluation.compare import mean_interval
from aisle.evaluation.judgments import Judgments
from aisle.evaluation.metrics import ndcg_of_pairs
from aisle.judging.agreement import agreement
from aisle.judging.judge import Judge, Verdicts, nearest_levels


def judge_pairs(judge: Judge, judgments: Judgments, texts: Mapping[str, str]) -> Verdicts:
    """The judge's verdicts on every judged pair, in the order of `judgments`; KeyError where a text is missing."""
    queries = np.repeat(np.array(judgments.texts, dtype=object), np.diff(judgments.offsets))
    return judge.judge(list(queries), [texts[product] for product in judgments.product_ids])


def measure_verdicts(verdicts: Verdicts, judgments: Judgments, *, seed: int = 0) -> dict[str, Any]:
    """Agreement with the people's grades and ndcg@10 over the judged pairs, both with 95 % intervals.

    A mean of several raters counts as its nearest level. Raises JudgmentError where kappa is not defined.
    """
    levels = verdicts.levels
    agreed = agreement(
        nearest_levels(judgments.grades, levels),
        nearest_levels(verdicts.grade, levels),
        judgments.query_index,
        len(levels),
        seed=seed,
    )
    ordered = ndcg_of_pairs(judgments.measurable(), _measurable(verdicts, judgments), 10)
    interval = mean_interval(ordered, seed)
    return {
        "pairs": agreed.pairs,
        "queries": agreed.queries,
        "kappa": round(agreed.kappa.mean, 4),
        "kappa_interval": [round(agreed.kappa.low, 4), round(agreed.kappa.high, 4)],
        "quadratic_kappa": round(agreed.quadratic_kappa.mean, 4),
        "quadratic_kappa_interval": [
            round(agreed.quadratic_kappa.low, 4),
            round(agreed.quadratic_kappa.high, 4),
        ],
        "exact_fraction": round(agreed.exact_fraction, 4),
        "confusion": [list(row) for row in agreed.confusion],
        "ndcg@10_pairs": round(interval.mean, 4),
        "ndcg@10_pairs_interval": [round(interval.low, 4), round(interval.high, 4)],
    }


def _measurable(verdicts: Verdicts, judgments: Judgments) -> np.ndarray[Any, Any]:
    """Expected grades of the pairs of measurable queries, in their order."""
    kept = set(judgments.measurable().queries)
    keep = np.array([query in kept for query in judgments.queries])[judgments.query_index]
    scores: np.ndarray[Any, Any] = verdicts.expected_grade[keep]
    return scores
