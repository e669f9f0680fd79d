"""Which requests share a batch, with an answer that the test lets go."""

from __future__ import annotations

import asyncio

import pytest

from deployments.batches import Batches


class Held:
    """Doubles numbers once it is let go; notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, asked: list[int]) -> list[int]:
        self.batches.append(asked)
        await self.go.wait()
        if 13 in asked:
            raise ValueError("thirteen")
        return [2 * each for each in asked]


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_batch_grows_while_another_is_under_way():
    held = Held()
    batches = Batches[int, int](held, most=4)
    first = asyncio.create_task(batches(1))
    await some_turns()
    others = [asyncio.create_task(batches(each)) for each in (2, 3, 4, 5, 6)]
    await some_turns()
    assert held.batches == [[1]]
    held.go.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10, 12]
    assert held.batches == [[1], [2, 3, 4, 5], [6]]


async def test_what_comes_in_one_turn_of_the_loop_goes_together():
    held = Held()
    held.go.set()
    batches = Batches[int, int](held, most=4)
    assert await asyncio.gather(*(batches(each) for each in range(3))) == [0, 2, 4]
    assert held.batches == [[0, 1, 2]]


async def test_as_many_batches_as_are_allowed_are_under_way():
    held = Held()
    batches = Batches[int, int](held, most=1, at_once=2)
    tasks = [asyncio.create_task(batches(each)) for each in range(3)]
    await some_turns()
    assert held.batches == [[0], [1]]
    held.go.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4]


async def test_the_first_waits_for_company_as_long_as_it_is_told_to_and_no_longer():
    held = Held()
    held.go.set()
    batches = Batches[int, int](held, most=2, wait_s=0.05)
    task = asyncio.create_task(batches(1))
    await some_turns()
    assert held.batches == []
    assert await batches(2) == 4  # a full batch waits for nobody
    assert await task == 2
    assert await batches(3) == 6
    assert held.batches == [[1, 2], [3]]


async def test_an_error_reaches_all_of_its_batch_and_nobody_else():
    held = Held()
    batches = Batches[int, int](held, most=2)
    tasks = [asyncio.create_task(batches(each)) for each in (1, 13, 2)]
    held.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in results] == [ValueError, ValueError, int]


async def test_who_is_cancelled_while_waiting_is_not_computed():
    held = Held()
    batches = Batches[int, int](held, most=4)
    first = asyncio.create_task(batches(1))
    await some_turns()
    gone, stays = asyncio.create_task(batches(2)), asyncio.create_task(batches(3))
    await some_turns()
    gone.cancel()
    held.go.set()
    assert await asyncio.gather(first, stays) == [2, 6]
    assert held.batches == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_who_is_cancelled_under_way_costs_the_others_nothing():
    held = Held()
    batches = Batches[int, int](held, most=4)
    gone, stays = asyncio.create_task(batches(2)), asyncio.create_task(batches(3))
    await some_turns()
    gone.cancel()
    held.go.set()
    assert await stays == 6
