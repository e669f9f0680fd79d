"""Load generation over real HTTP: what counts as latency, what as an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from aisle.schema import SearchRequest
from aisle.stages import Deadline
from jobs.contest import Contest, on_uvicorn
from jobs.http_load import Client
from tests import shop

BODIES = [{"query": "red dress"}, {"query": "office chair"}]


class Service:
    """Answers with the query as its only hit; number `stalls_at` takes half a second, `refuses_at` is refused."""

    def __init__(self, stalls_at: int = -1, refuses_at: int = -1) -> None:
        self._stalls_at, self._refuses_at, self._asked = stalls_at, refuses_at, 0
        self._free = asyncio.Lock()  # one request at a time, so that a stall delays those behind it

    async def answer(self, request: web.Request) -> web.Response:
        async with self._free:
            number, self._asked = self._asked, self._asked + 1
            if number == self._stalls_at:
                await asyncio.sleep(0.5)
            if number == self._refuses_at:
                return web.json_response({"title": "full"}, status=429)
            query = (await request.json())["query"]
            answer: dict[str, Any] = {
                "hits": [{"product_id": query}],
                "degraded": ["rewrite"],
                "timings_ms": {"total": 2.0},
            }
            return web.json_response(answer)


async def running(service: Service) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/search", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server: Any = site._server
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await runner.cleanup()


async def test_a_stall_shows_in_every_request_that_was_due_meanwhile():
    async for url in running(Service(stalls_at=10)):
        async with Client(url, BODIES) as client:
            tally = await client.open_loop(rate_per_s=100, seconds=1.0)
    assert len(tally.latencies_ms) == 100
    # A closed loop would have seen one slow request; here those due within the half second waited too.
    assert sum(ms > 100 for ms in tally.latencies_ms) >= 30


async def test_refusals_are_counted_apart_and_have_no_latency():
    async for url in running(Service(refuses_at=3)):
        async with Client(url, BODIES) as client:
            tally = await client.closed_loop(clients=2, seconds=0.3)
    assert tally.statuses["429"] == tally.errors == 1
    assert len(tally.latencies_ms) == tally.statuses["200"]
    assert tally.found == {"red dress": ["red dress"], "office chair": ["office chair"]}
    assert tally.degraded["rewrite"] == tally.statuses["200"]
    assert tally.stages_ms["total"][0] == 2.0


async def test_a_service_that_is_not_there_is_an_error_not_a_latency():
    async with Client("http://127.0.0.1:9", BODIES) as client:
        tally = await client.open_loop(rate_per_s=20, seconds=0.2)
    assert tally.errors == 4
    assert tally.latencies_ms == []
    assert tally.requests_per_s == 0.0


@pytest.mark.slow
async def test_the_pipeline_behind_fastapi_answers_as_the_pipeline_does(tmp_path: Path):
    settings = shop.published(tmp_path, 120)
    config = tmp_path / "shop.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True)))
    texts = shop.queries(5)
    requests = [SearchRequest(query=text, k=5) for text in texts]
    expected = await shop.open_pipeline(settings).search(requests, Deadline.after(30))
    contest = Contest(config, (), settings, judgments=None, k=5, clients=2, seconds=1)  # type: ignore[arg-type]
    with on_uvicorn(contest, "pipeline") as url:
        async with Client(url, [{"query": text, "k": 5} for text in texts]) as client:
            tally = await client.open_loop(rate_per_s=10, seconds=0.5)
    assert tally.errors == 0
    assert tally.found == {
        text: [hit.product_id for hit in answer.hits]
        for text, answer in zip(texts, expected, strict=True)
    }
