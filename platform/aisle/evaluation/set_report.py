"""Everything that a report says of one query set: the ladder, its segments, calibration and the worst queries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError
from aisle.evaluation.calibration import (
    brier_skill,
    calibration_error,
    dropped_fraction,
    precision_recall_curve,
    reliability_curve,
)
from aisle.evaluation.compare import mean_interval, paired_difference, pooled_interval
from aisle.evaluation.judgments import JudgmentCounts, Judgments
from aisle.evaluation.measure import Measured
from aisle.evaluation.query_set import QuerySet, require_same
from aisle.evaluation.report import report_of
from aisle.evaluation.segments import DEFINITIONS, QueryWords, segments_of
from aisle.evaluation.systems import HYBRID
from aisle.evaluation.worst import worst_examples

TitlesOf = Callable[[Collection[str]], Mapping[str, str]]
Json = dict[str, Any]

WORST_BY = "ndcg@10"
_SEGMENT_MEASURES = ("ndcg@10", "ndcg@10_pairs", "recall@100")
_COMPARED = ("ndcg@10", "ndcg@10_pairs", "recall@100", "recall@200", "page_precision")
_CURVE_POINTS = 150
_RESAMPLES = 200
LONG = ("per_query", "worst", "lost", "difference", "calibration")
"""Parts that the last line of a job leaves out."""


def set_report(
    rows: Sequence[Measured],
    judgments: Judgments,
    snapshot_id: str,
    words: QueryWords,
    titles_of: TitlesOf,
    *,
    name: str,
    split: str | None,
    depth: int,
) -> Json:
    """The report of one query set as JSON.

    Args:
        rows: the measured systems, each with one stage more; the last is what is served.
        judgments: people's, that the rows were measured on.
        snapshot_id: what was searched.
        words: of `judgments.texts`, for the segments.
        titles_of: titles of some products by id, for the examples.
        name: of the set, for people.
        split: which part of it.
        depth: down to which rank was searched.
    """
    last = rows[-1]
    base = _baseline(rows)
    report = report_of(list(rows), judgments, snapshot_id)
    _add_pair_intervals(report["systems"], rows, judgments)
    worst = worst_examples(judgments, last.run, last.per_query[WORST_BY])
    lost = worst_examples(judgments, last.run, last.per_query[WORST_BY], base.per_query[WORST_BY])
    titles = titles_of({product for each in (*worst, *lost) for product in each.product_ids()})
    told = {"measure": WORST_BY, "system": last.name}
    difference = last.per_query[WORST_BY] - base.per_query[WORST_BY]
    return {
        "query_set": QuerySet.of(name, judgments, split, depth).as_dict(),
        **report,
        "judgments": asdict(_counts(judgments, last)),
        "segments": _segments(rows, judgments, words),
        **_calibration(last, judgments),
        "difference": told
        | {
            "against": base.name,
            "values": [round(float(each), 4) for each in difference[np.isfinite(difference)]],
        },
        "worst": told | {"queries": [each.as_dict(titles) for each in worst]},
        "lost": told | {"against": base.name, "queries": [each.as_dict(titles) for each in lost]},
        "per_query": _per_query(last, judgments),
    }


def brief(report: Json) -> Json:
    """A report without what fills pages."""
    return {name: value for name, value in report.items() if name not in LONG}


def compared(report: Json, other: Json, label: str) -> Json:
    """The report with its paired differences to another report of the same query set.

    Raises JudgmentError where the query sets differ in any pin, or the other report has no values of single queries.
    """
    require_same(report["query_set"], other.get("query_set", {}), label)
    if "per_query" not in other:
        raise JudgmentError(
            f"{label} has no values of single queries; write it with --out, the last line is too short"
        )
    ours, theirs = report["per_query"], other["per_query"]
    gains = {}
    for name in _COMPARED:
        after, before = (np.array(each[name], dtype=np.float64) for each in (ours, theirs))
        if np.isfinite(after - before).any():
            gain = paired_difference(after, before, seed=0)
            gains[name] = [round(x, 4) for x in (gain.mean, gain.low, gain.high)]
    return report | {"against": {"snapshot": other["snapshot"], "gains": gains}}


def _baseline(rows: Sequence[Measured]) -> Measured:
    """What the last row is held against: retrieval as it is, without what was trained for the order."""
    hybrid = [row for row in rows[:-1] if row.name == HYBRID.name]
    return hybrid[0] if hybrid else rows[0]


def _counts(judgments: Judgments, row: Measured) -> JudgmentCounts:
    measured = judgments.measurable().counts
    return replace(
        judgments.counts,
        pairs=len(judgments),
        all_lowest_queries=measured.all_lowest_queries,
        unknown_pairs=int((~row.pair_known).sum()),
        unknown_products=len(set(judgments.product_ids[~row.pair_known])),
    )


def _segments(rows: Sequence[Measured], judgments: Judgments, words: QueryWords) -> Json:
    found = {}
    for name, mask in segments_of(judgments, words).items():
        systems = []
        for above, row in zip([None, *rows], rows, strict=False):
            entry: Json = {"system": row.name}
            if mask.any():
                entry["zero_results"] = round(float(row.zero_results[mask].mean()), 4)
            for measure in _SEGMENT_MEASURES:
                values = row.per_query[measure][mask]
                if not np.isfinite(values).any():
                    continue
                mean = mean_interval(values, seed=0)
                entry[measure] = round(mean.mean, 5)
                entry[f"{measure}_interval"] = [round(mean.low, 4), round(mean.high, 4)]
                if above is None:
                    continue
                before = above.per_query[measure][mask]
                if np.isfinite(values - before).any():
                    gain = paired_difference(values, before, seed=0)
                    entry[f"{measure}_gain"] = [
                        round(x, 4) for x in (gain.mean, gain.low, gain.high)
                    ]
            systems.append(entry)
        found[name] = {
            "definition": DEFINITIONS[name],
            "queries": int(mask.sum()),
            "systems": systems,
        }
    return found


def _add_pair_intervals(
    systems: list[Json], rows: Sequence[Measured], judgments: Judgments
) -> None:
    """Intervals of the pooled measures, resampling whole queries."""
    relevant, query_index = judgments.relevant, judgments.query_index
    for entry, row in zip(systems, rows, strict=True):
        if row.pairs is None or row.pair_relevance is None:
            continue
        at = np.flatnonzero(row.pair_known)
        said = row.pair_relevance[at]
        for name, statistic in _POOLED.items():

            def value(
                drawn: NDArray[np.int64],
                statistic: Callable[..., float] = statistic,
                said: NDArray[np.float64] = said,
                seen: NDArray[np.bool_] = relevant[at],
            ) -> float:
                return statistic(said[drawn], seen[drawn])

            interval = pooled_interval(value, query_index[at], seed=0, resamples=_RESAMPLES)
            entry[f"pairs_{name}_interval"] = [round(interval.low, 4), round(interval.high, 4)]


_POOLED: Mapping[str, Callable[..., float]] = {
    "dropped_at_95": dropped_fraction,
    "brier_skill": brier_skill,
    "calibration_error": calibration_error,
}


def _calibration(row: Measured, judgments: Judgments) -> Json:
    if row.pairs is None or row.pair_relevance is None:
        return {}
    known = row.pair_known
    said, seen, kept = row.pair_relevance[known], judgments.relevant[known], row.pair_kept[known]
    precision, recall, _ = precision_recall_curve(said, seen)
    at = np.unique(np.linspace(0, len(recall) - 1, _CURVE_POINTS).astype(np.int64))
    served = None
    if kept.any():
        served = [round(float(kept[seen].mean()), 4), round(float(seen[kept].mean()), 4)]
    return {
        "calibration": {
            "bins": [asdict(each) for each in reliability_curve(said, seen)],
            "curve": [[round(float(recall[i]), 4), round(float(precision[i]), 4)] for i in at],
            "served": served,
            "base_rate": round(float(seen.mean()), 4),
        }
    }


def _per_query(row: Measured, judgments: Judgments) -> Json:
    values: Json = {
        name: [round(float(v), 4) if np.isfinite(v) else None for v in row.per_query[name]]
        for name in _COMPARED
    }
    return {"queries": list(judgments.queries), **values}
