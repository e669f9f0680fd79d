"""CURRENT moves from one whole snapshot to another, or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from aisle.config import Settings
from aisle.errors import PointerMoved, SnapshotError, StoreError, StoreReadOnly
from aisle.nightly.publish import live_or_none, publish
from aisle.snapshot import CURRENT, Manifest
from aisle.store import Pointer
from tests.shop import library_of, live, run_night, sample, settings_for, write_source


@pytest.fixture
def two(settings: Settings, source: Path) -> tuple[str, str]:
    """Two snapshots of one shop, the second one live."""
    first = run_night(settings)["snapshot"]
    write_source(source, sample().products.slice(0, 299))
    return first, run_night(settings)["snapshot"]


def test_publishing_moves_current_and_says_what_was_live(
    settings: Settings, two: tuple[str, str]
) -> None:
    library = library_of(settings)
    assert publish(library, two[0], expected=two[1]) == two[1]
    assert library.current() == two[0]
    assert publish(library, two[0], expected="whatever") == two[0]  # it is live already


def test_a_snapshot_that_lacks_a_file_is_refused(settings: Settings, two: tuple[str, str]) -> None:
    library = library_of(settings)
    path = next(iter(library.manifest(two[0]).files))
    library.store.delete(f"snapshots/{two[0]}/{path}")
    with pytest.raises(SnapshotError, match=rf"1 of \d+ files are missing, the first is {path}"):
        publish(library, two[0], expected=two[1])
    assert library.current() == two[1]


def test_a_snapshot_without_a_manifest_is_refused(settings: Settings, two: tuple[str, str]) -> None:
    library = library_of(settings)
    library.store.delete(f"snapshots/{two[0]}/manifest.json")
    with pytest.raises(SnapshotError, match="is not there"):
        publish(library, two[0], expected=two[1])


def test_somebody_else_published_meanwhile(
    settings: Settings, source: Path, two: tuple[str, str]
) -> None:
    library = library_of(settings)

    def judge(_: Manifest) -> None:
        pointer = Pointer(library.store)
        pointer.swap(CURRENT, pointer.read(CURRENT).version, two[0].encode())

    write_source(source, sample().products.slice(0, 290))
    with pytest.raises(PointerMoved, match=rf"is {two[0]}, expected {two[1]}"):
        run_night(settings, judge=judge)
    assert live_or_none(library) == two[0]
    assert len(library.ids()) == 3  # the night's snapshot is complete, and may be published by hand


def test_of_two_publishers_at_once_one_wins(
    settings: Settings, source: Path, two: tuple[str, str]
) -> None:
    write_source(source, sample().products.slice(0, 298))
    third = run_night(settings, until="evaluate")["snapshot"]
    barrier, won, lost = threading.Barrier(2), [], []

    def both() -> None:
        barrier.wait()

    def start(snapshot_id: str) -> None:
        try:
            # The fence is the last thing before the swap: both have read the same CURRENT.
            publish(library_of(settings), snapshot_id, expected=two[1], fence=both)
            won.append(snapshot_id)
        except PointerMoved:
            lost.append(snapshot_id)

    threads = [threading.Thread(target=start, args=(each,)) for each in (two[0], third)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 1)
    assert library_of(settings).current() == won[0]


def test_a_read_only_kind_of_store_refuses_before_any_work(tmp_path: Path, source: Path) -> None:
    settings = settings_for(tmp_path, source, store=f"memory://{tmp_path.name}")
    with pytest.raises(StoreReadOnly, match=r"protocol 'memory'.*not published to"):
        run_night(settings)
    assert library_of(settings).store.list() == ()


def test_a_store_that_cannot_be_written_is_an_error_and_loses_nothing(
    tmp_path: Path, source: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    settings = settings_for(tmp_path, source, store=str(tmp_path / "file" / "store"))
    with pytest.raises(StoreError, match="cannot (read|write).*check the store's URL"):
        run_night(settings)
    assert (tmp_path / "file").read_text() == "not a folder"
    assert source.is_file()


def test_a_current_that_names_no_snapshot_stops_the_night(
    settings: Settings, two: tuple[str, str]
) -> None:
    library = library_of(settings)
    library.store.delete(f"snapshots/{two[1]}", recursive=True)
    with pytest.raises(
        SnapshotError, match=rf"snapshot '{two[1]}' is not there.*{two[0]}.*jobs\.rollback"
    ):
        run_night(settings)


def test_a_parent_with_a_damaged_file_stops_the_night(
    settings: Settings, source: Path, two: tuple[str, str]
) -> None:
    library = library_of(settings)
    damaged = next(p for p in live(settings).files if p.startswith("products/"))
    library.store.write_bytes(f"snapshots/{live(settings).locate(damaged)}", b"PAR1 nonsense")
    write_source(source, sample().products.slice(0, 280))
    with pytest.raises(SnapshotError, match=r"products/.*damaged"):
        run_night(settings)
    assert library.current() == two[1]
