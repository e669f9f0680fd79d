"""The gateway: HTTP in, one pipeline over one snapshot, HTTP out.

In `fused` its process also retrieves, ranks and filters; in `split` the same pipeline runs over remote stages. Nothing
else differs, which is what keeps both equal to `aisle.pipeline`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import Query as Parameter
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from ray import serve
from ray.serve.handle import DeploymentHandle

from aisle.config import Settings
from aisle.local import local_pipeline
from aisle.pipeline import Pipeline
from aisle.schema import MAX_K, MAX_QUERY_CHARS, MAX_REACH, SearchRequest, SearchResponse, Sort
from aisle.snapshot import LoadedSnapshot, Parts
from aisle.stages import Deadline, Rewriter
from deployments.http import invalid_fields, json_response, make_app, problem, request_id
from deployments.remote import RemoteRetriever, RemoteRewriter, RemoteScorer
from deployments.residents import Residents

app = make_app()


class Gateway:
    """Ingress. One instance a replica."""

    def __init__(
        self,
        settings: Settings,
        rewriter: DeploymentHandle | None = None,
        shards: Sequence[DeploymentHandle] = (),
        ranker: DeploymentHandle | None = None,
        coordinator: DeploymentHandle | None = None,
    ) -> None:
        """Loads the live snapshot's parts; with `shards` and `ranker` the topology is `split`, else `fused`."""
        self._settings = settings
        self._pool = ThreadPoolExecutor(
            max_workers=settings.serving.threads, thread_name_prefix="search"
        )
        split = ranker is not None
        parts = Parts.QUERY | Parts.DOCUMENTS if split else Parts.ALL
        self._residents = Residents(settings, parts)
        self._rewriter, self._shards, self._ranker = rewriter, shards, ranker
        self._coordinator = coordinator
        self._pipeline = self._compose(self._residents.load(self._residents.current_id()))
        batched: Any = self._answer  # Serve's decorator adds setters that its types do not show
        batched.set_max_batch_size(settings.serving.batch_max)
        batched.set_batch_wait_timeout_s(settings.serving.batch_wait_ms / 1000)

    def _compose(self, snapshot: LoadedSnapshot) -> Pipeline:
        settings = self._settings
        rewriter: Rewriter | None = None
        model = snapshot.manifest.models.get("rewriter")
        if self._rewriter is not None and model is not None:
            rewriter = RemoteRewriter(self._rewriter, model.fingerprint)
        if self._ranker is None:
            return local_pipeline(snapshot, settings, rewriter, self._in_thread)
        return Pipeline(
            snapshot,
            RemoteRetriever(self._shards, settings.index.shards),
            RemoteScorer(self._ranker),
            rewriter,
            settings.retrieval,
            settings.rewriter.budget_ms,
            self._in_thread,
        )

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """Keeps blocking work off the event loop, which also routes and answers health checks."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def prepare(self, snapshot_id: str) -> str:
        """Loads a snapshot beside the live one: the first phase of a switch."""
        await asyncio.to_thread(self._residents.load, snapshot_id)
        return snapshot_id

    async def activate(self, snapshot_id: str) -> str:
        """Switches to a loaded snapshot; requests under way finish on the one that they began with."""
        if snapshot_id != self._pipeline.snapshot.snapshot_id:
            self._pipeline = self._compose(self._residents.held(snapshot_id))
        return snapshot_id

    async def search(self, request: SearchRequest, identity: str) -> SearchResponse:
        """Answers one request; those that arrive together share a pass."""
        serving = self._settings.serving
        timeout_ms = min(request.timeout_ms or serving.default_timeout_ms, serving.max_timeout_ms)
        deadline = Deadline.after(timeout_ms / 1000)
        answer: SearchResponse = await self._answer((request, deadline, identity))
        return answer

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.0)
    async def _answer(
        self, asked: list[tuple[SearchRequest, Deadline, str]]
    ) -> list[SearchResponse]:
        earliest = min((deadline for _, deadline, _ in asked), key=lambda each: each.at_s)
        requests = [request for request, _, _ in asked]
        return await self._pipeline.search(
            requests, earliest, [identity for _, _, identity in asked]
        )

    @app.post("/v1/search", response_model=SearchResponse, summary="Search")
    async def post_search(self, request: Request, body: SearchRequest) -> Response:
        """Searches one snapshot; an empty page is a legitimate answer and says why."""
        return json_response(await self.search(body, request_id(request)))

    @app.get("/v1/search", response_model=SearchResponse, summary="Search by URL")
    async def get_search(
        self,
        request: Request,
        q: Annotated[
            str, Parameter(min_length=1, max_length=MAX_QUERY_CHARS, description="the query")
        ],
        k: Annotated[int, Parameter(ge=1, le=MAX_K)] = 24,
        offset: Annotated[int, Parameter(ge=0, le=MAX_REACH)] = 0,
        sort: Sort = "relevance",
        filters: Annotated[str, Parameter(description="the filters object as JSON")] = "{}",
        facets: Annotated[str, Parameter(description="comma-separated fields")] = "",
        rewrite: str = "auto",
        explain: bool = False,
        timeout_ms: float | None = None,
    ) -> Response:
        """The same as POST, for links and browsers."""
        try:
            parsed = json.loads(filters)
        except ValueError as error:
            return problem(
                400, "Malformed JSON", f"filters is not valid JSON: {error}; got {filters[:100]!r}"
            )
        try:
            body = SearchRequest.model_validate(
                {
                    "query": q,
                    "k": k,
                    "offset": offset,
                    "sort": sort,
                    "filters": parsed,
                    "facets": [each for each in facets.split(",") if each],
                    "rewrite": rewrite,
                    "explain": explain,
                    "timeout_ms": timeout_ms,
                }
            )
        except ValidationError as error:
            return invalid_fields(error)
        return json_response(await self.search(body, request_id(request)))

    @app.get("/v1/snapshot", summary="What is being served")
    async def get_snapshot(self) -> JSONResponse:
        """The live snapshot's manifest without its files."""
        manifest = self._pipeline.snapshot.manifest
        served = manifest.model_dump(mode="json", exclude={"files", "embeddings"})
        return JSONResponse(
            {
                **served,
                "topology": self._settings.serving.topology,
                "resident": list(self._residents),
            }
        )

    @app.get("/healthz", summary="Alive")
    async def get_health(self) -> JSONResponse:
        """200 while the process answers."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", summary="Ready to answer")
    async def get_ready(self) -> JSONResponse:
        """200 once a snapshot is loaded; a replica that is not there yet gets no traffic."""
        return JSONResponse({"status": "ready", "snapshot": self._pipeline.snapshot.snapshot_id})
