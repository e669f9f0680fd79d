"""Segments of a query set: where a mean hides that one kind of query pays for another.

The definitions are fixed here and stand in every report. Public judgments carry no traffic, so head and tail go by how
common the query's rarest word is in the catalogue: a query of common words is asked often and matches much, one with a
rare word names something particular. Where a shop has traffic, its own split of queries says more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.evaluation.judgments import Judgments
from aisle.index.statistics import Statistics
from aisle.text import Analyzer

Mask = NDArray[np.bool_]

HEAD, TAIL, TYPING_ERRORS, NO_RIGHT_ANSWER = "head", "tail", "typing errors", "no right answer"

DEFINITIONS: Mapping[str, str] = {
    HEAD: "the quarter of the queries whose rarest word is held by the most products (words no product holds aside)",
    TAIL: "the quarter whose rarest word is held by the fewest",
    TYPING_ERRORS: "queries with a word that no product holds: misspelt, or of another vocabulary",
    NO_RIGHT_ANSWER: "queries none of whose judged products is relevant",
}


@dataclass(frozen=True, slots=True)
class QueryWords:
    """What the catalogue knows of each query's words; arrays of length q."""

    rarest: NDArray[np.float64]
    """Products that hold the query's rarest known word; NaN where it knows none of them."""
    unknown: Mask
    """The query has a word that no product holds."""


def query_words(texts: Sequence[str], statistics: Statistics, analyzer: Analyzer) -> QueryWords:
    """Looks every query's words up in the statistics of a snapshot, as its lexical index would."""
    rarest = np.full(len(texts), np.nan)
    unknown = np.zeros(len(texts), np.bool_)
    for i, text in enumerate(texts):
        held = statistics.frequencies(analyzer.terms(text))[:, -1]
        unknown[i] = bool((held == 0).any())
        if (held > 0).any():
            rarest[i] = float(held[held > 0].min())
    return QueryWords(rarest, unknown)


def segments_of(judgments: Judgments, words: QueryWords) -> dict[str, Mask]:
    """Mask bool (q,) of each segment, in the order of `DEFINITIONS`; an empty one is there too."""
    known = words.rarest[~np.isnan(words.rarest)]
    low, high = np.quantile(known, [0.25, 0.75]) if len(known) else (np.nan, np.nan)
    relevant = np.bincount(
        judgments.query_index, weights=judgments.relevant, minlength=len(judgments.queries)
    )
    with np.errstate(invalid="ignore"):
        return {
            HEAD: words.rarest >= high,
            TAIL: words.rarest <= low,
            TYPING_ERRORS: words.unknown,
            NO_RIGHT_ANSWER: relevant == 0,
        }
