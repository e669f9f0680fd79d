"""Thin pages: when they are tried again, and what may be added to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from aisle.config import Settings
from aisle.rank.features import FEATURES
from aisle.ranked import Ranked
from aisle.recovery import joined, recover, unseen
from aisle.retrieve.candidates import Candidates
from aisle.rewrite.relax import Relaxed
from aisle.snapshot import LoadedSnapshot
from aisle.stages import Deadline, ScoreBatch, Scores, Segment
from tests.fakes import ask, compose, ids
from tests.shop import load, published, queries

SHORTER = Relaxed("drill", (Segment("blue", "color"),))


def page(kept: dict[str, float], dropped: Sequence[str] = (), complete: bool = False) -> Ranked:
    """A page whose hits have these relevances, which are their scores too; dropped ones have .1."""
    relevance = {**kept, **dict.fromkeys(dropped, 0.1)}
    order = sorted(relevance, key=lambda each: (-relevance[each], each))
    n = len(order)
    zeros = np.zeros(n, np.float32)
    found = Candidates(
        np.array([each.encode() for each in order], dtype="S4"),
        np.arange(n),
        *(zeros, zeros, zeros),
        *(np.zeros(n, bool), np.zeros(n, bool)),
        np.zeros((n, len(FEATURES)), np.float32),
    )
    scores = np.array([relevance[each] for each in order], np.float32)
    is_kept = np.array([each in kept for each in order], dtype=bool)
    return Ranked(found, zeros, scores, scores, is_kept, 0.5, complete)


def shown(ranked: Ranked) -> list[str]:
    return [each.decode() for each in ranked.candidates.product_ids[ranked.kept]]


def run(pages: list[Ranked], attempts: int, below: int, seconds: float = 60.0):
    """Recovers with a source that finds `r<page><attempt>` each time; returns pages, in time, and what was asked."""
    asked: list[list[int]] = []

    async def again(thin: Sequence[int], shorter: Sequence[Relaxed]) -> list[Ranked]:
        asked.append(list(thin))
        return [page({f"r{i}{len(asked)}": 0.6}, dropped=["junk"]) for i in thin]

    plans = {i: [SHORTER] * attempts for i in range(len(pages))}
    found, in_time = asyncio.run(recover(pages, plans, below, again, Deadline.after(seconds)))
    return found, in_time, asked


def test_a_page_that_is_fine_is_never_touched() -> None:
    fine, empty = page({"a": 0.9}), page({}, dropped=["x"])
    found, in_time, asked = run([fine, empty], attempts=2, below=1)
    assert found[0] is fine
    assert asked == [[1]]  # and a page that is thin no more is not tried again
    assert in_time
    assert shown(found[1]) == ["r11"]
    assert found[1].recovered == SHORTER


def test_attempts_go_on_while_the_page_is_thin() -> None:
    found, _, asked = run([page({"a": 0.9})], attempts=3, below=3)
    assert asked == [[0], [0]]
    assert shown(found[0]) == ["a", "r01", "r02"]


@pytest.mark.parametrize(
    ("thin", "why"),
    [
        (
            page({}, dropped=["x"], complete=True),
            "every product was judged: nothing is left to find",
        ),
        (replace(page({}), relevance=None), "nothing was judged, so nothing can be added"),
    ],
)
def test_an_empty_page_that_cannot_be_helped_stays(thin: Ranked, why: str) -> None:
    found, _, asked = run([thin], attempts=2, below=1)
    assert (found[0], asked) == (thin, []), why


def test_an_attempt_that_would_pass_the_deadline_is_not_begun() -> None:
    thin = page({}, dropped=["x"])
    found, in_time, asked = run([thin], attempts=2, below=1, seconds=0.001)
    assert (found[0], in_time, asked) == (thin, False, [])


def test_what_the_filter_dropped_is_not_added() -> None:
    thin = page({"a": 0.9}, dropped=["x"])
    more = page({"b": 0.95, "c": 0.7}, dropped=["junk"])
    both = joined(thin, more, SHORTER)
    assert shown(both) == ["b", "a", "c"]  # by score
    assert b"junk" not in both.candidates.product_ids
    assert joined(thin, page({}, dropped=["junk"]), SHORTER) is thin


def test_only_products_that_the_query_itself_did_not_find_are_new() -> None:
    found = page({"a": 0.9, "b": 0.8}).candidates
    assert unseen(found, page({"a": 0.9}, dropped=["c"])).tolist() == [b"b"]


# -- in the pipeline


class Judge:
    """A scorer that finds nothing relevant until `after` calls; then what it is shown. Enough: recovery sees a filter
    by what it keeps alone."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.batches: list[ScoreBatch] = []

    async def score(self, snapshot_id: str, batch: ScoreBatch, deadline: Deadline) -> Scores:
        self.batches.append(batch)
        relevance = np.full(len(batch.cosine), 0.9 if len(self.batches) > self.after else 0.1)
        scores = batch.fused.astype(np.float32)
        return Scores(scores, relevance.astype(np.float32), 0.5, 0.0, 0.0)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return published(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def snapshot(settings: Settings) -> LoadedSnapshot:
    return load(settings)


async def test_a_recovered_page_says_how_and_is_judged_for_the_query_as_it_was(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    query = queries(10)[5]
    config = settings.retrieval.model_copy(update={"dense_depth": 20, "lexical_depth": 20})
    judge = Judge(after=1)
    answer = await ask(compose(snapshot, settings, scorer=judge, config=config), query)
    first, second = judge.batches
    assert np.array_equal(first.query_vectors, second.query_vectors)
    assert answer.recovery is not None
    assert len(answer.hits) == answer.total == len(second.cosine)
    dropped = " ".join(text for text, _ in answer.recovery.dropped)
    words = sorted(f"{answer.recovery.query} {dropped}".split())
    assert words == sorted(query.lower().split())
    assert not answer.degraded
    assert "recover" in answer.timings_ms


async def test_recovery_can_be_switched_off_and_an_honest_empty_page_stays_empty(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    query = queries(10)[5]
    for change, rewrite in (({"recover_below": 0}, "auto"), ({}, "off")):
        judge = Judge(after=1)
        sides = {"dense_depth": 20, "lexical_depth": 20, **change}
        config = settings.retrieval.model_copy(update=sides)
        pipeline = compose(snapshot, settings, scorer=judge, config=config)
        answer = await ask(pipeline, query, rewrite=rewrite)
        assert (len(judge.batches), answer.hits, answer.recovery) == (1, [], None)
    strict = Judge(after=99)
    config = settings.retrieval.model_copy(update={"dense_depth": 20, "lexical_depth": 20})
    answer = await ask(compose(snapshot, settings, scorer=strict, config=config), query)
    assert len(strict.batches) > 1
    assert ids(answer) == []
    assert answer.recovery is None
    assert answer.empty_reason is not None
