"""tantivy's scores against the formula, and what the lexical side finds."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tantivy

from aisle.errors import SnapshotError
from aisle.index.filters import Filters
from aisle.index.forward import FIELDS
from aisle.index.lexical import LexicalIndex
from aisle.index.segment import Segment
from tests.segments import query_of, segment_of, statistics_of, table_of, titled

# tantivy stores field lengths up to 40 exactly (its fieldnorm table rounds from 41): shorter texts score exactly.
TITLES = [
    "red running shoes",
    "blue running shoes for men",
    "red dress",
    "running belt with pouch for running and running",
    "wool socks",
    "red red wine glass set of six large glasses for red wine",
    "shoe rack",
    "hdmi cable 2 m",
]
TITLE_ONLY = {"title": 1}


def bm25_by_hand(words: list[str], row: int, rows: list[list[str]]) -> float:
    """Robertson's BM25 with k1 = 1.2, b = 0.75 and Lucene's idf, term by term."""
    n, mean = len(rows), sum(map(len, rows)) / len(rows)
    counts, total = Counter(rows[row]), 0.0
    for word in words:
        df = sum(word in other for other in rows)
        idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
        tf = counts[word]
        total += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(rows[row]) / mean))
    return total


def found(segment: Segment, text: str, k: int = 10, **options: Any) -> list[int]:
    query = query_of(text, statistics_of(segment), **options)
    rows = segment.lexical.search(
        query.terms,
        segment.forward.ids(query.terms),
        query.idf * query.weights,
        k,
        query.filters,
    )
    assert rows.dtype == np.int64
    return rows.tolist()


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Segment:
    return segment_of(titled(*TITLES), tmp_path_factory.mktemp("lexical"), boosts=TITLE_ONLY)


@pytest.mark.parametrize("words", [["red"], ["run", "shoe"], ["red", "wine", "glass", "run"]])
def test_tantivy_scores_are_bm25(segment: Segment, words: list[str]) -> None:
    rows = [text.split() for text in segment.forward.texts()[0]]
    query = query_of(" ".join(words), statistics_of(segment), boosts=TITLE_ONLY)
    assert list(query.terms) == words
    clauses = segment.lexical._clauses(query.terms, segment.forward.ids(query.terms), query.idf)
    searcher = segment.lexical._searcher
    hits = searcher.search(tantivy.Query.boolean_query(clauses), limit=10).hits
    numbers = searcher.fast_field_values("row", [address for _, address in hits])
    assert len(numbers) == sum(any(w in row for w in words) for row in rows)
    for (score, _), row in zip(hits, numbers, strict=True):
        assert isinstance(row, int)
        assert score == pytest.approx(bm25_by_hand(words, row, rows), rel=1e-5)


def test_rows_come_best_first_and_only_where_a_term_occurs(segment: Segment) -> None:
    rows = [text.split() for text in segment.forward.texts()[0]]
    scores = [bm25_by_hand(["red", "run"], row, rows) for row in range(len(rows))]
    expected = [row for row in np.argsort(-np.array(scores), kind="stable") if scores[row] > 0]
    assert found(segment, "red running", boosts=TITLE_ONLY) == expected
    assert found(segment, "red running", k=2, boosts=TITLE_ONLY) == expected[:2]


NOTHING = {"unknown term": "zebra", "punctuation": "!!! --", "blank": "  "}


@pytest.mark.parametrize("text", NOTHING.values(), ids=NOTHING.keys())
def test_a_query_without_a_known_term_finds_nothing(segment: Segment, text: str) -> None:
    assert found(segment, text) == []


def test_k_beyond_the_rows_and_zero(segment: Segment) -> None:
    assert sorted(found(segment, "red", k=10_000)) == [0, 2, 5]
    assert found(segment, "red", k=0) == []


def test_a_field_without_weight_is_not_searched(tmp_path: Path) -> None:
    table = table_of(
        [
            {"product_id": "a", "title": "red", "brand": "acme"},
            {"product_id": "b", "title": "acme", "brand": "red"},
        ]
    )
    brand = segment_of(table, tmp_path / "brand", boosts={"brand": 1})
    assert found(brand, "red") == [1]
    both = segment_of(table, tmp_path / "both", boosts={"title": 2, "brand": 1})
    assert found(both, "red") == [0, 1]


def test_the_catalogues_idf_replaces_the_segments_own(tmp_path: Path) -> None:
    # "lamp" is rare in this segment and common in the catalogue; "oak" the other way round.
    titles = titled("lamp", "oak", "oak", "oak", "pine")
    here = segment_of(titles, tmp_path / "here", boosts=TITLE_ONLY)
    there = segment_of(titled(*["lamp"] * 30, "pine"), tmp_path / "there")
    alone, together = statistics_of(here), statistics_of(here, there)

    def best(statistics: Any) -> int:
        query = query_of("lamp oak", statistics, boosts=TITLE_ONLY)
        ids = here.forward.ids(query.terms)
        return int(here.lexical.search(query.terms, ids, query.idf, 1)[0])

    assert best(alone) == 0  # the row with "lamp"
    assert best(together) in (1, 2, 3)


RANGES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "gte": ({"price": {"gte": 10}}, [1, 2]),
    "gt": ({"price": {"gt": 10}}, [2]),
    "lte": ({"price": {"lte": 10}}, [0, 1]),
    "lt": ({"price": {"lt": 10}}, [0]),
    "one point": ({"price": {"gte": 10, "lte": 10}}, [1]),
    "empty": ({"price": {"gt": 10, "lt": 10}}, []),
    "crossed": ({"price": {"gt": 30, "lt": 10}}, []),
    "beyond every price": ({"price": {"gte": 1e305}}, []),
    "brand and price": ({"brand": ["X"], "price": {"gte": 0}}, [0, 2]),
    "alternatives": ({"brand": ["X", "Y"]}, [0, 1, 2, 3]),
}


@pytest.mark.parametrize(("raw", "rows"), RANGES.values(), ids=RANGES.keys())
def test_filters_hold_inside_the_search_as_in_the_mask(
    raw: dict[str, Any], rows: list[int], tmp_path: Path
) -> None:
    prices, brands = [0.0, 10.0, 20.0, None], ["X", "Y", "X", "Y"]
    table = table_of(
        [
            {"product_id": f"{i}", "title": "lamp", "brand": brands[i], "price": prices[i]}
            for i in range(4)
        ]
    )
    segment = segment_of(table, tmp_path)
    assert sorted(found(segment, "lamp", filters=raw)) == rows
    assert np.flatnonzero(segment.filters.mask(Filters.parse(raw))).tolist() == rows


def test_a_long_query_is_answered(segment: Segment) -> None:
    words = " ".join([*(f"word{i}" for i in range(50)), *TITLES[:4]])
    assert len(query_of(words, statistics_of(segment)).terms) >= 60
    assert set(found(segment, words)) >= {0, 1, 2, 3}


def test_rows_keep_their_numbers_when_the_writer_flushes_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aisle.index.lexical._WRITER_HEAP_BYTES", 15_000_000)
    titles = [f"{'filler ' * (i % 7)}item number{i}" for i in range(2000)]
    segment = segment_of(titled(*titles), tmp_path)
    for row in (0, 777, 1999):
        assert found(segment, f"number{row}") == [row]


def test_an_index_of_other_rows_is_refused(segment: Segment, tmp_path: Path) -> None:
    segment_of(titled("one"), tmp_path)
    with pytest.raises(SnapshotError, match="tantivy holds 1 rows, the forward index 8"):
        LexicalIndex(tmp_path / "lexical", segment.forward)


def test_fields_are_those_of_the_forward_index(segment: Segment) -> None:
    assert len(segment.forward.texts()) == len(FIELDS)
