"""Shorter forms of a query that found too little, the least essential words left out first.

With segments, whole segments go by type in the order of `aisle.rewrite.types.ESSENTIAL`: what the product is stays, and
its brand goes last but one. Without them it goes by idf: words that no product holds first, then the rarest, which
holds back most. Each attempt drops more than the one before; the last leaves only what the query is about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from aisle.index.statistics import Statistics
from aisle.rewrite.types import ESSENTIAL, NO_ENTITY, PRODUCT_RANK
from aisle.stages import Rewrite, Segment
from aisle.text import Analyzer

UNTYPED = "word"
"""The type of what was dropped by idf."""


@dataclass(frozen=True, slots=True)
class Relaxed:
    """A shorter query and what it lacks, in the query's order."""

    query: str
    dropped: tuple[Segment, ...]


def relaxations(
    searched: Rewrite, statistics: Statistics, analyzer: Analyzer, most: int
) -> list[Relaxed]:
    """At most `most` shorter forms, each lacking more; none for a query that has nothing to spare."""
    units = list(searched.segments) or [
        Segment(word, UNTYPED) for word in searched.query.lower().split()
    ]
    worth = _worth_by_idf if not searched.segments else _worth_by_type
    spare = _droppable([worth(unit, statistics, analyzer) for unit in units])
    found = []
    attempts = min(most, len(spare))
    for attempt in range(1, attempts + 1):
        out = set(spare[: math.ceil(len(spare) * attempt / attempts)])
        kept = " ".join(unit.text for i, unit in enumerate(units) if i not in out)
        if analyzer.terms(kept):
            found.append(Relaxed(kept, tuple(units[i] for i in sorted(out))))
    return found


def _droppable(worth: list[tuple[float, ...]]) -> list[int]:
    """Positions that may go, least worth first and of equals the last; the most essential stay."""
    if not worth:
        return []
    stays = max(worth)
    order = sorted(range(len(worth)), key=lambda i: (worth[i], -i))
    return [i for i in order if worth[i] < stays] or order[:-1]


def _worth_by_type(unit: Segment, statistics: Statistics, analyzer: Analyzer) -> tuple[float, ...]:
    rank = ESSENTIAL.get(unit.type, ESSENTIAL[NO_ENTITY])
    return (min(rank, PRODUCT_RANK),)


def _worth_by_idf(unit: Segment, statistics: Statistics, analyzer: Analyzer) -> tuple[float, ...]:
    held = statistics.frequencies(analyzer.terms(unit.text))[:, -1]
    # A word of several terms is as rare as its rarest.
    return (float(held.min()) if len(held) else 0.0,)
