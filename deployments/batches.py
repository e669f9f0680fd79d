"""Requests that wait together are answered together.

A batch is taken from the queue when there is room for one, so it grows while others are under way. Serve's own
`@serve.batch` (Ray 2.60) takes it when its first request arrives and then lets it wait for its turn: without a waiting
time, which would slow a lone request, it hardly ever takes two.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Batches(Generic[A, R]):
    """Calls `answer` with the requests that wait, oldest first, and hands each its result; on one event loop.

    Args:
        answer: gives one result a request, in order; what it raises, all of its batch get.
        most: requests of a batch.
        at_once: batches under way; others wait in the queue.
        wait_s: how long the first of a batch waits for company where there is room at once.
    """

    def __init__(
        self,
        answer: Callable[[list[A]], Awaitable[Sequence[R]]],
        most: int,
        at_once: int = 1,
        wait_s: float = 0.0,
    ) -> None:
        self._answer, self._most, self._at_once, self._wait_s = answer, most, at_once, wait_s
        self._waiting: deque[tuple[A, asyncio.Future[R]]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        """Requests that have no place in a batch yet."""
        return len(self._waiting)

    async def __call__(self, asked: A) -> R:
        """Waits for a place in a batch, and for its answer. A caller that is cancelled gives its place up."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((asked, future))
        if len(self._waiting) >= self._most or len(self._under_way) >= self._at_once:
            self._take()
        elif self._timer is None:
            # Not at once even without a waiting time: what arrives in this turn of the loop goes along.
            self._timer = (
                loop.call_later(self._wait_s, self._take)
                if self._wait_s
                else loop.call_soon(self._take)
            )
        return await future

    def _take(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and len(self._under_way) < self._at_once:
            batch: list[tuple[A, asyncio.Future[R]]] = []
            while self._waiting and len(batch) < self._most:
                asked, future = self._waiting.popleft()
                if not future.done():
                    batch.append((asked, future))
            if batch:
                task = asyncio.get_running_loop().create_task(self._run(batch))
                self._under_way.add(task)

    async def _run(self, batch: list[tuple[A, asyncio.Future[R]]]) -> None:
        try:
            results = await self._answer([asked for asked, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._under_way.discard(task)
            self._take()
