"""What is searched while the rewriter thinks, and that no answer shows it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aisle.config import Settings
from aisle.errors import StageError
from aisle.pipeline import Pipeline
from aisle.retrieve.local import LocalRetriever
from aisle.schema import SearchRequest
from aisle.snapshot import LoadedSnapshot
from aisle.stages import Deadline, Retrieved, Rewrite, Segment
from tests.fakes import Partial, Rewrites, ask, compose, ids
from tests.shop import load, published, queries


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return published(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def snapshot(settings: Settings) -> LoadedSnapshot:
    return load(settings)


PLAIN, OTHER = queries(10)[2], queries(10)[5]


class Answering(Rewrites):
    """Says when it has answered."""

    answered = False

    async def rewrite(self, *arguments: Any) -> list[Rewrite]:
        found = await super().rewrite(*arguments)
        self.answered = True
        return found


class Noting(LocalRetriever):
    """The real retriever; notes what it is asked, and whether the rewriter had answered by then."""

    def __init__(self, shards: Any, rewriter: Answering) -> None:
        super().__init__(shards)
        self.texts: list[list[str]] = []
        self.early: list[bool] = []
        self._rewriter = rewriter

    async def retrieve(self, *arguments: Any) -> Retrieved:
        self.texts.append([query.text for query in arguments[1]])
        self.early.append(not self._rewriter.answered)
        return await super().retrieve(*arguments)


async def test_a_query_that_the_rewriter_leaves_alone_is_searched_once_and_meanwhile(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    rewriter = Answering(delay_s=0.03)
    retriever = Noting({snapshot.snapshot_id: snapshot.shards}, rewriter)
    answer = await ask(compose(snapshot, settings, rewriter, retriever=retriever), PLAIN)
    assert retriever.texts == [[PLAIN]]
    assert retriever.early == [True]
    assert ids(answer) == ids(await ask(compose(snapshot, settings), PLAIN))
    assert {"encode", "retrieve", "rewrite"} <= answer.timings_ms.keys()


async def test_segments_that_the_rewriter_finds_count_though_nothing_is_searched_again(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    words = PLAIN.split()
    segments = (Segment(" ".join(words[:-1]), "brand"), Segment(words[-1], "product"))
    segmenting = {PLAIN: Rewrite(PLAIN, PLAIN, segments=segments)}
    rewriter = Answering(segmenting, delay_s=0.03)
    retriever = Noting({snapshot.snapshot_id: snapshot.shards}, rewriter)
    guessed = await _ranked(compose(snapshot, settings, rewriter, retriever=retriever))
    assert retriever.texts == [[PLAIN]]

    class Waiting(Noting):
        describes = False  # as in the split graph: only the vector is guessed

    waiting = Waiting({snapshot.snapshot_id: snapshot.shards}, rewriter := Answering(segmenting))
    waited = await _ranked(compose(snapshot, settings, rewriter, retriever=waiting))
    assert (waiting.texts, waiting.early) == ([[PLAIN]], [False])
    assert guessed == waited != await _ranked(compose(snapshot, settings))


async def _ranked(pipeline: Pipeline) -> list[tuple[str, dict[str, float]]]:
    """Hits with the ranker's features."""
    request = SearchRequest(query=PLAIN, explain=True)
    (answer,) = await pipeline.search([request], Deadline.after(10))
    return [(hit.product_id, hit.explain.features) for hit in answer.hits if hit.explain]


async def test_of_a_batch_only_what_was_rewritten_is_searched_again(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    mistyped = "zzqx " + OTHER  # a word that no product holds, so that the guard lets it be changed
    rewriter = Answering({mistyped: Rewrite(mistyped, OTHER)}, delay_s=0.03)
    retriever = Noting({snapshot.snapshot_id: snapshot.shards}, rewriter)
    pipeline = compose(snapshot, settings, rewriter, retriever=retriever)
    requests = [SearchRequest(query=PLAIN), SearchRequest(query=mistyped)]
    answers = await pipeline.search(requests, Deadline.after(10))
    assert retriever.texts == [[PLAIN, mistyped], [OTHER]]
    assert retriever.early == [True, False]
    for answer, query in zip(answers, (PLAIN, OTHER), strict=True):
        assert ids(answer) == ids(await ask(compose(snapshot, settings), query))


async def test_without_a_rewriter_or_with_rewriting_off_nothing_is_guessed(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    rewriter = Answering()
    retriever = Noting({snapshot.snapshot_id: snapshot.shards}, rewriter)
    pipeline = compose(snapshot, settings, rewriter, retriever=retriever)
    await pipeline.search([SearchRequest(query=PLAIN, rewrite="off")], Deadline.after(10))
    assert retriever.texts == [[PLAIN]]
    assert rewriter.asked == []


async def test_a_guess_that_missed_a_shard_is_not_kept(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    class Recovering(Partial):
        calls = 0

        async def retrieve(self, *arguments: Any) -> Retrieved:
            self.calls += 1
            if self.calls == 1:
                return await super().retrieve(*arguments)
            return await LocalRetriever.retrieve(self, *arguments)

    retriever = Recovering({snapshot.snapshot_id: snapshot.shards})
    answer = await ask(
        compose(snapshot, settings, Rewrites(delay_s=0.01), retriever=retriever), PLAIN
    )
    assert retriever.calls == 2
    assert answer.degraded == []


async def test_a_guess_that_failed_is_the_searchs_to_report(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    class Broken(LocalRetriever):
        async def retrieve(self, *arguments: Any) -> Retrieved:
            raise StageError("no shard answered")

    retriever = Broken({snapshot.snapshot_id: snapshot.shards})
    pipeline = compose(snapshot, settings, Rewrites(delay_s=0.01), retriever=retriever)
    with pytest.raises(StageError, match="no shard answered"):
        await pipeline.search([SearchRequest(query=PLAIN)], Deadline.after(10))
    assert len(asyncio.all_tasks()) == 1  # nothing is left running
