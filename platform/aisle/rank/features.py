"""What the ranker sees of a (query, product) pair: named float32 columns, computed where the rows lie.

Every feature depends on the query and the product alone, never on which other candidates came along: a judged pair
scores the same whether retrieval found it or `--pairs` named it. Ids, row order and membership in the judgments are
not features. Shares are weighted by idf, so that "the" is worth nothing and "hdmi" much. The numbers themselves are
computed by `aisle.index.kernel` and `aisle.index.kernel_title`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aisle.index import kernel, kernel_basic, kernel_title
from aisle.index.forward import ForwardIndex
from aisle.index.kinds import CONNECTOR, NUMERIC, UNIT, kind_of
from aisle.retrieve.query import RetrievalQuery, attainable
from aisle.text import trigram_hashes

_BASE = (
    "fused",
    "cosine",
    "bm25",
    "bm25_share",
    "bm25_title",
    "bm25_brand",
    "bm25_category",
    "bm25_attributes",
    "bm25_description",
    "coverage",
    "coverage_title",
    "coverage_title_or_category",
    "coverage_brand",
    "missing_terms",
    "title_precision",
    "title_terms",
    "description_terms",
    "adjacent_share",
    "last_term_in_title",
    "last_term_ends_title",
    "number_coverage",
    "brand_agreement",
    "brand_conflict",
    "product_coverage",
    "constraint_coverage",
    "trigram_share",
    "query_terms",
    "query_idf_mean",
    "query_unknown_share",
)
_QUERY = (
    "query_idf_max",
    "query_numbers",
    "query_brandness",
    "query_attributeness",
)
"""What only the query decides, beside what `aisle.index.kernel` says of it; trees need it to read the rest."""

FEATURES = (*_BASE, *kernel_title.COLUMNS, *_QUERY)
"""Column names, in the order of the matrix."""

_DIGIT = re.compile(r"\d")
_PRODUCT_TYPES = frozenset({"product"})
_CONSTRAINT_TYPES = frozenset(
    {"brand", "colour", "size", "material", "attribute", "model", "use", "department"}
)


class Prepared(NamedTuple):
    """What the kernel needs of a query beside its own arrays; made once, used for every segment."""

    worth: NDArray[np.float32]
    """(t,) idf times weight."""
    flags: NDArray[np.uint8]
    """(own,) whether a term holds a digit, names a product type or states a constraint."""
    unknown_share: float
    """Share of the own terms that no product holds."""
    attainable: float
    """See `aisle.retrieve.query.attainable`."""
    head: int
    """The own term that names what is wanted, -1 for none."""
    numbers: NDArray[np.int32]
    """(m,) own terms that are a number before a unit."""
    units: NDArray[np.int32]
    """(m,) the unit behind each."""
    word_grams: NDArray[np.int32]
    """Trigram hashes of each own term, term after term; ends of words are left out, stems do not have them."""
    word_bounds: NDArray[np.int64]
    """(own + 1,) where each term begins in `word_grams`."""
    of_query: NDArray[np.float32]
    """(4,) the columns that only the query decides."""


def prepare(query: RetrievalQuery) -> Prepared:
    """Flags and bounds of a query."""
    own = query.own_terms
    flags = [kernel.NUMERIC if _DIGIT.search(term) else 0 for term in query.terms[:own]]
    for t, kind in enumerate(query.types):
        if kind in _PRODUCT_TYPES:
            flags[t] |= kernel.PRODUCT
        elif kind in _CONSTRAINT_TYPES:
            flags[t] |= kernel.CONSTRAINT
    kinds = [kind_of(term) for term in query.terms]
    words = query.order.tolist()
    measured = [
        (a, b) for a, b in pairwise(words) if kinds[a] & NUMERIC and kinds[b] & UNIT and a != b
    ]
    grams = [trigram_hashes(f" {term}") for term in query.terms[:own]]
    return Prepared(
        worth=query.idf * query.weights,
        flags=np.array(flags, dtype=np.uint8),
        unknown_share=1.0 - float(query.known[:own].mean()) if own else 0.0,
        attainable=attainable(query),
        head=_head(words, kinds),
        numbers=np.array([a for a, _ in measured], dtype=np.int32),
        units=np.array([b for _, b in measured], dtype=np.int32),
        word_grams=np.concatenate([*grams, np.empty(0, np.int32)]),
        word_bounds=np.cumsum([0, *(len(each) for each in grams)], dtype=np.int64),
        of_query=np.array(
            [
                query.idf[:own].max(initial=0.0),
                sum(flag & kernel.NUMERIC for flag in flags),
                query.brandness[:own].max(initial=0.0),
                query.attributeness[:own].max(initial=0.0),
            ],
            dtype=np.float32,
        ),
    )


def _head(words: list[int], kinds: list[int]) -> int:
    """The last word before the first connector that is neither number nor unit, as an index into the terms; or -1."""
    head = -1
    for at, word in enumerate(words):
        kind = kinds[word]
        number_before = at > 0 and kinds[words[at - 1]] & NUMERIC
        if kind & CONNECTOR and head >= 0 and not (kind & UNIT and number_before):
            break
        if not kind:
            head = word
    return head


def basic_scores(
    query: RetrievalQuery,
    worth: NDArray[np.float32],
    ids: NDArray[np.int32],
    rows: NDArray[np.int64],
    forward: ForwardIndex,
    vectors: NDArray[np.float16],
    dense_weight: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Cosine, BM25 and fused score of some rows: what finds and cuts; equal to those columns of `score_rows`.

    `worth` (t,) is idf times weight, the rest as in `score_rows`.
    """
    cosine, bm25, fused = kernel_basic.basic(
        rows,
        vectors.view(np.uint16),
        forward.terms.offsets,
        forward.terms.tokens,
        query.vector,
        ids,
        worth,
        query.boosts,
        query.mean_lengths,
        attainable(query),
        float(dense_weight),
    )
    return cosine, bm25, fused


