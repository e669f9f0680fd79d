"""The page: which hits are shown in which order, what is counted, and what an empty one says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from aisle.config import Settings
from aisle.index.filters import Filters
from aisle.page import build_response
from aisle.ranked import Ranked
from aisle.retrieve.local import describe_in_shards, search_shards
from aisle.retrieve.query import analyse
from aisle.rewrite.choose import Choice, Source
from aisle.rewrite.spelling import Spelling
from aisle.schema import SearchRequest, SearchResponse
from aisle.snapshot import LoadedSnapshot
from aisle.stages import Rewrite, Segment
from tests.shop import load, published, sample

NO_REWRITE = Choice.typed("q", "every word is known")
N = 60


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return published(tmp_path_factory.mktemp("shop"), N)


@pytest.fixture(scope="module")
def snapshot(settings: Settings) -> LoadedSnapshot:
    return load(settings)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """The shop's products by id: what a page is checked against."""
    return sorted(sample().products.slice(0, N).to_pylist(), key=lambda row: row["product_id"])


@pytest.fixture(scope="module")
def ranked(snapshot: LoadedSnapshot) -> Ranked:
    """Every product, by id: relevance falls from 1 to 0, and the cut keeps the first two thirds."""
    query = analyse(
        Rewrite.unchanged("shoe"),
        snapshot.encoder.encode(["shoe"], "query")[0],
        snapshot.statistics,
        snapshot.analyzer,
        {"title": 1.0},
        filters=Filters(),
        expansion_weight=0.3,
        dense_depth=1000,
        lexical_depth=1000,
    )
    (found,) = describe_in_shards(snapshot.shards, [query], search_shards(snapshot.shards, [query]))
    found = found.take(np.argsort(found.product_ids))
    relevance = np.linspace(1, 0, N).astype(np.float32)
    kept = np.arange(N) < 40
    score = np.linspace(5, -5, N).astype(np.float32)
    return Ranked(found, found.fused, score, relevance, kept, 0.34, complete=True)


def page(snapshot: LoadedSnapshot, ranked: Ranked, **fields: Any) -> SearchResponse:
    request = SearchRequest(query="q", **fields)
    return build_response(snapshot, request, ranked, NO_REWRITE, "id")


def test_hits_carry_score_relevance_and_what_a_shop_shows(
    snapshot: LoadedSnapshot, ranked: Ranked, rows: list[dict[str, Any]]
) -> None:
    answer = page(snapshot, ranked, k=3, offset=1)
    assert [hit.product_id for hit in answer.hits] == [row["product_id"] for row in rows[1:4]]
    hit, row = answer.hits[0], rows[1]
    assert hit.score == pytest.approx(5 - 10 / 59, abs=1e-5)
    assert hit.relevance == pytest.approx(1 - 1 / 59, abs=1e-5)
    assert (hit.product.title, hit.product.price, hit.product.category) == (
        row["title"],
        row["price"],
        row["category"],
    )
    assert hit.explain is None
    assert (answer.total, answer.total_is_exact) == (40, True)


@pytest.mark.parametrize("sort", ["price", "-price", "newest"])
def test_sorting_orders_the_kept_hits_and_puts_those_without_the_value_last(
    snapshot: LoadedSnapshot, ranked: Ranked, rows: list[dict[str, Any]], sort: str
) -> None:
    name = "updated_at" if sort == "newest" else "price"
    kept = rows[:40]
    having = [row for row in kept if row[name] is not None]
    wanted = sorted(having, key=lambda row: row[name], reverse=sort != "price")
    answer = page(snapshot, ranked, k=40, sort=sort)
    by_id = {row["product_id"]: row[name] for row in rows}
    values = [by_id[hit.product_id] for hit in answer.hits]
    assert values == [row[name] for row in wanted] + [None] * (40 - len(having))


def test_a_product_without_a_price_comes_last_whichever_way(tmp_path, ranked: Ranked) -> None:
    import pyarrow as pa

    from tests.shop import run_night, settings_for, write_source

    products = sample().products.slice(0, N).to_pylist()
    for row in products[::3]:
        row["price"] = None
    source = write_source(
        tmp_path / "p.parquet", pa.Table.from_pylist(products, sample().products.schema)
    )
    settings = settings_for(tmp_path, source)
    run_night(settings)
    snapshot = load(settings)
    for sort in ("price", "-price"):
        prices = [hit.product.price for hit in page(snapshot, ranked, k=40, sort=sort).hits]
        assert None in prices
        first = prices.index(None)
        assert prices[first:] == [None] * (40 - first)
        assert prices[:first] == sorted(
            (p or 0.0 for p in prices[:first]), reverse=sort == "-price"
        )


