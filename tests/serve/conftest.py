"""The gateway's HTTP side in this process: its routes and layers behind a real server, over a small published shop.

Serve's replica, which would hand the routes their gateway, is stood in for; what HAProxy and the replica add is
tests/cluster's. One server and one event loop serve a module: Serve keeps one batch queue for a decorated function in a
process, and it belongs to the loop that it began on.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI
from ray import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from aisle.config import Settings
from deployments.gateway import Gateway, app
from deployments.live import Answered, Asked, Live
from tests import shop


@pytest.fixture(autouse=True, scope="module")
def no_loop_left() -> Iterator[None]:
    """Closes the event loop that Serve's batch queue makes for its thread when it is collected (Ray 2.60).

    Nobody closes that one: it would be reported against whichever test is running when it is collected in its turn.
    """
    yield
    gc.collect()
    with suppress(RuntimeError):  # none was made
        asyncio.get_event_loop_policy().get_event_loop().close()
    asyncio.set_event_loop(None)


class Served:
    """What answers at `url`; a test puts its own application there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        holder = Served(f"http://127.0.0.1:{listening.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(holder, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield holder
        server.should_exit = True
        thread.join(30.0)


@pytest.fixture(scope="module")
def shop_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    patient = {"default_timeout_ms": 60_000, "max_timeout_ms": 60_000}  # whatever runs beside it
    return shop.published(tmp_path_factory.mktemp("door"), 200, serving=patient)


def own_queue() -> type[Live]:
    """A fused `Live` decorated anew, so that no other test's loop is met in its queue."""

    class OwnQueue(Live):
        @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.0)
        async def _answer_one(self, asked: list[Asked]) -> list[Answered]:
            return await self._search(asked)

    return OwnQueue


@pytest.fixture(scope="module")
def routes(shop_settings: Settings) -> Iterator[FastAPI]:
    """The routes bound to a live gateway, as Serve binds them."""
    serve.ingress(app)(Gateway)

    context = SimpleNamespace(
        servable_object=Gateway(shop_settings, live=own_queue()),
        _deployment_config=SimpleNamespace(max_ongoing_requests=64),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "get_replica_context", lambda: context)
        yield app
