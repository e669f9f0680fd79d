"""The reference pipeline over a small published shop: what it answers, and that every stage takes part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aisle.config import RetrievalConfig, Settings
from aisle.schema import SearchRequest
from aisle.snapshot import LoadedSnapshot
from aisle.stages import Deadline, Rewrite, Segment
from tests.fakes import ByPrice, Rewrites, ask, compose, ids
from tests.shop import load, published, queries


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return published(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def snapshot(settings: Settings) -> LoadedSnapshot:
    return load(settings)


QUERY = queries(10)[2]


async def test_an_answer_names_its_snapshot_request_and_stages(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    answer = await ask(compose(snapshot, settings), QUERY)
    assert (answer.snapshot, answer.request_id) == (snapshot.snapshot_id, "id-1")
    stages = {"choose", "encode", "retrieve", "rank", "filter", "page", "total"}
    assert set(answer.timings_ms) == stages
    assert answer.degraded == []
    assert len(answer.hits) == 24
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)


async def test_a_batch_of_mixed_requests_equals_the_requests_one_by_one(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    table = {"shose": Rewrite("shose", "shoes", ("running shoes",))}
    pipeline = compose(snapshot, settings, Rewrites(table), threshold=0.1)
    requests = [
        SearchRequest(query=QUERY),
        SearchRequest(query="shose", k=5, offset=3, facets=("brand", "category")),
        SearchRequest(query="shose", rewrite="off"),
        SearchRequest(
            query=queries(10)[5], filters={"price": {"lt": 40}}, sort="price", explain=True
        ),
        SearchRequest(query="zzzz qqqq", filters={"brand": ["Nobody"]}),
        SearchRequest(query=QUERY, k=300),
    ]
    together = await pipeline.search(requests, Deadline.after(30))
    for request, batched in zip(requests, together, strict=True):
        (alone,) = await pipeline.search([request], Deadline.after(30))
        assert replace(batched, timings_ms={}) == replace(alone, timings_ms={})


async def test_pages_follow_one_another_without_gap_or_overlap(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    pipeline = compose(snapshot, settings)
    whole = ids(await ask(pipeline, QUERY, k=60))
    pages = [ids(await ask(pipeline, QUERY, k=20, offset=first)) for first in (0, 20, 40)]
    assert sum(pages, []) == whole
    assert len(set(whole)) == 60


async def test_depths_follow_a_request_that_reaches_beyond_them(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    shallow = RetrievalConfig(dense_depth=10, lexical_depth=10, rank_depth=10)
    answer = await ask(compose(snapshot, settings, config=shallow), QUERY, k=100)
    assert len(answer.hits) == 100


@pytest.mark.parametrize(
    ("config", "k", "exact"),
    [
        pytest.param({"dense_depth": 1000, "rank_depth": 1000}, 24, True, id="nothing was cut"),
        pytest.param({"dense_depth": 200, "rank_depth": 1000}, 24, False, id="cut by dense_depth"),
        pytest.param({"dense_depth": 1000, "rank_depth": 200}, 24, False, id="cut by rank_depth"),
        pytest.param(
            {"dense_depth": 0, "lexical_depth": 1000}, 24, False, id="words alone find some"
        ),
        pytest.param(
            {"dense_depth": 10, "rank_depth": 10}, 500, True, id="the page reaches far enough"
        ),
    ],
)
async def test_total_is_exact_only_if_every_product_was_judged(
    snapshot: LoadedSnapshot, settings: Settings, config: dict[str, int], k: int, exact: bool
) -> None:
    answer = await ask(compose(snapshot, settings, config=RetrievalConfig(**config)), QUERY, k=k)
    assert answer.total_is_exact is exact
    if exact:
        assert answer.total == 300  # threshold 0 keeps all


# -- rewriting


async def test_a_rewrite_is_searched_and_shown(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    rewrite = Rewrite("shose", "shoes", ("running shoes", "qwertz"), (Segment("shoes", "product"),))
    answer = await ask(compose(snapshot, settings, Rewrites({"shose": rewrite})), "shose")
    assert ids(answer) == ids(
        await ask(
            compose(
                snapshot,
                settings,
                Rewrites(
                    {"shoes": Rewrite("shoes", "shoes", ("running shoes",), rewrite.segments)}
                ),
            ),
            "shoes",
        )
    )
    assert ids(answer) != ids(await ask(compose(snapshot, settings), "shose"))
    assert answer.rewrite is not None
    assert answer.rewrite.applied
    assert (answer.rewrite.query, answer.rewrite.segments) == ("shoes", [("shoes", "product")])


async def test_spelling_is_repaired_without_a_rewriter_unless_the_request_says_off(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    pipeline = compose(snapshot, settings)
    answer = await ask(pipeline, "runnning shoos", explain=True)
    assert ids(answer) == ids(await ask(pipeline, "running shoes"))
    assert answer.rewrite is not None
    assert (answer.rewrite.query, answer.rewrite.source) == ("running shoes", "spelling")
    assert [(each.typed, each.meant) for each in answer.rewrite.repairs] == [
        ("runnning", "running"),
        ("shoos", "shoes"),
    ]
    readings = [(each.source, each.unknown_words) for each in answer.rewrite.candidates]
    assert readings == [("typed", 2), ("spelling", 0)]
    plain = await ask(pipeline, "runnning shoos", rewrite="off", explain=True)
    assert plain.rewrite is None
    assert ids(plain) != ids(answer)


def test_a_snapshot_loaded_without_spelling_repairs_nothing(settings: Settings) -> None:
    rewriter = settings.rewriter.model_copy(update={"spelling": False})
    assert load(settings.model_copy(update={"rewriter": rewriter})).spelling is None


async def test_a_rewrite_that_the_catalogue_does_not_support_is_shown_but_not_searched(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    answer = await ask(
        compose(snapshot, settings, Rewrites({"shoes": Rewrite("shoes", "qwertz")})), "shoes"
    )
    assert ids(answer) == ids(await ask(compose(snapshot, settings), "shoes"))
    assert answer.rewrite is not None
    assert (answer.rewrite.query, answer.rewrite.applied) == ("qwertz", False)


async def test_a_rewriter_that_lower_cases_has_changed_nothing(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    table = {"Red SHOES": Rewrite("red shoes", "red shoes")}
    answer = await ask(compose(snapshot, settings, Rewrites(table)), "Red SHOES")
    assert answer.rewrite is None
    assert ids(answer) == ids(await ask(compose(snapshot, settings), "red shoes"))


async def test_only_requests_that_want_it_are_rewritten(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    rewriter = Rewrites()
    await compose(snapshot, settings, rewriter).search(
        [
            SearchRequest(query="a"),
            SearchRequest(query="b", rewrite="off"),
            SearchRequest(query="c"),
        ],
        Deadline.after(30),
    )
    assert rewriter.asked == ["a", "c"]


# -- every stage does real work


@pytest.mark.parametrize(
    "switch",
    [
        pytest.param(
            {"rewriter": Rewrites({QUERY: Rewrite(QUERY, QUERY, ("garden hose",))})}, id="rewriter"
        ),
        pytest.param({"config": RetrievalConfig(dense_depth=0, dense_weight=0.0)}, id="dense"),
        pytest.param({"config": RetrievalConfig(lexical_depth=0, dense_weight=1.0)}, id="lexical"),
        pytest.param({"config": RetrievalConfig(fusion="rrf", dense_weight=0.9)}, id="fusion"),
        pytest.param({"ranker": ByPrice()}, id="ranker"),
        pytest.param({"threshold": 0.35}, id="filter"),
    ],
)
async def test_every_stage_changes_the_answer(
    snapshot: LoadedSnapshot, settings: Settings, switch: dict[str, Any]
) -> None:
    plain = await ask(compose(snapshot, settings), QUERY, k=200)
    other = await ask(compose(snapshot, settings, **switch), QUERY, k=200)
    # Equal hits in another order are another answer; fused scores differ where only weights do.
    assert [(h.product_id, h.score) for h in other.hits] != [
        (h.product_id, h.score) for h in plain.hits
    ]
