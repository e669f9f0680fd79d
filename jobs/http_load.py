"""Load on a search service over HTTP: a closed loop for the ceiling, an open loop for latency.

In the open loop requests leave on schedule and latency counts from when a request was due, so a stall shows in every
request that it delayed (no coordinated omission). The closed loop measures how much a service answers, not how fast.
The client is aiohttp, whose parser is compiled: on two cores the client competes with what it measures.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

TIMEOUT_S = 30.0


@dataclass
class Tally:
    """What came back from one load."""

    took_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    """Of answers with status 200."""
    statuses: Counter[str] = field(default_factory=Counter)
    """HTTP statuses, and the names of errors where there was no answer."""
    degraded: Counter[str] = field(default_factory=Counter)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)
    """Product ids of the last answer to each query."""

    @property
    def requests_per_s(self) -> float:
        """Answers with status 200 a second."""
        return len(self.latencies_ms) / self.took_s if self.took_s else 0.0

    @property
    def errors(self) -> int:
        """Requests without such an answer."""
        return self.statuses.total() - self.statuses["200"]

    def percentile_ms(self, percent: float) -> float:
        """Of the latencies; NaN where nothing was answered."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else np.nan

    def note(self, query: str, answer: dict[str, Any]) -> None:
        """Books what an answer says of itself; a rival's may say less than ours."""
        self.degraded.update(answer.get("degraded", ()))
        for stage, ms in answer.get("timings_ms", {}).items():
            self.stages_ms.setdefault(stage, []).append(ms)
        self.found[query] = [hit["product_id"] for hit in answer["hits"]]


class Client:
    """Sends search requests in turn; use as `async with Client(url, bodies) as client`."""

    def __init__(self, url: str, bodies: Sequence[dict[str, Any]]) -> None:
        """Takes the service's base URL and request bodies with a `query` each."""
        self._url, self._bodies = f"{url}/v1/search", bodies
        self._tally = Tally()

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=512),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def warm_up(self, requests: int) -> Tally:
        """Sends the first so many requests one after another."""
        started = self._begin()
        for number in range(requests):
            await self._ask(number, time.perf_counter())
        return self._ended(started)

    async def closed_loop(self, clients: int, seconds: float) -> Tally:
        """Each client sends its next request as soon as it has its answer."""
        started = self._begin()

        async def one(number: int) -> None:
            while time.perf_counter() - started < seconds:
                await self._ask(number, time.perf_counter())
                number += clients

        await asyncio.gather(*(one(first) for first in range(clients)))
        return self._ended(started)

    async def open_loop(self, rate_per_s: float, seconds: float) -> Tally:
        """Sends at the due times and waits for all answers at the end."""
        started = self._begin()
        sent: list[asyncio.Task[None]] = []
        for number in range(int(rate_per_s * seconds)):
            due = started + number / rate_per_s
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            sent.append(asyncio.create_task(self._ask(number, due)))
        await asyncio.gather(*sent)
        return self._ended(started)

    def _begin(self) -> float:
        self._tally = Tally()
        return time.perf_counter()

    def _ended(self, started: float) -> Tally:
        self._tally.took_s = time.perf_counter() - started
        return self._tally

    async def _ask(self, number: int, due: float) -> None:
        tally, body = self._tally, self._bodies[number % len(self._bodies)]
        try:
            async with self._session.post(self._url, json=body) as response:
                status = response.status
                answer = await response.json() if status == 200 else {}
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.statuses[type(error).__name__] += 1
            return
        tally.statuses[str(status)] += 1
        if status == 200:
            tally.latencies_ms.append((time.perf_counter() - due) * 1000)
            tally.note(body["query"], answer)
