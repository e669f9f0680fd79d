"""Every rule and every reason as a named scenario; expected values are written by hand from the Product contract."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from aisle.catalog import MAPPED_SCHEMA, POSITION, ColumnMap, Mapped, map_rows
from aisle.catalog.mapping import FILE_STRIDE
from aisle.errors import CatalogError

ADA = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)


def mapped(columns: dict[str, Any], **rules: Any) -> Mapped:
    """Maps columns of values; id and title are supplied where the scenario does not care."""
    n = len(next(iter(columns.values())))
    table = pa.table({"id": [f"p{i}" for i in range(n)], "title": ["a title"] * n} | columns)
    rules = {"product_id": "id", "title": "title"} | rules
    return map_rows(table, ColumnMap.model_validate(rules), "shop.parquet", 1)


def field_values(field: str, values: Any, rule: Any) -> list[Any]:
    """What a field becomes for source values in the column `x`; nothing may be rejected."""
    result = mapped({"x": values}, **{field: rule})
    assert result.rejected.to_pylist() == []
    values_out: list[Any] = result.products[field].to_pylist()
    return values_out


def only_reason(field: str, values: Any, rule: Any) -> str:
    """The reason for which the only row was turned down."""
    result = mapped({"x": values}, **{field: rule})
    assert result.products.num_rows == 0
    (row,) = result.rejected.to_pylist()
    return str(row["reason"])


ACCEPTED: dict[str, tuple[str, Any, Any, list[Any]]] = {
    "id from a text keeps leading zeros": ("product_id", ["007"], "x", ["007"]),
    "id is trimmed": ("product_id", ["  a1\n"], "x", ["a1"]),
    "id from whole numbers": ("product_id", [7, 8], "x", ["7", "8"]),
    "id from two columns": (
        "product_id",
        ["a"],
        {"columns": ["x", "x"], "join": "-"},
        ["a-a"],
    ),
    "id of 512 bytes": ("product_id", ["é" * 256], "x", ["é" * 256]),
    "title collapses white space": ("title", [" red \n\t shoe "], "x", ["red shoe"]),
    "title loses tags and entities": ("title", ["<b>Salt</b> &amp; Co"], "x", ["Salt & Co"]),
    "title keeps what only looks like a tag": ("title", ["size <XL> < 3"], "x", ["size <XL> < 3"]),
    "title from a number": ("title", [2001], "x", ["2001"]),
    "description from HTML": (
        "description",
        ["<p>Soft</p><script>let a = '<p>'</script><ul><li>wool</li></ul>", None],
        "x",
        ["Soft wool", None],
    ),
    "description keeps its length": ("description", ["a" * 100_000], "x", ["a" * 100_000]),
    "description keeps line breaks": ("description", ["one\ntwo"], "x", ["one\ntwo"]),
    "brand missing": ("brand", ["HP", "", "  ", None], "x", ["HP", None, None, None]),
    "brand with a default": ("brand", ["HP", None], {"column": "x", "default": "-"}, ["HP", "-"]),
    "brand joined leaves empty ones out": (
        "brand",
        ["HP", None],
        {"columns": ["x", "id"], "join": "/"},
        ["HP/p0", "p1"],
    ),
    "brand from a dictionary column": (
        "brand",
        pa.array(["HP", None, "HP"]).dictionary_encode(),
        "x",
        ["HP", None, "HP"],
    ),
    "brand from large strings": ("brand", pa.array(["HP"], pa.large_string()), "x", ["HP"]),
    "brand from binary": ("brand", pa.array([b"HP"], pa.binary()), "x", ["HP"]),
    "currency is a constant in capitals": ("currency", ["a"], {"value": "usd"}, ["USD"]),
    "price from cents": (
        "price",
        [1999, 4995, None],
        {"column": "x", "scale": 0.01},
        [19.99, 49.95, None],
    ),
    "price scaled up": ("price", [2.5], {"column": "x", "scale": 1000}, [2500.0]),
    "price from texts": (
        "price",
        ["12.50", " 3 ", "1e2", ".5", "+4", "", None],
        "x",
        [12.5, 3.0, 100.0, 0.5, 4.0, None, None],
    ),
    "price from decimals": ("price", [Decimal("9.99")], "x", [9.99]),
    "price NaN is no price": ("price", [float("nan"), 0.0], "x", [None, 0.0]),
    "price with a default": ("price", [None, 2.0], {"column": "x", "default": 1}, [1.0, 2.0]),
    "price in a column of nulls": ("price", pa.nulls(2), "x", [None, None]),
    "category split and trimmed": (
        "category",
        ["Home > Kitchen  > Pans", "Home", "", None, " > Home > "],
        {"column": "x", "split": " > "},
        [["Home", "Kitchen", "Pans"], ["Home"], [], [], ["Home"]],
    ),
    "category of one level": ("category", ["Home > Kitchen"], "x", [["Home > Kitchen"]]),
    "category from a list column": (
        "category",
        [["Home", " Pans "], [], None, ["", None, "Sale"]],
        "x",
        [["Home", "Pans"], [], [], ["Sale"]],
    ),
    "category from JSON": (
        "category",
        ['["Home", 3, null]', ""],
        {"column": "x", "format": "json"},
        [["Home", "3"], []],
    ),
    "category from a column a level": (
        "category",
        ["Home", None],
        ["x", "id"],
        [["Home", "p0"], ["p1"]],
    ),
    "category constant": ("category", ["a"], {"value": ["Home", "Pans"]}, [["Home", "Pans"]]),
    "attributes from JSON scalars": (
        "attributes",
        ['{"a": true, "b": 1.0, "c": 2.5, "d": " red ", "e": null, "f": "", "g": 12, "h": NaN}'],
        {"column": "x", "format": "json"},
        [[("a", ["true"]), ("b", ["1"]), ("c", ["2.5"]), ("d", ["red"]), ("g", ["12"])]],
    ),
    "attributes from JSON lists and objects": (
        "attributes",
        ['{"c": ["red", 1, null, "red"], "s": {"w": 2, "d": {"u": "cm"}}, "o": [{"k": "v"}, "z"]}'],
        {"column": "x", "format": "json"},
        [
            [
                ("c", ["red", "1"]),
                ("s.w", ["2"]),
                ("s.d.u", ["cm"]),
                ("o.k", ["v"]),
                ("o", ["z"]),
            ]
        ],
    ),
    "attributes empty": (
        "attributes",
        [None, "", "  ", "{}", "null"],
        {"column": "x", "format": "json"},
        [[], [], [], [], []],
    ),
    "attributes with a lone surrogate": (
        "attributes",
        [r'{"a": "\ud800"}'],
        {"column": "x", "format": "json"},
        [[("a", ["?"])]],
    ),
    "attribute names lose a prefix and merge": (
        "attributes",
        ['{"attr_color": "red", "color": "blue", "attr_": "x"}'],
        {"column": "x", "format": "json", "strip_prefix": ["attr_"]},
        [[("color", ["red", "blue"]), ("attr_", ["x"])]],
    ),
    "attributes from plain columns": (
        "attributes",
        ["red;blue ", None],
        {"columns": ["x", "id"], "split": ";"},
        [[("x", ["red", "blue"]), ("id", ["p0"])], [("id", ["p1"])]],
    ),
    "attributes under other names": (
        "attributes",
        [1.5, None],
        {"columns": {"weight": "x"}},
        [[("weight", ["1.5"])], []],
    ),
    "attributes from a struct": (
        "attributes",
        [{"color": "red", "size": {"w": 2.0}}, {"color": None, "size": None}],
        "x",
        [[("color", ["red"]), ("size.w", ["2"])], []],
    ),
    "attributes from a map": (
        "attributes",
        pa.array([[("color", ["red", "blue"])], None], pa.map_(pa.string(), pa.list_(pa.string()))),
        "x",
        [[("color", ["red", "blue"])], []],
    ),
    "attributes from a map of texts": (
        "attributes",
        pa.array([[("color", "red")]], pa.map_(pa.string(), pa.string())),
        "x",
        [[("color", ["red"])]],
    ),
    "available from flags": ("available", [True, False, None], "x", [True, False, True]),
    "available from numbers": ("available", [1, 0], "x", [True, False]),
    "available from texts": (
        "available",
        ["YES", "in stock", "Out of Stock", "f", " 1 ", ""],
        {"column": "x", "default": False},
        [True, True, False, False, True, False],
    ),
    "available constant": ("available", ["a"], {"value": False}, [False]),
    "updated_at from ISO texts": (
        "updated_at",
        ["2024-01-31T12:30:00Z", "2024-01-31 14:30:00+02:00", "2024-01-31T12:30", "", None],
        "x",
        [ADA, ADA, ADA, None, None],
    ),
    "updated_at from a date text": (
        "updated_at",
        ["2024-01-31", "20240131"],
        "x",
        [datetime(2024, 1, 31, tzinfo=UTC)] * 2,
    ),
    "updated_at from dates": (
        "updated_at",
        [date(2024, 1, 31), None],
        "x",
        [datetime(2024, 1, 31, tzinfo=UTC), None],
    ),
    "updated_at from naive timestamps": (
        "updated_at",
        pa.array([datetime(2024, 1, 31, 12, 30)], pa.timestamp("ns")),
        "x",
        [ADA],
    ),
    "updated_at from zoned timestamps": (
        "updated_at",
        pa.array([ADA], pa.timestamp("s", tz="America/New_York")),
        "x",
        [ADA],
    ),
    "updated_at from epoch seconds and ms": (
        "updated_at",
        [1706704200, 1706704200000, None],
        "x",
        [ADA, ADA, None],
    ),
    "updated_at from epoch texts": (
        "updated_at",
        ["1706704200", "1706704200000"],
        "x",
        [ADA, ADA],
    ),
    "updated_at in a stated unit": (
        "updated_at",
        [5.0, float("nan")],
        {"column": "x", "unit": "ms"},
        [datetime(1970, 1, 1, 0, 0, 0, 5000, tzinfo=UTC), None],
    ),
}


@pytest.mark.parametrize("scenario", ACCEPTED)
def test_values_become(scenario: str) -> None:
    field, values, rule, expected = ACCEPTED[scenario]
    assert field_values(field, values, rule) == expected


REJECTED: dict[str, tuple[str, Any, Any, str]] = {
    "no id": ("product_id", [None], "x", "missing product_id"),
    "blank id": ("product_id", ["  "], "x", "missing product_id"),
    "long id": ("product_id", ["é" * 257], "x", "product_id longer than 512 bytes"),
    "no title": ("title", [""], "x", "empty title"),
    "title of nothing but markup": ("title", ["<p>&nbsp;</p>"], "x", "empty title"),
    "price in words": ("price", ["abc"], "x", "price not a number: 'abc'"),
    "price with its sign": ("price", ["$5"], "x", "price not a number: '$5'"),
    "price text nan": ("price", ["nan"], "x", "price not a number: 'nan'"),
    "negative price": ("price", [-1], "x", "negative price: -1.0"),
    "infinite price": ("price", [float("inf")], "x", "price not finite: inf"),
    "attributes cut short": (
        "attributes",
        ['{"a": '],
        {"column": "x", "format": "json"},
        "bad attributes JSON: Expecting value: line 1 column 7 (char 6), in '{\"a\": '",
    ),
    "attributes as a list": (
        "attributes",
        ["[1]"],
        {"column": "x", "format": "json"},
        "bad attributes JSON: a list, an object is expected, in '[1]'",
    ),
    "category as an object": (
        "category",
        ["{}"],
        {"column": "x", "format": "json"},
        "bad category JSON: a flat list of texts is expected, in '{}'",
    ),
    "timestamp in words": ("updated_at", ["yesterday"], "x", "bad timestamp: 'yesterday'"),
    "timestamp of no calendar": ("updated_at", ["2024-02-30"], "x", "bad timestamp: '2024-02-30'"),
    "timestamp beyond the calendar": ("updated_at", [1e18], "x", "bad timestamp: 1e+18"),
    "timestamp column beyond the calendar": (
        "updated_at",
        pa.array([9_000_000_000_000_000_000], pa.timestamp("us")),
        "x",
        "bad timestamp: outside the years 1 to 9999",
    ),
}


@pytest.mark.parametrize("scenario", REJECTED)
def test_rows_are_rejected(scenario: str) -> None:
    field, values, rule, reason = REJECTED[scenario]
    assert only_reason(field, values, rule) == reason


def test_available_names_what_it_would_accept() -> None:
    reason = only_reason("available", ["maybe"], "x")
    assert "in stock" in reason
    assert reason.endswith(": 'maybe'")


def test_attributes_nested_too_deeply_are_rejected() -> None:
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    assert "bad attributes JSON" in only_reason(
        "attributes", [deep], {"column": "x", "format": "json"}
    )


def test_a_row_with_several_faults_is_rejected_once_with_all_of_them() -> None:
    table = pa.table({"id": [None, "b"], "title": ["", "t"], "price": ["abc", "1"]})
    columns = ColumnMap.model_validate({"product_id": "id", "title": "title", "price": "price"})
    result = map_rows(table, columns, "s.csv", first_row=10, file_index=2)
    (row,) = result.rejected.to_pylist()
    assert row["source"] == "s.csv"
    assert row["row"] == 10
    assert row["product_id"] is None
    assert set(row["reason"].split("; ")) == {
        "missing product_id",
        "empty title",
        "price not a number: 'abc'",
    }
    assert json.loads(row["raw"]) == {"id": None, "title": "", "price": "abc"}
    assert result.products["product_id"].to_pylist() == ["b"]
    assert result.products[POSITION].to_pylist() == [2 * FILE_STRIDE + 11]


def test_fields_without_a_rule_have_their_defaults() -> None:
    (row,) = mapped({"x": [1]}).products.drop_columns([POSITION]).to_pylist()
    assert row == {
        "product_id": "p0",
        "title": "a title",
        "description": None,
        "brand": None,
        "category": [],
        "price": None,
        "currency": None,
        "attributes": [],
        "image_url": None,
        "available": True,
        "updated_at": None,
    }


def test_no_rows_give_empty_tables_of_the_schema() -> None:
    result = mapped({"x": pa.array([], pa.string())}, price="x", category="x", updated_at="x")
    assert result.products.schema == MAPPED_SCHEMA
    assert result.products.num_rows == result.rejected.num_rows == 0


WRONG_TYPES: dict[str, tuple[str, Any]] = {
    "title as a struct": ("title", [{"a": 1}]),
    "brand as a list": ("brand", [["a"]]),
    "brand as bytes that are no text": ("brand", [b"\xff\xfe"]),
    "id as a float": ("product_id", [1.5]),
    "id as a flag": ("product_id", [True]),
    "price as a flag": ("price", [True]),
    "price as a date": ("price", [date(2024, 1, 1)]),
    "category as a struct": ("category", [{"a": 1}]),
    "category as a list of lists": ("category", [[["a"]]]),
    "attributes as a number": ("attributes", [1]),
    "attributes as text without a format": ("attributes", ['{"a": 1}']),
    "available as a date": ("available", [date(2024, 1, 1)]),
    "updated_at as a flag": ("updated_at", [True]),
}


@pytest.mark.parametrize("scenario", WRONG_TYPES)
def test_a_column_of_impossible_type_is_an_error_not_a_rejection(scenario: str) -> None:
    field, values = WRONG_TYPES[scenario]
    with pytest.raises(
        CatalogError, match=rf"^shop\.parquet: column 'x' has type .*{field}.*allowed"
    ):
        mapped({"x": values}, **{field: "x"})


def test_a_missing_column_names_file_column_key_and_the_columns_there_are() -> None:
    with pytest.raises(CatalogError) as caught:
        mapped({"x": [1]}, brand="maker")
    message = str(caught.value)
    assert "shop.parquet" in message
    assert "'maker'" in message
    assert "catalog.columns.brand" in message
    assert "id, title, x" in message


def test_a_column_that_may_be_missing_gives_nulls() -> None:
    result = mapped({"x": [1]}, brand={"column": "maker", "missing_ok": True})
    assert result.products["brand"].to_pylist() == [None]
