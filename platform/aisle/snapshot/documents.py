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


_ONE_BY_ONE_ROWS = 16
"""Up to so many rows of one segment, values are read one by one: a take by table costs some 40 us before its first."""


class Documents:
    """Products by locator. Read only; safe to use from several threads."""

    def __init__(self, segments: Mapping[int, Sequence[SegmentRows]]) -> None:
        """Takes each shard's rows, segments in manifest order, dead rows included."""
        self._segments = segments
        self._first_rows = {
            shard: np.cumsum([0, *(len(each) for each in parts)])
            for shard, parts in segments.items()
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
                        SegmentRows.read,
                    )
                    for each in shard.segments
                ]
                for shard in manifest.shards
            }
        )

    def titles(self, most: int) -> list[str]:
        """Titles with their brands, dead rows included: all, or an even sample of `most` rows."""
        parts = [each for shard in sorted(self._segments) for each in self._segments[shard]]
        step = max(1, -(-sum(map(len, parts)) // most))
        return [
            f"{row['title']} {row['brand'] or ''}"
            for each in parts
            for row in each.take(np.arange(0, len(each), step), ("title", "brand"))
        ]

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
                taken = self._segments[shard][segment].take(rows[at] - first_rows[segment], columns)
                for position, row in zip(at.tolist(), taken, strict=True):
                    found[position] = row
        return found


class SegmentRows:
    """The products of one segment."""

    def __init__(self, table: pa.Table) -> None:
        self._rows: int = table.num_rows
        self._columns = {
            name: table[name].combine_chunks() if table.num_rows else table[name]
            for name in table.column_names
        }

    def __len__(self) -> int:
        return self._rows

    @classmethod
    def read(cls, path: Path) -> SegmentRows:
        """Opens a segment's file."""
        return cls(pq.read_table(path, columns=list(LOOKED_UP)))

    def take(self, rows: NDArray[np.int64], columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """One dict a row, in order."""
        values: list[list[Any]]
        if len(rows) <= _ONE_BY_ONE_ROWS:
            at = rows.tolist()
            values = [
                [column[row].as_py() for row in at]
                for column in (self._columns[name] for name in columns)
            ]
        else:
            indices = pa.array(rows)
            values = [self._columns[name].take(indices).to_pylist() for name in columns]
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
