"""The live pipeline of one gateway replica: which snapshot answers, composed of which stages, switched when.

In `fused` its process also retrieves, ranks and filters; in `split` the same pipeline runs over remote stages. Nothing
else differs, which is what keeps both equal to `aisle.pipeline`.

Where it runs differs, because a change of thread costs as much as ranking: fused, the whole pipeline runs on a second
event loop in one thread, there and back once a batch; split, it runs on the replica's loop, which its remote calls
need, and only its blocking work goes to a thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ray.serve.handle import DeploymentHandle

from aisle.config import Settings
from aisle.errors import AisleError, Overloaded
from aisle.local import local_pipeline
from aisle.pipeline import Pipeline
from aisle.schema import SearchRequest, SearchResponse
from aisle.snapshot import LoadedSnapshot, Parts
from aisle.stages import Deadline, Rewrite, Rewriter
from aisle.trace import Trace
from deployments.answers import Answers
from deployments.batches import Batches
from deployments.pace import Pace
from deployments.remote import RemoteRetriever, RemoteRewriter, RemoteScorer
from deployments.residents import Residents
from deployments.telemetry import Telemetry

T = TypeVar("T")

_BATCHES_THAT_WAIT = 4
"""Batches under way where a batch waits for others' answers: for the rewriter, or for the stages of `split`."""


_HURRIED_S = 0.05
"""With less time left a request is answered apart: a batch has one deadline, and stages that are left out for want of
time should be left out for those alone who have none."""

Asked = tuple[SearchRequest, Deadline, str]
"""A request, when it is due, and its id."""
Answered = SearchResponse | AisleError
"""What becomes of one request of a batch."""


