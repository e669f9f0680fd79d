"""Stages that live in other replicas, behind the library's roles: what `split` puts where `fused` has local ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
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

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.2
_MOST_REPLACEMENTS = 3
_PATIENCE = 0.25
"""Share of the time left after which another replica is asked too."""
_HEDGES_PER_CALL = 0.05
_HEDGES_AT_ONCE = 10.0
"""One call in twenty may be a hedge, and as many as these in a row."""


class RemoteRewriter:
    """The rewriter's deployment as a `Rewriter`."""

    def __init__(self, handle: DeploymentHandle, fingerprint: str) -> None:
        """Takes the fingerprint of the snapshot's model, so that no answer mixes two."""
        self._handle = handle
        self._fingerprint = fingerprint

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        """See `aisle.stages.Rewriter`."""
        rewrites: list[Rewrite] = await answer(
            lambda: self._handle.rewrite.remote(self._fingerprint, list(queries), deadline),
            deadline,
            "rewrite",
        )
        return rewrites


class RemoteScorer:
    """The ranker's deployment as a `Scorer`."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._hedges = Hedges()

    async def score(self, snapshot_id: str, batch: ScoreBatch, deadline: Deadline) -> Scores:
        """See `aisle.stages.Scorer`."""
        scores: Scores = await self._hedges.answer(
            lambda: self._handle.score.remote(snapshot_id, batch, deadline), deadline, "rank"
        )
        return scores


class RemoteRetriever:
    """Fans out to every shard group at once and merges what came back in time."""

    describes = False

    def __init__(self, groups: Sequence[DeploymentHandle], shards: int) -> None:
        self._groups = groups
        self._shards = shards
        self._hedges = [Hedges() for _ in groups]

    async def retrieve(
        self, snapshot_id: str, queries: Sequence[RetrievalQuery], deadline: Deadline
    ) -> Retrieved:
        """See `aisle.stages.Retriever`."""
        calls = [
            self._hedges[i].answer(
                partial(group.search.remote, snapshot_id, list(queries), deadline),
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
                partial(group.score_pairs.remote, snapshot_id, list(queries), list(product_ids)),
                deadline,
                f"shard group {i}",
            )
            for i, group in enumerate(self._groups)
        ]
        found = await asyncio.gather(*calls)
        return [Candidates.concatenate([each[q] for each in found]) for q in range(len(queries))]

    async def describe(
        self,
        snapshot_id: str,
        queries: Sequence[RetrievalQuery],
        candidates: Sequence[Candidates],
    ) -> list[Candidates]:
        """See `aisle.stages.Retriever`; the shard groups have sent the features along."""
        return list(candidates)


class Hedges:
    """Asks a second replica where the first is long in coming, and takes whichever answers first.

    A replica that hangs, or shares its core with something greedy, then costs a share of the deadline instead of all of
    it. Where everything is slow a second request would make it slower: so hedges are a share of all calls at most.
    """

    def __init__(self) -> None:
        self._left = _HEDGES_AT_ONCE

    async def answer(self, call: Callable[[], Any], deadline: Deadline, stage: str) -> Any:
        """As `answer`, whose errors it raises; with two under way, only where neither succeeds."""
        self._left = min(self._left + _HEDGES_PER_CALL, _HEDGES_AT_ONCE)
        first = asyncio.ensure_future(answer(call, deadline, stage))
        asked = [first]
        try:
            await asyncio.wait(asked, timeout=max(deadline.remaining_s(), 0) * _PATIENCE)
            if not first.done() and self._left >= 1:
                self._left -= 1
                asked.append(asyncio.ensure_future(answer(call, deadline, stage)))
            waiting = set(asked)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    if each.exception() is None:
                        return each.result()
            return first.result()
        finally:
            for each in asked:
                each.cancel()
                if each.done() and not each.cancelled():
                    each.exception()  # seen, or asyncio reports it when it is collected


class _ReplicaGone(StageError):
    """The replica died before it answered."""


async def answer(call: Callable[[], Any], deadline: Deadline, stage: str) -> Any:
    """Calls a handle and awaits its response within the deadline; Serve's errors become the library's.

    What a stage does is repeatable, so two failures are tried again while there is time: a replica that died, a few
    times, since Serve may route to it until it has noticed; and one that does not hold the snapshot yet, since it loads
    it.

    Raises:
        DeadlineExceeded: it did not come in time; the call is cancelled.
        SnapshotNotHeld: no replica that was tried held the snapshot before the deadline.
        Overloaded: the stage's queue is full.
        StageError: the replicas died or are not there.
    """
    pause_s, deaths = _FIRST_PAUSE_S, 0
    while True:
        try:
            return await _once(call, deadline, stage)
        except (SnapshotNotHeld, _ReplicaGone) as error:
            deaths += isinstance(error, _ReplicaGone)
            if deaths > _MOST_REPLACEMENTS or deadline.remaining_s() <= pause_s:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _once(call: Callable[[], Any], deadline: Deadline, stage: str) -> Any:
    try:
        return await asyncio.wait_for(_result(call), max(deadline.remaining_s(), 0.001))
    except TimeoutError as error:
        raise DeadlineExceeded(f"{stage}: no answer within the deadline") from error
    except BackPressureError as error:
        raise Overloaded(f"{stage}: {error}") from error
    except RayTaskError as error:
        if isinstance(error.cause, AisleError):
            raise error.cause from error
        raise StageError(f"{stage}: failed: {error.cause or error}") from error
    except (RayActorError, DeploymentUnavailableError, RayServeException) as error:
        raise _ReplicaGone(f"{stage}: its replica is gone: {error}") from error


async def _result(call: Callable[[], Any]) -> Any:
    return await call()
