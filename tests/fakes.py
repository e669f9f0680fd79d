"""Fakes of the pipeline's stages, and a pipeline over a real snapshot with any of them in place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from aisle.config import RetrievalConfig, Settings
from aisle.pipeline import Pipeline
from aisle.rank.features import FEATURES
from aisle.relevance.filter import RawCosineFilter
from aisle.retrieve.local import LocalRetriever
from aisle.schema import SearchRequest, SearchResponse
from aisle.score import LocalScorer
from aisle.snapshot import LoadedSnapshot
from aisle.stages import Deadline, Retrieved, Rewrite, Rewriter


class Rewrites:
    """Answers from a table; enough, because the pipeline sees a rewriter by its answers and their delay alone."""

    def __init__(self, table: dict[str, Rewrite] | None = None, delay_s: float = 0.0) -> None:
        self.table = table or {}
        self.delay_s = delay_s
        self.asked: list[str] = []

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        self.asked += queries
        await asyncio.sleep(self.delay_s)
        return [self.table.get(query, Rewrite.unchanged(query)) for query in queries]


class Failing:
    """A stage of any role that raises; enough, because all that the pipeline sees of a broken stage is its error."""

    dimension = 64
    fingerprint = "failing"
    describes = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def score(self, *_: Any) -> Any:
        raise self.error

    async def rewrite(self, *_: Any) -> Any:
        raise self.error

    async def retrieve(self, *_: Any) -> Any:
        raise self.error

    def encode(self, *_: Any) -> Any:
        raise self.error


class Slow(LocalScorer):
    """The real scorer, too late."""

    async def score(self, *arguments: Any) -> Any:
        await asyncio.sleep(5.0)
        return await super().score(*arguments)


class Partial(LocalRetriever):
    """The real retriever over one shard of two, as the fan-out reports it when a shard group is silent."""

    async def retrieve(self, *arguments: Any) -> Retrieved:
        return Retrieved((await super().retrieve(*arguments)).candidates, missing_shards=(1,))


class ByPrice:
    """A ranker with an order that no other stage has: by the number of terms in the title, then by cosine."""

    feature_names: tuple[str, ...] = FEATURES

    def score(self, features: np.ndarray) -> np.ndarray:
        column = FEATURES.index
        return features[:, column("title_terms")] + features[:, column("cosine")]


def compose(
    snapshot: LoadedSnapshot,
    settings: Settings,
    rewriter: Rewriter | None = None,
    *,
    retriever: Any = None,
    scorer: Any = None,
    config: RetrievalConfig | None = None,
    threshold: float = 0.0,
    ranker: Any = None,
    rewrite_budget_ms: float = 50,
) -> Pipeline:
    held = snapshot.snapshot_id
    return Pipeline(
        snapshot,
        retriever or LocalRetriever({held: snapshot.shards}),
        scorer or LocalScorer({held: (ranker or snapshot.ranker, RawCosineFilter(threshold))}),
        rewriter,
        config or settings.retrieval,
        rewrite_budget_ms,
    )


async def ask(
    pipeline: Pipeline, query: str, seconds: float = 30.0, **fields: Any
) -> SearchResponse:
    request = SearchRequest(query=query, **fields)
    (response,) = await pipeline.search([request], Deadline.after(seconds), ["id-1"])
    return response


def ids(response: SearchResponse) -> list[str]:
    return [hit.product_id for hit in response.hits]
