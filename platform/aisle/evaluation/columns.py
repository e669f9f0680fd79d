"""Checks of judgments' columns before anything is built of them; every complaint names the row or the value."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.errors import JudgmentError

logger = logging.getLogger("aisle.evaluation.judgments")

HELD_BACK = ("test", "dev", "valid", "validation")
"""Splits that training must not see, the strictest first."""


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold grades."""
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def check_columns(
    query: Sequence[str], product_id: Sequence[str], grades: NDArray[np.float64]
) -> None:
    """Raises JudgmentError on no row, unequal lengths, a grade that is not finite, and an empty query or product."""
    if not len(grades):
        raise JudgmentError("the judgments hold no row; at least one graded pair is needed")
    if not len(query) == len(product_id) == len(grades):
        raise JudgmentError(
            f"columns of unequal length: query {len(query)}, product_id {len(product_id)}, grade {len(grades)}"
        )
    bad = np.flatnonzero(~np.isfinite(grades))
    if len(bad):
        raise JudgmentError(
            f"row {bad[0]}: grade is {grades[bad[0]]}, expected a finite number ({len(bad)} such rows)"
        )
    for name, column in (("query", query), ("product_id", product_id)):
        for row, value in enumerate(column):
            if not isinstance(value, str) or not value.strip():
                raise JudgmentError(f"row {row}: {name} is {value!r}, expected a non-empty string")


def one_split_a_query(
    queries: tuple[str, ...], query_index: NDArray[np.int64], split: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.bool_], int]:
    """The split of each query, the rows that lie in it, bool (n,), and how many queries lay in several."""
    found: list[list[str]] = [[] for _ in queries]
    for row, (i, name) in enumerate(zip(query_index, split, strict=True)):
        if not isinstance(name, str) or not name:
            raise JudgmentError(f"row {row}: split is {name!r}, expected a non-empty string")
        if name not in found[i]:
            found[i].append(name)
    splits = tuple(min(names, key=_held_back_first) for names in found)
    keep = np.array([splits[i] == name for i, name in zip(query_index, split, strict=True)])
    spread = sum(len(names) > 1 for names in found)
    if spread:
        logger.warning("queries in more than one split: %d", spread)
    return splits, keep, spread


def _held_back_first(split: str) -> int:
    return HELD_BACK.index(split) if split in HELD_BACK else len(HELD_BACK)


def without_overruled(pairs: NDArray[np.int64], people: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask bool (n,): rows to keep, so that a person's grade of a pair is the only one where there is one."""
    return people | ~np.isin(pairs, pairs[people])
