"""A plain Serve application over the same library: one deployment a stage, every setting Ray's default.

What a reader of Serve's documentation would write: the ingress calls the stages one after the other, each query on its
own. `serve deploy` takes it by `jobs.rivals.plain_serve:build`; its cluster runs without HAProxy and throughput mode.
"""

# NOTE: no `from __future__ import annotations`: Serve and FastAPI read the annotations of what they wrap.
import asyncio
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, TypeAdapter
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from aisle.config import Settings, load
from aisle.index.filters import Filters
from aisle.page import build_response
from aisle.ranked import Ranked
from aisle.retrieve.candidates import Candidates
from aisle.retrieve.local import describe_in_shards, search_shards
from aisle.retrieve.merge import fuse, merge
from aisle.retrieve.query import RetrievalQuery, analyse
from aisle.rewrite.choose import Choice
from aisle.schema import SearchRequest, SearchResponse
from aisle.snapshot import Library, LoadedSnapshot, Parts
from aisle.stages import Rewrite
from aisle.store import Store

app = FastAPI()
_RESPONSE = TypeAdapter(SearchResponse)


class BuildArgs(BaseModel):
    """What `build` takes."""

    config: str
    overrides: tuple[str, ...] = ()


def _open(settings: Settings, parts: Parts) -> LoadedSnapshot:
    library = Library(Store.open(settings.store, settings.store_options))
    snapshot = LoadedSnapshot.load(library, library.manifest(library.current()), settings, parts)
    snapshot.warm_up()
    return snapshot


@serve.deployment
class Encode:
    """Query text to a retrieval query."""

    def __init__(self, settings: Settings) -> None:
        self._snapshot, self._depths = _open(settings, Parts.QUERY), settings.retrieval

    def __call__(self, request: SearchRequest) -> RetrievalQuery:
        """Embeds and analyses one query."""
        snapshot, reach = self._snapshot, request.offset + request.k
        return analyse(
            Rewrite.unchanged(request.query),
            snapshot.encoder.encode([request.query], "query")[0],
            snapshot.statistics,
            snapshot.analyzer,
            dict(snapshot.manifest.index.lexical.boosts.items()),
            filters=Filters.parse(request.filters),
            expansion_weight=self._depths.expansion_weight,
            dense_depth=max(self._depths.dense_depth, reach),
            lexical_depth=max(self._depths.lexical_depth, reach),
        )


@serve.deployment
class Retrieve:
    """A retrieval query to fused candidates."""

    def __init__(self, settings: Settings) -> None:
        self._snapshot, self._config = _open(settings, Parts.SHARDS), settings.retrieval

    def __call__(self, query: RetrievalQuery) -> tuple[Candidates, np.ndarray]:
        """Searches every shard."""
        (found,) = search_shards(self._snapshot.shards, [query])
        ordered, scores = fuse(merge([found], query.dense_depth, query.lexical_depth), self._config)
        cut = np.arange(min(self._config.rank_depth, len(ordered)))
        (described,) = describe_in_shards(self._snapshot.shards, [query], [ordered.take(cut)])
        return described, scores[cut]


@serve.deployment
class Rank:
    """Features to scores."""

    def __init__(self, settings: Settings) -> None:
        self._ranker = _open(settings, Parts.RANK).ranker

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Scores the candidates of one query."""
        return self._ranker.score(features)


@serve.deployment
class Filter:
    """Scores to probabilities and the threshold."""

    def __init__(self, settings: Settings) -> None:
        self._relevance = _open(settings, Parts.RANK).relevance

    def __call__(
        self, vector: np.ndarray, cosine: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Judges the candidates of one query."""
        index = np.zeros(len(score), dtype=np.int64)
        return self._relevance.relevance(vector[None], index, cosine, score), float(
            self._relevance.threshold
        )


@serve.deployment
@serve.ingress(app)
class Front:
    """HTTP in, the stages one after the other, HTTP out."""

    def __init__(
        self,
        settings: Settings,
        encode: DeploymentHandle,
        retrieve: DeploymentHandle,
        rank: DeploymentHandle,
        judge: DeploymentHandle,
    ) -> None:
        self._snapshot = _open(settings, Parts.DOCUMENTS)
        self._encode, self._retrieve, self._rank, self._judge = encode, retrieve, rank, judge

    @app.post("/v1/search")
    async def search(self, body: SearchRequest) -> Response:
        """One query."""
        query = await self._encode.remote(body)
        candidates, fused = await self._retrieve.remote(query)
        score = await self._rank.remote(candidates.features)
        relevance, threshold = await self._judge.remote(query.vector, candidates.cosine, score)
        order = np.lexsort((candidates.product_ids, -score))
        ranked = Ranked(
            candidates.take(order),
            fused[order],
            score[order],
            relevance[order],
            relevance[order] >= threshold,
            threshold,
            complete=False,
        )
        choice = Choice.typed(body.query, "as it was typed")
        page = await asyncio.to_thread(build_response, self._snapshot, body, ranked, choice, "")
        return Response(_RESPONSE.dump_json(page), media_type="application/json")

    @app.get("/readyz")
    async def ready(self) -> dict[str, Any]:
        """Ready to answer."""
        return {"status": "ready"}


def build(args: BuildArgs) -> Application:
    """Binds the chain."""
    settings = load(args.config, args.overrides)
    bound: Application = Front.bind(  # type: ignore[attr-defined]
        settings,
        Encode.bind(settings),  # type: ignore[attr-defined]
        Retrieve.bind(settings),  # type: ignore[attr-defined]
        Rank.bind(settings),  # type: ignore[attr-defined]
        Filter.bind(settings),  # type: ignore[attr-defined]
    )
    return bound
