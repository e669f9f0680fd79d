"""The nights after the first: they cost what changed, and answer like a build of everything."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aisle.config import Settings
from aisle.schema import SearchRequest
from aisle.snapshot import Manifest
from aisle.snapshot.manifest import STATISTICS_PATH, tombstones_path
from aisle.stages import Deadline
from tests.shop import (
    library_of,
    live,
    load,
    open_pipeline,
    queries,
    run_night,
    sample,
    settings_for,
    write_source,
)


def changed_catalogue() -> pa.Table:
    """Of 300 products 3 change, 2 go and 2 come: one gets another title, one another price, one both."""
    rows = sample().products.to_pylist()
    rows[5]["title"] = "Crimson velociraptor lamp"
    rows[50]["price"] = 1.25
    rows[150]["title"], rows[150]["price"] = "Left-handed teapot, teal", 33.0
    del rows[200], rows[100]
    for number in (1, 2):
        rows.append(
            {**rows[20], "product_id": f"NEW-{number}", "title": f"Brand new kettle {number}"}
        )
    return pa.Table.from_pylist(rows, sample().products.schema)


def night_after(
    settings: Settings, source: Path, products: pa.Table
) -> tuple[Manifest, dict[str, Any]]:
    write_source(source, products)
    summary = run_night(settings)
    return live(settings), summary


async def assert_same_answers(one: Settings, other: Settings) -> None:
    requests = [
        SearchRequest(query=text, k=40, facets=("brand",)) for text in [*queries(49), "teal teapot"]
    ]
    answers = [
        await open_pipeline(each).search(requests, Deadline.after(60)) for each in (one, other)
    ]
    for a, b in zip(*answers, strict=True):
        assert [hit.product_id for hit in a.hits] == [hit.product_id for hit in b.hits]
        assert [hit.score for hit in a.hits] == pytest.approx([h.score for h in b.hits], abs=1e-6)
        assert (a.total, a.facets) == (b.total, b.facets)


async def test_a_second_night_embeds_the_deltas_and_answers_like_a_full_build(
    settings: Settings, source: Path, tmp_path: Path
) -> None:
    run_night(settings)
    first = live(settings)
    second, summary = night_after(settings, source, changed_catalogue())
    counts = summary["counts"]
    assert (counts["added"], counts["changed"], counts["removed"]) == (2, 3, 2)
    assert counts["fresh"] == 5
    # The row whose price alone changed keeps its text, and so its vector.
    assert (counts["embedded"], counts["reused"]) == (4, 1)
    assert second.parent == first.snapshot_id

    full = settings_for(tmp_path / "full", source)
    run_night(full)
    whole = live(full)
    for shard, before, alone in zip(second.shards, first.shards, whole.shards, strict=True):
        assert shard.segments[0].owner == first.snapshot_id
        assert shard.segments[0].segment_id == before.segments[0].segment_id
        assert all(each.owner == second.snapshot_id for each in shard.segments[1:])
        assert shard.digest == alone.digest
        assert shard.live_rows == alone.live_rows
    assert sum(each.dead_rows for shard in second.shards for each in shard.segments) == 5
    carried = {path for path, entry in second.files.items() if entry.owner == first.snapshot_id}
    assert {
        path for path in first.files if path.startswith(("products/", "embeddings/"))
    } <= carried
    assert second.files[STATISTICS_PATH].sha256 == whole.files[STATISTICS_PATH].sha256
    assert second.lengths == whole.lengths
    own = library_of(settings).store.list(f"snapshots/{second.snapshot_id}")
    assert len(own) == len(second.files) - len(carried) + 1
    await assert_same_answers(settings, full)


def test_a_night_without_any_change_makes_no_snapshot(settings: Settings, source: Path) -> None:
    run_night(settings)
    second, _ = night_after(settings, source, changed_catalogue())
    third, summary = night_after(settings, source, changed_catalogue())  # rewritten, equal content
    assert summary["unchanged"]
    assert not summary["published"]
    assert summary["snapshot"] == second.snapshot_id == third.snapshot_id
    library = library_of(settings)
    assert len(library.ids()) == 2
    assert library.store.folders("runs") == ()


async def test_many_nights_of_deltas_still_equal_one_build(
    settings: Settings, source: Path, tmp_path: Path
) -> None:
    products = sample().products
    for night in range(4):
        rows = products.to_pylist()[night * 2 :]  # two go every night
        for row in rows[night * 10 : night * 10 + 3]:
            row["title"] = (
                f"{row['title']} mark {night}"  # three change, and change back the next night
            )
        final = pa.Table.from_pylist(rows, products.schema)
        manifest, _ = night_after(settings, source, final)
    assert max(len(shard.segments) for shard in manifest.shards) > 2
    full = settings_for(tmp_path / "full", source)
    run_night(full)
    assert [s.digest for s in manifest.shards] == [s.digest for s in live(full).shards]
    assert manifest.files[STATISTICS_PATH].sha256 == live(full).files[STATISTICS_PATH].sha256
    await assert_same_answers(settings, full)


async def test_random_nights_with_compactions_among_them_equal_one_build(
    source: Path, tmp_path: Path
) -> None:
    """Products come, change, go and come back; shards are compacted on some nights and carried on others."""
    settings = settings_for(tmp_path, source, index={"max_delta_segments": 2})
    random = np.random.default_rng(11)
    everything = sample().products.to_pylist()
    shop = {row["product_id"]: row for row in everything[:240]}
    compactions = Counter[bool]()
    for night in range(7):
        for _ in range(4):
            row = everything[int(random.integers(len(everything)))]
            change = {"title": f"{row['title']} mark {night}", "price": 1.0 + night}
            shop[row["product_id"]] = {**row, **change}
            shop.pop(list(shop)[int(random.integers(len(shop)))])
        final = pa.Table.from_pylist(list(shop.values()), sample().products.schema)
        manifest, _ = night_after(settings, source, final)
        compactions.update(len(shard.segments) == 1 for shard in manifest.shards)
    assert min(compactions[True] - 2, compactions[False]) > 0  # the first night's two apart
    full = settings_for(tmp_path / "full", source)
    run_night(full)
    assert [s.digest for s in manifest.shards] == [s.digest for s in live(full).shards]
    assert manifest.files[STATISTICS_PATH].sha256 == live(full).files[STATISTICS_PATH].sha256
    await assert_same_answers(settings, full)


@pytest.mark.parametrize(
    "limit", [{"max_delta_segments": 0}, {"max_tombstone_fraction": 0.005}], ids=str
)
async def test_a_shard_beyond_its_limits_is_compacted_without_embedding(
    source: Path, tmp_path: Path, limit: dict[str, float]
) -> None:
    settings = settings_for(tmp_path, source, index=limit)
    run_night(settings)
    manifest, summary = night_after(settings, source, changed_catalogue())
    assert all(len(shard.segments) == 1 for shard in manifest.shards)
    assert all(each.dead_rows == 0 for shard in manifest.shards for each in shard.segments)
    assert summary["counts"]["embedded"] == 4
    assert all(
        entry.owner == manifest.snapshot_id
        for path, entry in manifest.files.items()
        if path.startswith(("shards/", "products/", "embeddings/"))
    )
    full = settings_for(tmp_path / "full", source, index=limit)
    run_night(full)
    # A compacted snapshot is a fresh one: the same bytes but for lexical files, times and names.
    assert {**manifest.comparable(), "counts": 0} == {**live(full).comparable(), "counts": 0}
    await assert_same_answers(settings, full)


def test_another_encoder_embeds_everything_anew(source: Path, tmp_path: Path) -> None:
    run_night(settings_for(tmp_path, source))
    wider = settings_for(tmp_path, source, encoder={"dimension": 32})
    counts = run_night(wider)["counts"]
    assert counts["embedded"] > 290
    assert live(wider).dimension == 32
    assert all(e.owner == live(wider).snapshot_id for e in live(wider).files.values() if e.size)


async def test_another_shard_count_reuses_vectors_and_builds_segments(
    source: Path, tmp_path: Path
) -> None:
    run_night(settings_for(tmp_path, source))
    three = settings_for(tmp_path, source, index={"shards": 3})
    counts = run_night(three)["counts"]
    assert (counts["embedded"], counts["fresh"]) == (0, 300)
    full = settings_for(tmp_path / "full", source, index={"shards": 3})
    run_night(full)
    assert [s.digest for s in live(three).shards] == [s.digest for s in live(full).shards]
    await assert_same_answers(three, full)


def test_another_search_setting_carries_every_segment(source: Path, tmp_path: Path) -> None:
    run_night(settings_for(tmp_path, source))
    changed = settings_for(
        tmp_path, source, index={"dense": {"kind": "flat", "hnsw_ef_search": 99}}
    )
    counts = run_night(changed)["counts"]
    assert (counts["embedded"], counts["fresh"]) == (0, 0)
    assert live(changed).index.dense.hnsw_ef_search == 99
    load(changed)


def test_tombstones_that_did_not_grow_stay_where_they_are(settings: Settings, source: Path) -> None:
    run_night(settings)
    second, _ = night_after(settings, source, changed_catalogue())
    rows = changed_catalogue().to_pylist()
    rows[0]["title"] = "Only the first has changed"
    third, _ = night_after(settings, source, pa.Table.from_pylist(rows, sample().products.schema))
    owners = {
        third.files[tombstones_path(shard.number, shard.segments[0].segment_id)].owner
        for shard in third.shards
    }
    assert owners == {second.snapshot_id, third.snapshot_id}
    assert third.shards[0].live_rows + third.shards[1].live_rows == 300
    load(settings)


def test_a_shard_that_lost_every_product_has_no_segment(source: Path, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, source, index={"max_tombstone_fraction": 1.0})
    write_source(source, sample().products.slice(0, 4))
    run_night(settings)
    manifest, summary = night_after(settings, source, sample().products.slice(100, 5))
    assert summary["counts"]["removed"] == 4
    assert sum(shard.live_rows for shard in manifest.shards) == 5
    assert all(len(shard.segments) <= 1 for shard in manifest.shards)
    load(settings)


def test_new_bad_rows_alone_are_reason_enough_for_a_snapshot(
    settings: Settings, source: Path
) -> None:
    run_night(settings)
    rows = [*sample().products.to_pylist(), {"product_id": "bad", "title": ""}]
    _, summary = night_after(settings, source, pa.Table.from_pylist(rows, sample().products.schema))
    assert summary["published"]
    assert summary["counts"]["quarantined"] == 1
    assert summary["counts"]["embedded"] == 0
