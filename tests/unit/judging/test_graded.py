"""A model's grades in their own file, and beside people's; expected values by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.batch import RESULT_SCHEMA
from aisle.errors import JudgmentError
from aisle.evaluation import Judgments, Run, ndcg
from aisle.evaluation.metrics import judged_fraction
from aisle.judging import Verdicts
from aisle.judging.graded import GRADED_SCHEMA, graded_table, unjudged_hits, with_model_grades

FOUND = [("Red mug", "x"), ("Red mug", "p1"), ("Red mug", "p2"), ("blue mug", "p3")]


@pytest.fixture
def people() -> Judgments:
    return Judgments.from_columns(
        ["red  mug", "red mug", "blue mug"],
        ["p1", "p2", "p3"],
        np.array([3.0, 1.0, 2.0]),
        relevant_from=2,
        lowest_grade=1,
    )


@pytest.fixture
def found() -> pa.Table:
    ranks = [1, 2, 3, 1]
    rows = [(q, r, p, 1.0, 0.5, True) for (q, p), r in zip(FOUND, ranks, strict=True)]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=RESULT_SCHEMA)


def graded(*rows: tuple[str, str, float]) -> pa.Table:
    queries, products, grades = (list(column) for column in zip(*rows, strict=True))
    levels = (1.0, 2.0, 3.0)
    certain = (np.array(grades)[:, None] == np.array(levels)).astype(float)
    return graded_table(queries, products, Verdicts(levels, certain), "cross-encoder:f")


def test_only_hits_that_nobody_judged_are_graded(people: Judgments, found: pa.Table) -> None:
    assert unjudged_hits(people, found, 10).to_pylist() == [{"query": "Red mug", "product_id": "x"}]
    deep = unjudged_hits(people, found.slice(1), 1)
    assert deep.num_rows == 0


def test_a_graded_file_says_whose_grades_it_holds() -> None:
    table = graded(("red mug", "x", 3.0))
    assert table.schema == GRADED_SCHEMA
    assert table.to_pylist() == [
        {
            "query": "red mug",
            "product_id": "x",
            "grade": 3.0,
            "judged_by": "cross-encoder:f",
            "probability": 1.0,
        }
    ]


def test_measures_beside_each_other(people: Judgments, found: pa.Table) -> None:
    both = with_model_grades(people, graded(("Red mug", "x", 3.0), ("unasked", "x", 3.0)))
    assert both.queries == people.queries
    assert both.model_graded is not None
    assert both.model_graded.sum() == 1
    run = Run.from_columns([q for q, _ in FOUND], [p for _, p in FOUND], np.array([1, 2, 3, 1]))
    alone, together = ndcg(people, run, 10), ndcg(both, run, 10)
    assert alone[0] == pytest.approx(1 / math.log2(3))  # the one with gain 3 is second
    assert together[0] == pytest.approx(1.0)  # x and p1 gain 3 each, at ranks 1 and 2
    assert judged_fraction(people, run, 10).tolist() == [pytest.approx(2 / 3), 1.0]
    assert judged_fraction(both, run, 10).tolist() == [1.0, 1.0]
    assert ndcg(both.by_people(), run, 10).tolist() == alone.tolist()


def test_a_persons_grade_is_never_replaced(people: Judgments) -> None:
    both = with_model_grades(people, graded(("red mug", "p2", 3.0), ("red mug", "x", 2.0)))
    grade_of = dict(zip(both.product_ids, both.grades, strict=True))
    assert (grade_of["p2"], grade_of["x"]) == (1.0, 2.0)


def test_a_file_with_a_persons_grade_is_no_graded_file(people: Judgments, tmp_path: Path) -> None:
    table = graded(("red mug", "x", 3.0))
    for name in ("people", None):
        wrong = table.set_column(3, "judged_by", pa.array([name], pa.string()))
        pq.write_table(wrong, tmp_path / "wrong.parquet")
        with pytest.raises(JudgmentError, match="judged_by holds"):
            with_model_grades(people, str(tmp_path / "wrong.parquet"))


def test_a_judge_of_another_scale_is_refused(people: Judgments) -> None:
    table = graded(("red mug", "x", 3.0)).set_column(2, "grade", pa.array([0.0]))
    with pytest.raises(JudgmentError, match="lies under the people's lowest, 1"):
        with_model_grades(people, table)
