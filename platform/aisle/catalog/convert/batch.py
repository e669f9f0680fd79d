"""A batch of source rows on its way to becoming products: its columns, and the rows turned down so far with reasons.

JSON lines have no column types, so their reader gives every column as text, with a companion column that says where the
text is the JSON of a list or an object. Types inferred batch by batch would make a row's fate depend on its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aisle.errors import CatalogError

NESTED_SUFFIX = "\x00nested"
"""Ends the name of a companion column: bool, true where the text is the JSON of a list or an object."""

SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Column:
    """One source column in one chunk; `nested` is None unless the source is JSON lines."""

    name: str
    values: pa.Array
    nested: pa.Array | None = None


@dataclass(slots=True)
class SourceBatch:
    """Rows of one source file. Field converters read columns from it and report rows that break the contract."""

    table: pa.Table
    label: str
    """The file, as messages name it."""
    reasons: dict[int, list[str]] = field(default_factory=dict)
    """Row of the batch, from 0, to what is wrong with it."""

    def column(self, name: str) -> Column:
        """Gives a column in plain types (no dictionaries, no large offsets), nulls where the file lacks it."""
        if name not in self.table.column_names:
            return Column(name, pa.nulls(self.table.num_rows))
        companion = name + NESTED_SUFFIX
        nested = _one_chunk(self.table[companion]) if companion in self.table.column_names else None
        return Column(name, _plain_type(_one_chunk(self.table[name])), nested)

    def reject(self, row: int, reason: str) -> None:
        """Turns a row down; a row may collect several reasons."""
        self.reasons.setdefault(row, []).append(reason)

    def reject_where(self, mask: pa.Array, reason: str, values: pa.Array | None = None) -> None:
        """Turns down the rows where `mask` is true, naming the value of each where `values` is given."""
        for row in pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist():
            self.reject(row, f"{reason}: {shown(values[row].as_py())}" if values else reason)

    def wrong_type(self, product_field: str, column: Column, allowed: str) -> CatalogError:
        """The error for a column that no value of which could be used."""
        return CatalogError(
            f"{self.label}: column {column.name!r} has type {column.values.type}, which cannot become "
            f"{product_field}; allowed: {allowed}. Map another column to catalog.columns.{product_field} or cast it "
            "in the source"
        )

    def raw_json(self, row: int) -> str:
        """A row as the source gave it, as JSON, in the columns that were read."""
        values: dict[str, Any] = {}
        for name in self.table.column_names:
            if name.endswith(NESTED_SUFFIX):
                continue
            cell = self.table[name].slice(row, 1)
            if pa.types.is_temporal(cell.type):
                cell = cell.cast(
                    pa.string()
                )  # Python's datetime ends at the year 9999, Arrow's does not
            values[name] = cell[0].as_py()
        return json.dumps(values, ensure_ascii=False, default=str)


def shown(value: object) -> str:
    """A value as a reason shows it: quoted, and cut when long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}... ({len(text)} characters)"


def text_array(texts: Sequence[str | None]) -> pa.Array:
    """Builds a string array; a lone surrogate, which JSON can spell and UTF-8 cannot, becomes a question mark."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        clean = [t if t is None else t.encode("utf-8", "replace").decode() for t in texts]
        return pa.array(clean, pa.string())


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):  # more than one chunk's worth of offsets
        combined = pa.concat_arrays(combined.chunks)
    return combined


def _plain_type(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain_type(values.dictionary_decode())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return values.cast(pa.binary())
    return values
