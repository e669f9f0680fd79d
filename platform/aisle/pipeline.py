"""The query path: rewrite, encode, retrieve, rank, filter, page. Read this first.

`Pipeline.search` is the reference: the Serve graph composes the same class over remote stages and must answer exactly
as it does over local ones, and `jobs.batch_search` maps it over millions of queries. It knows stages only by their
roles (`aisle.stages`), never whether they live in this process. What happens when time runs out is decided here and in
`aisle.finding`, nowhere else: rewrite is given up first, then the ranker with the relevance filter, then the dense
side, then shards that do not answer; each is named in the answer's `degraded`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aisle.config import RetrievalConfig
from aisle.errors import StageError
from aisle.finding import Finder, Guess
from aisle.page import build_response
from aisle.ranked import Ranked, ordered
from aisle.recovery import is_thin, recover, unseen
from aisle.retrieve.candidates import Candidates
from aisle.retrieve.merge import fuse
from aisle.retrieve.query import RetrievalQuery
from aisle.rewrite.choose import Choice, choose, segmented
from aisle.rewrite.relax import Relaxed, relaxations
from aisle.schema import SearchRequest, SearchResponse
from aisle.snapshot.loaded import LoadedSnapshot
from aisle.stages import (
    Deadline,
    Retriever,
    Rewrite,
    Rewriter,
    RunBlocking,
    ScoreBatch,
    Scorer,
    Scores,
    inline,
)
from aisle.trace import Trace


class Pipeline:
    """Composes the stages over one snapshot. Safe for concurrent calls if its stages are."""

    def __init__(
        self,
        snapshot: LoadedSnapshot,
        retriever: Retriever,
        scorer: Scorer,
        rewriter: Rewriter | None,
        config: RetrievalConfig,
        rewrite_budget_ms: float = 250.0,
        run: RunBlocking = inline,
    ) -> None:
        """Takes a snapshot loaded with its query and document parts, and the stages.

        Args:
            snapshot: answers are computed from this one alone.
            retriever: finds candidates.
            scorer: ranks and judges them.
            rewriter: none serves queries as they are typed.
            config: depths and weights.
            rewrite_budget_ms: the rewriter's share of a request's time, of which it gets half at most.
            run: how blocking work (encoding, paging) is run; a server passes `asyncio.to_thread`.
        """
        self.snapshot = snapshot
        self._retriever = retriever
        self._finder = Finder(snapshot, retriever, config, run)
        self._scorer = scorer
        self._rewriter = rewriter
        self._config = config
        self._rewrite_budget_s = rewrite_budget_ms / 1000
        self._run = run

    async def search(
        self,
        requests: Sequence[SearchRequest],
        deadline: Deadline,
        request_ids: Sequence[str] | None = None,
        trace: Trace | None = None,
    ) -> list[SearchResponse]:
        """Answers a batch, in order; one deadline for all. What happened on the way is added to `trace`.

        Raises:
            DeadlineExceeded: the deadline passed before encoding, or no shard answered in time.
            StageError: the encoder failed and there is no lexical side to go on with.
            SnapshotNotHeld: a stage does not hold this pipeline's snapshot.
        """
        started = time.perf_counter()
        trace = trace or Trace()
        guessing = None
        if self._rewriter is not None and any(each.rewrite == "auto" for each in requests):
            guessing = asyncio.create_task(self._guess(requests, deadline))
        try:
            rewrites = await self.rewrite(requests, deadline, trace)
            choices = await self.choose(requests, rewrites, trace)
            guess = await guessing if guessing else None
        finally:
            if guessing:
                guessing.cancel()
        ranked = await self._rank(requests, choices, deadline, trace, guess)
        paging = time.perf_counter()
        ids = request_ids or [""] * len(requests)

        def pages() -> list[SearchResponse]:
            return [
                build_response(self.snapshot, request, each, choice, request_id)
                for request, each, choice, request_id in zip(
                    requests, ranked, choices, ids, strict=True
                )
            ]

        responses: list[SearchResponse] = await self._run(pages)
        trace.timed("page", paging)
        trace.timed("total", started)
        for response in responses:
            response.timings_ms = {stage: round(ms, 3) for stage, ms in trace.timings_ms.items()}
            response.degraded = list(trace.degraded)
        return responses

    async def rank(
        self,
        requests: Sequence[SearchRequest],
        rewrites: Sequence[Rewrite],
        deadline: Deadline,
        trace: Trace,
    ) -> list[Ranked]:
        """Everything between rewriting and paging: candidates, ordered and judged, dropped ones included."""
        choices = await self.choose(requests, rewrites, trace)
        return await self._rank(requests, choices, deadline, trace)

    async def _rank(
        self,
        requests: Sequence[SearchRequest],
        choices: Sequence[Choice],
        deadline: Deadline,
        trace: Trace,
        guess: Guess | None = None,
    ) -> list[Ranked]:
        queries, retrieved = await self._finder.find(requests, choices, deadline, trace, guess)
        if retrieved.missing_shards:
            trace.degraded.append("shards")
        fused = []
        for request, query, candidates in zip(requests, queries, retrieved.candidates, strict=True):
            ordered, scores = fuse(candidates, self._config)
            reach = max(self._config.rank_depth, request.offset + request.k)
            # The dense side finds every product there is, until its depth cuts it; the lexical side only those with
            # a word of the query. So without the dense side nobody knows what was not looked at.
            complete = (
                not retrieved.missing_shards
                and len(query.vector) > 0
                and int(candidates.from_dense.sum()) < query.dense_depth
                and len(ordered) <= reach
            )
            cut = np.arange(min(reach, len(ordered)))
            fused.append((ordered.take(cut), scores[cut], complete))
        started = time.perf_counter()
        held = self.snapshot.snapshot_id
        described = await self._retriever.describe(held, queries, [cut for cut, _, _ in fused])
        trace.timed("retrieve", started)
        fused = [(each, *rest[1:]) for each, rest in zip(described, fused, strict=True)]
        ranked = await self._score(queries, fused, deadline, trace)
        return await self._recover(requests, choices, queries, ranked, deadline, trace)

    async def _guess(self, requests: Sequence[SearchRequest], deadline: Deadline) -> Guess | None:
        """See `Finder.guess`."""
        unchanged = [Rewrite.unchanged(request.query) for request in requests]
        choices = await self.choose(requests, unchanged, Trace())
        return await self._finder.guess(requests, choices, deadline)

    async def _recover(
        self,
        requests: Sequence[SearchRequest],
        choices: Sequence[Choice],
        queries: Sequence[RetrievalQuery],
        ranked: list[Ranked],
        deadline: Deadline,
        trace: Trace,
    ) -> list[Ranked]:
        """Tries thin pages again without the query's least essential words; a page that is fine is not touched."""
        snapshot, config = self.snapshot, self._config
        plans = {
            i: relaxations(
                choices[i].searched, snapshot.statistics, snapshot.analyzer, config.recover_attempts
            )
            for i, each in enumerate(ranked)
            if requests[i].rewrite == "auto" and is_thin(each, config.recover_below)
        }

        async def again(thin: Sequence[int], shorter: Sequence[Relaxed]) -> list[Ranked]:
            typed = [Choice.typed(each.query, "recovery") for each in shorter]
            asked = await self._finder.analyse([requests[i] for i in thin], typed, deadline, trace)
            held, own = snapshot.snapshot_id, [queries[i] for i in thin]
            retrieved = await self._retriever.retrieve(held, asked, deadline)
            new = [unseen(f, ranked[i]) for i, f in zip(thin, retrieved.candidates, strict=True)]
            found = await self._retriever.score_pairs(held, own, new, deadline)
            fused = [(*fuse(each, config), False) for each in found]
            return await self._score(own, fused, deadline, trace)

        if not plans:
            return ranked
        started = time.perf_counter()
        ranked, in_time = await recover(ranked, plans, config.recover_below, again, deadline)
        if not in_time:
            trace.degraded.append("recover")
        trace.timed("recover", started)
        return ranked

    async def score_pairs(
        self,
        rewrites: Sequence[Rewrite],
        product_ids: Sequence[Sequence[str]],
        deadline: Deadline,
        trace: Trace | None = None,
    ) -> list[Ranked]:
        """Scores named products for each rewritten query: features, ranker and filter, without retrieval.

        Products that the snapshot does not hold are left out of the answer.
        """
        trace = trace or Trace()
        requests = [SearchRequest(query=rewrite.original) for rewrite in rewrites]
        choices = await self.choose(requests, rewrites, trace)
        analysed = await self._finder.analyse(requests, choices, deadline, trace)
        ids = [np.array([each.encode() for each in some], dtype=np.bytes_) for some in product_ids]
        candidates = await self._retriever.score_pairs(
            self.snapshot.snapshot_id, analysed, ids, deadline
        )
        fused = [(*fuse(each, self._config), True) for each in candidates]
        return await self._score(analysed, fused, deadline, trace)

    async def rewrite(
        self, requests: Sequence[SearchRequest], deadline: Deadline, trace: Trace
    ) -> list[Rewrite]:
        """What the rewriter makes of each query within its budget; unchanged where it is off, absent or too late."""
        rewrites = [Rewrite.unchanged(request.query) for request in requests]
        wanted = [i for i, request in enumerate(requests) if request.rewrite == "auto"]
        if self._rewriter is None or not wanted:
            return rewrites
        started = time.perf_counter()
        # With the whole of the time, one that is dead or hangs would cost the answer instead of its repair.
        budget = deadline.sooner(min(self._rewrite_budget_s, deadline.remaining_s() / 2))
        try:
            answers = await asyncio.wait_for(
                self._rewriter.rewrite([requests[i].query for i in wanted], budget),
                max(budget.remaining_s(), 0.0),
            )
            for i, answer in zip(wanted, answers, strict=True):
                rewrites[i] = answer
        except (TimeoutError, StageError):
            trace.degraded.append("rewrite")
        trace.timed("rewrite", started)
        return rewrites

    async def choose(
        self, requests: Sequence[SearchRequest], rewrites: Sequence[Rewrite], trace: Trace
    ) -> list[Choice]:
        """Which reading of each query is searched: as typed, as repaired, or as the model has it; and its segments."""
        snapshot = self.snapshot
        started = time.perf_counter()

        def chosen() -> list[Choice]:
            return [
                segmented(
                    choose(
                        rewrite,
                        snapshot.spelling,
                        snapshot.statistics,
                        snapshot.analyzer,
                        snapshot.expand_below,
                    ),
                    snapshot.segmenter,
                )
                if request.rewrite == "auto"
                else Choice.typed(request.query, "rewriting was switched off by the request")
                for request, rewrite in zip(requests, rewrites, strict=True)
            ]

        choices: list[Choice] = await self._run(chosen)
        trace.timed("choose", started)
        return choices

    async def _score(
        self,
        queries: Sequence[RetrievalQuery],
        fused: Sequence[tuple[Candidates, NDArray[np.float32], bool]],
        deadline: Deadline,
        trace: Trace,
    ) -> list[Ranked]:
        """Orders and judges the fused candidates of every query in one call."""
        sizes = [len(candidates) for candidates, _, _ in fused]
        scores: Scores | None = None
        if sum(sizes) and all(len(query.vector) for query in queries):
            batch = ScoreBatch(
                features=np.concatenate([candidates.features for candidates, _, _ in fused]),
                cosine=np.concatenate([candidates.cosine for candidates, _, _ in fused]),
                fused=np.concatenate([scored for _, scored, _ in fused]),
                query_index=np.repeat(np.arange(len(queries)), sizes),
                query_vectors=np.stack([query.vector for query in queries]),
            )
            try:
                scores = await asyncio.wait_for(
                    self._scorer.score(self.snapshot.snapshot_id, batch, deadline),
                    max(deadline.remaining_s(), 0.0),
                )
                trace.timings_ms["rank"] = scores.rank_ms
                trace.timings_ms["filter"] = scores.filter_ms
            except (TimeoutError, StageError):
                trace.degraded.append("rank")
        elif sum(sizes):
            trace.degraded.append("rank")
        ranked, first = [], 0
        for size, (candidates, fused_scores, complete) in zip(sizes, fused, strict=True):
            ranked.append(
                ordered(candidates, fused_scores, complete, scores, slice(first, first + size))
            )
            first += size
        for each in ranked:
            if each.relevance is not None:
                trace.judged += len(each.kept)
                trace.kept += int(each.kept.sum())
        return ranked
