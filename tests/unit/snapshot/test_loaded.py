"""Loading: every byte is checked on its way into memory, and parts that were not asked for say so."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pyarrow as pa
import pytest

from aisle.batch import SearchBatch
from aisle.config import Settings
from aisle.errors import SnapshotError, StoreReadOnly
from aisle.local import local_pipeline
from aisle.schema import SearchRequest
from aisle.snapshot import LoadedSnapshot, Parts
from aisle.snapshot.opened import Opened
from aisle.stages import Deadline
from tests.shop import library_of, live, load, run_night, sample, settings_for, write_source


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 30))
    settings = settings_for(tmp_path, source)
    run_night(settings)
    return settings


def some_file(settings: Settings, ending: str) -> str:
    return next(path for path in live(settings).files if path.endswith(ending))


def test_a_damaged_file_in_the_store_names_the_file_and_both_hashes(settings: Settings) -> None:
    store, manifest = library_of(settings).store, live(settings)
    path = some_file(settings, "vectors.npy")
    name = f"snapshots/{manifest.locate(path)}"
    data = bytearray(store.read_bytes(name))
    data[-1] ^= 1
    store.write_bytes(name, bytes(data))
    said = rf"{name}: damaged: {len(data)} bytes with sha256 [0-9a-f]{{64}}.*{manifest.files[path].sha256}"
    with pytest.raises(SnapshotError, match=said):
        load(settings)


def test_a_missing_file_in_the_store_names_the_file(settings: Settings) -> None:
    path = some_file(settings, "dense.faiss")
    library_of(settings).store.delete(f"snapshots/{live(settings).locate(path)}")
    with pytest.raises(SnapshotError, match=rf"{path}: the manifest names it, but it is not there"):
        load(settings)


@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_a_damaged_file_in_the_cache_is_fetched_again(settings: Settings, damage: bytes) -> None:
    load(settings)
    path = some_file(settings, "product_ids.npy")
    cached = Path(settings.serving.cache_dir) / "snapshots" / live(settings).locate(path)
    good = cached.read_bytes()
    cached.write_bytes(damage)
    load(settings)
    assert cached.read_bytes() == good


def test_a_current_that_names_no_snapshot_lists_those_that_are_there(settings: Settings) -> None:
    library = library_of(settings)
    there = library.current()
    library.store.write_bytes("CURRENT", b"20990101T000000-00000000\n")
    with pytest.raises(SnapshotError, match=rf"'20990101T000000-00000000' is not there.*{there}"):
        library.manifest(library.current())


def test_a_manifest_below_another_name_is_refused(settings: Settings) -> None:
    library = library_of(settings)
    data = library.store.read_bytes(f"snapshots/{library.current()}/manifest.json")
    library.store.write_bytes("snapshots/other/manifest.json", data)
    with pytest.raises(SnapshotError, match="names itself"):
        library.manifest("other")


def test_a_part_that_was_not_asked_for_says_so(settings: Settings) -> None:
    library, manifest = library_of(settings), live(settings)
    query = LoadedSnapshot.load(library, manifest, settings, Parts.QUERY)
    assert query.encoder.dimension == 64
    assert query.statistics.products == 30
    for part in ("ranker", "relevance", "documents"):
        with pytest.raises(SnapshotError, match="this process loaded Parts.QUERY, not the"):
            getattr(query, part)
    cached = {path.name for path in Path(settings.serving.cache_dir).rglob("*") if path.is_file()}
    assert "vectors.npy" not in cached  # and it was not fetched either


def test_one_shard_can_be_loaded_alone_and_an_unknown_one_is_refused(settings: Settings) -> None:
    library, manifest = library_of(settings), live(settings)
    (shard,) = LoadedSnapshot.load(library, manifest, settings, Parts.SHARDS, [1]).shards
    assert shard.number == 1
    with pytest.raises(SnapshotError, match=r"has 2 shards, asked for \[2\]"):
        LoadedSnapshot.load(library, manifest, settings, Parts.SHARDS, [0, 2])


def test_a_store_without_compare_and_swap_is_searched_and_refuses_to_publish(
    tmp_path: Path,
) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 30))
    here = settings_for(tmp_path, source)
    run_night(here)
    mirrored = settings_for(tmp_path, source, store=f"memory://{tmp_path.name}/store")
    origin, mirror = library_of(here).store, library_of(mirrored).store
    for name in origin.list():
        mirror.write_bytes(name, origin.read_bytes(name))
    search = SearchBatch(local_pipeline(load(mirrored), mirrored), k=5)
    title = sample().products["title"][3].as_py()
    found = search(pa.table({"query": [title]}))
    assert found["product_id"][0] == sample().products["product_id"][3]
    with pytest.raises(StoreReadOnly, match="use a local path or s3://"):
        run_night(mirrored)


def test_what_two_nights_share_is_opened_once_and_answers_as_before(settings: Settings) -> None:
    library, first = library_of(settings), live(settings)
    products = sample().products.slice(0, 30).to_pylist()
    products[7]["title"] = "something else altogether"
    write_source(
        Path(str(settings.catalog.source.url)),
        pa.Table.from_pylist(products, schema=sample().products.schema),
    )
    run_night(settings)
    second, opened = live(settings), Opened()
    before = LoadedSnapshot.load(library, first, settings, opened=opened)
    parts = len(opened)
    after = LoadedSnapshot.load(library, second, settings, opened=opened)
    assert after.encoder is before.encoder
    assert after.statistics is not before.statistics
    # One product changed: one delta segment with its products, and the catalogue's statistics.
    assert len(opened) == parts + 3
    request = SearchRequest(query="something else", k=10)
    alone = LoadedSnapshot.load(library, second, settings)
    answers = [
        asyncio.run(local_pipeline(each, settings).search([request], Deadline.after(30)))[0].hits
        for each in (after, alone)
    ]
    assert answers[0] == answers[1] != []
    del before, after
    gc.collect()
    assert len(opened) == 0


def test_a_file_touched_since_it_was_checked_is_checked_again(settings: Settings) -> None:
    library, manifest = library_of(settings), live(settings)
    path = some_file(settings, "product_ids.npy")
    root = library.fetch(manifest, [path], Path(settings.serving.cache_dir))
    cached = root / manifest.locate(path)
    good = cached.read_bytes()
    cached.write_bytes(bytes(len(good)))
    library.fetch(manifest, [path], Path(settings.serving.cache_dir))
    assert cached.read_bytes() == good
