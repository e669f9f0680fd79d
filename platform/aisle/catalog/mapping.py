"""Source rows become products, or rejected rows with reasons: every row comes out on exactly one side.

Columns are converted whole, in Arrow where the work is heavy; a row with several faults is rejected once, with all of
them. What a rejected row held is kept as JSON, so that a shop can mend its source from the quarantine alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from aisle.catalog.convert.attributes import attribute_array, attribute_column
from aisle.catalog.convert.batch import SourceBatch, text_array
from aisle.catalog.convert.fields import (
    category_column,
    flag_column,
    id_text,
    price_column,
    text_column,
    time_column,
    without_markup,
)
from aisle.catalog.product import POSITION, PRODUCT_SCHEMA
from aisle.catalog.rules import ColumnMap, TextRule
from aisle.errors import CatalogError

PRODUCT_ID_MAX_BYTES = 512
FILE_STRIDE = 1 << 40
"""Positions of one file; more rows than any file has, and room for 8 million files."""

MAPPED_SCHEMA = PRODUCT_SCHEMA.append(pa.field(POSITION, pa.int64()))

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("product_id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Mapped:
    """The two sides of a batch."""

    products: pa.Table
    """PRODUCT_SCHEMA plus int64 `_position`, in source order."""
    rejected: pa.Table
    """`source, row, product_id` (null where that is what is wrong)`, reason, raw`: the row as JSON text."""


def map_rows(
    table: pa.Table,
    columns: ColumnMap,
    source: str,
    first_row: int,
    *,
    rows: pa.Array | None = None,
    file_index: int = 0,
) -> Mapped:
    """Maps a batch of source rows onto the Product contract.

    Args:
        table: the columns that `columns` names; further ones are ignored.
        columns: how they become fields.
        source: the file, for messages and the quarantine.
        first_row: number of the batch's first row in its file, for batches without gaps.
        rows: int64 row numbers where the batch has gaps, such as lines that could not be parsed; replaces `first_row`.
        file_index: place of the file among the source's files; `_position` is this times 2^40 plus the row number.

    Raises:
        CatalogError: a column that the rules name is not there, or has a type that cannot become its field.
    """
    check_columns(table.column_names, columns, source)
    wanted = [name for name in table.column_names if _is_read(name, columns)]
    batch = SourceBatch(table.select(wanted), source)
    if rows is None:
        rows = pa.array(range(first_row, first_row + len(table)), pa.int64())
    arrays = _convert(batch, columns)
    product_ids = arrays["product_id"]
    positions = pc.add(rows, file_index * FILE_STRIDE)
    products = pa.table([*(arrays[f.name] for f in PRODUCT_SCHEMA), positions], MAPPED_SCHEMA)
    bad = sorted(batch.reasons)
    if bad:
        keep = pa.array([row not in batch.reasons for row in range(len(table))], pa.bool_())
        products = products.filter(keep)
    rejected = pa.table(
        [
            pa.repeat(source, len(bad)),
            rows.take(pa.array(bad, pa.int64())),
            product_ids.take(pa.array(bad, pa.int64())),
            text_array(["; ".join(batch.reasons[row]) for row in bad]),
            text_array([batch.raw_json(row) for row in bad]),
        ],
        REJECTED_SCHEMA,
    )
    return Mapped(products, rejected)


def check_columns(present: list[str], columns: ColumnMap, source: str) -> None:
    """Raises CatalogError unless every column that must be there is, naming those that are."""
    missing = [name for name in columns.required_columns() if name not in present]
    if missing:
        users = {name: field for field, rule in columns.rules() for name in rule.named_columns()}
        raise CatalogError(
            f"{source}: no column {missing[0]!r}, which catalog.columns.{users[missing[0]]} names; the file has "
            f"{', '.join(sorted(present)) or 'none'}. Correct the name, or allow its absence with missing_ok: true"
        )


def _is_read(name: str, columns: ColumnMap) -> bool:
    return name.partition("\x00")[0] in columns.named_columns()


def _convert(batch: SourceBatch, columns: ColumnMap) -> dict[str, pa.Array]:
    n = len(batch.table)

    def text(field: str, rule: TextRule | None) -> pa.Array:
        return text_column(rule, batch, field) if rule else pa.nulls(n, pa.string())

    ids = text_column(columns.product_id, batch, "product_id", lambda c: id_text(c, batch))
    titles = without_markup(text("title", columns.title))
    titles = pc.replace_substring_regex(titles, r"\s+", " ")
    _require(batch, ids, titles)
    return {
        "product_id": ids,
        "title": titles,
        "description": without_markup(text("description", columns.description)),
        "brand": text("brand", columns.brand),
        "category": category_column(columns.category, batch)
        if columns.category
        else pa.array([[]] * n, PRODUCT_SCHEMA.field("category").type),
        "price": price_column(columns.price, batch) if columns.price else pa.nulls(n, pa.float64()),
        "currency": pc.utf8_upper(text("currency", columns.currency)),
        "attributes": attribute_column(columns.attributes, batch)
        if columns.attributes
        else attribute_array([{}] * n),
        "image_url": text("image_url", columns.image_url),
        "available": flag_column(columns.available, batch)
        if columns.available
        else pa.repeat(pa.scalar(True), n),
        "updated_at": time_column(columns.updated_at, batch)
        if columns.updated_at
        else pa.nulls(n, PRODUCT_SCHEMA.field("updated_at").type),
    }


def _require(batch: SourceBatch, ids: pa.Array, titles: pa.Array) -> None:
    told = set(batch.reasons)  # an id or title of the wrong shape already has its reason

    def reject_untold(mask: pa.Array, reason: str) -> None:
        for row in pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist():
            if row not in told:
                batch.reject(row, reason)

    reject_untold(pc.is_null(ids), "missing product_id")
    reject_untold(pc.is_null(titles), "empty title")
    reject_untold(
        pc.greater(pc.binary_length(ids), PRODUCT_ID_MAX_BYTES),
        f"product_id longer than {PRODUCT_ID_MAX_BYTES} bytes",
    )
