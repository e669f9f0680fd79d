"""A query as the shards see it: analysed once, weighed with the statistics of the whole catalogue.

Shards hold no global statistics; what they need of them travels with the query, in a few hundred bytes. So a
shard's answer depends on the shard's rows and this record alone, and sharded equals single.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.index.filters import Filters
from aisle.index.forward import ATTRIBUTES, BRAND, FIELDS
from aisle.index.kernel_basic import K1
from aisle.index.statistics import Statistics
from aisle.rewrite.types import general_type
from aisle.stages import Rewrite
from aisle.text import Analyzer, trigrams


@dataclass(frozen=True, slots=True)
class RetrievalQuery:
    """One analysed query."""

    text: str
    """What is searched: the rewritten query."""
    vector: NDArray[np.float32]
    """(d,) unit; empty where the dense side is off."""
    terms: tuple[str, ...]
    """Distinct terms, the query's own in order of appearance, then those that only expansions hold."""
    own_terms: int
    """How many of `terms` are the query's own."""
    order: NDArray[np.int32]
    """(l,) the query's words in order, as indexes into `terms`."""
    weights: NDArray[np.float32]
    """(t,) 1 for the query's own terms, times repeats; less for expansions."""
    idf: NDArray[np.float32]
    """(t,) inverse document frequency over the whole catalogue."""
    brandness: NDArray[np.float32]
    """(t,) share of the products holding the term that hold it in their brand."""
    attributeness: NDArray[np.float32]
    """(t,) share of the products holding the term that hold it in their attributes."""
    known: NDArray[np.bool_]
    """(t,) whether any product holds the term."""
    types: tuple[str, ...]
    """Segment type of each own term as the rewriter sees it, or empty."""
    grams: NDArray[np.int32]
    """Sorted trigram hashes of the text."""
    boosts: NDArray[np.float32]
    """(f,) weight of each field."""
    mean_lengths: NDArray[np.float32]
    """(f,) mean terms of each field."""
    filters: Filters
    dense_depth: int
    lexical_depth: int

    def finds_as(self, other: RetrievalQuery) -> bool:
        """Whether both find the same rows with the same scores: all but what only the ranker's features read is equal.

        Of queries with the same filters and depths over the same statistics.
        """
        return (
            self.terms == other.terms
            and np.array_equal(self.weights, other.weights)
            and np.array_equal(self.vector, other.vector)
        )


def analyse(
    rewrite: Rewrite,
    vector: NDArray[np.float32],
    statistics: Statistics,
    analyzer: Analyzer,
    boosts: Mapping[str, float],
    *,
    filters: Filters,
    expansion_weight: float,
    dense_depth: int,
    lexical_depth: int,
) -> RetrievalQuery:
    """Makes the record that shards answer; a query without a word gives one without terms, which only dense finds."""
    words = analyzer.words(rewrite.query)
    own = analyzer.stems(words)
    distinct = list(dict.fromkeys(own))
    expanded = (
        [t for text in rewrite.expansions for t in analyzer.terms(text)]
        if expansion_weight > 0
        else []
    )
    extra = [term for term in dict.fromkeys(expanded) if term not in distinct]
    terms = (*distinct, *extra)
    at = {term: i for i, term in enumerate(terms)}
    frequency = statistics.frequencies(terms)
    any_field = frequency[:, len(FIELDS)]
    # Robertson and Sparck Jones with the +1 inside the logarithm, as Lucene and tantivy have it: never negative.
    idf = np.log1p((statistics.products - any_field + 0.5) / (any_field + 0.5))
    weights = np.array(
        [own.count(t) for t in distinct] + [expansion_weight] * len(extra), dtype=np.float32
    )
    return RetrievalQuery(
        text=rewrite.query,
        vector=vector,
        terms=terms,
        own_terms=len(distinct),
        order=np.array([at[term] for term in own], dtype=np.int32),
        weights=weights,
        idf=idf.astype(np.float32),
        brandness=frequency[:, BRAND] / np.maximum(any_field, 1),
        attributeness=frequency[:, ATTRIBUTES] / np.maximum(any_field, 1),
        known=any_field > 0,
        types=_types(rewrite, distinct, analyzer),
        grams=trigrams(words),
        boosts=np.array([boosts.get(name, 0.0) for name in FIELDS], dtype=np.float32),
        mean_lengths=statistics.mean_lengths,
        filters=filters,
        dense_depth=dense_depth,
        lexical_depth=lexical_depth,
    )


def attainable(query: RetrievalQuery) -> float:
    """A query's BM25 bound: every own term saturated. Makes scores of two queries comparable."""
    own = query.own_terms
    worth = float(np.dot(query.idf[:own], query.weights[:own]))
    return max(worth * (K1 + 1), 1e-6)


def _types(rewrite: Rewrite, distinct: list[str], analyzer: Analyzer) -> tuple[str, ...]:
    """Type of each distinct own term; the first segment that holds it decides."""
    if not rewrite.segments:
        return ()
    type_of: dict[str, str] = {}
    for segment in rewrite.segments:
        for term in analyzer.terms(segment.text):
            type_of.setdefault(term, general_type(segment.type))
    return tuple(type_of.get(term, "other") for term in distinct)
