"""Merging shards and fusing sides: many answers to one query become one list.

A shard gives its best rows of each side. The catalogue's best rows of a side are among them, so cutting the merged list
to each side's depth leaves exactly what a single index would have given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aisle.config import RetrievalConfig
from aisle.retrieve.candidates import Candidates, descending


def merge(parts: Sequence[Candidates], dense_depth: int, lexical_depth: int) -> Candidates:
    """The candidates that a single index would have found, in no particular order."""
    found = Candidates.concatenate(parts)
    if len(found) == 0:
        return found
    by_dense = _best(found.from_dense, found.cosine, found.product_ids, dense_depth)
    by_lexical = _best(found.from_lexical, found.bm25, found.product_ids, lexical_depth)
    kept = np.flatnonzero(by_dense | by_lexical)
    cut = found.take(kept)
    return Candidates(
        cut.product_ids,
        cut.locators,
        cut.cosine,
        cut.bm25,
        cut.fused,
        by_dense[kept],
        by_lexical[kept],
        cut.features,
    )


def fuse(found: Candidates, config: RetrievalConfig) -> tuple[Candidates, NDArray[np.float32]]:
    """Candidates by fused score, best first, ties by product id, and those scores: float32 (n,)."""
    scores = found.fused
    # Named pairs have no ranks, since no side found them; their weighted score stands.
    if config.fusion == "rrf" and (found.from_dense.any() or found.from_lexical.any()):
        scores = reciprocal_ranks(found, config.dense_weight, config.rrf_k)
    order = descending(scores, found.product_ids)
    return found.take(order), scores[order]


def reciprocal_ranks(found: Candidates, dense_weight: float, k: int) -> NDArray[np.float32]:
    """Weighted reciprocal rank fusion, sum of w / (k + rank): float32 (n,).

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods"
    (2009); a list that does not hold a product adds nothing.
    """
    scores = np.zeros(len(found), dtype=np.float64)
    for flags, values, weight in (
        (found.from_dense, found.cosine, dense_weight),
        (found.from_lexical, found.bm25, 1.0 - dense_weight),
    ):
        at = np.flatnonzero(flags)
        order = at[descending(values[at], found.product_ids[at])]
        scores[order] += weight / (k + 1.0 + np.arange(len(order)))
    return scores.astype(np.float32)


def _best(
    flags: NDArray[np.bool_],
    values: NDArray[np.float32],
    product_ids: NDArray[np.bytes_],
    depth: int,
) -> NDArray[np.bool_]:
    """Which of the flagged candidates are among the `depth` best by value."""
    at = np.flatnonzero(flags)
    if len(at) <= depth:
        return flags
    best = np.zeros(len(flags), dtype=bool)
    best[at[descending(values[at], product_ids[at])[:depth]]] = True
    return best
