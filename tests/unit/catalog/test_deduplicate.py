from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from aisle.catalog import MAPPED_SCHEMA, POSITION, deduplicate

EARLY, LATE = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)

DUPLICATES: dict[str, tuple[list[Any], list[tuple[str, int]], int]] = {
    "latest wins": ([("a", LATE, 1), ("a", EARLY, 2)], [("a", 1)], 1),
    "no time is the earliest": ([("a", EARLY, 1), ("a", None, 2)], [("a", 1)], 1),
    "equal times go by position": ([("a", LATE, 2), ("a", LATE, 1)], [("a", 2)], 1),
    "no times go by position": ([("a", None, 5), ("a", None, 7), ("a", None, 6)], [("a", 7)], 2),
    "sorted by bytes of the id": (
        [("é", None, 1), ("z", None, 2), ("Z", None, 3)],
        [("Z", 3), ("z", 2), ("é", 1)],
        0,
    ),
    "one row": ([("a", None, 1)], [("a", 1)], 0),
    "no row": ([], [], 0),
}


@pytest.mark.parametrize("scenario", DUPLICATES)
def test_deduplicate(scenario: str) -> None:
    rows, expected, n_dropped = DUPLICATES[scenario]
    records = [{"product_id": i, "title": "t", "updated_at": t, POSITION: p} for i, t, p in rows]
    for ordered in (records, records[::-1]):
        table = pa.concat_tables(
            [pa.Table.from_pylist([r], MAPPED_SCHEMA) for r in ordered]
            or [MAPPED_SCHEMA.empty_table()]
        )
        kept, dropped = deduplicate(table)
        pairs = zip(kept["product_id"].to_pylist(), kept[POSITION].to_pylist(), strict=True)
        assert list(pairs) == expected
        assert dropped == n_dropped
