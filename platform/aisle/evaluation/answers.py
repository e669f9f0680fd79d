"""Are two sets of answers the same? Tables of results for the same queries, compared hit by hit, ties apart.

Two builds of one catalogue that embedded the same text in different batches have cosines that differ in the seventh
digit (measured with ONNX Runtime at float32: one vector in a hundred differs in one float16 digit). Hits whose scores
are nearer than that may stand in either order and, at the end of the list, one may stand for the other. Everything
else has to be equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

TOLERANCE = 1e-5
"""Scores nearer than this are a tie; the probe of the dense index takes the same."""

Hits = list[tuple[str, float]]


@dataclass(frozen=True)
class Agreement:
    """Of two systems over some queries."""

    queries: int
    identical: int
    """Queries with the same ids in the same order."""
    equal: int
    """Those and queries that differ in the order of ties only."""
    overlap_10: float
    """Mean share of the first 10 that both have, as sets."""
    overlap_100: float
    different: tuple[str, ...]
    """Queries that are not equal, the first few."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            name: round(v, 5) if isinstance(v, float) else v for name, v in asdict(self).items()
        }


def agreement(one: pa.Table, other: pa.Table, queries: Sequence[str]) -> Agreement:
    """Compares two tables with `query, rank, product_id, score`, both of the same depth, query by query."""
    found = [_by_query(each) for each in (one, other)]
    pairs = [(found[0].get(query, []), found[1].get(query, [])) for query in queries]
    identical = [[i for i, _ in a] == [i for i, _ in b] for a, b in pairs]
    equal = [same or equal_up_to_ties(a, b) for same, (a, b) in zip(identical, pairs, strict=True)]
    return Agreement(
        queries=len(queries),
        identical=sum(identical),
        equal=sum(equal),
        overlap_10=float(np.mean([_overlap(a, b, 10) for a, b in pairs])),
        overlap_100=float(np.mean([_overlap(a, b, 100) for a, b in pairs])),
        different=tuple(q for q, same in zip(queries, equal, strict=True) if not same)[:10],
    )


def equal_up_to_ties(a: Hits, b: Hits, tolerance: float = TOLERANCE) -> bool:
    """Whether two lists, best first, differ only in the order of hits whose scores are nearer than `tolerance`."""
    if len(a) != len(b):
        return False
    if any(abs(x - y) > tolerance for (_, x), (_, y) in zip(a, b, strict=True)):
        return False
    scores = dict(a), dict(b)
    last = a[-1][1] if a else 0.0
    for mine, others in (scores, scores[::-1]):
        for product_id, score in mine.items():
            # One that only this list holds tied with the last place; the other list has another of the same score.
            if abs(score - others.get(product_id, last)) > tolerance:
                return False
    return True


def _by_query(table: pa.Table) -> dict[str, Hits]:
    found: dict[str, Hits] = {}
    ordered = table.sort_by([("query", "ascending"), ("rank", "ascending")])
    columns = (ordered[name].to_pylist() for name in ("query", "product_id", "score"))
    for query, product_id, score in zip(*columns, strict=True):
        found.setdefault(query, []).append((product_id, score))
    return found


def _overlap(a: Hits, b: Hits, k: int) -> float:
    ids = [{product_id for product_id, _ in each[:k]} for each in (a, b)]
    longer = max(map(len, ids))
    return len(ids[0] & ids[1]) / longer if longer else 1.0
