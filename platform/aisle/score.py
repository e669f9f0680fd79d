"""Ranker and relevance filter in this process, behind the `Scorer` role."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aisle.errors import SnapshotNotHeld
from aisle.rank.onnx import FusedRanker
from aisle.stages import Deadline, Ranker, RelevanceFilter, RunBlocking, ScoreBatch, Scores, inline


class LocalScorer:
    """Scores with the models of the snapshot that the caller names."""

    def __init__(
        self, models: Mapping[str, tuple[Ranker, RelevanceFilter]], run: RunBlocking = inline
    ) -> None:
        """Takes the models of every resident snapshot; the mapping may change while this serves."""
        self._models = models
        self._run = run

    async def score(self, snapshot_id: str, batch: ScoreBatch, deadline: Deadline) -> Scores:
        """See `Scorer`."""
        if snapshot_id not in self._models:
            held = ", ".join(self._models) or "none"
            raise SnapshotNotHeld(f"ranker of {snapshot_id} is not loaded here; loaded: {held}")
        models = self._models[snapshot_id]
        scores: Scores = await self._run(lambda: score_with(*models, batch))
        return scores


def score_with(ranker: Ranker, relevance: RelevanceFilter, batch: ScoreBatch) -> Scores:
    """Runs both models over a batch and times each.

    The relevance map reads the ranker's score. Without a trained ranker that is the weighted fusion, comparable between
    queries, also where reciprocal ranks, which are not, give the order.
    """
    started = time.perf_counter()
    score = ranker.score(batch.features)
    ranked = time.perf_counter()
    probability = relevance.relevance(batch.query_vectors, batch.query_index, batch.cosine, score)
    return Scores(
        score=batch.fused if isinstance(ranker, FusedRanker) else score,
        relevance=probability,
        threshold=relevance.threshold,
        rank_ms=(ranked - started) * 1000,
        filter_ms=(time.perf_counter() - ranked) * 1000,
    )
