"""The gateway: HTTP in, the live pipeline, HTTP out; and the switch from one snapshot to the next."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query as Parameter
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from ray.serve.handle import DeploymentHandle

from aisle.config import Settings, read_keys
from aisle.errors import AisleError, StageError
from aisle.scaling import LATENCY, Recent
from aisle.schema import MAX_K, MAX_QUERY_CHARS, MAX_REACH, SearchRequest, SearchResponse, Sort
from aisle.stages import Deadline
from deployments.http import invalid_fields, json_response, make_app, problem, request_id
from deployments.live import Live
from deployments.logs import RequestLog, set_up
from deployments.remote import answer
from deployments.telemetry import Telemetry, age_s, reason_of
from deployments.tracing import describe, stages

app = make_app()
logger = logging.getLogger(__name__)


class Gateway:
    """Ingress. One instance a replica."""

    def __init__(
        self,
        settings: Settings,
        rewriter: DeploymentHandle | None = None,
        shards: Sequence[DeploymentHandle] = (),
        ranker: DeploymentHandle | None = None,
        coordinator: DeploymentHandle | None = None,
        live: type[Live] = Live,
    ) -> None:
        """Loads the live snapshot; the coordinator is bound here, because Serve starts only what its ingress names."""
        self._settings = settings
        set_up()
        # The door reads them again; here a mistake in them stops the start and is said.
        read_keys(settings.admission)
        self._telemetry = Telemetry()
        self._log = RequestLog(logger)
        self._live = live(settings, rewriter, shards, ranker, self._telemetry)
        self._coordinator = coordinator
        self._recent = Recent()
        self._telemetry.watch("aisle_ongoing_requests", lambda: float(self._live.inside))
        self._telemetry.watch(
            "aisle_snapshot_age_seconds", lambda: age_s(self._live.snapshot.manifest.created_at)
        )

    async def prepare(self, snapshot_id: str) -> str:
        """Loads a snapshot beside the live one: the first phase of a switch."""
        await self._live.load(snapshot_id)
        return snapshot_id

    async def activate(self, snapshot_id: str) -> str:
        """Switches to a loaded snapshot; requests under way finish on the one that they began with."""
        self._live.switch(snapshot_id)
        return snapshot_id

    async def active(self) -> str:
        """The snapshot that this replica answers from."""
        return self._live.snapshot.snapshot_id

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `aisle.scaling` decides by, beside what Serve counts itself; Serve asks under this name."""
        return {LATENCY: self._recent.p95_ms(time.perf_counter())}

    async def _search(self, request: Request, body: SearchRequest) -> Response:
        identity, started = request_id(request), time.perf_counter()
        try:
            response = await self._live.search(body, identity)
        except AisleError as error:
            reason = reason_of(error)
            self._telemetry.refused(reason)
            self._log(
                logging.WARNING,
                f"no answer: {error}",
                request_id=identity,
                snapshot=self._live.snapshot.snapshot_id,
                reason=reason,
            )
            raise
        took_s = time.perf_counter() - started
        self._recent.add(started, took_s)
        self._telemetry.answered(took_s, len(response.hits))
        describe(
            request_id=identity,
            snapshot=response.snapshot,
            degraded=response.degraded,
            **stages(response.timings_ms),
        )
        if response.degraded:
            self._log(
                logging.INFO,
                "degraded answer",
                request_id=identity,
                snapshot=response.snapshot,
                degraded=response.degraded,
                timings_ms=response.timings_ms,
            )
        return json_response(response)

    @app.post("/v1/search", response_model=SearchResponse, summary="Search")
    async def post_search(self, request: Request, body: SearchRequest) -> Response:
        """Searches one snapshot; an empty page is a legitimate answer and says why."""
        return await self._search(request, body)

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
        return await self._search(request, body)

    @app.get("/v1/snapshot", summary="What is being served")
    async def get_snapshot(self) -> JSONResponse:
        """The live snapshot's manifest without its files, and whether every gateway has come to what is published."""
        manifest = self._live.snapshot.manifest
        served = manifest.model_dump(mode="json", exclude={"files", "embeddings"})
        own: dict[str, Any] = {
            "topology": self._settings.serving.topology,
            "resident": list(self._live.residents),
            "rollout": await self._rollout(),
        }
        return JSONResponse(served | own)

    @app.get("/healthz", summary="Alive")
    async def get_health(self) -> JSONResponse:
        """200 while the process answers."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", summary="Ready to answer")
    async def get_ready(self) -> JSONResponse:
        """200 once a snapshot is loaded; a replica that is not there yet gets no traffic."""
        return JSONResponse({"status": "ready", "snapshot": self._live.snapshot.snapshot_id})

    async def _rollout(self) -> dict[str, str | None] | None:
        """What the coordinator says; none where it does not answer, which is no reason not to answer ourselves."""
        if self._coordinator is None:
            return None
        try:
            status: dict[str, str | None] = await answer(
                self._coordinator.status.remote, Deadline.after(1.0), "coordinator"
            )
        except StageError:
            return None
        return status
