"""A few queries through a snapshot in this process: how much the dense index misses, and how long an answer takes.

Recall is counted by cosine, not by id: a hit counts if it is as near as the exact k-th neighbour, so that rows with
equal vectors, which an exact search may order either way, are no misses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aisle.config import Settings
from aisle.index.filters import Filters
from aisle.local import local_pipeline
from aisle.pipeline import Pipeline
from aisle.retrieve.query import analyse
from aisle.schema import SearchRequest
from aisle.snapshot import LoadedSnapshot
from aisle.stages import Deadline, Rewrite

K = 100
_PAGE = 24
_WARM_UP_QUERIES = 8
_TOLERANCE = 1e-5
"""Of a cosine summed in another order, in float32."""
_DEADLINE_S = 60.0


def evenly(queries: Sequence[str], n: int) -> list[str]:
    """At most n of the queries, spread over all of them; the same ones every night."""
    if len(queries) <= n:
        return list(queries)
    return [queries[i * len(queries) // n] for i in range(n)]


def probe(
    snapshot: LoadedSnapshot,
    settings: Settings,
    queries: Sequence[str],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Measures a sample of queries on a wholly loaded snapshot, without rewriting.

    Returns `dense` (recall@100 against exact search) unless the dense side is off, and `latency_ms` (p50, p95 of one
    query after another); nothing where there is no query or no product.
    """
    if not queries or not any(shard.live_rows for shard in snapshot.manifest.shards):
        return {}
    found: dict[str, Any] = {}
    if settings.retrieval.dense_depth > 0:
        recall = dense_recall(snapshot, queries, max(settings.retrieval.dense_depth, K))
        found["dense"] = {f"recall@{K}": round(recall, 5), "queries": len(queries)}
    snapshot.warm_up()
    times = asyncio.run(_times(local_pipeline(snapshot, settings), queries, clock))
    p50, p95 = np.quantile(times, [0.5, 0.95])
    found["latency_ms"] = {
        "p50": round(1000 * float(p50), 3),
        "p95": round(1000 * float(p95), 3),
        "queries": len(queries),
    }
    return found


def dense_recall(snapshot: LoadedSnapshot, queries: Sequence[str], depth: int) -> float:
    """Mean share of the 100 exact nearest live products that the dense index finds when asked for `depth`."""
    vectors = snapshot.encoder.encode(list(queries), "query")
    shares = []
    for text, vector in zip(queries, vectors, strict=True):
        query = analyse(
            Rewrite.unchanged(text),
            vector,
            snapshot.statistics,
            snapshot.analyzer,
            dict(snapshot.manifest.index.lexical.boosts.items()),
            filters=Filters(),
            expansion_weight=0.0,
            dense_depth=depth,
            lexical_depth=0,
        )
        exact = np.concatenate([shard.exact_cosines(vector, K) for shard in snapshot.shards])
        nearest = np.sort(exact)[::-1][:K]
        cosines = np.concatenate([shard.search(query).cosine for shard in snapshot.shards])
        hits = int((cosines >= nearest[-1] - _TOLERANCE).sum())
        shares.append(min(hits, len(nearest)) / len(nearest))
    return float(np.mean(shares))


async def _times(
    pipeline: Pipeline, queries: Sequence[str], clock: Callable[[], float]
) -> list[float]:
    times = []
    for text in [*queries[:_WARM_UP_QUERIES], *queries]:
        started = clock()
        await pipeline.search([SearchRequest(query=text, k=_PAGE)], Deadline.after(_DEADLINE_S))
        times.append(clock() - started)
    return times[min(_WARM_UP_QUERIES, len(queries)) :]
