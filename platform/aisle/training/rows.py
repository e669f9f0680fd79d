"""Training rows: judged pairs as the ranker will see them, and unjudged candidates as examples of what to pass over.

Rows come from the serving pipeline itself, so a model is trained on exactly the features that it is served. Nothing in
them says whether or how often a product was judged.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.batch import rewrites_of
from aisle.evaluation import Judgments
from aisle.pipeline import Pipeline
from aisle.rank.features import FEATURES
from aisle.schema import SearchRequest
from aisle.searching import Opener
from aisle.stages import Deadline
from aisle.trace import Trace

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
    """Maps `training_queries` rows to one row a pair: `query, product_id, grade, place, cosine, features`.

    `grade` is null for a candidate that nobody judged; at most `unjudged` of those a query, drawn by the query's hash,
    or all of them. `place` is the candidate's place by the fused score, from 0, -1 where retrieval did not find it.
    """

    def __init__(self, pipeline: Pipeline, unjudged: int | None) -> None:
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
        requests = [SearchRequest(query=query) for query in queries]
        found = await self._pipeline.rank(requests, rewrites, deadline, Trace())
        tables = []
        for i, query in enumerate(queries):
            grade_of = dict(zip(judged[i], grades[i], strict=True))
            hits = found[i].candidates
            place_of = {each.decode(): at for at, each in enumerate(hits.product_ids)}
            unjudged = [at for each, at in place_of.items() if each not in grade_of]
            wanted = len(unjudged) if self._unjudged is None else self._unjudged
            for candidates in (
                pairs[i].candidates,
                hits.take(draw(query, np.array(unjudged, np.int64), wanted)),
            ):
                ids = [each.decode() for each in candidates.product_ids]
                tables.append(
                    pa.table(
                        {
                            "query": pa.array([query] * len(ids), pa.string()),
                            "product_id": pa.array(ids, pa.string()),
                            "grade": pa.array([grade_of.get(each) for each in ids], pa.float64()),
                            "place": pa.array([place_of.get(each, -1) for each in ids], pa.int32()),
                            "cosine": pa.array(candidates.cosine),
                            "features": pa.FixedSizeListArray.from_arrays(
                                pa.array(np.ascontiguousarray(candidates.features).ravel()),
                                len(FEATURES),
                            ),
                        }
                    )
                )
        return pa.concat_tables(tables)


def draw(query: str, places: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Some of the places, each as likely as the next; the same for the same query.

    Not the best ones: rows chosen for a high fused score teach that a high fused score is bad.
    """
    if len(places) <= wanted:
        return places
    rng = np.random.default_rng(zlib.crc32(query.encode()))
    return np.sort(rng.choice(places, size=wanted, replace=False))


@dataclass(frozen=True)
class MakeFeatures:
    """Makes a `FeatureBatch` where it runs."""

    opener: Opener
    unjudged: int | None

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
    place: NDArray[np.int64]
    """By the fused score of the query's candidates, from 0; -1 where retrieval did not find the product."""
    product_ids: NDArray[np.bytes_]
    """Never a feature; for ablations and reports."""

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
            place=table["place"].to_numpy().astype(np.int64),
            product_ids=np.array([each.encode() for each in table["product_id"].to_pylist()]),
        )

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(n,) whether people judged the pair."""
        return np.isfinite(self.grades)

    def judged(self) -> TrainingRows:
        """Only the pairs that people judged."""
        return self.take(self.seen)

    def take(self, rows: NDArray[np.bool_]) -> TrainingRows:
        """The pairs where `rows` (n,) is true; queries keep their numbers."""
        return TrainingRows(
            self.queries,
            self.query_index[rows],
            self.features[rows],
            self.cosine[rows],
            self.grades[rows],
            self.place[rows],
            self.product_ids[rows],
        )

    def thinned(self, unjudged: int) -> TrainingRows:
        """All judged pairs and at most `unjudged` others a query, drawn as `draw` does."""
        kept = self.seen.copy()
        others = np.flatnonzero(~kept)
        others = others[np.lexsort((self.place[others], self.query_index[others]))]
        bounds = np.searchsorted(self.query_index[others], np.arange(len(self.queries) + 1))
        for i, query in enumerate(self.queries):
            kept[draw(query, others[bounds[i] : bounds[i + 1]], unjudged)] = True
        return self.take(kept)

    def joined(self, other: TrainingRows) -> TrainingRows:
        """Both sets of rows; a query must not be in both."""
        return TrainingRows(
            (*self.queries, *other.queries),
            np.concatenate([self.query_index, other.query_index + len(self.queries)]),
            np.concatenate([self.features, other.features]),
            np.concatenate([self.cosine, other.cosine]),
            np.concatenate([self.grades, other.grades]),
            np.concatenate([self.place, other.place]),
            np.concatenate([self.product_ids, other.product_ids]),
        )
