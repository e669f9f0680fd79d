"""Rows chosen by the values of some columns, compared as texts: one catalogue out of a file that holds several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from aisle.catalog.convert.attributes import scalar_text
from aisle.errors import CatalogError


def require_columns(present: Sequence[str], wanted: Iterable[str], source: str) -> None:
    """Raises CatalogError unless the file has every column that `catalog.source.where` names."""
    missing = [name for name in wanted if name not in present]
    if missing:
        raise CatalogError(
            f"{source}: no column {missing[0]!r}, which catalog.source.where names; the file has "
            f"{', '.join(sorted(present)) or 'none'}. Correct the name"
        )


def matching(table: pa.Table, where: Mapping[str, Sequence[str]]) -> pa.ChunkedArray:
    """Mask bool (n,): rows that have one of the wanted values in every named column; an empty cell matches nothing."""
    mask = pa.chunked_array([pa.repeat(pa.scalar(True), table.num_rows)])
    for name, values in where.items():
        wanted = pa.array(list(values), pa.string())
        mask = pc.and_(mask, pc.is_in(as_texts(table[name]), wanted))
    return mask


def as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as texts: true and false as JSON writes them, a whole number without a fraction."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_integer(kind):
        return column.cast(pa.string())
    return pa.chunked_array(
        [[None if v is None else scalar_text(v) for v in column.to_pylist()]], pa.string()
    )