class Live:
    """Answers from one snapshot at a time; a batch that has begun finishes on the snapshot that it began with."""

    def __init__(
        self,
        settings: Settings,
        rewriter: DeploymentHandle | None,
        shards: Sequence[DeploymentHandle],
        ranker: DeploymentHandle | None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Loads what CURRENT names; with `shards` and `ranker` the topology is `split`, else `fused`."""
        self._settings = settings
        self._telemetry = telemetry or Telemetry()
        self._pool = ThreadPoolExecutor(
            max_workers=settings.serving.threads, thread_name_prefix="search"
        )
        parts = Parts.ALL if ranker is None else Parts.QUERY | Parts.DOCUMENTS
        self.residents = Residents(settings, parts)
        self._rewriter, self._shards, self._ranker = rewriter, shards, ranker
        self._worker = Worker() if ranker is None else None
        self._answers = Answers(settings.serving.remembered_answers)
        self._pace = Pace(settings.serving.batch_max)
        self.inside = 0
        """Searches that wait or are computed."""
        self._pipeline = self._compose(self.residents.load(self.residents.current_id()))
        # One batch at a time where all is computed here: the next one grows meanwhile.
        waits = rewriter is not None or ranker is not None
        self._answer = Batches[Asked, Answered](
            self._search,
            settings.serving.batch_max,
            _BATCHES_THAT_WAIT if waits else 1,
            settings.serving.batch_wait_ms / 1000,
        )

    @property
    def snapshot(self) -> LoadedSnapshot:
        """What new requests are answered from."""
        return self._pipeline.snapshot

    async def load(self, snapshot_id: str) -> None:
        """Holds a snapshot beside the live one, ready to be switched to."""
        await self.residents.load_beside(snapshot_id)

    def switch(self, snapshot_id: str) -> None:
        """Answers from a held snapshot from now on. Raises SnapshotNotHeld."""
        if snapshot_id != self.snapshot.snapshot_id:
            self._pipeline = self._compose(self.residents.held(snapshot_id))

    async def search(self, request: SearchRequest, identity: str) -> SearchResponse:
        """Answers one request; those that arrive together share a pass.

        Raises:
            Overloaded: the queue is full, or too long for the time that the request has.
            AisleError: as `aisle.pipeline.Pipeline.search`.
        """
        serving = self._settings.serving
        timeout_ms = min(request.timeout_ms or serving.default_timeout_ms, serving.max_timeout_ms)
        deadline = Deadline.after(timeout_ms / 1000)
        known = self._answers.get(self.snapshot.snapshot_id, request, identity)
        if known is not None:
            self._telemetry.answered_from_memory()
            self._count_memories()
            return known
        self._admit(timeout_ms / 1000)
        self.inside += 1
        try:
            answer = await self._answer((request, deadline, identity))
        finally:
            self.inside -= 1
        if isinstance(answer, AisleError):
            raise answer
        self._answers.put(request, answer)
        return answer

    def _admit(self, timeout_s: float) -> None:
        """Refuses at once what would only wait for its deadline: the answers of all others would be late with it."""
        serving = self._settings.serving
        most = serving.max_ongoing_requests + serving.max_queued_requests
        if self.inside >= most:
            raise Overloaded(
                f"{self.inside} searches are in this gateway, allowed are {most} (serving.max_ongoing_requests + "
                "max_queued_requests)"
            )
        wait_s = self._pace.wait_s(self.inside)
        # Up to a batch nobody waits for long, and a slow answer or two say little about the next.
        if self.inside >= serving.batch_max and wait_s > timeout_s:
            raise Overloaded(
                f"{self.inside} searches are before this one, which would take {wait_s:.1f} s; it has {timeout_s:.1f}",
                retry_after_s=max(wait_s, 1.0),
            )

    async def _search(self, asked: list[Asked]) -> list[Answered]:
        """Each one's answer or error, in order."""
        answers: dict[int, Answered] = {}
        for numbers in in_passes([deadline.remaining_s() for _, deadline, _ in asked]):
            some = [asked[number] for number in numbers]
            try:
                found: Sequence[Answered] = await self._pass(some)
            except AisleError as error:
                found = [error] * len(some)
            answers.update(zip(numbers, found, strict=True))
        return [answers[number] for number in range(len(asked))]

    async def _pass(self, asked: list[Asked]) -> list[SearchResponse]:
        earliest = min((deadline for _, deadline, _ in asked), key=lambda each: each.at_s)
        requests = [request for request, _, _ in asked]
        trace, started = Trace(), time.monotonic()
        search = self._pipeline.search(
            requests, earliest, [identity for _, _, identity in asked], trace
        )
        responses = await (search if self._worker is None else self._worker.run(search))
        # What came too late for a pass is not counted: it says nothing of how long an answer takes.
        self._pace.passed(started, time.monotonic(), len(asked), self._answer.waiting)
        self._telemetry.batch(len(asked), trace)
        self._count_memories()
        return responses

    def _count_memories(self) -> None:
        answers, vectors = self._answers.cache, self.snapshot.remembered
        self._telemetry.looked_up("answers", answers.hits, answers.misses)
        if vectors is not None:
            held = self.snapshot.snapshot_id
            self._telemetry.looked_up("vectors", vectors.hits, vectors.misses, held)

    def _compose(self, snapshot: LoadedSnapshot) -> Pipeline:
        settings = self._settings
        rewriter: Rewriter | None = None
        model = snapshot.manifest.models.get("rewriter")
        if self._rewriter is not None and model is not None:
            rewriter = RemoteRewriter(self._rewriter, model.fingerprint)
        if self._ranker is None:
            here = rewriter and OnLoop(rewriter, asyncio.get_event_loop())
            return local_pipeline(snapshot, settings, here)
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


def in_passes(remaining_s: Sequence[float]) -> list[list[int]]:
    """Which requests share a pass, by the time each has left: hurried ones apart and first, late ones each by itself.

    >>> in_passes([1.0, 0.02, -0.1, 2.0])
    [[2], [1], [0, 3]]
    """
    late = [[i] for i, left in enumerate(remaining_s) if left <= 0]
    hurried = [i for i, left in enumerate(remaining_s) if 0 < left < _HURRIED_S]
    others = [i for i, left in enumerate(remaining_s) if left >= _HURRIED_S]
    return [*late, *filter(None, (hurried, others))]


class Worker:
    """An event loop in a thread of its own, whose tasks may block it: nothing else runs there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="search", daemon=True).start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, computed there; cancelled with its caller."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


class OnLoop:
    """A rewriter asked from another event loop than the one it lives on."""

    def __init__(self, rewriter: Rewriter, loop: asyncio.AbstractEventLoop) -> None:
        self._rewriter, self._loop = rewriter, loop

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        """See `aisle.stages.Rewriter`."""
        asking: Any = self._rewriter.rewrite(queries, deadline)
        rewrites: list[Rewrite] = await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(asking, self._loop)
        )
        return rewrites
