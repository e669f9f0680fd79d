"""Statistics over segments equal those of one index over the live rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aisle.catalog.sample import build_sample
from aisle.index.forward import ForwardIndex
from aisle.index.statistics import Statistics
from tests.segments import ANALYZER, NONE_DEAD, titled


def collected(*parts: tuple[pa.Table, list[int]]) -> Statistics:
    return Statistics.collect(
        (ForwardIndex.build(table, ANALYZER), np.array(dead, dtype=np.int64))
        for table, dead in parts
    )


def assert_equal(got: Statistics, expected: Statistics) -> None:
    assert got.products == expected.products
    assert got.index_of == expected.index_of
    assert np.array_equal(got.document_frequency, expected.document_frequency)
    assert np.array_equal(got.mean_lengths, expected.mean_lengths)


def test_segments_minus_tombstones_equal_a_fresh_build() -> None:
    products = build_sample(200).products
    live = pa.concat_tables([products.slice(0, 50), products.slice(53, 97), products.slice(151)])
    parts = (products.slice(0, 150), [50, 51, 52]), (products.slice(150), [0])
    assert_equal(collected(*parts), collected((live, [])))


def test_terms_that_only_dead_rows_held_are_gone() -> None:
    statistics = collected((titled("red shoe", "blue shoe"), [0]))
    assert set(statistics.index_of) == {"blue", "shoe"}
    assert statistics.frequencies(["red", "shoe"])[:, -1].tolist() == [0.0, 1.0]


def test_everything_dead_or_nothing_there_gives_zeros() -> None:
    for statistics in (collected(), collected((titled(), [])), collected((titled("a b"), [0]))):
        assert statistics.products == 0
        assert statistics.frequencies(["a"]).sum() == 0
        assert statistics.mean_lengths.tolist() == [0.0] * 5


@pytest.mark.parametrize("titles", [[], ["red shoes", "木 lamp"]])
def test_saved_statistics_come_back(titles: list[str], tmp_path: Path) -> None:
    statistics = Statistics.collect([(ForwardIndex.build(titled(*titles), ANALYZER), NONE_DEAD)])
    statistics.save(tmp_path / "s.arrow")
    assert_equal(Statistics.open(tmp_path / "s.arrow"), statistics)
