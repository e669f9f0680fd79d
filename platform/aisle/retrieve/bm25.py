"""BM25 of given rows from the forward index, with the statistics that the query carries.

Formula: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), equation 3.15 with
tantivy's constants k1 = 1.2 and b = 0.75; fields are scored one by one and summed with their boosts. A test compares
it with tantivy's own scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aisle.index.forward import TermCounts
from aisle.retrieve.query import RetrievalQuery

K1 = 1.2
B = 0.75


def bm25_parts(query: RetrievalQuery, matched: TermCounts) -> NDArray[np.float32]:
    """Score of every term in every field of every row: float32 (n, t, f), boosts not applied."""
    norms = K1 * (1 - B + B * matched.lengths / np.maximum(query.mean_lengths, 1e-6))  # (n, f)
    saturated = matched.counts * (K1 + 1) / (matched.counts + norms[:, None, :] + 1e-9)
    parts: NDArray[np.float32] = saturated * (query.idf * query.weights)[None, :, None]
    return parts


def attainable(query: RetrievalQuery) -> float:
    """A query's BM25 bound: every own term saturated in the best field. Makes scores of two queries comparable."""
    own = slice(0, query.own_terms)
    bound = float((query.idf[own] * query.weights[own]).sum() * (K1 + 1) * max(query.boosts.max(initial=0.0), 1e-6))
    return max(bound, 1e-6)
