"""Rules that make no sense fail early, and whatever a source holds, no row is lost."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from aisle.catalog import POSITION, ColumnMap, map_rows

BAD_RULES: dict[str, dict[str, Any]] = {
    "title is required": {"product_id": "id"},
    "unknown field": {"product_id": "id", "title": "t", "weight": "w"},
    "unknown key in a rule": {"product_id": "id", "title": {"column": "t", "trim": True}},
    "a key of another kind of rule": {
        "product_id": "id",
        "title": "t",
        "brand": {"column": "b", "scale": 2},
    },
    "no origin": {"product_id": "id", "title": {"join": " "}},
    "two origins": {"product_id": "id", "title": {"column": "t", "value": "x"}},
    "empty name": {"product_id": "id", "title": ""},
    "scale of zero": {"product_id": "id", "title": "t", "price": {"column": "p", "scale": 0}},
    "unknown format": {
        "product_id": "id",
        "title": "t",
        "attributes": {"column": "a", "format": "xml"},
    },
    "split and json": {
        "product_id": "id",
        "title": "t",
        "category": {"column": "c", "split": "/", "format": "json"},
    },
    "json over plain columns": {
        "product_id": "id",
        "title": "t",
        "attributes": {"columns": ["a"], "format": "json"},
    },
}


@pytest.mark.parametrize("scenario", BAD_RULES)
def test_a_rule_that_makes_no_sense_fails_while_the_configuration_is_read(scenario: str) -> None:
    with pytest.raises(ValidationError):
        ColumnMap.model_validate(BAD_RULES[scenario])


def test_rules_survive_a_round_trip_through_json() -> None:
    columns = ColumnMap.model_validate(
        {
            "product_id": "id",
            "title": ["brand", "name"],
            "attributes": {"columns": {"color": "colour_col"}},
            "currency": {"value": "USD"},
        }
    )
    assert ColumnMap.model_validate_json(columns.model_dump_json()) == columns
    assert columns.named_columns() == ("id", "brand", "name", "colour_col")


messy_text = (
    st.none() | st.text(max_size=12) | st.sampled_from(["", " ", "12.5", "-3", "abc", "yes", "[]"])
)
messy_row = st.fixed_dictionaries(
    {
        "id": messy_text,
        "title": messy_text | st.sampled_from(["<p>", "&amp;", "<b>x</b>"]),
        "price": messy_text,
        "path": messy_text,
        "attributes": messy_text | st.sampled_from(['{"a": [1, {"b": 2}]}', "{", "[1]", "null"]),
        "stock": messy_text,
        "updated": messy_text | st.sampled_from(["2024-01-31", "1706704200", "99999999999999"]),
    }
)


@settings(max_examples=80, deadline=None)
@given(st.lists(messy_row, max_size=8))
def test_every_row_is_either_a_product_or_rejected_with_a_reason(
    rows: list[dict[str, Any]],
) -> None:
    names = ["id", "title", "price", "path", "attributes", "stock", "updated"]
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names})
    columns = ColumnMap.model_validate(
        {
            "product_id": "id",
            "title": "title",
            "price": "price",
            "category": {"column": "path", "split": ">"},
            "attributes": {"column": "attributes", "format": "json"},
            "available": "stock",
            "updated_at": "updated",
        }
    )
    result = map_rows(table, columns, "s", 1)
    positions = result.products[POSITION].to_pylist() + result.rejected["row"].to_pylist()
    assert sorted(positions) == list(range(1, len(rows) + 1))
    assert all(result.rejected["reason"].to_pylist())
    for row in result.rejected.to_pylist():
        assert json.loads(row["raw"]) == rows[row["row"] - 1]
    result.products.validate(full=True)
