"""A shard in memory: segments minus tombstones, both sides searched, every candidate scored.

FAISS and tantivy only find; cosine and BM25 of everything found are then computed from the stored vectors and terms,
the same way for a row that one side missed. So a candidate's scores do not depend on which side, segment or shard
found it. The ranker's features cost several times as much and are computed when they are asked for, for what is left
after merging and fusing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.index import kernel, kernel_basic, kernel_title
from aisle.index.segment import Segment
from aisle.rank.features import FEATURES, Prepared, basic_scores, score_rows
from aisle.retrieve.candidates import Candidates, locate
from aisle.retrieve.query import RetrievalQuery

_SCAN_ROWS = 65_536


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
        self,
        number: int,
        segments: Sequence[tuple[Segment, NDArray[np.int64]]],
        dense_weight: float,
    ) -> None:
        """Takes (segment, dead rows) pairs in manifest order; row numbers follow that order. Compiles the kernels."""
        kernel_basic.warm_up()
        kernel.warm_up()
        kernel_title.warm_up()
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
        """The best rows of both sides that pass the filters; a little more than asked for, in no order.

        `merge` cuts each side to its depth. Without features; see `features`.
        """
        return Candidates.concatenate([self._search(each, query) for each in self._segments])

    def score(self, query: RetrievalQuery, product_ids: NDArray[np.bytes_]) -> Candidates:
        """Scores named products without searching; ids that are not live in this shard are left out. No features."""
        parts = []
        for each in self._segments:
            rows = each.segment.find(product_ids)
            rows = rows[rows >= 0]
            if each.live is not None:
                rows = rows[each.live[rows]]
            nothing = np.zeros(len(rows), dtype=bool)
            ids = each.segment.forward.ids(query.terms)
            worth = query.idf * query.weights
            parts.append(self._scored(each, query, worth, ids, rows, nothing, nothing))
        return Candidates.concatenate(parts)

    def features(
        self, query: RetrievalQuery, prepared: Prepared, rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The ranker's features of some rows of this shard: float32 (n, len(FEATURES))."""
        features = np.empty((len(rows), len(FEATURES)), dtype=np.float32)
        for each in self._segments:
            inside = rows - each.first_row
            at = np.flatnonzero((inside >= 0) & (inside < each.segment.rows))
            if len(at):
                features[at] = score_rows(
                    query,
                    prepared,
                    each.segment.forward.ids(query.terms),
                    inside[at],
                    each.segment.forward,
                    each.segment.vectors,
                    self._dense_weight,
                )
        return features

    def exact_cosines(self, vector: NDArray[np.float32], k: int) -> NDArray[np.float32]:
        """The k largest cosines of live rows, descending, by a scan of all: what an approximate index is held against.

        Fewer where the shard holds fewer. `vector` is float32 (d,), unit.
        """
        best = np.empty(0, dtype=np.float32)
        for each in self._segments:
            for start in range(0, each.segment.rows, _SCAN_ROWS):
                rows = slice(start, start + _SCAN_ROWS)
                cosines = each.segment.vectors[rows].astype(np.float32) @ vector
                if each.live is not None:
                    cosines = cosines[each.live[rows]]
                best = np.sort(np.concatenate([best, cosines]))[::-1][:k]
        return best

    def live_rows(
        self,
    ) -> Iterator[tuple[NDArray[np.bytes_], NDArray[np.float16], NDArray[np.int64]]]:
        """Every live row, a segment at a time: product ids (n,), vectors (n, d) and locators (n,)."""
        for each in self._segments:
            rows = np.arange(each.segment.rows) if each.live is None else np.flatnonzero(each.live)
            yield (
                each.segment.product_ids[rows],
                each.segment.vectors[rows],
                locate(self.number, rows + each.first_row),
            )

    def _search(self, each: _LiveSegment, query: RetrievalQuery) -> Candidates:
        segment = each.segment
        allowed = each.live
        if not query.filters.empty:
            mask = segment.filters.mask(query.filters)
            allowed = mask if allowed is None else mask & allowed
        if segment.rows == 0 or (allowed is not None and not allowed.any()):
            return Candidates.none()
        nearest = np.empty(0, dtype=np.int64)
        if query.dense_depth > 0 and len(query.vector):
            wanted = query.dense_depth
            if segment.dense.exhaustive:
                wanted = _with_margin(wanted)
            nearest = segment.dense.search(query.vector, wanted, allowed)
        ids = segment.forward.ids(query.terms)
        worth = query.idf * query.weights
        matching = self._matching(each, query, ids, worth)
        rows, from_dense, from_lexical = kernel_basic.union(nearest, matching)
        return self._scored(each, query, worth, ids, rows, from_dense, from_lexical)

    @staticmethod
    def _matching(
        each: _LiveSegment,
        query: RetrievalQuery,
        ids: NDArray[np.int32],
        worth: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """Best live rows of the lexical side; asks for more while tombstones take places."""
        segment, wanted = each.segment, query.lexical_depth
        if wanted <= 0:
            return np.empty(0, dtype=np.int64)
        wanted = _with_margin(wanted)
        asked = wanted if each.live is None else wanted + 64
        while True:
            rows = segment.lexical.search(query.terms, ids, worth, asked, query.filters)
            found = rows if each.live is None else rows[each.live[rows]]
            if len(found) >= wanted or len(rows) < asked:
                return found[:wanted]
            asked *= 4

    def _scored(
        self,
        each: _LiveSegment,
        query: RetrievalQuery,
        worth: NDArray[np.float32],
        ids: NDArray[np.int32],
        rows: NDArray[np.int64],
        from_dense: NDArray[np.bool_],
        from_lexical: NDArray[np.bool_],
    ) -> Candidates:
        if len(rows) == 0:
            return Candidates.none()
        segment = each.segment
        cosine, bm25, fused = basic_scores(
            query, worth, ids, rows, segment.forward, segment.vectors, self._dense_weight
        )
        return Candidates(
            product_ids=segment.product_ids[rows],
            locators=locate(self.number, rows + each.first_row),
            cosine=cosine,
            bm25=bm25,
            fused=fused,
            from_dense=from_dense,
            from_lexical=from_lexical,
            features=np.empty((len(rows), 0), dtype=np.float32),
        )


def _with_margin(depth: int) -> int:
    """An eighth more than wanted, because the merge cuts by exact scores and product ids.

    Near the cut the indexes have another order: tantivy rounds field lengths, SQ8 rounds vectors, FAISS breaks ties as
    they come. A graph gives no margin: it would cost as much again as the search.
    """
    return depth + depth // 8 + 8
