"""The live pipeline of one gateway replica: which snapshot answers, composed of which stages, switched when.

In `fused` its process also retrieves, ranks and filters; in `split` the same pipeline runs over remote stages. Nothing
else differs, which is what keeps both equal to `aisle.pipeline`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from aisle.config import Settings
from aisle.local import local_pipeline
from aisle.pipeline import Pipeline
from aisle.schema import SearchRequest, SearchResponse
from aisle.snapshot import LoadedSnapshot, Parts
from aisle.stages import Deadline, Rewriter
from deployments.remote import RemoteRetriever, RemoteRewriter, RemoteScorer
from deployments.residents import Residents


class Live:
    """Answers from one snapshot at a time; a batch that has begun finishes on the snapshot that it began with."""

    def __init__(
        self,
        settings: Settings,
        rewriter: DeploymentHandle | None,
        shards: Sequence[DeploymentHandle],
        ranker: DeploymentHandle | None,
    ) -> None:
        """Loads what CURRENT names; with `shards` and `ranker` the topology is `split`, else `fused`."""
        self._settings = settings
        self._pool = ThreadPoolExecutor(
            max_workers=settings.serving.threads, thread_name_prefix="search"
        )
        parts = Parts.ALL if ranker is None else Parts.QUERY | Parts.DOCUMENTS
        self.residents = Residents(settings, parts)
        self._rewriter, self._shards, self._ranker = rewriter, shards, ranker
        self._pipeline = self._compose(self.residents.load(self.residents.current_id()))
        batched: Any = self._answer  # Serve's decorator adds setters that its types do not show
        batched.set_max_batch_size(settings.serving.batch_max)
        batched.set_batch_wait_timeout_s(settings.serving.batch_wait_ms / 1000)

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
        """Answers one request; those that arrive together share a pass."""
        serving = self._settings.serving
        timeout_ms = min(request.timeout_ms or serving.default_timeout_ms, serving.max_timeout_ms)
        deadline = Deadline.after(timeout_ms / 1000)
        answer: SearchResponse = await self._answer((request, deadline, identity))
        return answer

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.0)
    async def _answer(
        self, asked: list[tuple[SearchRequest, Deadline, str]]
    ) -> list[SearchResponse]:
        earliest = min((deadline for _, deadline, _ in asked), key=lambda each: each.at_s)
        requests = [request for request, _, _ in asked]
        return await self._pipeline.search(
            requests, earliest, [identity for _, _, identity in asked]
        )

    def _compose(self, snapshot: LoadedSnapshot) -> Pipeline:
        settings = self._settings
        rewriter: Rewriter | None = None
        model = snapshot.manifest.models.get("rewriter")
        if self._rewriter is not None and model is not None:
            rewriter = RemoteRewriter(self._rewriter, model.fingerprint)
        if self._ranker is None:
            return local_pipeline(snapshot, settings, rewriter, self._in_thread)
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