def score_rows(
    query: RetrievalQuery,
    prepared: Prepared,
    ids: NDArray[np.int32],
    rows: NDArray[np.int64],
    forward: ForwardIndex,
    vectors: NDArray[np.float16],
    dense_weight: float,
) -> NDArray[np.float32]:
    """Features of some rows of a segment for one query.

    Args:
        query: the analysed query; without a vector cosines are 0 and the fused score is BM25's share alone.
        prepared: of `query`.
        ids: (t,) the query's terms in the segment's forward index, -1 for absent ones.
        rows: (n,) any rows, in any order; n may be 0.
        forward: of the segment.
        vectors: (m, d) the segment's unit rows.
        dense_weight: of the cosine in the fused score.

    Returns:
        float32 (n, len(FEATURES)).
    """
    features = np.empty((len(rows), len(FEATURES)), dtype=np.float32)
    features[:, : len(_BASE)] = kernel.score(
        rows,
        vectors.view(np.uint16),
        *forward.terms,
        query.vector,
        ids,
        query.own_terms,
        query.order,
        prepared.worth,
        query.idf,
        query.brandness,
        prepared.flags,
        len(query.types) > 0,
        prepared.unknown_share,
        query.grams,
        query.boosts,
        query.mean_lengths,
        prepared.attainable,
        float(dense_weight),
    )
    features[:, len(_BASE) : -len(_QUERY)] = kernel_title.score(
        rows,
        *forward.terms,
        forward.kinds,
        ids,
        query.own_terms,
        query.order,
        query.idf,
        query.attributeness,
        prepared.flags,
        prepared.head,
        prepared.numbers,
        prepared.units,
        query.grams,
        prepared.word_grams,
        prepared.word_bounds,
    )
    features[:, -len(_QUERY) :] = prepared.of_query
    return features
