"""Requests on a fixed schedule: each leaves when it is due, whether or not earlier ones came back.

Latency counts from the moment a request was due, so that a stall shows in every request that it delayed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Sample:
    """One request that was answered or failed."""

    number: int
    """Counts from 0 in the order of sending."""
    due_s: float
    """On `time.monotonic`, as the next two."""
    sent_s: float
    done_s: float
    status: int
    """HTTP status; 0 where the connection failed."""
    body: dict[str, Any]
    """The answer or the problem; `{"error": ...}` where the connection failed or the body is no JSON."""
    retry_after: str | None = None
    """Of a refusal: when to come back, as the header says it."""

    @property
    def latency_ms(self) -> float:
        """From when it was due."""
        return (self.done_s - self.due_s) * 1000


class OpenLoop:
    """Load for the length of an `async with` block; the bodies are sent in turn.

    After the block all requests are answered, and `samples` holds them in the order of their answers.
    """

    def __init__(self, url: str, bodies: Sequence[dict[str, Any]], rate_per_s: float) -> None:
        self._url, self._bodies, self._rate_per_s = url, bodies, rate_per_s
        self.samples: list[Sample] = []

    async def __aenter__(self) -> OpenLoop:
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
        self._client = httpx.AsyncClient(base_url=self._url, timeout=30.0, limits=limits)
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop = True
        await self._sending
        await self._client.aclose()

    _stop = False

    async def _send(self) -> None:
        started = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        number = 0
        while not self._stop:
            due_s = started + number / self._rate_per_s
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            task = asyncio.create_task(self._ask(number, due_s))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
        await asyncio.gather(*under_way)

    async def _ask(self, number: int, due_s: float) -> None:
        sent_s = time.monotonic()
        body = self._bodies[number % len(self._bodies)]
        status, retry_after = 0, None
        try:
            response = await self._client.post("/v1/search", json=body)
            status, retry_after = response.status_code, response.headers.get("retry-after")
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        done_s = time.monotonic()
        self.samples.append(Sample(number, due_s, sent_s, done_s, status, answer, retry_after))
