"""The compiled kernel against the plain NumPy version, feature by feature, and what single features mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from aisle.catalog.sample import build_sample
from aisle.index import forward, kernel, kernel_basic, kernel_title
from aisle.index.segment import Segment
from aisle.rank import features
from aisle.rank.features import FEATURES, prepare, score_rows
from aisle.retrieve.query import RetrievalQuery
from tests.scoring import features_of
from tests.segments import ANALYZER, query_of, segment_of, statistics_of, table_of, vectors_of

QUERIES: dict[str, dict[str, Any]] = {
    "words": {"text": "red running shoes"},
    "one word": {"text": "shoes"},
    "repeated word": {"text": "shoe shoes shoe lamp"},
    "number and unit": {"text": "12v lamp 5 inch"},
    "unknown words": {"text": "zzzz qqqq lamp"},
    "nothing known": {"text": "zzzz"},
    "punctuation": {"text": "!!!"},
    "no dense side": {"text": "cotton shirt", "dense": False},
    "expansions": {"text": "sneaker", "expansions": ["running shoes", "trainers"]},
    "segments": {
        "text": "black leather bag 20 l",
        "types": [
            ("black", "colour"),
            ("leather", "material"),
            ("bag", "product"),
            ("20 l", "size"),
        ],
    },
    "segments without a product": {"text": "black", "types": [("black", "colour")]},
    "segments of other types": {"text": "cheap lamp", "types": [("cheap lamp", "other")]},
    "a size and what it is for": {"text": "10 in shelf bracket for 60 cm shelves in black"},
    "misspelt": {"text": "wireles hedphones cottn"},
    "title only": {"text": "wireless headphones black", "boosts": {"title": 1.0}},
    "sixty words": {"text": " ".join(f"word{i}" for i in range(57)) + " red cotton lamp"},
}


@pytest.fixture(scope="module")
def products() -> pa.Table:
    return build_sample(400).products.sort_by("product_id")


@pytest.fixture(scope="module")
def segment(products: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Segment:
    return segment_of(products, tmp_path_factory.mktemp("features"))


def scored(
    segment: Segment, query: RetrievalQuery, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    at = np.arange(segment.rows) if rows is None else rows
    ids = segment.forward.ids(query.terms)
    return score_rows(query, prepare(query), ids, at, segment.forward, segment.vectors, 0.5)


@pytest.mark.parametrize("options", QUERIES.values(), ids=QUERIES.keys())
def test_the_kernel_equals_the_plain_version(
    options: dict[str, Any], segment: Segment, products: pa.Table
) -> None:
    query = query_of(statistics=statistics_of(segment), **options)
    got = scored(segment, query)
    expected = features_of(query, products, vectors_of(products), ANALYZER)
    assert got.dtype == np.float32
    for i, name in enumerate(FEATURES):
        np.testing.assert_allclose(got[:, i], expected[:, i], rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_rows_numbers_do_not_depend_on_the_rows_beside_it(segment: Segment) -> None:
    query = query_of("red running shoes", statistics_of(segment))
    rows = np.array([7, 3, 300, 3])
    assert np.array_equal(scored(segment, query, rows), scored(segment, query)[rows])
    assert scored(segment, query, rows[:0]).shape == (0, len(FEATURES))


def test_arrays_of_any_writability_are_taken(segment: Segment) -> None:
    query = query_of("red running shoes", statistics_of(segment))
    expected = scored(segment, query)
    for name in ("vector", "idf", "weights", "order", "grams", "boosts", "mean_lengths"):
        getattr(query, name).setflags(
            write=False
        )  # as arrays are that come through an object store
    assert np.array_equal(scored(segment, query), expected)


def test_the_kernel_spells_fields_and_columns_as_the_rest_does() -> None:
    assert len(forward.FIELDS) == kernel_basic._FIELDS
    for name in ("TITLE", "BRAND", "CATEGORY", "ATTRIBUTES", "DESCRIPTION"):
        assert getattr(kernel, f"_{name}") == getattr(forward, name)
    base = FEATURES[: kernel._COLUMNS]
    assert [getattr(kernel, f"_{name.upper()}") for name in base] == list(range(len(base)))
    title = FEATURES[kernel._COLUMNS :][: len(kernel_title.COLUMNS)]
    assert title == kernel_title.COLUMNS
    assert [getattr(kernel_title, f"_{name.upper()}") for name in title] == list(range(len(title)))


def test_warm_kernels_refuse_to_compile_for_another_type() -> None:
    kernel_basic.warm_up()
    with pytest.raises(TypeError):
        kernel_basic.union(np.array([0.5]), np.array([1.5]))


def of(query: str, product: dict[str, Any], folder: Path, **options: Any) -> dict[str, float]:
    """Features of one product by name; a second product keeps idf from being one value."""
    other = {"product_id": "z", "title": "garden hose 10 m", "brand": "acme"}
    segment = segment_of(table_of([{"product_id": "a", **product}, other]), folder)
    row = scored(segment, query_of(query, statistics_of(segment), **options))[0]
    return dict(zip(FEATURES, row.tolist(), strict=True))


MEANINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "exact title": (
        "red running shoes",
        {"title": "Red Running Shoes"},
        {"coverage": 1, "title_precision": 1, "adjacent_share": 1, "last_term_ends_title": 1}
        | {"missing_terms": 0, "trigram_share": 1, "query_terms": 3, "query_unknown_share": 0},
    ),
    "other order": (
        "red running shoes",
        {"title": "shoes running red"},
        {"coverage": 1, "adjacent_share": 0, "last_term_ends_title": 0, "last_term_in_title": 1},
    ),
    "half adjacent": (
        "red running shoes",
        {"title": "red running tall shoes"},
        {"adjacent_share": 0.5},
    ),
    "number missing": (
        "lamp 40 w",
        {"title": "lamp 60 w"},
        {"number_coverage": 0, "missing_terms": 1},
    ),
    "no number asked": ("lamp", {"title": "lamp 60 w"}, {"number_coverage": -1}),
    "brand agrees": ("hp laptop", {"title": "laptop", "brand": "HP"}, {"brand_agreement": 1}),
    "no brand, no conflict": ("acme hose", {"title": "hose"}, {"brand_conflict": 0}),
    "found in the category": (
        "audio cable",
        {"title": "cable", "category": ["Audio"]},
        {"coverage_title_or_category": 1, "coverage": 1},
    ),
    "what is sold": (
        "lawn mower",
        {"title": "Acme mower with bag"},
        {"head_is_query_head": 1, "query_head_before_connector": 1, "first_match": 0.25},
    ),
    "a part of what was asked for": (
        "mower",
        {"title": "blade for mower"},
        {"head_is_query_head": 0, "query_head_in_title": 1, "query_head_before_connector": 0},
    ),
    "another size in the same unit": (
        "ladder 10 ft",
        {"title": "ladder 8 ft"},
        {"unit_conflict": 1, "unit_agreement": 0, "numbers_in_title": 0, "title_numbers": 1},
    ),
    "the size that was asked for": (
        "ladder 10 ft",
        {"title": "10 ft. ladder 300 lb"},
        {"unit_conflict": 0, "unit_agreement": 1, "title_numbers": 2},
    ),
    "no size asked for": ("ladder", {"title": "ladder 8 ft"}, {"unit_conflict": -1}),
    "misspelt": (
        "refrigeratr",
        {"title": "white refrigerator"},
        {"coverage_title": 0, "near_terms": 1, "fuzzy_coverage": 0.81},
    ),
    "another colour": (
        "red shirt",
        {"title": "shirt", "attributes": [("colour", ["blue"])]},
        {"attribute_agreement": 0, "coverage_attributes": 0},
    ),
    "nothing in common": (
        "xylophone",
        {"title": "lamp"},
        {"bm25": 0, "coverage": 0, "missing_terms": 1},
    ),
}


@pytest.mark.parametrize(("query", "product", "expected"), MEANINGS.values(), ids=MEANINGS.keys())
def test_features_mean_what_they_say(
    query: str, product: dict[str, Any], expected: dict[str, float], tmp_path: Path
) -> None:
    got = of(query, product, tmp_path)
    assert {name: got[name] for name in expected} == pytest.approx(expected)


def test_another_brand_than_the_one_asked_for_is_a_conflict(tmp_path: Path) -> None:
    assert of("acme lamp", {"title": "lamp", "brand": "other"}, tmp_path)["brand_conflict"] > 0


def test_scores_lie_between_zero_and_the_attainable(segment: Segment) -> None:
    query = query_of("red cotton shirt", statistics_of(segment), boosts={"title": 1.0})
    share = scored(segment, query)[:, FEATURES.index("bm25_share")]
    assert 0 < share.max() <= 1
    assert features.prepare(query).attainable > 0
