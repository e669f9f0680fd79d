"""Calls between replicas fail in ways of their own; `answer` repeats what may be repeated and names the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from aisle.errors import DeadlineExceeded, Overloaded, SnapshotNotHeld, StageError
from aisle.stages import Deadline
from deployments.remote import Hedges, answer


class Calls:
    """Stands for a handle's method: each call ends with the next outcome, the last one for ever."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.made = outcomes, 0

    async def __call__(self) -> Any:
        outcome = self.outcomes[min(self.made, len(self.outcomes) - 1)]
        self.made += 1
        if isinstance(outcome, Exception):
            raise outcome
        if callable(outcome):
            return await outcome()
        return outcome


async def asked(calls: Callable[[], Any], seconds: float = 1.0) -> Any:
    return await answer(calls, Deadline.after(seconds), "rank")


async def test_a_snapshot_that_is_being_loaded_is_waited_for():
    calls = Calls(SnapshotNotHeld("not yet"), SnapshotNotHeld("not yet"), "scores")
    assert await asked(calls) == "scores"
    assert calls.made == 3


async def test_a_snapshot_that_stays_away_is_said_within_the_deadline():
    calls, started = Calls(SnapshotNotHeld("never")), time.monotonic()
    with pytest.raises(SnapshotNotHeld):
        await asked(calls, 0.3)
    assert time.monotonic() - started < 0.4
    assert calls.made > 2


async def test_a_dead_replica_is_replaced_a_few_times():
    assert await asked(Calls(RayActorError(), "scores")) == "scores"
    calls = Calls(RayActorError())
    with pytest.raises(StageError, match="rank: its replica is gone"):
        await asked(calls)
    assert calls.made == 4


async def test_a_full_queue_and_a_missed_deadline_are_not_tried_again():
    async def sleeps() -> None:
        await asyncio.sleep(5)

    full, slow = (
        Calls(BackPressureError(num_queued_requests=9, max_queued_requests=9)),
        Calls(sleeps),
    )
    with pytest.raises(Overloaded):
        await asked(full)
    with pytest.raises(DeadlineExceeded):
        await asked(slow, 0.1)
    assert (full.made, slow.made) == (1, 1)


async def hangs() -> str:
    await asyncio.sleep(30)
    return "late"


async def test_another_replica_is_asked_where_the_first_hangs():
    calls, started = Calls(hangs, "scores"), time.monotonic()
    assert await Hedges().answer(calls, Deadline.after(2.0), "rank") == "scores"
    assert 0.4 < time.monotonic() - started < 1.5
    assert calls.made == 2


async def test_who_answers_soon_is_asked_once_and_an_error_is_raised_at_once():
    calls = Calls("scores")
    assert await Hedges().answer(calls, Deadline.after(2.0), "rank") == "scores"
    full = Calls(BackPressureError(num_queued_requests=9, max_queued_requests=9))
    with pytest.raises(Overloaded):
        await Hedges().answer(full, Deadline.after(2.0), "rank")
    assert (calls.made, full.made) == (1, 1)


async def test_where_both_hang_it_is_over_at_the_deadline():
    calls, started = Calls(hangs), time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await Hedges().answer(calls, Deadline.after(0.4), "rank")
    assert time.monotonic() - started < 1.0
    assert calls.made == 2


async def test_the_first_answer_counts_though_the_second_fails():
    async def slow() -> str:
        await asyncio.sleep(0.3)
        return "scores"

    full = BackPressureError(num_queued_requests=9, max_queued_requests=9)
    assert await Hedges().answer(Calls(slow, full), Deadline.after(0.8), "rank") == "scores"


async def test_where_everything_is_slow_hedges_stay_a_share_of_the_calls():
    calls, hedges = Calls(hangs), Hedges()
    asked = [hedges.answer(calls, Deadline.after(0.2), "rank") for _ in range(100)]
    assert all(
        isinstance(each, DeadlineExceeded)
        for each in await asyncio.gather(*asked, return_exceptions=True)
    )
    assert 100 < calls.made <= 115
