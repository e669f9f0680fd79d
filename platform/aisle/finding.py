"""From what is to be searched to candidates: encode, weigh terms, ask the shards; and guessing ahead of the rewriter.

The dense side is given up here, where the encoder fails; shards that do not answer are the retriever's to name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from aisle.config import RetrievalConfig
from aisle.errors import AisleError, DeadlineExceeded, StageError
from aisle.index.filters import Filters
from aisle.retrieve.candidates import Candidates
from aisle.retrieve.query import RetrievalQuery
from aisle.retrieve.query import analyse as weighed
from aisle.rewrite.choose import Choice
from aisle.schema import SearchRequest
from aisle.snapshot.loaded import LoadedSnapshot
from aisle.stages import Deadline, Retrieved, Retriever, RunBlocking
from aisle.trace import Trace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Guess:
    """What was found for a batch on the supposition that the rewriter corrects nothing."""

    choices: list[Choice]
    queries: list[RetrievalQuery]
    candidates: list[Candidates]
    """One a query, or none at all where only vectors were guessed."""
    trace: Trace


class Finder:
    """Finds candidates in one snapshot. Safe for concurrent calls if its retriever is."""

    def __init__(
        self,
        snapshot: LoadedSnapshot,
        retriever: Retriever,
        config: RetrievalConfig,
        run: RunBlocking,
    ) -> None:
        self._snapshot = snapshot
        self._retriever = retriever
        self._config = config
        self._run = run

    async def find(
        self,
        requests: Sequence[SearchRequest],
        choices: Sequence[Choice],
        deadline: Deadline,
        trace: Trace,
        guess: Guess | None = None,
    ) -> tuple[list[RetrievalQuery], Retrieved]:
        """The analysed queries and their candidates; what was guessed right is not computed again."""
        known = {
            i: guess.queries[i].vector
            for i, choice in enumerate(choices)
            if guess is not None and guess.choices[i].searched.query == choice.searched.query
        }
        queries = await self.analyse(requests, choices, deadline, trace, known)
        found: dict[int, Candidates] = {}
        if guess is not None and guess.candidates:
            for i, query in enumerate(queries):
                if query.finds_as(guess.queries[i]):
                    found[i] = guess.candidates[i]
        for stage, ms in guess.trace.timings_ms.items() if guess is not None else ():
            if stage == "encode" or (stage == "retrieve" and found):
                trace.timings_ms[stage] = trace.timings_ms.get(stage, 0.0) + ms
        missing_shards: tuple[int, ...] = ()
        if left := [i for i in range(len(queries)) if i not in found]:
            started = time.perf_counter()
            held = self._snapshot.snapshot_id
            asked = [queries[i] for i in left]
            retrieved = await self._retriever.retrieve(held, asked, deadline)
            trace.timed("retrieve", started)
            missing_shards = retrieved.missing_shards
            found.update(zip(left, retrieved.candidates, strict=True))
        return queries, Retrieved([found[i] for i in range(len(queries))], missing_shards)

    async def guess(
        self, requests: Sequence[SearchRequest], choices: list[Choice], deadline: Deadline
    ) -> Guess | None:
        """Encodes and searches, while the rewriter thinks, what is searched if it corrects nothing: most queries.

        A retriever that brings features along has to wait, since they depend on the segments that the rewriter finds.
        None where anything was missing: the search itself then tries again and says what.
        """
        trace = Trace()
        try:
            if not self._retriever.describes:
                queries = await self.analyse(requests, choices, deadline, trace)
                return None if trace.degraded else Guess(choices, queries, [], trace)
            queries, retrieved = await self.find(requests, choices, deadline, trace)
        except AisleError:
            return None
        if trace.degraded or retrieved.missing_shards:
            return None
        return Guess(choices, queries, retrieved.candidates, trace)

    async def analyse(
        self,
        requests: Sequence[SearchRequest],
        choices: Sequence[Choice],
        deadline: Deadline,
        trace: Trace,
        known: Mapping[int, NDArray[np.float32]] = MappingProxyType({}),
    ) -> list[RetrievalQuery]:
        """Encodes what has no `known` vector (by place in the batch), and weighs terms."""
        searched = [choice.searched for choice in choices]
        vectors = dict(known)
        if new := [i for i in range(len(searched)) if i not in vectors]:
            started = time.perf_counter()
            encoded = await self._encode([searched[i].query for i in new], deadline, trace)
            trace.timed("encode", started)
            vectors.update(zip(new, encoded, strict=True))
        depth = self._config
        lexical = self._snapshot.manifest.index.lexical
        boosts: dict[str, float] = dict(lexical.boosts.items())
        return [
            weighed(
                rewrite,
                vectors[i],
                self._snapshot.statistics,
                self._snapshot.analyzer,
                boosts,
                filters=Filters.parse(request.filters),
                expansion_weight=depth.expansion_weight,
                dense_depth=_reach(depth.dense_depth, request),
                lexical_depth=_reach(depth.lexical_depth, request),
            )
            for i, (request, rewrite) in enumerate(zip(requests, searched, strict=True))
        ]

    async def _encode(
        self, texts: Sequence[str], deadline: Deadline, trace: Trace
    ) -> NDArray[np.float32]:
        """Query vectors (q, d), or (q, 0) where the dense side had to be given up."""
        if deadline.remaining_s() <= 0:
            raise DeadlineExceeded(
                f"deadline passed by {-deadline.remaining_s() * 1000:.0f} ms before encoding"
            )
        try:
            vectors: NDArray[np.float32] = await self._run(
                lambda: self._snapshot.encoder.encode(texts, "query")
            )
            return vectors
        except Exception as error:  # onnxruntime's and torch's own errors share no public base
            logger.warning("encoding failed", exc_info=True)
            if (
                self._config.lexical_depth == 0
            ):  # nothing else can search, and an empty page would be a lie
                raise StageError(f"encoder: {error}; retrieval.lexical_depth is 0") from error
            trace.degraded.append("dense")
            return np.empty((len(texts), 0), dtype=np.float32)


def _reach(depth: int, request: SearchRequest) -> int:
    """A side's depth for one request: deep enough for the page; a side that is off stays off."""
    return max(depth, request.offset + request.k) if depth else 0
