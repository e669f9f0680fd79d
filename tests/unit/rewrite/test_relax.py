"""Which words a thin page is tried again without."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.catalog.sample import SEGMENT_TYPES
from aisle.index.statistics import Statistics
from aisle.rewrite.relax import relaxations
from aisle.rewrite.types import ESSENTIAL, QUERYNER_TYPES, general_type
from aisle.stages import Rewrite, Segment
from aisle.text import Analyzer

ANALYZER = Analyzer("english")
HELD = {"drill": 50, "cordless": 20, "makita": 9, "blue": 200, "20": 90, "v": 80}


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    terms = sorted(HELD)
    frequency = np.array([[HELD[term]] * 6 for term in terms], np.int32)
    return Statistics(500, {t: i for i, t in enumerate(terms)}, frequency, np.ones(5, np.float32))


def typed(*segments: tuple[str, str]) -> Rewrite:
    query = " ".join(text for text, _ in segments)
    return Rewrite(query, query, (), tuple(Segment(*each) for each in segments))


@pytest.mark.parametrize(
    ("rewrite", "most", "expected"),
    [
        pytest.param(
            typed(
                ("blue", "color"),
                ("makita", "creator"),
                ("drill", "core_product_type"),
                ("under 50", "price"),
            ),
            3,
            ["blue makita drill", "makita drill", "drill"],
            id="price before colour before brand, the product stays",
        ),
        pytest.param(
            typed(
                ("blue", "color"),
                ("makita", "creator"),
                ("drill", "core_product_type"),
                ("under 50", "price"),
            ),
            2,
            ["makita drill", "drill"],
            id="fewer attempts drop more at a time",
        ),
        pytest.param(
            typed(("blue", "colour"), ("20 v", "size"), ("drill", "product")),
            2,
            ["20 v drill", "drill"],
            id="the rewriter's own names too",
        ),
        pytest.param(
            typed(("makita", "creator"), ("drill", "core_product_type")),
            1,
            ["drill"],
            id="one attempt",
        ),
        pytest.param(
            typed(("drill", "core_product_type")), 3, [], id="nothing to spare: one segment"
        ),
        pytest.param(
            typed(("blue", "color"), ("red", "color")), 2, ["blue"], id="equals: the last goes"
        ),
        pytest.param(
            Rewrite.unchanged("qqq makita drill blue"),
            3,
            ["makita drill blue", "drill blue", "blue"],
            id="without segments: unknown first, then the rarest",
        ),
        pytest.param(Rewrite.unchanged("drill"), 2, [], id="nothing to spare: one word"),
        pytest.param(Rewrite.unchanged("makita drill"), 0, [], id="no attempt"),
        pytest.param(Rewrite.unchanged("qqq zzz"), 2, ["qqq"], id="nothing is known"),
    ],
)
def test_the_least_essential_words_go_first(
    statistics: Statistics, rewrite: Rewrite, most: int, expected: list[str]
) -> None:
    found = relaxations(rewrite, statistics, ANALYZER, most)
    assert [each.query for each in found] == expected
    for each in found:
        dropped = " ".join(segment.text for segment in each.dropped).split()
        assert sorted([*each.query.split(), *dropped]) == sorted(rewrite.query.split())


def test_every_type_has_its_place_and_a_general_name() -> None:
    assert set(QUERYNER_TYPES) | set(SEGMENT_TYPES) <= set(ESSENTIAL) | {"other"}
    assert {general_type(name) for name in QUERYNER_TYPES} <= set(SEGMENT_TYPES)
    assert max(ESSENTIAL.values()) == ESSENTIAL["product"] == ESSENTIAL["core_product_type"]
