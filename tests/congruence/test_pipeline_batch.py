"""Batch equals online: the same queries through tables give the same hits, and pairs score as found products do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aisle.batch import PairsBatch, RewriteBatch, SearchBatch
from aisle.config import Settings
from aisle.schema import SearchRequest
from aisle.stages import Deadline, Rewrite
from tests.shop import open_pipeline, queries, run_night, settings_for

DEPTH = 200
"""What a search looks at before it drops: `retrieval.rank_depth`."""
QUERIES = [*queries(40), "shose", "USB   Cable", "zzzz", "blak runnig shoos", "headphnes 2x4x6"]


class Spelling:
    """A rewriter that knows one error; enough, because batch and online must agree on any rewrite."""

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        return [
            Rewrite(q, q.replace("shose", "shoes"), ("cable",) if q == "USB Cable" else ())
            for q in queries
        ]


@pytest.fixture(scope="module")
def settings(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = settings_for(tmp_path_factory.mktemp("batch"), source, relevance={"threshold": 0.25})
    run_night(settings)
    return settings


@pytest.fixture(scope="module")
def table(settings: Settings) -> pa.Table:
    rewritten = RewriteBatch(Spelling())(
        pa.table({"query": [" ".join(q.split()) for q in QUERIES]})
    )
    return SearchBatch(open_pipeline(settings), k=DEPTH)(rewritten)


async def test_batch_search_gives_the_hits_of_a_search_in_its_order(
    settings: Settings, table: pa.Table
) -> None:
    pipeline = open_pipeline(settings, Spelling())
    for query in QUERIES:
        request = SearchRequest(query=query, k=100)
        (online,) = await pipeline.search([request], Deadline.after(60))
        rows = table.filter(pc.equal(table["query"], request.query)).to_pylist()
        kept = [row for row in rows if row["kept"]][: request.k]
        assert [hit.product_id for hit in online.hits] == [row["product_id"] for row in kept]
        assert [hit.score for hit in online.hits] == pytest.approx(
            [r["score"] for r in kept], abs=1e-6
        )
        assert [hit.relevance for hit in online.hits] == pytest.approx(
            [row["relevance"] for row in kept], abs=1e-6
        )


def test_a_pair_scores_as_the_product_that_search_found(
    settings: Settings, table: pa.Table
) -> None:
    distinct = pa.table({"query": pc.unique(table["query"])})
    rewrites = RewriteBatch(Spelling())(distinct)
    pairs = table.select(["query", "product_id"])
    of_query = dict(
        zip(rewrites["query"].to_pylist(), rewrites["rewrite"].to_pylist(), strict=True)
    )
    pairs = pairs.append_column(
        "rewrite", pa.array([of_query[q] for q in pairs["query"].to_pylist()])
    )
    found = PairsBatch(open_pipeline(settings))(pairs)
    for name in ("score", "relevance", "kept"):
        assert found[name].to_pylist() == table[name].to_pylist()


def test_how_a_table_is_cut_into_batches_does_not_matter(
    settings: Settings, table: pa.Table
) -> None:
    rewritten = RewriteBatch(Spelling())(
        pa.table({"query": [" ".join(q.split()) for q in QUERIES]})
    )
    search = SearchBatch(open_pipeline(settings), k=DEPTH)
    parts = [search(rewritten.slice(first, 7)) for first in range(0, len(QUERIES), 7)]
    assert pa.concat_tables(parts).equals(table)
