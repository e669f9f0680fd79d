"""Batch callables: tables in, tables out, every row answered or the batch refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from aisle.batch import (
    ABSENT_SCORE,
    PAIRS_SCHEMA,
    RESULT_SCHEMA,
    PairsBatch,
    RewriteBatch,
    SearchBatch,
    dump_rewrite,
    load_rewrite,
)
from aisle.config import Settings
from aisle.errors import StageError
from aisle.local import local_pipeline
from aisle.pipeline import Pipeline
from aisle.relevance.filter import RawCosineFilter
from aisle.searching import MakePairs, MakeSearch, Opener
from aisle.stages import Deadline, Rewrite, Segment
from tests.shop import live, load, published, queries


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return published(tmp_path_factory.mktemp("shop"), 120)


@pytest.fixture(scope="module")
def pipeline(settings: Settings) -> Pipeline:
    return local_pipeline(load(settings), settings, relevance=RawCosineFilter(0.2))


def test_results_are_ranked_from_one_and_dropped_hits_stay_in(pipeline: Pipeline) -> None:
    found = SearchBatch(pipeline, k=50)(pa.table({"query": queries(4)}))
    assert found.schema == RESULT_SCHEMA
    for query in queries(4):
        rows = found.filter(pa.compute.equal(found["query"], query)).to_pylist()
        assert [row["rank"] for row in rows] == list(range(1, 51))
        assert [row["kept"] for row in rows] == [row["relevance"] >= 0.2 for row in rows]
    assert set(found["kept"].to_pylist()) == {True, False}


@pytest.mark.parametrize("k", [1, 1000, 1001, 10_000])
def test_any_depth_up_to_the_largest_reach_is_answered(pipeline: Pipeline, k: int) -> None:
    found = SearchBatch(pipeline, k)(pa.table({"query": ["shoes"]}))
    assert found.num_rows == min(k, 120)


def test_an_empty_table_gives_an_empty_table(pipeline: Pipeline) -> None:
    nothing = pa.table(
        {"query": pa.array([], pa.string()), "product_id": pa.array([], pa.string())}
    )
    assert SearchBatch(pipeline, 10)(nothing).schema == RESULT_SCHEMA
    assert PairsBatch(pipeline)(nothing).schema == PAIRS_SCHEMA


def test_every_pair_is_answered_in_order_unknown_products_too(pipeline: Pipeline) -> None:
    known = SearchBatch(pipeline, 3)(pa.table({"query": ["shoes"]}))["product_id"].to_pylist()
    pairs = pa.table(
        {
            "query": ["shoes", "lamp", "shoes", "lamp", "shoes"],
            "product_id": [known[1], known[0], "nobody", known[0], known[0]],
        }
    )
    found = PairsBatch(pipeline)(pairs)
    assert found.schema == PAIRS_SCHEMA
    assert found.select(["query", "product_id"]).to_pydict() == pairs.to_pydict()
    rows = found.to_pylist()
    assert (rows[2]["score"], rows[2]["relevance"], rows[2]["kept"]) == (ABSENT_SCORE, 0.0, False)
    assert rows[1] == rows[3]
    assert rows[4]["score"] > rows[0]["score"] > ABSENT_SCORE


def test_a_query_whose_products_are_all_unknown_is_answered(pipeline: Pipeline) -> None:
    pairs = pa.table({"query": ["shoes"], "product_id": ["nobody"]})
    assert PairsBatch(pipeline)(pairs)["score"].to_pylist() == [ABSENT_SCORE]


class Broken:
    """A scorer that fails; enough, because a batch only needs to see that a stage was left out."""

    async def score(self, *_: Any) -> Any:
        raise StageError("no")


def test_a_stage_that_fails_fails_the_batch_instead_of_leaving_gaps(settings: Settings) -> None:
    pipeline = local_pipeline(load(settings), settings)
    pipeline._scorer = Broken()
    with pytest.raises(StageError, match="a stage failed: rank"):
        SearchBatch(pipeline, 5)(pa.table({"query": ["shoes"]}))
    known = load(settings).shards[0]._segments[0].segment.product_ids[0].decode()
    with pytest.raises(StageError, match="a stage failed: rank"):
        PairsBatch(pipeline)(pa.table({"query": ["shoes"], "product_id": [known]}))


class Upper:
    """A rewriter with a visible effect; counts what it is asked."""

    asked: list[str]

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        self.asked = list(queries)
        return [
            Rewrite(query, query.upper(), (), (Segment(query, "product"),)) for query in queries
        ]


def test_rewrites_travel_in_a_column_and_each_query_is_asked_once() -> None:
    rewriter = Upper()
    table = RewriteBatch(rewriter)(
        pa.table({"query": ["a", "b", "a"], "product_id": ["x", "y", "z"]})
    )
    assert rewriter.asked == ["a", "b"]
    assert [load_rewrite(text).query for text in table["rewrite"].to_pylist()] == ["A", "B", "A"]
    assert table["product_id"].to_pylist() == ["x", "y", "z"]


def test_a_rewrite_survives_its_column() -> None:
    rewrite = Rewrite("rött", "röd", ("a", "b"), (Segment("röd", "colour"),))
    assert load_rewrite(dump_rewrite(rewrite)) == rewrite


def test_a_rewrite_in_the_table_is_searched(pipeline: Pipeline) -> None:
    rewrite = dump_rewrite(Rewrite("shose", "shoes"))
    rewritten = SearchBatch(pipeline, 9)(pa.table({"query": ["shose"], "rewrite": [rewrite]}))
    plain = SearchBatch(pipeline, 9)(pa.table({"query": ["shoes"]}))
    assert rewritten["product_id"].to_pylist() == plain["product_id"].to_pylist()
    assert rewritten["query"].to_pylist() == ["shose"] * 9


def test_makers_open_the_snapshot_where_they_are_called(settings: Settings) -> None:
    opener = Opener(settings, live(settings), rank=False)
    found = MakeSearch(opener, 3)()(pa.table({"query": ["shoes"]}))
    pairs = MakePairs(opener)()(found.select(["query", "product_id"]))
    assert pairs["score"].to_pylist() == found["score"].to_pylist()
