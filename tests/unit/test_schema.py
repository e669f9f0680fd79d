"""A request's limits: every wrong field is refused with what was got and what is allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from aisle.schema import SearchRequest


@pytest.mark.parametrize(
    ("fields", "where", "said"),
    [
        ({"query": ""}, "query", "at least 1 character"),
        ({"query": " \t\n "}, "query", "the query is empty; send at least one word"),
        ({"query": "x" * 513}, "query", "at most 512 characters"),
        ({"query": None}, "query", "valid string"),
        ({"query": "a\ud800b"}, "query", "valid string"),
        ({"k": 0}, "k", "greater than or equal to 1"),
        ({"k": 1001}, "k", "less than or equal to 1000"),
        ({"k": "many"}, "k", "valid integer"),
        ({"offset": -1}, "offset", "greater than or equal to 0"),
        ({"offset": 10_001}, "offset", "less than or equal to 10000"),
        ({"offset": 9_990, "k": 11}, "", r"offset \+ k is 10001, allowed is at most 10000"),
        ({"colour": "red"}, "colour", "Extra inputs are not permitted"),
        (
            {"filters": {"colour": "red"}},
            "",
            "unknown filter field 'colour'; allowed are brand, category",
        ),
        (
            {"filters": {"price": {"above": 3}}},
            "",
            "filters.price: .*allowed is a range of gt, gte, lt, lte",
        ),
        (
            {"filters": {"price": {"gte": math.nan}}},
            "",
            "filters.price: bound nan is not a finite number",
        ),
        (
            {"filters": {"available": "yes"}},
            "",
            "filters.available: got 'yes', allowed is true or false",
        ),
        ({"filters": {"brand": []}}, "", "filters.brand: .*list of 1 to 1000 texts"),
        ({"filters": []}, "filters", "valid dictionary"),
        (
            {"facets": ["price"]},
            "facets.0",
            "unknown facet 'price'; allowed are brand, category, attributes",
        ),
        ({"facets": ["brand"] * 21}, "facets", "at most 20 items"),
        ({"sort": "cheapest"}, "sort", "'relevance', 'price', '-price' or 'newest'"),
        ({"rewrite": "on"}, "rewrite", "'auto' or 'off'"),
        ({"timeout_ms": 0}, "timeout_ms", "greater than 0"),
        ({"timeout_ms": -5}, "timeout_ms", "greater than 0"),
        ({"timeout_ms": math.nan}, "timeout_ms", "finite number"),
        ({"timeout_ms": math.inf}, "timeout_ms", "finite number"),
    ],
)
def test_a_wrong_field_is_refused_with_what_is_allowed(
    fields: dict[str, Any], where: str, said: str
) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        SearchRequest.model_validate({"query": "shoes", **fields})
    (problem,) = caught.value.errors()
    assert ".".join(map(str, problem["loc"])) == where


@pytest.mark.parametrize(
    "fields",
    [
        {"query": "x" * 512},
        {"k": 1},
        {"k": 1000, "offset": 9000},
        {"facets": ["brand", "category", "attributes.screen size"]},
        {"filters": {"brand": "HP", "price": {"gte": 10, "lt": 50}, "available": True}},
        {"filters": {"category": ["A/B"], "attributes.color": ["red", "blue"]}},
        {"timeout_ms": 0.5},
        {"sort": "-price", "rewrite": "off", "explain": True},
    ],
)
def test_what_is_within_the_limits_is_accepted(fields: dict[str, Any]) -> None:
    SearchRequest.model_validate({"query": "shoes", **fields})


def test_white_space_is_collapsed_and_defaults_are_those_of_the_contract() -> None:
    request = SearchRequest(query="  red \n shoes ")
    assert request.query == "red shoes"
    assert (request.k, request.offset, request.sort, request.rewrite) == (
        24,
        0,
        "relevance",
        "auto",
    )
