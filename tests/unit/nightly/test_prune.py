"""Retention never takes what is live, in use, or named by a snapshot that stays."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Self

import pytest

from aisle.config import NightlyConfig, Settings
from aisle.errors import SnapshotError
from aisle.nightly import assemble, reindex
from aisle.nightly import prune as prune_module
from aisle.nightly.lease import Lease
from aisle.nightly.prune import DAY_S, plan_prune, prune
from aisle.nightly.publish import publish
from aisle.schema import SearchRequest
from aisle.snapshot import CURRENT, Library
from aisle.stages import Deadline
from aisle.store import Pointer
from tests.shop import (
    library_of,
    live,
    open_pipeline,
    queries,
    run_night,
    sample,
    settings_for,
    write_source,
)

ONE = NightlyConfig(keep_snapshots=1, keep_days=0)


def later(days: float) -> float:
    return datetime.now(UTC).timestamp() + days * DAY_S


class Nights(datetime):
    """A clock by which a minute passes from one night to the next: snapshots are named by the second."""

    night = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time() + 60 * (cls.night - 10), tz)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, list[str]]:
    """Four nights, each with a product less; segments of the first are carried by reference through all of them."""
    for module in (reindex, assemble):
        monkeypatch.setattr(module, "datetime", Nights)
    settings = settings_for(
        tmp_path, tmp_path / "p.parquet", index={"max_tombstone_fraction": 1.0, "shards": 1}
    )
    ids = []
    for night in range(4):
        monkeypatch.setattr(Nights, "night", night)
        write_source(tmp_path / "p.parquet", sample().products.slice(night, 60 - night))
        ids.append(run_night(settings)["snapshot"])
    return settings, ids


async def test_what_a_kept_manifest_names_is_never_removed(
    shop: tuple[Settings, list[str]], tmp_path: Path
) -> None:
    settings, ids = shop
    library = library_of(settings)
    assert any(entry.owner == ids[0] for entry in live(settings).files.values())
    plan, gone = prune(library, ONE)
    assert plan.removed == tuple(ids[:2])
    assert plan.kept == {ids[3]: "live", ids[2]: "parent of the live one"}
    assert gone == len(plan.files) > 0
    assert plan.referenced_files > 0
    assert library.ids() == ids[2:]
    for kept in ids[2:]:
        manifest = library.manifest(kept)
        assert all(
            library.store.exists(f"snapshots/{entry.owner}/{path}")
            for path, entry in manifest.files.items()
        )
    publish(library, ids[2], expected=ids[3])  # whole, so it can be gone back to
    empty_cache = settings.model_copy(
        update={"serving": settings.serving.model_copy(update={"cache_dir": str(tmp_path / "new")})}
    )
    request = SearchRequest(query=queries(1)[0], k=5)
    (answer,) = await open_pipeline(empty_cache).search([request], Deadline.after(60))
    assert answer.hits


def test_a_dry_run_removes_nothing(shop: tuple[Settings, list[str]]) -> None:
    settings, ids = shop
    library = library_of(settings)
    before = library.store.list()
    plan = plan_prune(library, ONE)
    assert plan.removed == tuple(ids[:2])
    assert library.store.list() == before


def test_a_second_prune_has_nothing_to_do_and_a_later_one_clears_what_nobody_names(
    shop: tuple[Settings, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = shop
    library = library_of(settings)
    prune(library, ONE)
    assert prune(library, ONE)[1] == 0
    other = settings_for(tmp_path, tmp_path / "p.parquet", encoder={"dimension": 32})
    for night in (4, 5):  # another encoder: nothing is carried over any more
        monkeypatch.setattr(Nights, "night", night)
        write_source(tmp_path / "p.parquet", sample().products.slice(night, 60 - night))
        run_night(other)
    prune(library, ONE)
    owners = {name.split("/")[1] for name in library.store.list("snapshots")}
    named = {e.owner for i in library.ids() for e in library.manifest(i).files.values()}
    assert owners == named | set(library.ids())
    assert len(library.ids()) == 2


@pytest.mark.parametrize(
    ("config", "days", "removed"),
    [
        (NightlyConfig(keep_snapshots=1, keep_days=30), 29, 0),
        (NightlyConfig(keep_snapshots=1, keep_days=30), 31, 2),
        (NightlyConfig(keep_snapshots=3, keep_days=0), 31, 1),
        (NightlyConfig(keep_snapshots=9, keep_days=0), 31, 0),
    ],
    ids=["young", "old", "by count", "few"],
)
def test_by_count_and_age(
    shop: tuple[Settings, list[str]], config: NightlyConfig, days: float, removed: int
) -> None:
    settings, ids = shop
    plan = plan_prune(library_of(settings), config, clock=lambda: later(days))
    assert plan.removed == tuple(ids[:removed])


def test_after_a_rollback_the_live_one_stays_however_old_it_is(
    shop: tuple[Settings, list[str]],
) -> None:
    settings, ids = shop
    library = library_of(settings)
    publish(library, ids[1], expected=ids[3])
    assert plan_prune(library, ONE).kept == {
        ids[3]: "one of the newest 1",
        ids[1]: "live",
        ids[0]: "parent of the live one",
    }


def test_what_an_unfinished_run_made_stays(
    shop: tuple[Settings, list[str]], tmp_path: Path
) -> None:
    settings, ids = shop
    library = library_of(settings)
    write_source(tmp_path / "p.parquet", sample().products.slice(20, 40))
    run_night(settings, until="index")  # no manifest yet
    (folder,) = set(library.store.folders("snapshots")) - set(ids)
    parts = library.store.list(f"snapshots/{folder}")
    prune(library, ONE)
    assert library.store.list(f"snapshots/{folder}") == parts
    assert run_night(settings, force=True)["published"]


def test_what_the_leased_run_made_stays(shop: tuple[Settings, list[str]]) -> None:
    settings, ids = shop
    library = library_of(settings)
    lease = Lease.acquire(library.store, ttl_s=60)
    lease.name_run(library.manifest(ids[0]).run_id)
    assert plan_prune(library, ONE).kept[ids[0]] == "its run is not finished"
    lease.release()
    assert ids[0] in plan_prune(library, ONE).removed


def test_parts_that_no_run_will_continue_go(shop: tuple[Settings, list[str]]) -> None:
    settings, _ = shop
    library = library_of(settings)
    library.store.write_bytes("snapshots/20200101T000000-00000000/shards/x", b"left over")
    plan, _ = prune(library, ONE)
    assert plan.leftovers == ("20200101T000000-00000000",)
    assert not library.store.exists("snapshots/20200101T000000-00000000/shards/x")


def test_an_unreadable_manifest_stops_it_before_anything_goes(
    shop: tuple[Settings, list[str]],
) -> None:
    settings, ids = shop
    library = library_of(settings)
    library.store.write_bytes(f"snapshots/{ids[3]}/manifest.json", b"{")
    before = library.store.list()
    with pytest.raises(SnapshotError, match="not a manifest"):
        prune(library, ONE)
    assert library.store.list() == before


def test_without_a_live_snapshot_nothing_goes(shop: tuple[Settings, list[str]]) -> None:
    settings, ids = shop
    library = library_of(settings)
    library.store.delete(CURRENT)
    assert plan_prune(library, ONE).removed == ()
    assert len(plan_prune(library, ONE).kept) == len(ids)


def test_a_snapshot_that_goes_live_meanwhile_is_spared(
    shop: tuple[Settings, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, ids = shop
    library = library_of(settings)
    plan_before = plan_prune(library, ONE)

    def plan_then_rollback(library: Library, *_: object) -> prune_module.Plan:
        pointer = Pointer(library.store)
        pointer.swap(CURRENT, pointer.read(CURRENT).version, ids[1].encode())
        return plan_before

    monkeypatch.setattr(prune_module, "plan_prune", plan_then_rollback)
    prune(library, ONE)
    manifest = library.manifest(ids[1])
    assert all(
        library.store.exists(f"snapshots/{entry.owner}/{path}")
        for path, entry in manifest.files.items()
    )
