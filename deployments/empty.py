"""The same graph with nothing in it: a pipeline that answers with one page made at the start.

What it can answer a second is what HTTP, Serve and the client leave of the machine; `jobs.bench --compare` holds the
service against it. Deployed as `deployments.empty:build`, never in production.
"""

# NOTE: no `from __future__ import annotations`: Serve reads build's annotation to make the typed arguments.
import asyncio
from collections.abc import Sequence
from copy import copy
from typing import Any

from ray.serve import Application

from aisle.config import load
from aisle.local import local_pipeline
from aisle.pipeline import Pipeline
from aisle.schema import SearchRequest, SearchResponse
from aisle.snapshot import LoadedSnapshot
from aisle.stages import Deadline
from aisle.trace import Trace
from deployments.graph import BuildArgs, graph
from deployments.live import Live


class ConstantPipeline:
    """Answers every request with the page of the first query that it saw."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.snapshot = pipeline.snapshot
        self._pipeline = pipeline
        self._page: SearchResponse | None = None

    async def search(
        self,
        requests: Sequence[SearchRequest],
        deadline: Deadline,
        request_ids: Sequence[str],
        trace: Trace | None = None,
    ) -> list[SearchResponse]:
        """One copy of the page a request; only the ids differ."""
        if self._page is None:
            (self._page,) = await self._pipeline.search(requests[:1], deadline, request_ids[:1])
        pages = []
        for identity in request_ids:
            page = copy(self._page)
            page.request_id = identity
            pages.append(page)
        await asyncio.sleep(0)
        return pages


class EmptyLive(Live):
    """Composes constant pipelines."""

    def _compose(self, snapshot: LoadedSnapshot) -> Any:
        return ConstantPipeline(local_pipeline(snapshot, self._settings))


def build(args: BuildArgs) -> Application:
    """The fused graph around a constant."""
    return graph(load(args.config, args.overrides), live=EmptyLive)
