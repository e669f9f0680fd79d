"""Grades that a model gave, in a file of their own, and the one way to see them beside people's.

A graded file never holds a person's grade, and judgments never hold a model's unless they are asked to: whoever reads
a number must be able to tell whose opinion it is. Where people graded a pair, the model's grade of it does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.errors import JudgmentError
from aisle.evaluation.judgments import PEOPLE, Judgments, normalize_query
from aisle.evaluation.table import read_parquet
from aisle.judging.judge import Verdicts

GRADED_SCHEMA = pa.schema(
    [
        ("query", pa.string()),
        ("product_id", pa.string()),
        ("grade", pa.float64()),
        ("judged_by", pa.string()),
        ("probability", pa.float64()),
    ]
)
"""`probability` is how sure the judge is of the grade, 0 to 1."""


def unjudged_hits(judgments: Judgments, found: pa.Table, depth: int) -> pa.Table:
    """`query, product_id` of every hit among the first `depth` that nobody judged; `found` is `RESULT_SCHEMA`."""
    judged = {(query, product) for query, products, _ in judgments for product in products}
    top = found.filter(pc.less_equal(found["rank"], depth))
    pairs = zip(top["query"].to_pylist(), top["product_id"].to_pylist(), strict=True)
    wanted = [(q, p) for q, p in pairs if (normalize_query(q), p) not in judged]
    return pa.table(
        {
            "query": pa.array([q for q, _ in wanted], pa.string()),
            "product_id": pa.array([p for _, p in wanted], pa.string()),
        }
    )


def graded_table(
    queries: Sequence[str], product_ids: Sequence[str], verdicts: Verdicts, judge: str
) -> pa.Table:
    """Verdicts as rows of `GRADED_SCHEMA`."""
    n = len(queries)
    return pa.table(
        [
            pa.array(queries, pa.string()),
            pa.array(product_ids, pa.string()),
            pa.array(verdicts.grade, pa.float64()),
            pa.array([judge] * n, pa.string()),
            pa.array(verdicts.probability, pa.float64()),
        ],
        schema=GRADED_SCHEMA,
    )


def with_model_grades(judgments: Judgments, graded: str | pa.Table) -> Judgments:
    """People's judgments with a model's grades beside them, marked; of queries that people judged, in their order.

    `graded` is a URL or a table of `GRADED_SCHEMA`. Raises JudgmentError where a row is a person's or of no judge, and
    where grades lie outside the people's scale.
    """
    label = graded if isinstance(graded, str) else "graded table"
    table = (
        read_parquet(graded, required=("query", "product_id", "grade", "judged_by"))
        if isinstance(graded, str)
        else graded
    )
    names = set(table["judged_by"].to_pylist())
    if not table.num_rows or names & {PEOPLE, None, ""}:
        found = ", ".join(sorted(str(name) for name in names)) or "no row"
        raise JudgmentError(
            f"{label}: judged_by holds {found}; a graded file has a model's name in every row, as jobs.judge writes it"
        )
    grades = table["grade"].to_numpy(zero_copy_only=False)
    if grades.min() < judgments.lowest_grade:
        raise JudgmentError(
            f"{label}: a grade of {grades.min():g} lies under the people's lowest, {judgments.lowest_grade:g}; the "
            "judge was made for another scale"
        )
    asked = set(judgments.queries)
    rows = [
        (query, product, grade)
        for query, product, grade in zip(
            table["query"].to_pylist(), table["product_id"].to_pylist(), grades, strict=True
        )
        if normalize_query(query) in asked
    ]
    texts = np.repeat(np.array(judgments.texts, dtype=object), np.diff(judgments.offsets))
    both = Judgments.from_columns(
        [*texts, *(query for query, _, _ in rows)],
        [*judgments.product_ids, *(product for _, product, _ in rows)],
        np.concatenate([judgments.grades, [grade for _, _, grade in rows]]),
        relevant_from=judgments.relevant_from,
        lowest_grade=judgments.lowest_grade,
        gains=dict(judgments.gains),
        people=np.arange(len(texts) + len(rows)) < len(texts),
    )
    assert both.queries == judgments.queries
    return both
