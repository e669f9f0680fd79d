"""A group of shards in one replica: searched together, one hop for a batch of queries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aisle.config import Settings
from aisle.errors import DeadlineExceeded
from aisle.retrieve.candidates import Candidates
from aisle.retrieve.local import describe_in_shards, score_in_shards, search_shards
from aisle.retrieve.merge import merge
from aisle.retrieve.query import RetrievalQuery
from aisle.retrieve.shard import Shard
from aisle.snapshot import Parts
from aisle.stages import Deadline
from deployments.logs import set_up
from deployments.residents import Residents
from deployments.telemetry import Telemetry


class ShardGroup:
    """Answers from its shards of the snapshot that the caller names."""

    def __init__(self, settings: Settings, group: int) -> None:
        """Loads the group's shards of the live snapshot: every `shard_groups`-th one, counted from `group`."""
        set_up()
        self.group = group
        self._telemetry = Telemetry()
        numbers = range(group, settings.index.shards, settings.serving.shard_groups)
        self._residents = Residents(settings, Parts.SHARDS, list(numbers))
        self._residents.load(self._residents.current_id())

    async def search(
        self, snapshot_id: str, queries: Sequence[RetrievalQuery], deadline: Deadline
    ) -> list[Candidates]:
        """The best rows of both sides with features, one list a query. Raises SnapshotNotHeld, DeadlineExceeded.

        Features come along for all of them: what is left after fusing is known only to the caller, a hop away.
        """
        shards = self._residents.held(snapshot_id).shards
        if deadline.remaining_s() <= 0:
            raise DeadlineExceeded(
                f"shard group {self.group}: the deadline passed before the search began"
            )
        started = time.perf_counter()
        found = await asyncio.to_thread(_search, shards, queries)
        spent_ms = (time.perf_counter() - started) * 1000
        self._telemetry.stage_batch(len(queries), {"retrieve": spent_ms})
        return found

    async def score_pairs(
        self,
        snapshot_id: str,
        queries: Sequence[RetrievalQuery],
        product_ids: Sequence[NDArray[np.bytes_]],
    ) -> list[Candidates]:
        """Scores named products that lie in this group. Raises SnapshotNotHeld."""
        shards = self._residents.held(snapshot_id).shards
        return await asyncio.to_thread(score_in_shards, shards, queries, product_ids)

    async def prepare(self, snapshot_id: str) -> str:
        """Loads a snapshot beside the live one; returns when it can be searched."""
        await self._residents.load_beside(snapshot_id)
        return snapshot_id


def _search(shards: Sequence[Shard], queries: Sequence[RetrievalQuery]) -> list[Candidates]:
    found = [
        merge([each], query.dense_depth, query.lexical_depth)
        for query, each in zip(queries, search_shards(shards, queries), strict=True)
    ]
    return describe_in_shards(shards, queries, found)
