"""A shard: both sides, filters, tombstones, named products, and whatever queries people send."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aisle.catalog.sample import build_sample
from aisle.index.segment import Segment
from aisle.index.statistics import Statistics
from aisle.rank.features import FEATURES
from aisle.retrieve.candidates import Candidates, shards_and_rows
from aisle.retrieve.local import describe_in_shards
from aisle.retrieve.merge import merge
from aisle.retrieve.query import RetrievalQuery
from aisle.retrieve.shard import Shard
from tests.segments import (
    NONE_DEAD,
    query_of,
    segment_of,
    shard_of,
    statistics_of,
    table_of,
    titled,
)

KINDS = ["flat", "sq8", "hnsw", "ivf"]


@pytest.fixture(scope="module")
def products() -> pa.Table:
    return build_sample(400).products.sort_by("product_id")


@pytest.fixture(scope="module", params=KINDS)
def segment(
    request: pytest.FixtureRequest, products: pa.Table, tmp_path_factory: pytest.TempPathFactory
) -> Segment:
    return segment_of(products, tmp_path_factory.mktemp(request.param), request.param)


def test_tombstones_are_never_returned_and_both_sides_stay_full(segment: Segment) -> None:
    statistics = statistics_of(segment)
    query = query_of("black shoes", statistics, depth=30)
    everything = merge([shard_of(segment).search(query)], 30, 30)
    dead = np.sort(shards_and_rows(everything.locators)[1])  # the worst case: all best rows die
    shard = Shard(0, [(segment, dead)], 0.5)
    found = merge([shard.search(query)], 30, 30)
    assert not set(found.locators.tolist()) & set(everything.locators.tolist())
    assert found.from_dense.sum() == 30
    assert found.from_lexical.sum() == min(30, _matches(segment, query.terms, dead))
    assert len(shard.score(query, everything.product_ids)) == 0


def _matches(segment: Segment, terms: tuple[str, ...], dead: np.ndarray) -> int:
    rows = np.zeros(segment.rows, dtype=bool)
    for text in segment.forward.texts():
        rows |= np.array([bool({*terms} & {*each.split()}) for each in text])
    rows[dead] = False
    return int(rows.sum())


def test_scores_of_named_products_equal_those_of_the_search(segment: Segment) -> None:
    query = query_of("red running shoes", statistics_of(segment), expansions=["sneakers"])
    shard = shard_of(segment, number=3)
    found = described(shard, query, shard.search(query))
    named = described(shard, query, shard.score(query, found.product_ids[::-1]))
    order = np.argsort(named.product_ids)
    at = np.argsort(found.product_ids)
    for name in ("product_ids", "locators", "cosine", "bm25", "fused", "features"):
        assert np.array_equal(getattr(named, name)[order], getattr(found, name)[at]), name
    assert not named.from_dense.any()
    assert not named.from_lexical.any()


def described(shard: Shard, query: RetrievalQuery, found: Candidates) -> Candidates:
    return describe_in_shards([shard], [query], [found])[0]


@pytest.mark.parametrize("dense", [True, False])
def test_scores_that_find_are_columns_of_the_features_bit_for_bit(
    segment: Segment, dense: bool
) -> None:
    shard = shard_of(segment)
    for text in ("red running shoes", "usb cable 2 m", "zzzz"):
        query = query_of(text, statistics_of(segment), dense=dense, expansions=["sneakers"])
        found = described(shard, query, shard.score(query, segment.product_ids))
        for name in ("cosine", "bm25", "fused"):
            column = found.features[:, FEATURES.index(name)]
            assert np.array_equal(column, getattr(found, name)), name


def test_unknown_ids_are_left_out(segment: Segment) -> None:
    query = query_of("lamp", statistics_of(segment))
    ids = np.array([b"nobody", segment.product_ids[5]])
    assert shard_of(segment).score(query, ids).product_ids.tolist() == [segment.product_ids[5]]
    assert len(shard_of(segment).score(query, np.array([b"nobody"]))) == 0
    assert len(shard_of(segment).score(query, np.array([], dtype="S1"))) == 0


def test_only_rows_that_pass_the_filters_come_back(segment: Segment, products: pa.Table) -> None:
    filters = {"available": True, "price": {"gte": 20, "lt": 60}}
    found = shard_of(segment).search(query_of("shoes", statistics_of(segment), filters=filters))
    rows = products.take(pa.array(shards_and_rows(found.locators)[1])).to_pylist()
    assert rows
    assert all(row["available"] is not False and 20 <= row["price"] < 60 for row in rows)
    nothing = query_of("shoes", statistics_of(segment), filters={"brand": ["no such brand"]})
    assert len(shard_of(segment).search(nothing)) == 0


@pytest.mark.parametrize(
    ("text", "lexical"),
    {
        "no known term": ("zzzz qqqq", False),
        "punctuation": ("?!... --", False),
        "sixty words": (" ".join(f"w{i}" for i in range(58)) + " red shoes", True),
        "five hundred letters": ("x" * 500, False),
        "emoji": ("👟 shoes", True),
        "nul and control characters": ("red\x00\x07 shoes", True),
    }.values(),
)
def test_any_text_is_answered(text: str, lexical: bool, segment: Segment) -> None:
    shard, query = shard_of(segment), query_of(text, statistics_of(segment))
    found = described(shard, query, shard.search(query))
    assert found.from_dense.sum() >= 20
    assert found.from_lexical.any() == lexical
    assert np.isfinite(found.features).all()


def test_depths_beyond_the_rows_return_every_row(segment: Segment) -> None:
    found = shard_of(segment).search(query_of("shoes", statistics_of(segment), depth=5000))
    assert sorted(shards_and_rows(found.locators)[1].tolist()) == list(range(segment.rows))


def test_a_side_that_is_off_gives_nothing(segment: Segment) -> None:
    statistics = statistics_of(segment)
    lexical_only = shard_of(segment).search(query_of("shoes", statistics, dense=False))
    assert not lexical_only.from_dense.any()
    assert np.all(lexical_only.cosine == 0)
    assert len(shard_of(segment).search(query_of("shoes", statistics, depth=0))) == 0


def test_segments_count_their_rows_on(tmp_path: Path) -> None:
    parts = [
        segment_of(table_of([{"product_id": i, "title": f"lamp {i}"} for i in ids]), tmp_path / ids)
        for ids in ("abc", "de")
    ]
    empty = segment_of(titled(), tmp_path / "empty")
    shard = Shard(2, [(parts[0], np.array([1])), (empty, NONE_DEAD), (parts[1], NONE_DEAD)], 0.5)
    query = query_of("lamp", statistics_of(*parts))
    found = shard.search(query)
    shards, rows = shards_and_rows(found.locators)
    where = dict(zip(found.product_ids.tolist(), rows.tolist(), strict=True))
    assert where == {b"a": 0, b"c": 2, b"d": 3, b"e": 4}
    assert set(shards.tolist()) == {2}
    mixed = described(shard, query, found.take(np.array([3, 0, 2, 1])))
    column = FEATURES.index("cosine")
    assert np.array_equal(mixed.features[:, column], mixed.cosine)


SMALL = {"no rows": [], "one row": ["red lamp"], "rows without a term": ["!!!", "..."]}


@pytest.mark.parametrize("titles", SMALL.values(), ids=SMALL.keys())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filters", [None, {"available": True}, {"brand": ["x"]}])
def test_small_segments_answer(
    titles: list[str], kind: str, filters: dict[str, object] | None, tmp_path: Path
) -> None:
    segment = segment_of(titled(*titles), tmp_path, kind)
    found = shard_of(segment).search(query_of("red lamp", statistics_of(segment), filters=filters))
    assert len(found) == (0 if filters and "brand" in filters else len(titles))


def test_a_shard_without_segments_answers_nothing() -> None:
    statistics = Statistics.collect([])
    query = query_of("lamp", statistics)
    assert len(Shard(0, [], 0.5).search(query)) == 0
    assert len(Shard(0, [], 0.5).score(query, np.array([b"a"]))) == 0


def test_queries_and_candidates_survive_pickling(segment: Segment) -> None:
    query = query_of("red shoes", statistics_of(segment), filters={"available": True})
    shard = shard_of(segment)
    found = described(shard, query, shard.search(pickle.loads(pickle.dumps(query))))
    again: Candidates = pickle.loads(pickle.dumps(found))
    expected = described(shard, query, shard.search(query))
    assert np.array_equal(again.features, expected.features)
