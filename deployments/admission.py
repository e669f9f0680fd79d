"""The door: sizes, keys and limits, checked before a request costs anything; and what a refusal looks like over HTTP.

An ASGI layer around the application, because it must act before a body is read. Each gateway keeps its own buckets
and admits its share of the limits: no hop, no shared state, exact as far as requests spread evenly.

Health and the API's description are open; everything below /v1 wants a key where there are keys. A search counts
against the limits, whatever comes of it; the rest of /v1 costs little and does not.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisle.admission import Keys, Limits, client_address
from aisle.config import AdmissionConfig, read_keys
from deployments.http import problem
from deployments.logs import RequestLog
from deployments.telemetry import Refusals

logger = logging.getLogger(__name__)

LIMITED = ("/v1/search", "/v1/explain", "/v1/similar", "/v1/suggest")
"""Paths below which a request is a search of some kind."""
_HEADERS = ["Authorization", "Content-Type", "X-Api-Key", "X-Request-Id"]


def admitting(app: FastAPI, config: AdmissionConfig, gateways: int) -> FastAPI:
    """A copy of the application with the door in front; the routes are shared, the given one stays as it was."""
    guarded = copy.copy(app)
    door = Middleware(Door, config=config, gateways=gateways)
    layers = [*app.user_middleware, door]
    if config.cors_origins:
        # Outside the door, so that a page of an allowed site can read a refusal too.
        layers.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=_HEADERS,
                expose_headers=["Retry-After", "X-Request-Id", "X-Snapshot"],
            ),
        )
    guarded.user_middleware = layers
    guarded.middleware_stack = None
    return guarded


class Door:
    """Lets a request in, or answers it with a problem."""

    def __init__(
        self,
        app: ASGIApp,
        config: AdmissionConfig,
        gateways: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the keys; called in the replica, when it makes its application."""
        self._app = app
        self._config = config
        self._keys = Keys(read_keys(config))
        self._limits = Limits(config, gateways)
        self._clock = clock
        self._refusals = Refusals()
        self._log = RequestLog(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is None and scope["method"] in ("POST", "PUT", "PATCH"):
            read = await self._read(receive)
            if isinstance(read, Response):
                refusal = read
            else:
                receive = _replayed(read, receive)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refuse(self, scope: Scope) -> Response | None:
        """Everything that headers decide, the cheapest first."""
        headers, config = Headers(scope=scope), self._config
        line_bytes = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        sent = line_bytes + sum(len(name) + len(value) for name, value in scope["headers"])
        if sent > config.max_header_bytes:
            return self._refused(
                "size",
                431,
                "Request header fields too large",
                f"the request line and headers have {sent} bytes, allowed are {config.max_header_bytes}",
            )
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > config.max_body_bytes:
            return self._too_long(f"{length[:20]} bytes")
        if not scope["path"].startswith("/v1/") or scope["method"] == "OPTIONS":
            return None
        client = self._client(scope, headers)
        if client is None:
            return self._refused(
                "key",
                401,
                "Not authorised",
                "no valid API key; send Authorization: Bearer KEY, or X-Api-Key: KEY",
                WWW_Authenticate="Bearer",
            )
        if not scope["path"].startswith(LIMITED):
            return None
        refusal = self._limits.refuse(client, self._clock())
        if refusal is None:
            return None
        after = str(max(1, math.ceil(refusal.retry_after_s)))
        if refusal.limit == "client":
            detail = f"this caller may begin {config.client_rate_per_s:g} searches a second; try again in {after} s"
            return self._refused("client", 429, "Too many requests", detail, Retry_After=after)
        detail = (
            f"the service takes {config.rate_per_s:g} searches a second; try again in {after} s"
        )
        return self._refused("all", 503, "Busy", detail, Retry_After=after)

    def _client(self, scope: Scope, headers: Headers) -> str | None:
        """Who calls: a key's name or an address; none where a key is wanted and none is valid."""
        if self._keys:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
            return self._keys.name_of(given)
        peer = scope["client"][0] if scope.get("client") else ""
        forwarded = ",".join(headers.getlist("x-forwarded-for"))
        return client_address(peer, forwarded, self._config.forwarded_for_hops)

    async def _read(self, receive: Receive) -> Message | Response:
        """The whole body as one message; its announced length may be absent or a lie, so what comes is counted."""
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if (
                message["type"] != "http.request"
            ):  # the caller is gone; let the application find out
                return message
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._config.max_body_bytes:
                return self._too_long(f"more than {self._config.max_body_bytes} bytes")
            if not message.get("more_body"):
                return {"type": "http.request", "body": b"".join(chunks), "more_body": False}

    def _too_long(self, got: str) -> Response:
        detail = f"the body has {got}, allowed are {self._config.max_body_bytes}"
        return self._refused("size", 413, "Content too large", detail)

    def _refused(
        self, reason: str, status: int, title: str, detail: str, **headers: str
    ) -> Response:
        self._refusals(reason)
        self._log(logging.INFO, "refused at the door", reason=reason, status=status)
        return problem(status, title, detail, None, **headers)


def _replayed(first: Message, receive: Receive) -> Receive:
    """`receive` for the application, which has not seen the message that was read already."""
    left = [first]

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay
