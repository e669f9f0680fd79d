"""Several columns joined to one text, row by row."""

from __future__ import annotations

import pyarrow as pa

from aisle.catalog import ColumnMap, map_rows


def test_a_row_in_which_every_joined_column_is_empty_stays_in_its_place() -> None:
    table = pa.table(
        {"id": ["1", "2", "3"], "t": ["a", "b", "c"], "x": ["p", None, None], "y": ["q", " ", "r"]}
    )
    columns = ColumnMap.model_validate(
        {"product_id": "id", "title": "t", "description": ["x", "y"]}
    )
    assert map_rows(table, columns, "s", 1).products["description"].to_pylist() == [
        "p q",
        None,
        "r",
    ]
