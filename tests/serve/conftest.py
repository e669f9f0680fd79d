"""The gateway's HTTP side in this process: its routes and layers behind a real server, over a small published shop.

Serve's replica, which would hand the routes their gateway, is stood in for; what HAProxy and the replica add is
tests/cluster's. One server and one event loop serve a module.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI
from ray import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from aisle.config import Settings
from deployments.gateway import Gateway, app
from tests import shop


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


@pytest.fixture(scope="module")
def routes(shop_settings: Settings) -> Iterator[FastAPI]:
    """The routes bound to a live gateway, as Serve binds them."""
    serve.ingress(app)(Gateway)

    context = SimpleNamespace(
        servable_object=Gateway(shop_settings),
        _deployment_config=SimpleNamespace(max_ongoing_requests=64),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "get_replica_context", lambda: context)
        yield app
