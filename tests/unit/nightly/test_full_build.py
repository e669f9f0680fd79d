"""The first night: everything is read, embedded and indexed, and the manifest says so truly."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.config import Settings
from aisle.errors import CatalogError, QuarantineExceeded, SnapshotError
from aisle.index.forward import ForwardIndex
from aisle.index.statistics import Statistics
from aisle.text import Analyzer
from tests.shop import library_of, live, load, run_night, sample, settings_for, write_source


def test_a_night_publishes_a_snapshot_whose_files_are_what_the_manifest_says(
    settings: Settings,
) -> None:
    summary = run_night(settings)
    manifest = live(settings)
    assert summary["published"]
    assert summary["snapshot"] == manifest.snapshot_id
    store = library_of(settings).store
    for path, entry in manifest.files.items():
        data = store.read_bytes(f"snapshots/{entry.owner}/{path}")
        assert (len(data), sha256(data).hexdigest()) == (entry.size, entry.sha256), path
    written = {name.split("/", 2)[2] for name in store.list(f"snapshots/{manifest.snapshot_id}")}
    assert written == {*manifest.files, "manifest.json"}
    assert store.folders("runs") == ()


def test_counts_say_what_happened_to_every_row(tmp_path: Path) -> None:
    products = sample().products
    twice = products.slice(0, 3)
    source = write_source(tmp_path / "p.parquet", pa.concat_tables([products, twice]))
    settings = settings_for(tmp_path, source)
    counts = run_night(settings)["counts"]
    n = products.num_rows
    assert counts["rows"] == n + 3
    assert counts["products"] == counts["added"] == counts["fresh"] == n
    assert counts["duplicates"] == 3
    assert (counts["quarantined"], counts["changed"], counts["removed"]) == (0, 0, 0)
    # Equal texts are embedded once a shard, so no more than n and no fewer than the distinct texts.
    assert counts["embedded"] + counts["reused"] == n
    assert sum(shard.live_rows for shard in live(settings).shards) == n


def test_statistics_are_those_of_one_count_over_the_whole_catalogue(settings: Settings) -> None:
    run_night(settings)
    whole = ForwardIndex.build(sample().products, Analyzer("english"))
    wanted = Statistics.collect([(whole, np.empty(0, np.int64))])
    found = load(settings).statistics
    assert found.products == wanted.products
    assert found.index_of == wanted.index_of
    assert (found.document_frequency == wanted.document_frequency).all()
    assert (found.mean_lengths == wanted.mean_lengths).all()


def test_bad_rows_go_to_quarantine_with_their_reasons(tmp_path: Path) -> None:
    rows = sample().products.slice(0, 100).to_pylist()
    rows[7]["title"] = "  "
    rows[11]["price"] = -1.0
    source = write_source(
        tmp_path / "p.parquet", pa.Table.from_pylist(rows, sample().products.schema)
    )
    settings = settings_for(tmp_path, source)
    summary = run_night(settings)
    manifest = live(settings)
    assert summary["counts"]["quarantined"] == 2
    (path,) = [path for path in manifest.files if path.startswith("quarantine/")]
    store = library_of(settings).store
    bad = pq.read_table(store.local_path(f"snapshots/{manifest.snapshot_id}/{path}")).to_pylist()
    assert [row["row"] for row in bad] == [8, 12]
    assert "title" in bad[0]["reason"]
    assert "price" in bad[1]["reason"]


def test_too_many_bad_rows_publish_nothing_and_keep_rows_and_reasons(tmp_path: Path) -> None:
    rows = sample().products.slice(0, 50).to_pylist()
    for row in rows[:10]:
        row["title"] = None
    source = write_source(
        tmp_path / "p.parquet", pa.Table.from_pylist(rows, sample().products.schema)
    )
    settings = settings_for(tmp_path, source)
    with pytest.raises(
        QuarantineExceeded, match=r"10 of 50 rows .*20\.0%.*5\.0%.*row 1: empty title"
    ):
        run_night(settings)
    with pytest.raises(SnapshotError, match="nothing has been published"):
        library_of(settings).current()
    assert any("rejected-" in name for name in library_of(settings).store.list("runs"))
    # With a higher limit the same run goes on.
    patient = settings_for(
        tmp_path,
        source,
        catalog={
            "source": {"url": str(source)},
            "columns": settings.catalog.columns,
            "quarantine_max_fraction": 0.2,
        },
    )
    assert run_night(patient)["counts"]["quarantined"] == 10


def test_a_source_without_a_valid_row_is_an_error_with_an_example(tmp_path: Path) -> None:
    rows = [{**row, "title": ""} for row in sample().products.slice(0, 5).to_pylist()]
    source = write_source(
        tmp_path / "p.parquet", pa.Table.from_pylist(rows, sample().products.schema)
    )
    with pytest.raises(CatalogError, match="5 rows, none is a valid product.*row 1"):
        run_night(settings_for(tmp_path, source))


@pytest.mark.parametrize("name", ["p.parquet", "p.jsonl", "p.csv"])
def test_an_empty_source_is_an_error(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    if name.endswith("parquet"):
        write_source(source, sample().products.slice(0, 0))
    else:
        source.write_text(",".join(sample().products.schema.names) if name.endswith("csv") else "")
    with pytest.raises(CatalogError, match="none is a valid product"):
        run_night(settings_for(tmp_path, source))


def test_a_missing_source_names_the_url(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"gone\.parquet: not found"):
        run_night(settings_for(tmp_path, tmp_path / "gone.parquet"))


def test_a_column_of_the_wrong_type_names_column_and_field(tmp_path: Path) -> None:
    products = sample().products.slice(0, 5)
    prices = pa.array([[1.0]] * 5, pa.list_(pa.float64()))
    wrong = products.set_column(products.schema.get_field_index("price"), "price", prices)
    source = write_source(tmp_path / "p.parquet", wrong)
    with pytest.raises(CatalogError, match="price"):
        run_night(settings_for(tmp_path, source))


def test_several_files_of_several_formats_of_rows_make_one_catalogue(tmp_path: Path) -> None:
    products = sample().products
    write_source(tmp_path / "src" / "a.parquet", products.slice(0, 100))
    write_source(tmp_path / "src" / "b.parquet", products.slice(100))
    run_night(settings_for(tmp_path / "two", tmp_path / "src"))
    one = write_source(tmp_path / "one.parquet", products)
    run_night(settings_for(tmp_path / "one", one))
    two, whole = (live(settings_for(tmp_path / name, one)).comparable() for name in ("two", "one"))
    assert two == whole


def test_more_shards_than_products_leaves_some_empty(tmp_path: Path) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 3))
    settings = settings_for(tmp_path, source, index={"shards": 8})
    run_night(settings)
    manifest = live(settings)
    assert len(manifest.shards) == 8
    assert sum(shard.live_rows for shard in manifest.shards) == 3
    assert any(not shard.segments for shard in manifest.shards)
    assert run_night(settings)["unchanged"]
