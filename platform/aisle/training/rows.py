"""Training rows: judged pairs as the ranker will see them, and unjudged candidates as examples of what to pass over.

Rows come from the serving pipeline itself, so a model is trained on exactly the features that it is served. Nothing in
them says whether or how often a product was judged.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.batch import rewrites_of
from aisle.evaluation import Judgments
from aisle.pipeline import Pipeline, Trace
from aisle.rank.features import FEATURES
from aisle.schema import SearchRequest
from aisle.searching import Opener
from aisle.stages import Deadline

_DEADLINE_S = 3600.0


def training_queries(judgments: Judgments) -> pa.Table:
    """One row a query: `query`, `product_ids` and their `grades`."""
    bounds = judgments.offsets
    spans = [slice(bounds[i], bounds[i + 1]) for i in range(len(judgments.queries))]
    return pa.table(
        {
            "query": pa.array(list(judgments.texts), pa.string()),
            "product_ids": pa.array(
                [list(judgments.product_ids[each]) for each in spans], pa.list_(pa.string())
            ),
            "grades": pa.array(
                [list(judgments.grades[each]) for each in spans], pa.list_(pa.float64())
            ),
        }
    )


class FeatureBatch:
    """Maps `training_queries` rows to one row a pair: `query, product_id, grade, cosine, features`.

    `grade` is null for a candidate that nobody judged; at most `unjudged` of those a query, drawn by the query's hash.
    """

    def __init__(self, pipeline: Pipeline, unjudged: int) -> None:
        self._pipeline = pipeline
        self._unjudged = unjudged

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See the class."""
        return asyncio.run(self._rows(batch))

    async def _rows(self, batch: pa.Table) -> pa.Table:
        queries: list[str] = batch["query"].to_pylist()
        judged: list[list[str]] = batch["product_ids"].to_pylist()
        grades: list[list[float]] = batch["grades"].to_pylist()
        rewrites = rewrites_of(batch)
        deadline = Deadline.after(_DEADLINE_S)
        pairs = await self._pipeline.score_pairs(rewrites, judged, deadline)
        found = []
        if self._unjudged:
            requests = [SearchRequest(query=query) for query in queries]
            found = await self._pipeline.rank(requests, rewrites, deadline, Trace())
        tables = []
        for i, query in enumerate(queries):
            grade_of = dict(zip(judged[i], grades[i], strict=True))
            parts = [pairs[i].candidates]
            if found:
                unjudged = [
                    at
                    for at, each in enumerate(found[i].candidates.product_ids)
                    if each.decode() not in grade_of
                ]
                parts.append(found[i].candidates.take(_draw(query, unjudged, self._unjudged)))
            for candidates in parts:
                ids = [each.decode() for each in candidates.product_ids]
                tables.append(
                    pa.table(
                        {
                            "query": pa.array([query] * len(ids), pa.string()),
                            "product_id": pa.array(ids, pa.string()),
                            "grade": pa.array([grade_of.get(each) for each in ids], pa.float64()),
                            "cosine": pa.array(candidates.cosine),
                            "features": pa.FixedSizeListArray.from_arrays(
                                pa.array(np.ascontiguousarray(candidates.features).ravel()),
                                len(FEATURES),
                            ),
                        }
                    )
                )
        return pa.concat_tables(tables)


def _draw(query: str, positions: Sequence[int], wanted: int) -> NDArray[np.int64]:
    """Some positions, half of them the best ranked (hard negatives), the rest anywhere; the same for the same query."""
    if len(positions) <= wanted:
        return np.array(positions, dtype=np.int64)
    hard = wanted // 2
    rng = np.random.default_rng(zlib.crc32(query.encode()))
    rest = rng.choice(np.array(positions[hard:]), size=wanted - hard, replace=False)
    return np.concatenate([np.array(positions[:hard], dtype=np.int64), rest.astype(np.int64)])


@dataclass(frozen=True)
class MakeFeatures:
    """Makes a `FeatureBatch` where it runs."""

    opener: Opener
    unjudged: int

    def __call__(self) -> FeatureBatch:
        """Opens the snapshot."""
        return FeatureBatch(self.opener.pipeline(), self.unjudged)


@dataclass(frozen=True)
class TrainingRows:
    """Rows of one split as arrays; all have length n but `queries` (q)."""

    queries: tuple[str, ...]
    query_index: NDArray[np.int64]
    features: NDArray[np.float32]
    cosine: NDArray[np.float32]
    grades: NDArray[np.float64]
    """NaN where nobody judged the pair."""

    @classmethod
    def from_table(cls, table: pa.Table) -> TrainingRows:
        """Arrays of `FeatureBatch` output, whatever the order of its blocks."""
        table = table.sort_by([("query", "ascending"), ("product_id", "ascending")])
        names = np.array(table["query"].to_pylist(), dtype=object)
        queries, index = np.unique(names, return_inverse=True)
        features = (
            table["features"].combine_chunks().flatten().to_numpy().reshape(-1, len(FEATURES))
        )
        return cls(
            queries=tuple(queries),
            query_index=index.astype(np.int64),
            features=features.astype(np.float32),
            cosine=table["cosine"].to_numpy().astype(np.float32),
            grades=table["grade"].to_numpy(zero_copy_only=False).astype(np.float64),
        )

    def judged(self) -> TrainingRows:
        """Only the pairs that people judged."""
        return self.take(np.isfinite(self.grades))

    def take(self, rows: NDArray[np.bool_]) -> TrainingRows:
        """The pairs where `rows` (n,) is true; queries keep their numbers."""
        return TrainingRows(
            self.queries,
            self.query_index[rows],
            self.features[rows],
            self.cosine[rows],
            self.grades[rows],
        )
