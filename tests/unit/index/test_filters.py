"""Filters: what a request may say, and which rows it lets through, against a brute-force reading of the rules."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle.errors import RequestError
from aisle.index.filters import FilterIndex, Filters
from aisle.index.keys import price_array, product_keys
from tests.segments import table_of


def index_of(products: pa.Table, folder: Path) -> FilterIndex:
    FilterIndex.build(product_keys(products), price_array(products), folder)
    return FilterIndex.open(folder)


def passing(rows: list[dict[str, Any]], raw: dict[str, Any], folder: Path) -> list[str]:
    products = table_of(rows)
    mask = index_of(products, folder).mask(Filters.parse(raw))
    return [i for i, kept in zip(products["product_id"].to_pylist(), mask, strict=True) if kept]


SHOP: list[dict[str, Any]] = [
    {
        "product_id": "a",
        "title": "a",
        "brand": "HP",
        "category": ["Audio", "In-ear"],
        "price": 10.0,
    },
    {"product_id": "b", "title": "b", "brand": "hp", "category": ["Audio"], "price": 20.0},
    {"product_id": "c", "title": "c", "category": ["Audiobooks"], "price": 0.0, "available": False},
    {
        "product_id": "d",
        "title": "d",
        "brand": "Ärzte 木",
        "attributes": {"color": ["red", "blue"]},
    },
    {"product_id": "e", "title": "e", "category": ["In-ear"], "price": 50.0, "available": True},
    {"product_id": "f", "title": "f", "attributes": {"color": ["red"], "size": [], "a=b": ["c=d"]}},
]

MATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "abcdef"),
    "brand is exact": ({"brand": ["HP"]}, "a"),
    "values of a field are alternatives": ({"brand": ["HP", "hp"]}, "ab"),
    "a single value needs no list": ({"brand": "HP"}, "a"),
    "fields are conjunctive": ({"brand": ["HP", "hp"], "price": {"gt": 10}}, "b"),
    "unicode": ({"brand": ["Ärzte 木"]}, "d"),
    "unknown value": ({"brand": ["Acme"]}, ""),
    "category matches its subtree": ({"category": ["Audio"]}, "ab"),
    "category path": ({"category": ["Audio/In-ear"]}, "a"),
    "outer slashes of a path do not count": ({"category": ["/Audio/In-ear/"]}, "a"),
    "a level is matched from the root": ({"category": ["In-ear"]}, "e"),
    "attribute value": ({"attributes.color": ["red"]}, "df"),
    "one of several attribute values": ({"attributes.color": ["blue"]}, "d"),
    "names and values with signs": ({"attributes.a=b": ["c=d"]}, "f"),
    "available counts unknown as available": ({"available": True}, "abdef"),
    "not available": ({"available": False}, "c"),
    "gte": ({"price": {"gte": 10}}, "abe"),
    "gt": ({"price": {"gt": 10}}, "be"),
    "lte": ({"price": {"lte": 10}}, "ac"),
    "lt": ({"price": {"lt": 10}}, "c"),
    "both bounds": ({"price": {"gte": 10, "lt": 50}}, "ab"),
    "one price": ({"price": {"gte": 20, "lte": 20}}, "b"),
    "empty range": ({"price": {"gt": 20, "lt": 20}}, ""),
    "crossed range": ({"price": {"gt": 30, "lt": 20}}, ""),
}


@pytest.mark.parametrize(("raw", "ids"), MATCHES.values(), ids=MATCHES.keys())
def test_rows_pass(raw: dict[str, Any], ids: str, tmp_path: Path) -> None:
    assert passing(SHOP, raw, tmp_path) == list(ids)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown field": ({"colour": ["red"]}, "filters.colour", "attributes.<name>"),
    "attribute without a name": ({"attributes.": ["x"]}, "filters.attributes.", "brand"),
    "available as text": ({"available": "yes"}, "filters.available", "true or false"),
    "available as number": ({"available": 1}, "filters.available", "true or false"),
    "brand as number": ({"brand": 5}, "filters.brand", "list of 1 to 1000 texts"),
    "no value": ({"brand": []}, "filters.brand", "list of 1 to 1000 texts"),
    "empty value": ({"brand": [""]}, "filters.brand", "list of 1 to 1000 texts"),
    "too many values": ({"brand": ["x"] * 1001}, "filters.brand", "list of 1 to 1000 texts"),
    "price as number": ({"price": 5}, "filters.price", "gt, gte, lt, lte"),
    "price without bounds": ({"price": {}}, "filters.price", "gt, gte, lt, lte"),
    "unknown operator": ({"price": {"min": 5}}, "filters.price", "gt, gte, lt, lte"),
    "bound as text": ({"price": {"gte": "5"}}, "filters.price", "finite number"),
    "bound as flag": ({"price": {"gte": True}}, "filters.price", "finite number"),
    "bound not finite": ({"price": {"gte": math.nan}}, "filters.price", "finite number"),
    "bound beyond floats": ({"price": {"gte": 10**400}}, "filters.price", "finite number"),
    "null bound": ({"price": {"gte": None}}, "filters.price", "finite number"),
    "two lower bounds": ({"price": {"gt": 1, "gte": 2}}, "filters.price", "at most"),
}


@pytest.mark.parametrize(("raw", "field", "allowed"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_filter_names_its_field_and_what_is_allowed(
    raw: dict[str, Any], field: str, allowed: str
) -> None:
    with pytest.raises(RequestError) as caught:
        Filters.parse(raw)
    assert caught.value.field == field
    assert allowed in caught.value.message
    assert len(str(caught.value)) < 400


def test_absent_filters_are_empty() -> None:
    assert Filters.parse(None).empty
    assert Filters.parse({}).empty
    assert not Filters.parse({"available": True}).empty


def test_a_nan_price_is_no_price(tmp_path: Path) -> None:
    rows = [{"product_id": "a", "title": "a", "price": math.nan}]
    assert passing(rows, {"price": {"gte": -1}}, tmp_path) == []
    assert passing(rows, {}, tmp_path / "other") == ["a"]


def test_keys_do_not_depend_on_chunks_or_slices() -> None:
    whole = table_of(SHOP)
    cut = pa.concat_tables([whole.slice(0, 2), whole.slice(2, 0), whole.slice(2)])
    assert product_keys(cut).of_rows() == product_keys(whole).of_rows()
    assert product_keys(whole.slice(3, 2)).of_rows() == product_keys(whole).of_rows()[3:5]


def test_no_product_gives_no_keys(tmp_path: Path) -> None:
    empty = table_of([])
    assert product_keys(empty).of_rows() == []
    assert index_of(empty, tmp_path).mask(Filters.parse({"brand": "x"})).tolist() == []


names = st.sampled_from(["A", "B", "C"])
price = st.none() | st.sampled_from([0.0, 1.0, 1.5, 2.0, 1e6])
product = st.fixed_dictionaries(
    {
        "brand": st.none() | names,
        "category": st.none() | st.lists(names, max_size=3),
        "price": price,
        "available": st.none() | st.booleans(),
        "attributes": st.none() | st.dictionaries(names, st.lists(names, max_size=2), max_size=2),
    }
)
bounds = st.one_of(
    st.fixed_dictionaries({}, optional={"gte": st.sampled_from([0, 1.5]), "lt": st.just(2)}),
    st.fixed_dictionaries({}, optional={"gt": st.just(1), "lte": st.sampled_from([1, 1.5, 2.0])}),
).filter(bool)
request = st.fixed_dictionaries(
    {},
    optional={
        "brand": st.lists(names, min_size=1, max_size=2),
        "category": st.lists(st.sampled_from(["A", "A/B", "B/C/A"]), min_size=1, max_size=2),
        "price": bounds,
        "available": st.booleans(),
        "attributes.A": st.lists(names, min_size=1, max_size=2),
    },
)


def obeys(row: dict[str, Any], raw: dict[str, Any]) -> bool:
    """The rules of a filter, read off a product alone."""
    compare = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
    path = "/".join(row["category"] or ()) + "/"
    checks = {
        "brand": lambda wanted: row["brand"] in wanted,
        "category": lambda wanted: any(path.startswith(each + "/") for each in wanted),
        "available": lambda wanted: (row["available"] is not False) == wanted,
        "attributes.A": lambda wanted: bool({*(row["attributes"] or {}).get("A", ())} & {*wanted}),
        "price": lambda wanted: (
            row["price"] is not None
            and all(
                getattr(row["price"], compare[op])(float(bound)) for op, bound in wanted.items()
            )
        ),
    }
    return all(checks[field](wanted) for field, wanted in raw.items())


@settings(deadline=None, max_examples=60)
@given(st.lists(product, max_size=8), request)
def test_the_mask_equals_the_rules_applied_row_by_row(
    rows: list[dict[str, Any]], raw: dict[str, Any]
) -> None:
    named = [{"product_id": f"{i}", "title": "t", **row} for i, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        mask = index_of(table_of(named), Path(folder)).mask(Filters.parse(raw))
    assert np.array_equal(mask, np.array([obeys(row, raw) for row in rows], dtype=bool))
