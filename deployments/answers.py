"""Answers that were given already, so that a shop's frequent queries cost a look-up."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import replace

from aisle.cache import Cache
from aisle.schema import SearchRequest, SearchResponse


class Answers:
    """Whole answers by snapshot and request: a switch finds none of the other snapshot's, a rollback finds its own.

    Only complete answers are kept: one that left a stage out, for want of time or of a replica, is computed again.

    Attributes:
        cache: the answers kept, with its hits and misses.
    """

    def __init__(self, entries: int) -> None:
        """0 keeps nothing and looks nothing up."""
        self._off = entries == 0
        self.cache = Cache[Hashable, SearchResponse](entries)

    def get(self, snapshot_id: str, request: SearchRequest, identity: str) -> SearchResponse | None:
        """The answer to an equal request over that snapshot, under the new request's id; none where none is kept."""
        if self._off:
            return None
        kept = self.cache.get(_key(snapshot_id, request))
        # No stage ran, so no stage has a time.
        return kept and replace(kept, request_id=identity, timings_ms={"total": 0.0})

    def put(self, request: SearchRequest, answer: SearchResponse) -> None:
        """Keeps a complete answer under the snapshot that it names."""
        if not self._off and not answer.degraded:
            self.cache.put(_key(answer.snapshot, request), answer)


def _key(snapshot_id: str, request: SearchRequest) -> Hashable:
    """All of a request but the time that it may take."""
    return (
        snapshot_id,
        request.query,
        request.k,
        request.offset,
        json.dumps(request.filters, sort_keys=True),
        request.facets,
        request.sort,
        request.rewrite,
        request.explain,
    )
