"""What a gateway does with more than it can answer in time, and with requests that have no time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from aisle.config import Settings
from aisle.errors import DeadlineExceeded, Overloaded
from aisle.schema import SearchRequest
from deployments.live import Live, in_passes
from deployments.pace import Pace
from tests import shop

REQUESTS = [SearchRequest(query=query, k=5) for query in shop.queries(20)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    serving = {
        "max_ongoing_requests": 10,
        "max_queued_requests": 4,
        "batch_max": 8,
        "default_timeout_ms": 60_000,
        "max_timeout_ms": 60_000,
    }
    return shop.published(tmp_path_factory.mktemp("overload"), 60, serving=serving)


@pytest.fixture
def live(settings: Settings) -> Live:
    return Live(settings, None, [], None)


def slowed(monkeypatch: pytest.MonkeyPatch, live: Live, seconds: float) -> None:
    """Every pass of the pipeline takes so long more."""
    inner: Callable[..., Any] = live._pipeline.search

    async def slow(*asked: Any) -> Any:
        await asyncio.sleep(seconds)
        return await inner(*asked)

    monkeypatch.setattr(live._pipeline, "search", slow)


async def outcomes(live: Live, requests: list[SearchRequest]) -> list[Any]:
    searches = (live.search(each, str(number)) for number, each in enumerate(requests))
    return await asyncio.gather(*searches, return_exceptions=True)


async def test_beyond_the_queue_it_is_refused_at_once_and_the_others_are_answered(live):
    found = await outcomes(live, REQUESTS)
    refused = [each for each in found if isinstance(each, Overloaded)]
    assert len(refused) == len(REQUESTS) - 14
    assert "allowed are 14" in str(refused[0])
    assert all(each.hits for each in found if not isinstance(each, Exception))
    assert [type(each) for each in await outcomes(live, REQUESTS[:3])] == [type(found[0])] * 3


async def test_what_would_be_late_is_refused_at_once_with_when_to_come_back(live, monkeypatch):
    slowed(monkeypatch, live, 2.0)
    await outcomes(live, REQUESTS[:1])
    impatient = SearchRequest(query="shoes", timeout_ms=500)
    started = time.monotonic()
    under_way = [asyncio.create_task(live.search(each, "")) for each in REQUESTS[:8]]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="8 searches are before this one") as refusal:
        await live.search(impatient, "")
    assert time.monotonic() - started < 1.0
    assert refusal.value.retry_after_s >= 2
    assert all(answer.hits for answer in await asyncio.gather(*under_way))


async def test_one_without_time_costs_the_others_of_its_batch_nothing(live):
    hopeless = SearchRequest(query="shoes", timeout_ms=1e-6)
    first, late, last = await outcomes(live, [REQUESTS[0], hopeless, REQUESTS[1]])
    assert isinstance(late, DeadlineExceeded)
    assert first.hits
    assert last.hits
    assert (first.degraded, last.degraded) == ([], [])


async def test_what_comes_too_late_does_not_make_the_gateway_think_itself_quick(live, monkeypatch):
    slowed(monkeypatch, live, 0.2)
    await outcomes(live, REQUESTS[:1])
    before = live._pace.wait_s(10)
    late = [SearchRequest(query=each.query, timeout_ms=1e-6) for each in REQUESTS[:8]]
    found = await outcomes(live, late)
    assert all(isinstance(each, DeadlineExceeded) for each in found)
    assert live._pace.wait_s(10) == before > 0


def test_every_request_is_in_one_pass():
    left = [0.5, -1.0, 0.01, 0.049, 0.05, 0.0]
    passes = in_passes(left)
    assert sorted(number for each in passes for number in each) == list(range(len(left)))
    assert passes == [[1], [5], [2, 3], [0, 4]]
    assert in_passes([]) == []


def test_the_pace_is_that_of_passes_which_overlap():
    pace = Pace(10)
    assert pace.wait_s(100) == 0.0
    pace.passed(0.0, 1.0, 10, waiting=5)
    assert pace.wait_s(10) == pytest.approx(1.0)
    for end in range(2, 60):  # each takes three seconds, and one ends every second
        pace.passed(end - 3.0, float(end), 10, waiting=5)
    assert pace.wait_s(10) == pytest.approx(1.0)
    for end in range(100, 200, 10):  # with pauses, that count for nothing
        pace.passed(end - 0.5, float(end), 10, waiting=5)
    assert pace.wait_s(10) == pytest.approx(0.5, rel=0.15)


def test_passes_of_few_that_wait_for_others_do_not_slow_the_pace():
    pace = Pace(16)
    pace.passed(0.0, 0.25, 1, waiting=0)  # nothing shown yet: a full one would take as long
    assert pace.wait_s(16) == pytest.approx(0.25)
    for end in range(1, 20):
        pace.passed(end - 0.064, float(end), 16, waiting=8)
    quick = pace.wait_s(16)
    assert quick == pytest.approx(0.064)
    for end in range(20, 40):  # the rewriter is away
        pace.passed(end - 0.25, float(end), 2, waiting=0)
    assert pace.wait_s(16) == quick
    for end in range(40, 60):
        pace.passed(end - 0.016, float(end), 16, waiting=0)
    assert pace.wait_s(16) == pytest.approx(0.016, rel=0.1)
    for end in range(60, 90):  # and where others wait all the same, it is slow indeed
        pace.passed(end - 0.25, float(end), 16, waiting=8)
    assert pace.wait_s(16) == pytest.approx(0.25, rel=0.05)
