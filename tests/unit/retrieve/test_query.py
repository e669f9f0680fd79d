"""What a query becomes before it travels to the shards."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from aisle.index.statistics import Statistics
from aisle.retrieve.query import attainable
from tests.segments import query_of, segment_of, statistics_of, table_of


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Statistics:
    folder: Path = tmp_path_factory.mktemp("query")
    rows = [
        {"product_id": "a", "title": "red shoes", "brand": "Acme"},
        {"product_id": "b", "title": "acme lamp", "brand": "Acme"},
        {"product_id": "c", "title": "like acme lamp"},
        {"product_id": "d", "title": "blue lamp"},
    ]
    return statistics_of(segment_of(table_of(rows), folder))


def test_terms_are_distinct_in_order_and_weighted_by_repeats(statistics: Statistics) -> None:
    query = query_of("lamp red lamps", statistics)
    assert query.terms == ("lamp", "red")
    assert query.weights.tolist() == [2.0, 1.0]
    assert query.order.tolist() == [0, 1, 0]
    assert query.own_terms == 2


def test_expansions_add_their_new_terms_at_less_weight(statistics: Statistics) -> None:
    query = query_of("lamp", statistics, expansions=["red lamp", "blue lamp"])
    assert query.terms == ("lamp", "red", "blue")
    assert query.own_terms == 1
    assert query.weights.tolist() == pytest.approx([1.0, 0.3, 0.3])
    assert query.order.tolist() == [0]


def test_idf_is_lucenes_over_the_whole_catalogue(statistics: Statistics) -> None:
    query = query_of("lamp zebra", statistics)
    assert query.idf.tolist() == pytest.approx(
        [math.log(1 + 1.5 / 3.5), math.log(1 + 4.5 / 0.5)], rel=1e-6
    )
    assert query.known.tolist() == [True, False]


def test_brandness_is_the_share_of_products_that_hold_the_term_as_brand(
    statistics: Statistics,
) -> None:
    assert query_of("acme lamp", statistics).brandness.tolist() == pytest.approx([2 / 3, 0.0])


def test_types_are_those_of_the_first_segment_that_holds_the_term(statistics: Statistics) -> None:
    types = [("red", "colour"), ("red lamp", "product")]
    assert query_of("red lamp now", statistics, types=types).types == ("colour", "product", "other")
    assert query_of("red lamp", statistics).types == ()


@pytest.mark.parametrize("text", ["!!!", "", "   "])
def test_a_query_without_a_word_has_no_terms(text: str, statistics: Statistics) -> None:
    query = query_of(text, statistics)
    assert query.terms == ()
    assert query.order.shape == query.idf.shape == query.weights.shape == (0,)
    assert query.order.dtype == np.int32
    assert attainable(query) > 0


def test_arrays_have_the_types_the_kernel_takes(statistics: Statistics) -> None:
    for text in ("red lamp", ""):
        query = query_of(text, statistics)
        floats = (query.weights, query.idf, query.brandness, query.boosts, query.mean_lengths)
        assert {each.dtype for each in floats} == {np.dtype(np.float32)}
        assert query.order.dtype == query.grams.dtype == np.int32


def test_attainable_is_every_term_saturated_in_the_best_field(statistics: Statistics) -> None:
    query = query_of("red lamp", statistics, boosts={"title": 2.0, "brand": 1.0})
    assert attainable(query) == pytest.approx(float(query.idf.sum()) * 2.2, rel=1e-6)
