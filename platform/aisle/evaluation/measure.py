"""One system against judgments: every measure that a report shows, per query so that intervals can be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.batch import ABSENT_SCORE
from aisle.evaluation.calibration import PairMeasures, measure_pairs
from aisle.evaluation.drift import relevance_histogram
from aisle.evaluation.judgments import Judgments
from aisle.evaluation.metrics import (
    judged_fraction,
    ndcg,
    ndcg_of_pairs,
    page_precision,
    recall,
    reciprocal_rank,
)
from aisle.evaluation.run import Run

Floats = NDArray[np.float64]

PAGE = 24
"""Hits of a page, whose precision is measured."""


@dataclass(frozen=True)
class Measured:
    """What one system achieved; arrays have one value a measurable query, NaN where a measure is not defined."""

    name: str
    per_query: dict[str, Floats]
    pairs: PairMeasures | None
    """Of `relevance` over all judged pairs; none where the system has no relevance."""
    zero_results: Floats
    """(q,) 1 where a query's page is empty, else 0; every query counts."""
    run: Run
    """What was returned."""
    pair_known: NDArray[np.bool_]
    """(n,) the snapshot holds the product of the judged pair."""
    pair_kept: NDArray[np.bool_]
    """(n,) the relevance filter keeps the pair."""
    pair_relevance: Floats | None
    """(n,) of every judged pair, NaN where its product is not there; none where the system has no relevance."""
    relevance_histogram: list[int] | None = None
    """Of the first hits of every query, dropped ones included; none where the system has no relevance."""

    @property
    def zero_result_fraction(self) -> float:
        """Share of queries with an empty page."""
        return float(self.zero_results.mean()) if len(self.zero_results) else 0.0

    def means(self) -> dict[str, float]:
        """Each measure's mean over the queries for which it is defined."""
        means = {
            name: float(np.nanmean(values))
            for name, values in self.per_query.items()
            if np.isfinite(values).any()
        }
        means["zero_results"] = self.zero_result_fraction
        if self.pairs is not None:
            means.update({f"pairs_{name}": value for name, value in self.pairs.as_dict().items()})
        return means


def judged_pairs(judgments: Judgments) -> pa.Table:
    """Every judged pair, in the order of `judgments`: `query, product_id`."""
    texts = np.repeat(np.array(judgments.texts, dtype=object), np.diff(judgments.offsets))
    return pa.table(
        {
            "query": pa.array(list(texts), pa.string()),
            "product_id": pa.array(list(judgments.product_ids), pa.string()),
        }
    )


def measure(
    name: str,
    judgments: Judgments,
    found: pa.Table,
    pairs: pa.Table,
    *,
    filtered: bool,
    both: Judgments | None = None,
) -> Measured:
    """Measures a system.

    Args:
        name: of the system.
        judgments: with unknown products still in; all-lowest queries count for nothing but calibration.
        found: `RESULT_SCHEMA` of every query.
        pairs: `PAIRS_SCHEMA` of `judged_pairs(judgments)`, in that order.
        filtered: whether the system has a relevance filter; without one every hit counts as kept.
        both: the same queries with a model's grades beside people's; adds nDCG over both, never in place of people's.
    """
    run = Run.from_columns(
        found["query"].to_pylist(),
        found["product_id"].to_pylist(),
        found["rank"].to_numpy(),
        kept=found["kept"].to_numpy(zero_copy_only=False) if filtered else None,
    )
    scores = pairs["score"].to_numpy(zero_copy_only=False).astype(np.float64)
    page = page_precision(judgments, run, PAGE)
    per_query = {
        "ndcg@10": ndcg(judgments, run, 10),
        "ndcg@10_pairs": ndcg_of_pairs(judgments, scores, 10),
        "recall@10": recall(judgments, run, 10),
        "recall@100": recall(judgments, run, 100),
        "recall@200": recall(judgments, run, 200),
        "mrr@100": reciprocal_rank(judgments, run, 100),
        "page_precision": page.precision,
        "page_judged": page.judged_fraction,
        "judged@10": judged_fraction(judgments, run, 10),
    }
    if both is not None:
        per_query["ndcg@10_with_model"] = ndcg(both, run, 10)
        per_query["judged@10_with_model"] = judged_fraction(both, run, 10)
    skipped = ~np.isin(np.array(judgments.queries), np.array(judgments.measurable().queries))
    for values in per_query.values():
        values[skipped] = np.nan
    known = scores > ABSENT_SCORE
    relevance, measured = None, None
    if filtered:
        relevance = pairs["relevance"].to_numpy(zero_copy_only=False).astype(np.float64)
        relevance[~known] = np.nan
        if known.any():
            measured = measure_pairs(relevance[known], judgments.relevant[known])
    histogram = None
    if filtered:
        shown = found["rank"].to_numpy() <= PAGE
        values = found["relevance"].to_numpy(zero_copy_only=False).astype(np.float64)
        histogram = relevance_histogram(values[shown])
    return Measured(
        name=name,
        per_query=per_query,
        pairs=measured,
        zero_results=(page.kept == 0).astype(np.float64),
        run=run,
        pair_known=known,
        pair_kept=pairs["kept"].to_numpy(zero_copy_only=False),
        pair_relevance=relevance,
        relevance_histogram=histogram,
    )


def text_table(rows: list[Measured]) -> str:
    """The report for a terminal: a row a system."""
    columns = [
        "ndcg@10",
        "ndcg@10_pairs",
        "recall@100",
        "recall@200",
        "page_precision",
        "zero_results",
    ]
    pair_columns = ["pairs_dropped_at_95", "pairs_brier_skill", "pairs_calibration_error"]
    lines = [
        f"{'':20}" + "".join(f"{name.replace('pairs_', ''):>18}" for name in columns + pair_columns)
    ]
    for row in rows:
        means = row.means()
        cells = [
            f"{means[name]:18.4f}" if name in means else f"{'-':>18}"
            for name in columns + pair_columns
        ]
        lines.append(f"{row.name:20}" + "".join(cells))
    return "\n".join(lines)
