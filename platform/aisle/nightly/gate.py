"""The gate: may a candidate replace the live snapshot? A pure function of two reports and the rules.

A measured drop breaks its rule only if the mean drop over the queries that both reports measured exceeds the allowance
and its paired bootstrap interval excludes zero. Without the second half a shop with thirty judged queries would be kept
from publishing by chance; without the first, one with thirty thousand by a trifle. Counts and index recall are exact,
so they have no interval. A rule whose measure one of the reports lacks passes: there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aisle.config import GateConfig
from aisle.evaluation import ComparedQuery, paired_difference, worst_queries
from aisle.evaluation.drift import population_stability

Report = dict[str, Any]
"""What `report.json` holds; see `aisle.nightly.report`."""

_PAIRED = (
    ("max_ndcg_drop", "ndcg@10", -1.0),
    ("max_recall_drop", "recall@100", -1.0),
    ("max_page_precision_drop", "page_precision", -1.0),
    ("max_zero_result_rise", "zero_results", 1.0),
)
"""Rule, measure, and the sign of a change for the worse."""

WORST = 5
"""Queries named with a broken rule."""


@dataclass(frozen=True)
class Breach:
    """One broken rule."""

    rule: str
    measure: str
    parent: float | None
    """None where the rule is absolute."""
    candidate: float
    allowed: float
    interval: tuple[float, float] | None = None
    """Of the change, candidate minus parent, where it is sampled."""
    worst: tuple[ComparedQuery, ...] = ()

    def __str__(self) -> str:
        before = "" if self.parent is None else f"{self.parent:.4f} -> "
        text = f"{self.rule}: {self.measure} {before}{self.candidate:.4f}, allowed {self.allowed:g}"
        if self.interval is not None:
            text += f", change between {self.interval[0]:+.4f} and {self.interval[1]:+.4f}"
        if self.worst:
            named = (f"{each.query!r} {each.before:.2f} -> {each.after:.2f}" for each in self.worst)
            text += f"; worst queries: {', '.join(named)}"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        worst = [
            {"query": each.query, "before": each.before, "after": each.after} for each in self.worst
        ]
        return {
            "rule": self.rule,
            "measure": self.measure,
            "parent": self.parent,
            "candidate": self.candidate,
            "allowed": self.allowed,
            "interval": list(self.interval) if self.interval else None,
            "worst": worst,
        }


def breaches(candidate: Report, parent: Report | None, rules: GateConfig) -> list[Breach]:
    """Every rule that the candidate breaks, empty where it may be published.

    Args:
        candidate: its report.
        parent: the live snapshot's, none before the first publication: relative rules then pass.
        rules: allowances; a rule that is none is off.
    """
    found = list(_absolute(candidate, rules))
    if parent is not None:
        found += [*_paired(candidate, parent, rules), *_counted(candidate, parent, rules)]
    return found


def paired_values(
    after: Report, before: Report, measure: str
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Queries on which both reports have a value of the measure, and their values after and before."""
    known = dict(zip(*_values(before, measure), strict=True))
    rows = [
        (query, value, known[query])
        for query, value in zip(*_values(after, measure), strict=True)
        if value is not None and known.get(query) is not None
    ]
    return (
        [query for query, _, _ in rows],
        np.array([value for _, value, _ in rows], np.float64),
        np.array([value for _, _, value in rows], np.float64),
    )


def _values(report: Report, measure: str) -> tuple[list[str], list[float | None]]:
    per_query = report.get("per_query", {})
    if measure not in per_query:
        return [], []
    return per_query["queries"], per_query[measure]


def _absolute(candidate: Report, rules: GateConfig) -> Iterator[Breach]:
    found = candidate.get("dense", {}).get("recall@100")
    if rules.min_ann_recall is not None and found is not None and found < rules.min_ann_recall:
        yield Breach("min_ann_recall", "dense recall@100", None, found, rules.min_ann_recall)


def _paired(candidate: Report, parent: Report, rules: GateConfig) -> Iterator[Breach]:
    for rule, measure, worse in _PAIRED:
        allowed = getattr(rules, rule)
        queries, after, before = paired_values(candidate, parent, measure)
        if allowed is None or not queries:
            continue
        change = paired_difference(after, before, seed=0)
        if worse * change.mean <= allowed or not change.excludes_zero:
            continue
        # worst_queries looks for what fell; a rise for the worse falls when its sign is turned.
        ordered = worst_queries(queries, -worse * after, -worse * before, WORST)
        worst = tuple(
            ComparedQuery(each.query, -worse * each.before, -worse * each.after)
            for each in ordered
            if each.difference < 0
        )
        yield Breach(
            rule,
            measure,
            float(before.mean()),
            float(after.mean()),
            allowed,
            (change.low, change.high),
            worst,
        )


def _counted(candidate: Report, parent: Report, rules: GateConfig) -> Iterator[Breach]:
    now, then = candidate.get("catalogue", {}), parent.get("catalogue", {})
    if now and then:
        allowed = rules.max_product_drop_fraction
        if allowed is not None and then["products"] - now["products"] > allowed * then["products"]:
            yield Breach(
                "max_product_drop_fraction",
                "products",
                then["products"],
                now["products"],
                allowed,
            )
        allowed = rules.max_quarantine_rise
        before, after = (each["quarantined"] / max(each["rows"], 1) for each in (then, now))
        if allowed is not None and after - before > allowed:
            yield Breach("max_quarantine_rise", "share quarantined", before, after, allowed)
    shown = [each.get("relevance_histogram") for each in (parent, candidate)]
    allowed = rules.max_relevance_drift
    same_models = candidate.get("relevance_by") == parent.get("relevance_by")
    if allowed is not None and same_models and shown[0] and shown[1]:
        drift = population_stability(shown[0], shown[1])
        if drift > allowed:
            yield Breach("max_relevance_drift", "stability index", None, drift, allowed)
    before, after = (each.get("latency_ms", {}).get("p95") for each in (parent, candidate))
    allowed = rules.max_latency_ratio
    if allowed is None or before is None or after is None:
        return
    if after > max(allowed * before, rules.latency_floor_ms):
        yield Breach("max_latency_ratio", "p95 in ms", before, after, allowed)
