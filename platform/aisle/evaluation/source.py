"""From an environment's section to judgments: files of other shapes are joined, mapped and split as it says.

The public sets are read as they are published: labels become grades (`labels`), a query's id becomes its text
(`queries`), one locale of several is taken (`where`). Nothing is guessed: an unknown label or a query without a text is
an error, because a dropped row would change the measure without a word.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from aisle.catalog.where import as_texts, matching
from aisle.config import EvaluationConfig, JudgmentsConfig
from aisle.errors import JudgmentError
from aisle.evaluation.judgments import Judgments
from aisle.evaluation.table import read_columns


def open_judgments(config: EvaluationConfig, *, accept_judges: bool = False) -> Judgments:
    """The environment's judgments, every split.

    `accept_judges` takes grades that a model gave too, where no person gave one. Raises JudgmentError where the
    environment names no file, and as `Judgments.read`.
    """
    if config.judgments is None:
        raise JudgmentError(
            "evaluation.judgments is not set; name a Parquet file with query, product_id, grade"
        )
    if isinstance(config.judgments, str):
        return Judgments.read(
            config.judgments,
            relevant_from=config.relevant_from,
            lowest_grade=config.lowest_grade,
            gains=config.gains,
            accept_judges=accept_judges,
        )
    source = config.judgments
    table = read_judged(source)
    judgments = Judgments.from_table(
        table,
        source.url,
        relevant_from=config.relevant_from,
        lowest_grade=config.lowest_grade,
        gains=config.gains,
        accept_judges=accept_judges,
    )
    if judgments.splits is None and source.split_fractions:
        judgments = judgments.with_split(source.split_fractions)
    if source.dev_fraction is not None:
        judgments = _with_dev(judgments, source.dev_fraction, source.url)
    return judgments


def read_judged(source: JudgmentsConfig) -> pa.Table:
    """The file as `query, product_id, grade` and, where it has them, `split` and `judged_by`.

    Raises JudgmentError where a file or a column is missing, a label has no grade, a query no text, or no row is left.
    """
    table = read_columns(
        source.url,
        tuple(dict.fromkeys((source.query, source.product_id, source.grade, *source.where))),
        (source.split, "judged_by"),
        delimiter=source.delimiter,
    )
    rows = table.num_rows
    if source.where:
        table = table.filter(matching(table, source.where))
        if not table.num_rows:
            raise JudgmentError(
                f"{source.url}: none of {rows} rows has {dict(source.where)}; correct evaluation.judgments.where"
            )
    columns = {
        "query": _texts_of_queries(source, table[source.query]),
        "product_id": as_texts(table[source.product_id]),
        "grade": _grades(source, table[source.grade]),
    }
    for name, column in (("split", source.split), ("judged_by", "judged_by")):
        if column in table.column_names:
            columns[name] = table[column]
    return pa.table(columns)


def _texts_of_queries(source: JudgmentsConfig, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if source.queries is None:
        return as_texts(column)
    joined = source.queries
    named = read_columns(joined.url, (joined.query_id, joined.query), delimiter=source.delimiter)
    ids = as_texts(named[joined.query_id])
    at = pc.index_in(as_texts(column), value_set=ids.combine_chunks())
    unknown = pc.unique(as_texts(column).filter(pc.is_null(at)))
    if len(unknown):
        raise JudgmentError(
            f"{source.url}: {len(unknown)} judged queries are not in {joined.url}, for example id "
            f"{unknown[0].as_py()!r}; check evaluation.judgments.queries"
        )
    return as_texts(named[joined.query]).take(at)


def _grades(source: JudgmentsConfig, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not source.labels:
        if pa.types.is_string(column.type):
            try:
                return column.cast(pa.float64())
            except pa.ArrowInvalid as error:
                raise JudgmentError(
                    f"{source.url}: column {source.grade} holds texts that are no numbers ({error}); turn its labels "
                    "into grades with evaluation.judgments.labels"
                ) from error
        return column
    labels = as_texts(column)
    at = pc.index_in(labels, value_set=pa.array(list(source.labels), pa.string()))
    unknown = pc.unique(labels.filter(pc.is_null(at)))
    if len(unknown):
        raise JudgmentError(
            f"{source.url}: the label {unknown[0].as_py()!r} has no grade; evaluation.judgments.labels has "
            f"{', '.join(source.labels)}"
        )
    return pa.chunked_array([pa.array(list(source.labels.values()), pa.float64())]).take(at)


def _with_dev(judgments: Judgments, fraction: float, url: str) -> Judgments:
    """Moves a share of the train queries to dev, by the hash that `with_split` uses."""
    if judgments.splits is None or "dev" in judgments.splits:
        found = "no split" if judgments.splits is None else "a split dev already"
        raise JudgmentError(
            f"{url}: has {found}; evaluation.judgments.dev_fraction is for files with train and test alone"
        )
    drawn = judgments.split("train").with_split({"dev": fraction, "train": 1.0 - fraction})
    assert drawn.splits is not None
    of = dict(zip(drawn.queries, drawn.splits, strict=True))
    splits = tuple(of.get(q, s) for q, s in zip(judgments.queries, judgments.splits, strict=True))
    return replace(judgments, splits=splits)
