from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from aisle.catalog.product import PRODUCT_SCHEMA
from aisle.snapshot.catalogue import live_products
from tests.shop import library_of, live, published, run_night, sample, write_source


def test_the_live_products_are_those_of_the_last_night_without_replaced_rows(
    tmp_path: Path,
) -> None:
    settings = published(tmp_path, 60)
    products = sample().products.slice(0, 60)
    titles = products["title"].to_pylist()
    titles[7] = "Another title"
    renamed = products.set_column(
        products.column_names.index("title"), "title", pa.array(titles, pa.string())
    )
    write_source(tmp_path / "products.parquet", renamed.slice(2))
    run_night(settings)

    manifest = live(settings)
    assert any(each.dead_rows for shard in manifest.shards for each in shard.segments)
    found = live_products(library_of(settings), manifest, tmp_path / "cache")
    assert found.schema == PRODUCT_SCHEMA
    title_of = dict(zip(found["product_id"].to_pylist(), found["title"].to_pylist(), strict=True))
    assert found.num_rows == len(title_of) == 58
    assert title_of == dict(zip(products["product_id"].to_pylist()[2:], titles[2:], strict=True))
