"""What of a rewrite the catalogue lets through."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.index.statistics import Statistics
from aisle.rewrite.guard import verified
from aisle.stages import Rewrite, Segment
from aisle.text import Analyzer

WORDS = (
    "red",
    "shoe",
    "hp",
    "laptop",
    "headphon",
    "head",
    "phone",
    "black",
    "t",
    "shirt",
    "x",
    "200",
)


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    frequency = np.ones((len(WORDS), 6), np.int32)
    return Statistics(10, {w: i for i, w in enumerate(WORDS)}, frequency, np.ones(5, np.float32))


@pytest.mark.parametrize(
    ("original", "rewritten", "searched"),
    [
        pytest.param("red shos", "red shoes", "red shoes", id="repairs a word that nothing holds"),
        pytest.param("hp laptop", "hi laptop", "hp laptop", id="never touches a word that is sold"),
        pytest.param("hp labtop", "dell laptop", "hp labtop", id="drops no brand on the way"),
        pytest.param(
            "head phones blak", "headphones black", "headphones black", id="may join words"
        ),
        pytest.param("hp shos", "shoes", "hp shos", id="keeps a short word that is sold"),
        pytest.param("qwx zrt", "qwy zrv", "qwx zrt", id="no better known than before"),
        pytest.param("Red Shoes", "red shoes", "Red Shoes", id="another case corrects nothing"),
        pytest.param("red  shoe", "red shoes", "red  shoe", id="another ending corrects nothing"),
        pytest.param("X-200 shos", "x 200 shoes", "x 200 shoes", id="punctuation is no word"),
    ],
)
def test_a_correction_is_used_only_where_the_catalogue_supports_it(
    statistics: Statistics, original: str, rewritten: str, searched: str
) -> None:
    found = verified(Rewrite(original, rewritten), statistics, Analyzer("english"))
    assert found.query == searched
    assert found.original == original
    assert found.changed == (searched != original)


def test_expansions_need_every_word_to_occur(statistics: Statistics) -> None:
    rewrite = Rewrite("red shoe", "red shoe", ("black shoe", "red sneaker"))
    assert verified(rewrite, statistics, Analyzer("english")).expansions == ("black shoe",)


def test_a_rewrite_of_the_lower_cased_query_counts_as_unchanged(statistics: Statistics) -> None:
    segments = (Segment("red", "colour"),)
    found = verified(Rewrite("RED Shoe", "red shoe", (), segments), statistics, Analyzer("english"))
    assert not found.changed
    assert found.segments == segments


def test_a_misread_query_loses_expansions_and_segments_too(statistics: Statistics) -> None:
    rewrite = Rewrite("hp laptop", "red shoe", ("black shoe",), (Segment("red", "colour"),))
    assert verified(rewrite, statistics, Analyzer("english")) == Rewrite.unchanged("hp laptop")


def test_expansions_of_an_accepted_correction_are_checked_as_well(statistics: Statistics) -> None:
    rewrite = Rewrite("red shos", "red shoes", ("black shoes", "crimson"))
    assert verified(rewrite, statistics, Analyzer("english")).expansions == ("black shoes",)
