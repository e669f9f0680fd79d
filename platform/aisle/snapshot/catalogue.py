"""The products that a snapshot serves, as one table: what training reads, so that it sees what serving sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.product import PRODUCT_SCHEMA
from aisle.snapshot.library import Library
from aisle.snapshot.manifest import Manifest, products_path, tombstones_path


def live_products(library: Library, manifest: Manifest, cache_dir: Path) -> pa.Table:
    """Every product of a snapshot once, `PRODUCT_SCHEMA`, in the order of shards, segments and rows.

    Raises:
        SnapshotError: a file is missing or damaged.
    """
    dead_files = {
        (shard.number, each.segment_id): tombstones_path(shard.number, each.segment_id)
        for shard in manifest.shards
        for each in shard.segments
        if each.dead_rows
    }
    root = library.fetch(manifest, ["products/", *dead_files.values()], cache_dir)
    parts = []
    for shard in manifest.shards:
        for each in shard.segments:
            path = root / each.owner / products_path(shard.number, each.segment_id)
            rows = pq.read_table(path, columns=PRODUCT_SCHEMA.names)
            dead = dead_files.get((shard.number, each.segment_id))
            if dead is not None:
                live = np.ones(rows.num_rows, dtype=bool)
                live[np.load(root / manifest.locate(dead))] = False
                rows = rows.filter(pa.array(live))
            parts.append(rows.cast(PRODUCT_SCHEMA))
    return pa.concat_tables(parts) if parts else PRODUCT_SCHEMA.empty_table()
