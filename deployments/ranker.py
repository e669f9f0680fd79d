"""Ranker and relevance filter in one replica.

They share a deployment because both together take less time than the hop between two would, and so that no query makes
more than three hops in a row: rewriter, shards, ranker.
"""

from __future__ import annotations

import asyncio

from aisle.config import Settings
from aisle.score import score_with
from aisle.snapshot import Parts
from aisle.stages import Deadline, ScoreBatch, Scores
from deployments.logs import set_up
from deployments.residents import Residents
from deployments.telemetry import Telemetry


class RankerStage:
    """Scores batches with the models of the snapshot that the caller names."""

    def __init__(self, settings: Settings) -> None:
        """Loads the live snapshot's ranker and relevance filter."""
        set_up()
        self._telemetry = Telemetry()
        self._residents = Residents(settings, Parts.RANK)
        self._residents.load(self._residents.current_id())

    async def score(self, snapshot_id: str, batch: ScoreBatch, deadline: Deadline) -> Scores:
        """See `aisle.stages.Scorer`."""
        snapshot = self._residents.held(snapshot_id)
        scores = await asyncio.to_thread(score_with, snapshot.ranker, snapshot.relevance, batch)
        self._telemetry.stage_batch(
            len(batch.query_vectors), {"rank": scores.rank_ms, "filter": scores.filter_ms}
        )
        return scores

    async def prepare(self, snapshot_id: str) -> str:
        """Loads a snapshot's models beside the live ones; returns when they can score."""
        await self._residents.load_beside(snapshot_id)
        return snapshot_id
