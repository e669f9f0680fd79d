"""A fused gateway's pipeline without Serve around it: the reference's answers, off the replica's event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from aisle.config import Settings
from aisle.local import local_pipeline
from aisle.schema import SearchRequest
from aisle.stages import Deadline, Rewrite
from deployments.live import Live, OnLoop, Worker
from tests import shop


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return shop.published(tmp_path_factory.mktemp("live"), 60)


class LoopNoting:
    """Notes the thread that it is asked in, and answers after a while."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.wait_s, self.threads = wait_s, set[int]()

    async def rewrite(self, queries: Sequence[str], _: Deadline) -> list[Rewrite]:
        self.threads.add(threading.get_ident())
        await asyncio.sleep(self.wait_s)
        return [Rewrite.unchanged(query) for query in queries]


REQUESTS = [SearchRequest(query=query, k=5) for query in shop.queries(20)]


async def test_requests_that_come_together_are_answered_as_by_the_pipeline(settings):
    live = Live(settings, None, [], None)
    found = await asyncio.gather(*(live.search(each, str(i)) for i, each in enumerate(REQUESTS)))
    expected = await shop.open_pipeline(settings).search(REQUESTS, Deadline.after(30))
    assert [each.hits for each in found] == [each.hits for each in expected]
    assert [each.request_id for each in found] == [str(i) for i in range(len(REQUESTS))]


async def test_a_rewriter_is_asked_on_the_loop_that_it_lives_on_and_within_its_budget(settings):
    worker, snapshot = Worker(), shop.load(settings)
    for wait_s, degraded in ((0.0, []), (30.0, ["rewrite"])):
        rewriter = LoopNoting(wait_s)
        here = OnLoop(rewriter, asyncio.get_running_loop())
        search = local_pipeline(snapshot, settings, here).search(REQUESTS[:2], Deadline.after(60))
        started = time.monotonic()
        answers = await worker.run(search)
        assert [each.degraded for each in answers] == [degraded] * 2
        assert rewriter.threads == {threading.get_ident()}
        assert time.monotonic() - started < 20


async def test_an_error_of_the_pipeline_reaches_the_caller():
    async def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Worker().run(fails())
