"""Documents: what a hit shows, looked up by locator once the page is decided.

Only the process that answers holds them; ids and scores travel between stages, documents never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aisle.retrieve.candidates import shards_and_rows
from aisle.snapshot.manifest import Manifest, products_path

SHOWN = ("title", "brand", "price", "currency", "image_url", "category", "available")
"""Columns of a hit's product."""
LOOKED_UP = (*SHOWN, "product_id", "attributes", "updated_at")
"""Columns kept: shown, sorted by or counted in facets."""


class Documents:
    """Products by locator. Read only; safe to use from several threads."""

    def __init__(self, tables: Mapping[int, pa.Table]) -> None:
        """Takes each shard's rows, segments in manifest order, dead rows included."""
        self._tables = tables

    @classmethod
    def open(cls, manifest: Manifest, root: Path) -> Documents:
        """Reads the products of every shard from the cache's `root`."""
        tables = {}
        for shard in manifest.shards:
            parts = [
                pq.read_table(
                    root / each.owner / products_path(shard.number, each.segment_id),
                    columns=list(LOOKED_UP),
                )
                for each in shard.segments
            ]
            tables[shard.number] = pa.concat_tables(parts).combine_chunks()
        return cls(tables)

    def take(
        self, locators: NDArray[np.int64], columns: tuple[str, ...] = SHOWN
    ) -> list[dict[str, Any]]:
        """One dict a locator, in order."""
        shards, rows = shards_and_rows(locators)
        found: list[dict[str, Any]] = [{}] * len(locators)
        for shard in np.unique(shards):
            at = np.flatnonzero(shards == shard)
            table = self._tables[int(shard)].select(columns).take(pa.array(rows[at]))
            for position, row in zip(at, table.to_pylist(), strict=True):
                found[position] = row
        return found
