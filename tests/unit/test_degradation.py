"""What the pipeline gives up when time or a part is missing, in which order, and what it never does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aisle.config import RetrievalConfig, Settings
from aisle.errors import DeadlineExceeded, Overloaded, SnapshotNotHeld, StageError
from aisle.relevance.filter import RawCosineFilter
from aisle.retrieve.local import LocalRetriever
from aisle.score import LocalScorer
from aisle.snapshot import LoadedSnapshot
from aisle.stages import Rewriter
from tests.fakes import ByPrice, Failing, Partial, Rewrites, Slow, ask, compose, ids
from tests.shop import load, published, queries


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return published(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def snapshot(settings: Settings) -> LoadedSnapshot:
    return load(settings)


QUERY = queries(10)[2]


@pytest.mark.parametrize(
    "rewriter",
    [Rewrites(delay_s=5.0), Failing(DeadlineExceeded("late")), Failing(Overloaded("full"))],
)
async def test_a_rewriter_that_is_too_late_is_given_up_for_the_original_query(
    snapshot: LoadedSnapshot, settings: Settings, rewriter: Rewriter
) -> None:
    answer = await ask(compose(snapshot, settings, rewriter), QUERY)
    assert answer.degraded == ["rewrite"]
    assert answer.timings_ms["rewrite"] < 2000
    assert ids(answer) == ids(await ask(compose(snapshot, settings), QUERY))


async def test_a_rewriter_that_hangs_leaves_half_the_time_whatever_its_budget(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    hanging = compose(snapshot, settings, Rewrites(delay_s=60.0), rewrite_budget_ms=5000)
    answer = await ask(hanging, QUERY, seconds=2.0)
    assert answer.degraded == ["rewrite"]
    assert 900 < answer.timings_ms["rewrite"] < 2000


async def test_a_scorer_that_is_too_late_leaves_the_fused_order_without_relevance(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    slow = Slow({snapshot.snapshot_id: (ByPrice(), RawCosineFilter(0.5))})
    answer = await ask(compose(snapshot, settings, scorer=slow), QUERY, seconds=1.0)
    assert answer.degraded == ["rank"]
    assert "rank" not in answer.timings_ms
    assert {hit.relevance for hit in answer.hits} == {None}
    assert not answer.total_is_exact
    assert ids(answer) == ids(
        await ask(compose(snapshot, settings), QUERY)
    )  # FusedRanker orders so too


@pytest.mark.parametrize(
    "error", [StageError("replica gone"), Overloaded("full"), DeadlineExceeded("late")]
)
async def test_a_scorer_that_fails_degrades_alike(
    snapshot: LoadedSnapshot, settings: Settings, error: Exception
) -> None:
    answer = await ask(compose(snapshot, settings, scorer=Failing(error)), QUERY)
    assert answer.degraded == ["rank"]
    assert len(answer.hits) == 24


@pytest.mark.parametrize("error", [StageError("no"), RuntimeError("onnxruntime")])
async def test_an_encoder_that_fails_leaves_the_words(
    snapshot: LoadedSnapshot, settings: Settings, error: Exception
) -> None:
    broken = replace(snapshot, _encoder=Failing(error))
    answer = await ask(compose(broken, settings), "shoes", k=300)
    assert answer.degraded == ["dense", "rank"]
    assert answer.hits
    assert not answer.total_is_exact
    words = RetrievalConfig(dense_depth=0, dense_weight=0.0)
    assert set(ids(answer)) == set(
        ids(await ask(compose(snapshot, settings, config=words), "shoes", k=300))
    )


async def test_without_encoder_and_words_there_is_an_error_instead_of_an_empty_page(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    broken = replace(snapshot, _encoder=Failing(RuntimeError("dead")))
    with pytest.raises(StageError, match="dead; retrieval.lexical_depth is 0"):
        await ask(compose(broken, settings, config=RetrievalConfig(lexical_depth=0)), QUERY)


async def test_missing_shards_are_named_and_the_rest_answers(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    half = Partial({snapshot.snapshot_id: snapshot.shards[:1]})
    answer = await ask(compose(snapshot, settings, retriever=half), QUERY)
    assert answer.degraded == ["shards"]
    assert answer.hits
    assert not answer.total_is_exact


async def test_what_was_given_up_is_listed_in_order(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    broken = replace(snapshot, _encoder=Failing(StageError("no")))
    half = Partial({snapshot.snapshot_id: snapshot.shards[:1]})
    answer = await ask(compose(broken, settings, Failing(StageError("no")), retriever=half), QUERY)
    assert answer.degraded == ["rewrite", "dense", "shards", "rank"]


async def test_a_deadline_that_is_over_is_an_error(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    with pytest.raises(DeadlineExceeded, match="before encoding"):
        await ask(compose(snapshot, settings), QUERY, seconds=-0.001)


@pytest.mark.parametrize("error", [DeadlineExceeded("no shard"), SnapshotNotHeld("gone")])
async def test_errors_that_no_degradation_covers_come_through(
    snapshot: LoadedSnapshot, settings: Settings, error: Exception
) -> None:
    with pytest.raises(type(error)):
        await ask(compose(snapshot, settings, retriever=Failing(error)), QUERY)


async def test_a_snapshot_that_a_stage_does_not_hold_is_never_answered_with_another(
    snapshot: LoadedSnapshot, settings: Settings
) -> None:
    models = {"other": (snapshot.ranker, snapshot.relevance)}
    with pytest.raises(
        SnapshotNotHeld, match=f"{snapshot.snapshot_id} is not loaded here; loaded: other"
    ):
        await ask(compose(snapshot, settings, scorer=LocalScorer(models)), QUERY)
    with pytest.raises(SnapshotNotHeld, match="loaded: other"):
        await ask(compose(snapshot, settings, retriever=LocalRetriever({"other": ()})), QUERY)
