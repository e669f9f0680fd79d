"""Documents: what a hit shows, looked up by locator once the page is decided.

Only the process that answers holds them; ids and scores travel between stages, documents never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aisle.retrieve.candidates import shards_and_rows
from aisle.snapshot.manifest import Manifest, products_path
from aisle.snapshot.opened import Opened

SHOWN = ("title", "brand", "price", "currency", "image_url", "category", "available")
"""Columns of a hit's product."""
LOOKED_UP = (*SHOWN, "product_id", "attributes", "updated_at")
"""Columns kept: shown, sorted by or counted in facets."""


class Documents:
    """Products by locator. Read only; safe to use from several threads."""

    def __init__(self, tables: Mapping[int, Sequence[pa.Table]]) -> None:
        """Takes each shard's rows, one table a segment in manifest order, dead rows included."""
        self._tables = tables
        self._first_rows = {
            shard: np.cumsum([0, *(table.num_rows for table in parts)])
            for shard, parts in tables.items()
        }

    @classmethod
    def open(cls, manifest: Manifest, root: Path, opened: Opened | None = None) -> Documents:
        """Reads the products of every shard from the cache's `root`, but for those that are `opened`."""
        opened = Opened() if opened is None else opened
        return cls(
            {
                shard.number: [
                    opened.part(
                        "products",
                        root / each.owner / products_path(shard.number, each.segment_id),
                        _read,
                    )
                    for each in shard.segments
                ]
                for shard in manifest.shards
            }
        )

    def take(
        self, locators: NDArray[np.int64], columns: tuple[str, ...] = SHOWN
    ) -> list[dict[str, Any]]:
        """One dict a locator, in order."""
        shards, rows = shards_and_rows(locators)
        found: list[dict[str, Any]] = [{}] * len(locators)
        for shard in np.unique(shards).tolist():
            first_rows = self._first_rows[shard]
            of_shard = np.flatnonzero(shards == shard)
            segments = np.searchsorted(first_rows, rows[of_shard], side="right") - 1
            for segment in np.unique(segments).tolist():
                at = of_shard[segments == segment]
                table = self._tables[shard][segment].select(columns)
                taken = table.take(pa.array(rows[at] - first_rows[segment]))
                for position, row in zip(at.tolist(), taken.to_pylist(), strict=True):
                    found[position] = row
        return found


def _read(path: Path) -> pa.Table:
    return pq.read_table(path, columns=list(LOOKED_UP)).combine_chunks()
