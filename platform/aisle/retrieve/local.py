"""All shards in this process: the reference that the distributed retriever must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aisle.errors import SnapshotNotHeld
from aisle.rank.features import FEATURES, prepare
from aisle.retrieve.candidates import Candidates, shards_and_rows
from aisle.retrieve.merge import merge
from aisle.retrieve.query import RetrievalQuery
from aisle.retrieve.shard import Shard
from aisle.stages import Deadline, Retrieved, RunBlocking, inline


class LocalRetriever:
    """Searches shards one after the other; a deadline cannot interrupt it, each query takes about a millisecond."""

    describes = True

    def __init__(self, shards: Mapping[str, Sequence[Shard]], run: RunBlocking = inline) -> None:
        """Takes the shards of every resident snapshot; the mapping may change while this serves."""
        self._shards = shards
        self._run = run

    async def retrieve(
        self, snapshot_id: str, queries: Sequence[RetrievalQuery], deadline: Deadline
    ) -> Retrieved:
        """See `Retriever`; never misses a shard."""
        shards = self._held(snapshot_id)

        def search() -> list[Candidates]:
            found = search_shards(shards, queries)
            return [
                merge([each], q.dense_depth, q.lexical_depth)
                for q, each in zip(queries, found, strict=True)
            ]

        return Retrieved(await self._run(search))

    async def score_pairs(
        self,
        snapshot_id: str,
        queries: Sequence[RetrievalQuery],
        product_ids: Sequence[NDArray[np.bytes_]],
        deadline: Deadline,
    ) -> list[Candidates]:
        """See `Retriever`."""
        shards = self._held(snapshot_id)
        scored: list[Candidates] = await self._run(
            lambda: score_in_shards(shards, queries, product_ids)
        )
        return scored

    async def describe(
        self,
        snapshot_id: str,
        queries: Sequence[RetrievalQuery],
        candidates: Sequence[Candidates],
    ) -> list[Candidates]:
        """See `Retriever`."""
        shards = self._held(snapshot_id)
        described: list[Candidates] = await self._run(
            lambda: describe_in_shards(shards, queries, candidates)
        )
        return described

    def _held(self, snapshot_id: str) -> Sequence[Shard]:
        try:
            return self._shards[snapshot_id]
        except KeyError:
            held = ", ".join(self._shards) or "none"
            raise SnapshotNotHeld(
                f"shards of {snapshot_id} are not loaded here; loaded: {held}"
            ) from None


def search_shards(shards: Sequence[Shard], queries: Sequence[RetrievalQuery]) -> list[Candidates]:
    """Unmerged candidates of some shards, one list a query, without features."""
    return [Candidates.concatenate([shard.search(query) for shard in shards]) for query in queries]


def score_in_shards(
    shards: Sequence[Shard],
    queries: Sequence[RetrievalQuery],
    product_ids: Sequence[NDArray[np.bytes_]],
) -> list[Candidates]:
    """Scores and features of named products in some shards, one list a query."""
    scored = [
        Candidates.concatenate([shard.score(query, ids) for shard in shards])
        for query, ids in zip(queries, product_ids, strict=True)
    ]
    return describe_in_shards(shards, queries, scored)


def describe_in_shards(
    shards: Sequence[Shard],
    queries: Sequence[RetrievalQuery],
    candidates: Sequence[Candidates],
) -> list[Candidates]:
    """Candidates of these shards with their features, in their order."""
    described = []
    for query, each in zip(queries, candidates, strict=True):
        prepared = prepare(query)
        numbers, rows = shards_and_rows(each.locators)
        features = np.empty((len(each), len(FEATURES)), dtype=np.float32)
        for shard in shards:
            at = np.flatnonzero(numbers == shard.number)
            if len(at):
                features[at] = shard.features(query, prepared, rows[at])
        described.append(replace(each, features=features))
    return described
