"""Stages that live in other replicas, behind the library's roles: what `split` puts where `fused` has local ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from aisle.errors import AisleError, DeadlineExceeded, Overloaded, SnapshotNotHeld, StageError
from aisle.retrieve.candidates import Candidates
from aisle.retrieve.merge import merge
from aisle.retrieve.query import RetrievalQuery
from aisle.stages import Deadline, Retrieved, Rewrite, ScoreBatch, Scores


class RemoteRewriter:
    """The rewriter's deployment as a `Rewriter`."""

    def __init__(self, handle: DeploymentHandle, fingerprint: str) -> None:
        """Takes the fingerprint of the snapshot's model, so that no answer mixes two."""
        self._handle = handle
        self._fingerprint = fingerprint

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        """See `aisle.stages.Rewriter`."""
        rewrites: list[Rewrite] = await answer(
            self._handle.rewrite.remote(self._fingerprint, list(queries), deadline),
            deadline,
            "rewrite",
        )
        return rewrites


class RemoteScorer:
    """The ranker's deployment as a `Scorer`."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def score(self, snapshot_id: str, batch: ScoreBatch, deadline: Deadline) -> Scores:
        """See `aisle.stages.Scorer`."""
        scores: Scores = await answer(
            self._handle.score.remote(snapshot_id, batch, deadline), deadline, "rank"
        )
        return scores


class RemoteRetriever:
    """Fans out to every shard group at once and merges what came back in time."""

    def __init__(self, groups: Sequence[DeploymentHandle], shards: int) -> None:
        self._groups = groups
        self._shards = shards

    async def retrieve(
        self, snapshot_id: str, queries: Sequence[RetrievalQuery], deadline: Deadline
    ) -> Retrieved:
        """See `aisle.stages.Retriever`."""
        calls = [
            answer(
                group.search.remote(snapshot_id, list(queries), deadline),
                deadline,
                f"shard group {i}",
            )
            for i, group in enumerate(self._groups)
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        found: list[list[Candidates]] = []
        missing: list[int] = []
        for i, each in enumerate(answers):
            if isinstance(each, SnapshotNotHeld) or (
                isinstance(each, BaseException) and not isinstance(each, StageError)
            ):
                raise each
            if isinstance(each, StageError):
                missing.extend(range(i, self._shards, len(self._groups)))
            else:
                found.append(each)
        if not found:
            raise DeadlineExceeded(
                f"none of {len(self._groups)} shard groups answered: {answers[0]}"
            )
        merged = [
            merge([each[q] for each in found], query.dense_depth, query.lexical_depth)
            for q, query in enumerate(queries)
        ]
        return Retrieved(merged, tuple(sorted(missing)))

    async def score_pairs(
        self,
        snapshot_id: str,
        queries: Sequence[RetrievalQuery],
        product_ids: Sequence[NDArray[np.bytes_]],
        deadline: Deadline,
    ) -> list[Candidates]:
        """See `aisle.stages.Retriever`; a group that does not answer fails the call."""
        calls = [
            answer(
                group.score_pairs.remote(snapshot_id, list(queries), list(product_ids)),
                deadline,
                f"shard group {i}",
            )
            for i, group in enumerate(self._groups)
        ]
        found = await asyncio.gather(*calls)
        return [Candidates.concatenate([each[q] for each in found]) for q in range(len(queries))]


async def answer(response: Any, deadline: Deadline, stage: str) -> Any:
    """Awaits a handle's response within the deadline; Serve's errors become the library's.

    Raises:
        DeadlineExceeded: it did not come in time; the call is cancelled.
        Overloaded: the stage's queue is full.
        StageError: the replica died or is not there.
    """
    try:
        return await asyncio.wait_for(_result(response), max(deadline.remaining_s(), 0.001))
    except TimeoutError as error:
        raise DeadlineExceeded(f"{stage}: no answer within the deadline") from error
    except BackPressureError as error:
        raise Overloaded(f"{stage}: {error}") from error
    except RayTaskError as error:
        if isinstance(error.cause, AisleError):
            raise error.cause from error
        raise StageError(f"{stage}: failed: {error.cause or error}") from error
    except (RayActorError, DeploymentUnavailableError, RayServeException) as error:
        raise StageError(f"{stage}: its replica is gone: {error}") from error


async def _result(response: Any) -> Any:
    return await response
