"""Term statistics of a night: the parent's, plus the rows that came, minus the rows that went.

Counting what changed instead of the catalogue keeps a night's cost in proportion to its changes. Counts are whole
numbers, so the sum over any number of nights equals a fresh count exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.index.forward import FIELDS, ForwardIndex
from aisle.index.statistics import Statistics

COLUMNS = (*FIELDS, "any")
"""One count a field, and one for rows that hold the term in any of them."""

Lengths = tuple[int, ...]


def difference(came: ForwardIndex | None, went: ForwardIndex | None) -> tuple[pa.Table, Lengths]:
    """What some rows add and others take away: `term` and signed counts, and summed field lengths (f,)."""
    parts, lengths = [], np.zeros(len(FIELDS), dtype=np.int64)
    for forward, sign in ((came, 1), (went, -1)):
        if forward is not None:
            counts = sign * np.asarray(forward.document_frequency, dtype=np.int64)
            parts.append(_table(list(forward.vocabulary), counts))
            lengths += sign * forward.total_lengths()
    return _summed(parts), tuple(int(each) for each in lengths)


def total(
    before: tuple[Statistics, Lengths] | None,
    differences: Sequence[tuple[pa.Table, Lengths]],
    products: int,
) -> tuple[Statistics, Lengths]:
    """Statistics after some differences, and the field lengths that the next night will add to.

    Args:
        before: the parent's, or none to count from nothing.
        differences: of every shard.
        products: live products after them.
    """
    parts = [table for table, _ in differences]
    lengths = np.zeros(len(FIELDS), dtype=np.int64)
    for _, each in differences:
        lengths += np.array(each)
    if before is not None:
        statistics, lengths_before = before
        parts.append(_table(list(statistics.index_of), statistics.document_frequency))
        lengths = lengths + np.asarray(lengths_before)
    summed = _summed(parts)
    summed = summed.filter(pc.greater(summed["any"], 0)).sort_by("term")
    frequency = np.stack([summed[name].to_numpy() for name in COLUMNS], axis=1).astype(np.int32)
    statistics = Statistics(
        products=products,
        index_of={term: i for i, term in enumerate(summed["term"].to_pylist())},
        document_frequency=frequency.reshape(-1, len(COLUMNS)),
        mean_lengths=(lengths / max(products, 1)).astype(np.float32),
    )
    return statistics, tuple(int(each) for each in lengths)


def _table(terms: list[str], counts: np.ndarray) -> pa.Table:
    columns = {"term": pa.array(terms, pa.string())}
    for f, name in enumerate(COLUMNS):
        columns[name] = pa.array(np.ascontiguousarray(counts[:, f]), pa.int64())
    return pa.table(columns)


def _summed(parts: list[pa.Table]) -> pa.Table:
    """One row a term."""
    empty = _table([], np.empty((0, len(COLUMNS)), dtype=np.int64))
    grouped = (
        pa.concat_tables([empty, *parts])
        .group_by("term")
        .aggregate([(name, "sum") for name in COLUMNS])
    )
    return grouped.select(["term", *(f"{name}_sum" for name in COLUMNS)]).rename_columns(
        ["term", *COLUMNS]
    )
