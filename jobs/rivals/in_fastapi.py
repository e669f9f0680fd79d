"""`aisle.pipeline` behind plain FastAPI: what one would write without a cluster."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import TypeAdapter

from aisle.config import Settings
from aisle.schema import SearchRequest, SearchResponse
from aisle.stages import Deadline
from jobs.rivals.opened import open_pipeline

_RESPONSE = TypeAdapter(SearchResponse)


def prepare(_: Settings) -> str:
    """Nothing to make beforehand."""
    return ""


def make_app(settings: Settings, _: str) -> FastAPI:
    """Opens the snapshot and routes one call."""
    app = FastAPI()
    pipeline = open_pipeline(settings)

    @app.post("/v1/search")
    async def search(body: SearchRequest) -> Response:
        deadline = Deadline.after(settings.serving.max_timeout_ms / 1000)
        (answer,) = await pipeline.search([body], deadline)
        return Response(_RESPONSE.dump_json(answer), media_type="application/json")

    return app
