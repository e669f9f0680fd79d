"""Reports as JSON: what people read (means, intervals, gains), and what the gate needs to pair two nights by query."""

from __future__ import annotations

from typing import Any

import numpy as np

from aisle.evaluation.compare import mean_interval, paired_difference
from aisle.evaluation.judgments import Judgments
from aisle.evaluation.measure import Measured
from aisle.evaluation.query_set import fingerprint

__all__ = ["PAIRED", "fingerprint", "pairing_of", "report_of"]

PAIRED = ("ndcg@10", "recall@100", "page_precision")
"""Measures whose values of single queries a report keeps."""


def report_of(rows: list[Measured], judgments: Judgments, snapshot_id: str) -> dict[str, Any]:
    """The report as JSON: means, intervals, and what each row gained on the row above: mean, and queries both ways."""
    systems = []
    for above, row in zip([None, *rows], rows, strict=False):
        entry: dict[str, Any] = {
            "system": row.name,
            **{k: round(v, 5) for k, v in row.means().items()},
        }
        for name, values in row.per_query.items():
            if np.isfinite(values).any():
                interval = mean_interval(values, seed=0)
                entry[f"{name}_interval"] = [round(interval.low, 4), round(interval.high, 4)]
            if above is not None and np.isfinite(values - above.per_query[name]).any():
                gain = paired_difference(values, above.per_query[name], seed=0)
                entry[f"{name}_gain"] = [
                    round(gain.mean, 4),
                    round(gain.low, 4),
                    round(gain.high, 4),
                ]
                change = values - above.per_query[name]
                entry[f"{name}_gained_lost"] = [int((change > 0).sum()), int((change < 0).sum())]
        systems.append(entry)
    return {
        "snapshot": snapshot_id,
        "queries": len(judgments.queries),
        "measured_queries": len(judgments.measurable().queries),
        "pairs": len(judgments),
        "relevant_from": judgments.relevant_from,
        "lowest_grade": judgments.lowest_grade,
        "systems": systems,
    }


def pairing_of(row: Measured, judgments: Judgments) -> dict[str, Any]:
    """Values of every query under one system, and a fingerprint of the judgments that made them.

    Four decimals, null where a measure is not defined: about 40 bytes a query.
    """
    columns = {**{name: row.per_query[name] for name in PAIRED}, "zero_results": row.zero_results}
    per_query: dict[str, Any] = {
        name: [round(float(value), 4) if np.isfinite(value) else None for value in values]
        for name, values in columns.items()
    }
    per_query["queries"] = list(judgments.queries)
    pairing: dict[str, Any] = {"per_query": per_query, "judged_by": fingerprint(judgments)}
    if row.relevance_histogram is not None:
        pairing["relevance_histogram"] = row.relevance_histogram
    return pairing