def test_facets_count_every_kept_hit_and_not_just_the_page(
    snapshot: LoadedSnapshot, ranked: Ranked, rows: list[dict[str, Any]]
) -> None:
    attribute = Counter(name for row in rows[:40] for name, _ in row["attributes"]).most_common(1)[
        0
    ][0]
    answer = page(
        snapshot, ranked, k=1, offset=39, facets=("brand", "category", f"attributes.{attribute}")
    )
    kept = rows[:40]
    wanted = {
        "brand": Counter(row["brand"] for row in kept),
        "category": Counter(
            "/".join(row["category"][:depth])
            for row in kept
            for depth in range(1, len(row["category"]) + 1)
        ),
        f"attributes.{attribute}": Counter(
            value
            for row in kept
            for name, values in row["attributes"]
            if name == attribute
            for value in values
        ),
    }
    for name, counts in wanted.items():
        found = answer.facets[name]
        assert [(each.value, each.count) for each in found] == sorted(
            counts.items(), key=lambda item: (-item[1], item[0])
        )[:50]


def test_an_explanation_says_how_every_stage_saw_the_hit(
    snapshot: LoadedSnapshot, ranked: Ranked
) -> None:
    (hit,) = page(snapshot, ranked, k=1, offset=4, explain=True).hits
    explain = hit.explain
    assert explain is not None
    found = ranked.candidates
    assert explain.cosine == pytest.approx(found.cosine[4])
    assert explain.bm25 == pytest.approx(found.bm25[4])
    assert explain.dense_rank == 1 + int((found.cosine > found.cosine[4]).sum())
    assert explain.fused_rank == 1 + int((found.fused > found.fused[4]).sum())
    assert (explain.lexical_rank is None) == (not found.from_lexical[4])
    assert explain.features["cosine"] == pytest.approx(found.cosine[4])
    assert explain.threshold == 0.34


def cut(ranked: Ranked, n: int, **changes: Any) -> Ranked:
    at = np.arange(n)
    assert ranked.relevance is not None
    fields = {
        "candidates": ranked.candidates.take(at),
        "fused": ranked.fused[:n],
        "score": ranked.score[:n],
        "relevance": ranked.relevance[:n],
        "kept": np.zeros(n, bool),
        "threshold": 0.34,
        "complete": True,
    }
    return Ranked(**{**fields, **changes})


@pytest.mark.parametrize(
    ("n", "changes", "fields", "said"),
    [
        (
            N,
            {},
            {},
            "none of 60 candidates is relevant enough: the best has relevance 1.000, the cut is at 0.340",
        ),
        (0, {}, {}, "no product was found"),
        (0, {}, {"filters": {"brand": ["X"]}}, "no product matches the filters"),
        (
            0,
            {"complete": False},
            {"filters": {"brand": ["X"]}},
            "no product that matches the filters was found",
        ),
        (N, {"kept": np.ones(N, bool)}, {"offset": 60}, "offset 60 is past the last of 60 hits"),
    ],
)
def test_an_empty_page_says_why(
    snapshot: LoadedSnapshot,
    ranked: Ranked,
    n: int,
    changes: dict[str, Any],
    fields: dict[str, Any],
    said: str,
) -> None:
    answer = page(snapshot, cut(ranked, n, **changes), **fields)
    assert (answer.hits, answer.empty_reason) == ([], said)


def test_a_page_with_hits_gives_no_reason(snapshot: LoadedSnapshot, ranked: Ranked) -> None:
    assert page(snapshot, ranked).empty_reason is None


@pytest.mark.parametrize(
    ("said", "searched", "shown"),
    [
        (Rewrite.unchanged("q"), Rewrite.unchanged("q"), None),
        (Rewrite("q", "r"), Rewrite("q", "r"), ("r", [], [], True)),
        (Rewrite("q", "r"), Rewrite.unchanged("q"), ("r", [], [], False)),
        (Rewrite("Q", "q"), Rewrite.unchanged("Q"), None),
        (
            Rewrite("q", "q", ("x",), (Segment("q", "brand"),)),
            Rewrite("q", "q", ("x",), (Segment("q", "brand"),)),
            ("q", ["x"], [("q", "brand")], True),
        ),
    ],
)
def test_a_rewrite_is_shown_with_what_was_used_of_it(
    snapshot: LoadedSnapshot, ranked: Ranked, said: Rewrite, searched: Rewrite, shown: Any
) -> None:
    source: Source = "typed" if searched.query == searched.original else "model"
    choice = Choice(said, Spelling(said.original), searched, source, "why")
    answer = build_response(snapshot, SearchRequest(query="q"), ranked, choice, "id")
    info = answer.rewrite
    found = info and (info.query, info.expansions, info.segments, info.applied)
    assert found == shown
