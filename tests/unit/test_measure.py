"""A system's measures on three queries and six pairs; expected values by hand from the definitions of the design."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aisle.batch import ABSENT_SCORE, PAIRS_SCHEMA, RESULT_SCHEMA
from aisle.config import Settings
from aisle.evaluation import Judgments
from aisle.evaluation.measure import judged_pairs, measure, text_table
from aisle.evaluation.report import fingerprint, pairing_of
from aisle.evaluation.systems import DENSE, FULL, HYBRID, LEXICAL, RANKER, REWRITE, ladder
from tests.shop import settings_for


@pytest.fixture
def judgments() -> Judgments:
    """`a`: one exact, one good, one bad; `b`: one good, one bad; `c`: all of the lowest grade, so not measured."""
    return Judgments.from_columns(
        ["a", "a", "a", "b", "b", "c"],
        ["p1", "p2", "p3", "p1", "p4", "p5"],
        np.array([3.0, 2.0, 0.0, 2.0, 0.0, 0.0]),
        relevant_from=2,
        lowest_grade=0,
    )


@pytest.fixture
def found() -> pa.Table:
    """`a` finds p2, an unjudged one, p1; `b` finds only the bad one and drops it; `c` finds nothing."""
    rows = [
        ("a", 1, "p2", 3.0, 0.9, True),
        ("a", 2, "x", 2.0, 0.8, True),
        ("a", 3, "p1", 1.0, 0.7, True),
        ("b", 1, "p4", 1.0, 0.1, False),
    ]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=RESULT_SCHEMA)


@pytest.fixture
def pairs(judgments: Judgments) -> pa.Table:
    """Scores in the order of the judged pairs; p1 of `b` is not in the snapshot."""
    values = {
        ("a", "p1"): (1.0, 0.7, True),
        ("a", "p2"): (3.0, 0.9, True),
        ("a", "p3"): (0.5, 0.2, False),
        ("b", "p1"): (ABSENT_SCORE, 0.0, False),
        ("b", "p4"): (1.0, 0.1, False),
        ("c", "p5"): (1.0, 0.3, True),
    }
    rows = [
        (*pair, *values[pair])
        for pair in zip(*judged_pairs(judgments).to_pydict().values(), strict=True)
    ]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=PAIRS_SCHEMA)


def test_measures_are_those_of_the_definitions(
    judgments: Judgments, found: pa.Table, pairs: pa.Table
) -> None:
    measured = measure("full", judgments, found, pairs, filtered=True)
    ideal = 7 + 3 / math.log2(3)  # gains 2^3-1 and 2^2-1
    per_query = {name: values.tolist() for name, values in measured.per_query.items()}
    nan = pytest.approx(math.nan, nan_ok=True)
    assert per_query["ndcg@10"] == [pytest.approx((3 + 7 / 2) / ideal), 0.0, nan]
    assert per_query["ndcg@10_pairs"] == [
        pytest.approx((3 + 7 / math.log2(3)) / ideal),
        pytest.approx(1 / math.log2(3)),
        nan,
    ]
    assert per_query["recall@100"] == [1.0, 0.0, nan]
    assert per_query["mrr@100"] == [1.0, 0.0, nan]
    assert per_query["page_precision"] == [1.0, nan, nan]
    assert per_query["page_judged"] == [pytest.approx(2 / 3), nan, nan]
    assert measured.zero_result_fraction == pytest.approx(2 / 3)
    assert measured.means()["recall@100"] == 0.5


def test_calibration_leaves_out_products_that_are_not_in_the_snapshot(
    judgments: Judgments, found: pa.Table, pairs: pa.Table
) -> None:
    measured = measure("full", judgments, found, pairs, filtered=True)
    assert measured.pairs is not None
    assert measured.pairs.pairs == 5
    assert measured.pairs.relevant_fraction == pytest.approx(2 / 5)
    assert measured.means()["pairs_pairs"] == 5


def test_without_a_filter_every_hit_is_kept_and_nothing_is_calibrated(
    judgments: Judgments, found: pa.Table, pairs: pa.Table
) -> None:
    measured = measure("bm25", judgments, found, pairs, filtered=False)
    assert measured.pairs is None
    assert measured.zero_result_fraction == pytest.approx(1 / 3)
    assert measured.per_query["page_precision"][1] == 0.0


def test_the_table_has_a_row_a_system_and_a_dash_for_what_is_not_measured(
    judgments: Judgments, found: pa.Table, pairs: pa.Table
) -> None:
    rows = [
        measure(name, judgments, found, pairs, filtered=name == "full") for name in ("bm25", "full")
    ]
    head, first, second = text_table(rows).splitlines()
    assert head.split()[0] == "ndcg@10"
    assert first.startswith("bm25")
    assert first.split()[-1] == "-"
    assert second.split()[-1] != "-"


def test_systems_switch_their_stages() -> None:
    settings: Settings = settings_for(Path("nowhere"), "p.parquet", rewriter={"mode": "vllm"})
    assert LEXICAL.settings(settings).retrieval.dense_depth == 0
    assert LEXICAL.settings(settings).retrieval.dense_weight == 0.0
    assert DENSE.settings(settings).retrieval.lexical_depth == 0
    assert DENSE.settings(settings).retrieval.dense_weight == 1.0
    assert HYBRID.settings(settings).retrieval == settings.retrieval
    assert HYBRID.settings(settings).rewriter.mode == "off"
    assert not HYBRID.settings(settings).rewriter.spelling
    assert REWRITE.settings(settings).rewriter.mode == "vllm"


def test_the_ladder_has_only_stages_that_the_environment_has() -> None:
    with_rewriter = settings_for(Path("nowhere"), "p.parquet", rewriter={"mode": "vllm"})
    assert [each.name for each in ladder(with_rewriter)] == [
        each.name for each in (LEXICAL, DENSE, HYBRID, REWRITE, RANKER, FULL)
    ]
    spelling = ladder(settings_for(Path("nowhere"), "p.parquet"))
    assert [each.name for each in spelling] == [each.name for each in ladder(with_rewriter)]
    without = ladder(settings_for(Path("nowhere"), "p.parquet", rewriter={"spelling": False}))
    assert [each.rewrite for each in without] == [False] * 5
    assert [each.rank for each in without] == [False] * 3 + [True] * 2
    assert [each.cut for each in without] == [False] * 4 + [True]
    assert without[-1].finds_as(without[-2])
    assert not without[-1].finds_as(without[-3])


def test_a_report_keeps_what_pairing_two_nights_needs(
    judgments: Judgments, found: pa.Table, pairs: pa.Table
) -> None:
    kept = pairing_of(measure("full", judgments, found, pairs, filtered=True), judgments)
    per_query = kept["per_query"]
    assert per_query["queries"] == ["a", "b", "c"]
    assert per_query["recall@100"] == [1.0, 0.0, None]  # `c` is not measured
    assert per_query["zero_results"] == [0.0, 1.0, 1.0]
    assert json.loads(json.dumps(kept)) == kept


def test_judgments_have_the_same_fingerprint_until_something_changes(judgments: Judgments) -> None:
    def made(grade: float = 0.0, relevant_from: float = 2) -> str:
        return fingerprint(
            Judgments.from_columns(
                ["a", "a", "a", "b", "b", "c"],
                ["p1", "p2", "p3", "p1", "p4", "p5"],
                np.array([3.0, 2.0, 0.0, 2.0, 0.0, grade]),
                relevant_from=relevant_from,
                lowest_grade=0,
            )
        )

    assert made() == fingerprint(judgments)
    assert len({made(), made(grade=1.0), made(relevant_from=3)}) == 3
