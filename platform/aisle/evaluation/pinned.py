"""Pinned queries: what a snapshot showed for them on its night, kept in its report, and what moved between two.

Kept rather than searched again when somebody asks: the answers are those that were judged, made as served (rewriter,
ranker and cut included) with that night's models and that night's release, and reading them takes milliseconds on any
machine that reaches the store. A search of both snapshots would show what tonight's release makes of them, would load
two catalogues for it, and could not be made once a model's runtime or one of the files is gone. The price: queries are
fixed on the night, `gate.sample_queries` of the judged ones, the same every night while the judgments stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aisle.evaluation.run import Run

TOP = 10
"""Hits of a query that are kept."""


def pin(run: Run, queries: Sequence[str]) -> dict[str, Any]:
    """For a report: `pinned`, the product ids of the first hits of each query's page, best first.

    Args:
        run: of the system as served; hits that its filter dropped are not shown, so they are not pinned.
        queries: normalised.
    """
    shown = []
    for query in queries:
        rows = run.rows.get(query, slice(0, 0))
        shown.append(run.product_ids[rows][run.kept[rows]][:TOP].tolist())
    return {"pinned": {"queries": list(queries), "hits": shown}}


def moves(
    before: Mapping[str, Any], after: Mapping[str, Any], changes: Mapping[str, str], shown: int
) -> dict[str, Any]:
    """What moved in the first hits of the queries that two reports have both pinned.

    Args:
        before: the older report.
        after: the newer.
        changes: what became of a product between the two (`added`, `changed`, `removed`), by id, to say why it moved.
        shown: queries to describe, those with the most hits exchanged first; all are counted.

    Returns:
        `queries` compared, how many `changed`, the mean `overlap` of the first hits as sets, and for some `moved`: the
        query, hits `entered` and `left` with their rank from 1, and hits that stayed with their rank `before` and
        `after`. Empty where the reports share no pinned query.
    """
    then, now = _hits(before), _hits(after)
    shared = [query for query in now if query in then]
    if not shared:
        return {}
    found = [_of_query(query, then[query], now[query], changes) for query in shared]
    differing = [each for each in found if each["entered"] or each["left"] or each["stayed"]]
    differing.sort(key=_weight)
    overlaps = [_overlap(then[query], now[query]) for query in shared]
    return {
        "queries": len(shared),
        "changed": len(differing),
        "overlap": round(float(np.mean(overlaps)), 4),
        "moved": differing[:shown],
    }


def _hits(report: Mapping[str, Any]) -> dict[str, list[str]]:
    pinned = report.get("pinned", {"queries": [], "hits": []})
    return dict(zip(pinned["queries"], pinned["hits"], strict=True))


def _of_query(
    query: str, then: list[str], now: list[str], changes: Mapping[str, str]
) -> dict[str, Any]:
    was = {product_id: rank for rank, product_id in enumerate(then, 1)}
    is_ = {product_id: rank for rank, product_id in enumerate(now, 1)}
    return {
        "query": query,
        "entered": [_hit(each, changes, rank=is_[each]) for each in now if each not in was],
        "left": [_hit(each, changes, rank=was[each]) for each in then if each not in is_],
        "stayed": [
            _hit(each, changes, before=was[each], after=is_[each])
            for each in now
            if each in was and was[each] != is_[each]
        ],
    }


def _hit(product_id: str, changes: Mapping[str, str], **ranks: int) -> dict[str, Any]:
    why = {"product": changes[product_id]} if product_id in changes else {}
    return {"product_id": product_id, **ranks, **why}


def _weight(moved: dict[str, Any]) -> tuple[int, int, str]:
    exchanged = len(moved["entered"]) + len(moved["left"])
    steps = sum(abs(each["after"] - each["before"]) for each in moved["stayed"])
    return -exchanged, -steps, moved["query"]


def _overlap(then: list[str], now: list[str]) -> float:
    longer = max(len(then), len(now))
    return len(set(then) & set(now)) / longer if longer else 1.0
