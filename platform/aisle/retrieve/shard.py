"""A shard in memory: segments minus tombstones, both sides searched, every candidate scored.

FAISS and tantivy only find; cosine and BM25 of everything found are then computed from the stored vectors and terms, the
same way for a row that one side missed. So a candidate's scores do not depend on which side, segment or shard found it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.index.segment import Segment
from aisle.rank.features import pair_features
from aisle.retrieve.bm25 import attainable, bm25_parts
from aisle.retrieve.candidates import Candidates, locate
from aisle.retrieve.query import RetrievalQuery


@dataclass(frozen=True, slots=True)
class _LiveSegment:
    segment: Segment
    first_row: int
    """Row of the shard that this segment's row 0 is."""
    live: NDArray[np.bool_] | None
    """(n,) rows without a tombstone; none when all live."""


class Shard:
    """Answers queries from the rows of one shard. Read only; safe to call from several threads."""

    def __init__(
        self, number: int, segments: Sequence[tuple[Segment, NDArray[np.int64]]], dense_weight: float
    ) -> None:
        """Takes (segment, dead rows) pairs in manifest order; row numbers follow that order."""
        self.number = number
        self._dense_weight = dense_weight
        self._segments: list[_LiveSegment] = []
        first_row = 0
        for segment, dead in segments:
            live = None
            if len(dead):
                live = np.ones(segment.rows, dtype=bool)
                live[dead] = False
            self._segments.append(_LiveSegment(segment, first_row, live))
            first_row += segment.rows

    def search(self, query: RetrievalQuery) -> Candidates:
        """The best `dense_depth` and `lexical_depth` rows that pass the filters, scored; in no particular order."""
        return Candidates.concatenate([self._search(each, query) for each in self._segments])

    def score(self, query: RetrievalQuery, product_ids: NDArray[np.bytes_]) -> Candidates:
        """Scores named products without searching; ids that are not live in this shard are left out."""
        parts = []
        for each in self._segments:
            rows = each.segment.find(product_ids)
            rows = rows[rows >= 0]
            if each.live is not None:
                rows = rows[each.live[rows]]
            nothing = np.zeros(len(rows), dtype=bool)
            parts.append(self._scored(each, query, rows, nothing, nothing))
        return Candidates.concatenate(parts)

    def _search(self, each: _LiveSegment, query: RetrievalQuery) -> Candidates:
        segment = each.segment
        allowed = each.live
        if not query.filters.empty:
            mask = segment.filters.mask(query.filters)
            allowed = mask if allowed is None else mask & allowed
            if not allowed.any():
                return Candidates.none()
        nearest = np.empty(0, dtype=np.int64)
        if query.dense_depth > 0 and len(query.vector):
            nearest = segment.dense.search(query.vector, query.dense_depth, allowed)
        matching = self._matching(each, query)
        rows = np.union1d(nearest, matching)
        return self._scored(each, query, rows, np.isin(rows, nearest), np.isin(rows, matching))

    def _matching(self, each: _LiveSegment, query: RetrievalQuery) -> NDArray[np.int64]:
        """Best live rows of the lexical side; asks for more while tombstones take places.

        An eighth more than wanted: tantivy rounds field lengths, so its order near the cut is not quite BM25's, and
        the merge cuts by exact scores.
        """
        segment, wanted = each.segment, query.lexical_depth
        if wanted <= 0:
            return np.empty(0, dtype=np.int64)
        ids = segment.forward.ids(query.terms)
        wanted += wanted // 8 + 8
        asked = wanted if each.live is None else wanted + 64
        while True:
            rows = segment.lexical.search(
                query.terms, ids, query.weights * query.idf, query.boosts, asked, query.filters
            )
            found = rows if each.live is None else rows[each.live[rows]]
            if len(found) >= wanted or len(rows) < asked:
                return found[:wanted]
            asked *= 4

    def _scored(
        self,
        each: _LiveSegment,
        query: RetrievalQuery,
        rows: NDArray[np.int64],
        from_dense: NDArray[np.bool_],
        from_lexical: NDArray[np.bool_],
    ) -> Candidates:
        if len(rows) == 0:
            return Candidates.none()
        segment = each.segment
        matched = segment.forward.count(rows, segment.forward.ids(query.terms), query.order)
        parts = bm25_parts(query, matched)
        bm25 = np.einsum("ntf,f->n", parts, query.boosts).astype(np.float32)
        share = bm25 / np.float32(attainable(query))
        if len(query.vector):
            cosine = segment.dense.cosines(query.vector, rows)
            weight = np.float32(self._dense_weight)
            fused = weight * cosine + (1 - weight) * share
        else:
            cosine, fused = np.zeros(len(rows), dtype=np.float32), share
        overlap = segment.forward.trigram_overlap(rows, query.grams)
        return Candidates(
            product_ids=segment.product_ids[rows],
            locators=locate(self.number, rows + each.first_row),
            cosine=cosine,
            bm25=bm25,
            fused=fused,
            from_dense=from_dense,
            from_lexical=from_lexical,
            features=pair_features(query, matched, parts, cosine, bm25, share, fused, overlap),
        )
