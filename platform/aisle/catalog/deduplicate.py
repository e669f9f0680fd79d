"""Several rows with one product_id: the latest stays.

Works on the whole table at once; a job calls it on partitions by id.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from aisle.catalog.product import POSITION


def deduplicate(table: pa.Table) -> tuple[pa.Table, int]:
    """Keeps one row a product_id: the latest `updated_at`, none being the earliest, then the later `_position`.

    Gives the table sorted by product_id (bytes of UTF-8), `_position` still in it, and how many rows it left out.
    The result does not depend on the order of rows.
    """
    order = pc.sort_indices(
        table.select(["product_id", "updated_at", POSITION]),
        sort_keys=[
            ("product_id", "ascending", "at_start"),
            ("updated_at", "ascending", "at_start"),
            (POSITION, "ascending", "at_start"),
        ],
    )
    ordered = table.take(order)
    if len(ordered) < 2:
        return ordered, 0
    ids = ordered["product_id"]
    is_last = pc.not_equal(ids.slice(0, len(ids) - 1), ids.slice(1))
    keep = pa.chunked_array([*pa.chunked_array(is_last).chunks, pa.array([True])])
    kept = ordered.filter(keep)
    return kept, len(ordered) - len(kept)
