"""Answers that a gateway keeps: the same as computed ones, for equal requests over the same snapshot only."""

from __future__ import annotations

import pytest

from aisle.config import Settings
from aisle.schema import SearchRequest, SearchResponse
from deployments.answers import Answers
from deployments.live import Live
from tests import shop


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    serving = {"remembered_answers": 4, "default_timeout_ms": 60_000, "max_timeout_ms": 60_000}
    return shop.published(tmp_path_factory.mktemp("answers"), 60, serving=serving)


async def test_an_equal_request_gets_the_same_page_under_its_own_id_whatever_time_it_has(settings):
    live = Live(settings, None, [], None)
    query = shop.queries(1)[0]
    computed = await live.search(SearchRequest(query=query, k=5), "one")
    again = await live.search(SearchRequest(query=f" {query} ", k=5, timeout_ms=0.001), "two")
    assert computed.hits
    assert again.hits == computed.hits
    assert (again.request_id, again.snapshot) == ("two", computed.snapshot)
    assert again.timings_ms == {"total": 0.0}
    assert computed.request_id == "one"


async def test_another_page_or_filter_is_computed_but_its_query_is_not_encoded_again(settings):
    live = Live(settings, None, [], None)
    query = shop.queries(2)[1]
    first = await live.search(SearchRequest(query=query, k=2), "one")
    second = await live.search(SearchRequest(query=query, k=2, offset=2), "two")
    filtered = await live.search(SearchRequest(query=query, filters={"available": True}), "three")
    assert {hit.product_id for hit in first.hits}.isdisjoint(hit.product_id for hit in second.hits)
    assert all("encode" in each.timings_ms for each in (first, second, filtered))
    remembered = live.snapshot.remembered
    assert remembered is not None
    assert remembered.hits >= 2


def complete(snapshot: str, degraded: list[str] | None = None) -> SearchResponse:
    return SearchResponse([], 0, True, {}, None, degraded or [], {"total": 1.0}, snapshot, "before")


REQUEST = SearchRequest(query="shoes", filters={"brand": ["a"], "available": True})


def test_a_snapshot_finds_only_its_own():
    answers = Answers(4)
    answers.put(REQUEST, complete("one"))
    assert answers.get("two", REQUEST, "x") is None
    assert answers.get("one", REQUEST, "x") is not None
    other_order = SearchRequest(query="shoes", filters={"available": True, "brand": ["a"]})
    assert answers.get("one", other_order, "x") is not None


def test_a_degraded_answer_is_not_kept():
    answers = Answers(4)
    answers.put(REQUEST, complete("one", ["rank"]))
    assert answers.get("one", REQUEST, "x") is None


def test_switched_off_nothing_is_counted():
    answers = Answers(0)
    answers.put(REQUEST, complete("one"))
    assert answers.get("one", REQUEST, "x") is None
    assert (answers.cache.hits, answers.cache.misses) == (0, 0)
