"""Batch search: the serving pipeline over tables of queries, hits that the filter would drop included.

Plain batch-in, batch-out callables that Ray Data maps. Rewriting is a stage of its own, because one engine feeds many
searchers; its column then travels with the query. A test holds batch and online answers equal.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from aisle.errors import StageError
from aisle.pipeline import Pipeline
from aisle.ranked import Ranked
from aisle.schema import MAX_K, SearchRequest
from aisle.stages import Deadline, Rewrite, Rewriter, Segment
from aisle.trace import Trace

_DEADLINE_S = 3600.0
"""A batch has all the time it needs; a stuck stage still ends."""

ABSENT_SCORE = -1e9
"""Score of a pair whose product the snapshot does not hold: below every ranker's, and finite."""

RESULT_SCHEMA = pa.schema(
    [
        ("query", pa.string()),
        ("rank", pa.int32()),
        ("product_id", pa.string()),
        ("score", pa.float32()),
        ("relevance", pa.float32()),
        ("kept", pa.bool_()),
    ]
)
"""What `--queries` writes; `rank` counts from 1."""

PAIRS_SCHEMA = pa.schema([each for each in RESULT_SCHEMA if each.name != "rank"])
"""What `--pairs` writes."""


class RewriteBatch:
    """Adds the column `rewrite` (JSON) to a table with the column `query`."""

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Asks once for each distinct query."""
        queries = batch["query"].to_pylist()
        distinct = list(dict.fromkeys(queries))
        work = self._rewritten(distinct)
        rewrites = dict(zip(distinct, asyncio.run(work), strict=True))
        return batch.append_column(
            "rewrite", pa.array([dump_rewrite(rewrites[query]) for query in queries])
        )

    async def _rewritten(self, queries: Sequence[str]) -> list[Rewrite]:
        return await self._rewriter.rewrite(queries, Deadline.after(_DEADLINE_S))


class SearchBatch:
    """Maps a table with `query` (and `rewrite`, if there) to results of depth `k`; see `RESULT_SCHEMA`."""

    def __init__(self, pipeline: Pipeline, k: int) -> None:
        self._pipeline = pipeline
        self._k = k

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Searches every row; StageError where a stage failed."""
        queries = batch["query"].to_pylist()
        ranked = self.rank(queries, rewrites_of(batch))
        return _table(queries, ranked, self._k)

    def rank(self, queries: Sequence[str], rewrites: Sequence[Rewrite]) -> list[Ranked]:
        """Candidates of each query in order, to whatever depth the pipeline has."""
        # A request's k ends at MAX_K; what is asked for beyond it is offset, which counts for the depth alike.
        k = min(self._k, MAX_K)
        requests = [SearchRequest(query=query, k=k, offset=self._k - k) for query in queries]
        trace = Trace()
        work = self._pipeline.rank(requests, rewrites, Deadline.after(_DEADLINE_S), trace)
        ranked = asyncio.run(work)
        _require_whole(trace)
        return ranked


class PairsBatch:
    """Maps a table with `query, product_id` (and `rewrite`, if there) to scores; see `PAIRS_SCHEMA`.

    Every pair is answered: one whose product the snapshot does not hold gets `ABSENT_SCORE`, relevance 0, kept false.
    Pairs of one query should come together; each distinct query is analysed once.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Scores every row; StageError where a stage failed."""
        queries, ids = batch["query"].to_pylist(), batch["product_id"].to_pylist()
        rewrite_of = dict(zip(queries, rewrites_of(batch), strict=True))
        ids_of: dict[str, list[str]] = {}
        for query, product_id in zip(queries, ids, strict=True):
            ids_of.setdefault(query, []).append(product_id)
        distinct, trace = list(ids_of), Trace()
        work = self._pipeline.score_pairs(
            [rewrite_of[query] for query in distinct],
            [list(dict.fromkeys(ids_of[query])) for query in distinct],
            Deadline.after(_DEADLINE_S),
            trace,
        )
        scored = asyncio.run(work)
        _require_whole(trace)
        found: dict[tuple[str, str], tuple[float, float | None, bool]] = {}
        for query, ranked in zip(distinct, scored, strict=True):
            for i, product_id in enumerate(ranked.candidates.product_ids):
                relevance = None if ranked.relevance is None else float(ranked.relevance[i])
                found[query, product_id.decode()] = (
                    float(ranked.score[i]),
                    relevance,
                    bool(ranked.kept[i]),
                )
        absent = (ABSENT_SCORE, 0.0, False)
        rows = [found.get(pair, absent) for pair in zip(queries, ids, strict=True)]
        columns: dict[str, list[Any]] = {"query": queries, "product_id": ids}
        for at, name in enumerate(("score", "relevance", "kept")):
            columns[name] = [row[at] for row in rows]
        return pa.table(columns, schema=PAIRS_SCHEMA)


def _require_whole(trace: Trace) -> None:
    """A page may do without a stage and say so; a table of scores has no place to say it."""
    if trace.degraded:
        raise StageError(
            f"a stage failed: {', '.join(trace.degraded)}; batch results are made with every stage or not at all"
        )


def dump_rewrite(rewrite: Rewrite) -> str:
    """A rewrite as JSON, for a column."""
    return json.dumps(
        {
            "original": rewrite.original,
            "query": rewrite.query,
            "expansions": list(rewrite.expansions),
            "segments": [[each.text, each.type] for each in rewrite.segments],
        }
    )


def load_rewrite(text: str) -> Rewrite:
    """The inverse of `dump_rewrite`."""
    raw = json.loads(text)
    segments = tuple(Segment(*each) for each in raw["segments"])
    return Rewrite(raw["original"], raw["query"], tuple(raw["expansions"]), segments)


def rewrites_of(batch: pa.Table) -> list[Rewrite]:
    """The column `rewrite`, or every query unchanged where there is none."""
    if "rewrite" in batch.column_names:
        return [load_rewrite(text) for text in batch["rewrite"].to_pylist()]
    return [Rewrite.unchanged(" ".join(query.split())) for query in batch["query"].to_pylist()]


def _table(queries: Sequence[str], ranked: Sequence[Ranked], k: int) -> pa.Table:
    parts = []
    for query, each in zip(queries, ranked, strict=True):
        n = min(k, len(each.candidates))
        parts.append(
            pa.table(
                {
                    "query": pa.array([query] * n, pa.string()),
                    "rank": pa.array(np.arange(1, n + 1, dtype=np.int32)),
                    "product_id": pa.array(
                        [i.decode() for i in each.candidates.product_ids[:n]], pa.string()
                    ),
                    "score": pa.array(each.score[:n].astype(np.float32)),
                    "relevance": pa.array(
                        [None] * n if each.relevance is None else each.relevance[:n], pa.float32()
                    ),
                    "kept": pa.array(each.kept[:n]),
                }
            )
        )
    return pa.concat_tables(parts).cast(RESULT_SCHEMA) if parts else RESULT_SCHEMA.empty_table()
