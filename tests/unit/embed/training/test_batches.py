from __future__ import annotations

import random
from itertools import islice

import numpy as np

from aisle.embed.training.batches import Batches, BatchPlan
from aisle.embed.training.material import Material
from aisle.embed.training.phrases import title_phrase

DOCUMENTS = tuple(f"product number {i} of the shop" for i in range(40))


def material(queries: int = 12) -> Material:
    """Query i: product 3i of gain 3, 3i + 1 of gain 1, 3i + 2 of gain 0, and a mined product of the next query."""
    return Material(
        queries=tuple(f"wanted thing {i}" for i in range(queries)),
        documents=DOCUMENTS,
        titles=DOCUMENTS,
        judged=tuple(np.arange(3 * i, 3 * i + 3) for i in range(queries)),
        gains=tuple(np.array([3, 1, 0], np.float32) for _ in range(queries)),
        mined=tuple(np.array([(3 * i + 3) % 36]) for i in range(queries)),
    )


PLAN = BatchPlan(queries=8, phrase_fraction=0.25, misspelt_fraction=0.0, hard_fraction=1.0, seed=1)


def take(n: int, plan: BatchPlan = PLAN, start: int = 0, **options: np.ndarray) -> list:
    return list(islice(Batches(material(), plan, **options).after(start), n))


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    whole, later = take(6), take(3, start=3)
    for a, b in zip(whole[3:], later, strict=True):
        assert a.queries == b.queries
        np.testing.assert_array_equal(a.rows, b.rows)
        np.testing.assert_array_equal(a.gains, b.gains)
    assert take(1, BatchPlan(queries=8, seed=2))[0].queries != whole[0].queries


def test_every_query_comes_once_in_a_pass() -> None:
    batches = take(2)  # 12 queries, 6 of them and 2 phrases a batch
    seen = [query for batch in batches for query in batch.queries[:6]]
    assert sorted(seen) == sorted(material().queries)


def test_gains_are_those_of_the_judgments_wherever_a_judged_product_came_from() -> None:
    known = material()
    for batch in take(4):
        assert len(set(batch.rows.tolist())) == len(batch.rows)
        for i, query in enumerate(batch.queries[:6]):
            number = known.queries.index(query)
            gain_of = dict(zip(known.judged[number], known.gains[number], strict=True))
            assert batch.gains[i].tolist() == [gain_of.get(row, 0.0) for row in batch.rows]
            assert batch.gains[i].max() > 0


def test_a_phrase_pulls_the_title_that_it_comes_from() -> None:
    batch = take(1)[0]
    for i in (6, 7):
        (column,) = np.flatnonzero(batch.gains[i])
        title = DOCUMENTS[batch.rows[column]].split()
        assert all(word in title for word in batch.queries[i].split())


def test_misspelt_queries_differ_and_keep_their_products() -> None:
    typed = take(1, BatchPlan(queries=8, misspelt_fraction=1.0, phrase_fraction=0.0, seed=1))[0]
    assert not set(typed.queries) & set(material().queries)
    assert (typed.gains.max(axis=1) > 0).all()


def test_queries_that_resemble_each_other_share_a_batch() -> None:
    partner = np.array([[i ^ 1] for i in range(12)])
    plan = BatchPlan(queries=4, phrase_fraction=0.0, misspelt_fraction=0.0, group=2, seed=3)
    for batch in take(3, plan, neighbours=partner):
        numbers = {int(query.rsplit(" ", 1)[1]) for query in batch.queries}
        assert {number ^ 1 for number in numbers} == numbers


def test_an_unjudged_twin_of_a_relevant_product_is_no_negative() -> None:
    twins = ("same text", "same text", "other text")
    one = Material(
        queries=("wanted thing", "another thing"),
        documents=twins,
        titles=twins,
        judged=(np.array([0]), np.array([2, 1])),
        gains=(np.array([3], np.float32), np.array([1, 1], np.float32)),
        mined=(np.array([1]), np.array([], np.int64)),
    )
    plan = BatchPlan(queries=2, phrase_fraction=0.0, misspelt_fraction=0.0, hard_fraction=1.0)
    batch = next(Batches(one, plan).after(0))
    first = batch.queries.index("wanted thing")
    column = batch.rows.tolist().index(1)
    assert batch.left_out[first, column]
    assert not batch.left_out[first, batch.rows.tolist().index(0)]


def test_a_phrase_keeps_the_order_of_the_title_and_short_titles_stay_whole() -> None:
    rng = random.Random(4)
    title = "DeWalt Cordless Drill Driver Kit With Two Batteries"
    words = title.lower().split()
    for _ in range(50):
        places = [words.index(word) for word in title_phrase(title, rng).split()]
        assert places == sorted(places)
        assert 2 <= len(places) <= 5
    assert title_phrase("Garden Hose", rng) == "garden hose"
    assert title_phrase("", rng) == ""
