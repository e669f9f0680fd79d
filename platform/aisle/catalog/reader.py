"""Reads units of a source into products and rejected rows, in batches of bounded size.

Every format yields the same products for the same content; a test holds them equal. Reading knows nothing of Ray: a
task calls `read_unit` and passes the batches on.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.lines import Malformed, Records, csv_records, jsonl_records
from aisle.catalog.mapping import REJECTED_SCHEMA, Mapped, check_columns, map_rows
from aisle.catalog.rules import ColumnMap
from aisle.catalog.sources import ReadUnit, unreadable
from aisle.catalog.where import matching, require_columns
from aisle.store.failures import failures

BATCH_ROWS = 8_192
BUFFER_BYTES = 1 << 20

_STATE_KEYS = ("ETag", "etag", "md5Hash", "md5", "checksum", "generation", "blob_id")
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created", "ino")


def read_unit(
    unit: ReadUnit,
    columns: ColumnMap,
    batch_rows: int = BATCH_ROWS,
    storage_options: Mapping[str, Any] | None = None,
    *,
    delimiter: str | None = None,
    where: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Mapped]:
    """Streams a unit's rows, at most `batch_rows` at a time: every row is in `products` or in `rejected`.

    With `where` (column -> the values wanted, as texts) rows with other values are in neither; `delimiter` is that of
    a CSV file, found from the header where it is None. A unit without rows yields nothing.

    Raises:
        CatalogError: the file cannot be read to its end, lacks a configured column, or a column's type cannot become
            its field. Batches before that were good.
    """
    wanted = dict(where or {})
    found = _records(unit, columns, batch_rows, dict(storage_options or {}), delimiter, wanted)
    for records in found:
        mapped = map_rows(
            records.table,
            columns,
            unit.url,
            unit.first_row,
            rows=records.rows,
            file_index=unit.file_index,
        )
        yield _with_malformed(mapped, records.malformed, unit.url)


def source_fingerprint(unit: ReadUnit, storage_options: Mapping[str, Any] | None = None) -> str:
    """Names the state of a unit's file: its size, and entity tag or times. Another string means: it was replaced.

    Raises:
        CatalogError: the file is gone or cannot be looked up.
    """
    try:
        fs, path = fsspec.core.url_to_fs(unit.url, **dict(storage_options or {}))
        fs.invalidate_cache(path)
        info = fs.info(path)
    except failures() as error:
        raise unreadable(unit.url, error) from error
    keys = [k for k in _STATE_KEYS if info.get(k)] or [k for k in _TIME_KEYS if info.get(k)]
    return " ".join(f"{key}={info.get(key)}" for key in ("size", *keys))


def _records(
    unit: ReadUnit,
    columns: ColumnMap,
    batch_rows: int,
    options: dict[str, Any],
    delimiter: str | None,
    where: Mapping[str, Sequence[str]],
) -> Iterator[Records]:
    """Wraps whatever breaks while reading; what breaks while mapping is not this file's fault."""
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(fsspec.open(unit.url, "rb", **options))
            parsed = _parsed(stack, file, unit, columns, batch_rows, delimiter, tuple(where))
            for records in parsed:
                if where:
                    records = _only(records, where)
                if records.table.num_rows or records.malformed:
                    yield records
    except (*failures(), pa.ArrowException, EOFError, zlib.error) as error:
        raise unreadable(unit.url, error) from error


def _parsed(
    stack: contextlib.ExitStack,
    file: Any,
    unit: ReadUnit,
    columns: ColumnMap,
    batch_rows: int,
    delimiter: str | None,
    also: tuple[str, ...],
) -> Iterator[Records]:
    if unit.format == "parquet":
        return _parquet_records(file, unit, columns, batch_rows, also)
    if unit.url.lower().endswith(".gz"):
        file = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
    text = cast(BinaryIO, stack.enter_context(io.BufferedReader(file, BUFFER_BYTES)))
    if unit.format == "csv":
        return csv_records(text, columns, unit.url, batch_rows, delimiter=delimiter, also=also)
    return jsonl_records(text, columns, unit.url, batch_rows, also=also)


def _only(records: Records, where: Mapping[str, Sequence[str]]) -> Records:
    mask = matching(records.table, where)
    # One chunk a column, as every parser gives them: the conversions go through chunks side by side.
    kept = records.table.append_column("_row", records.rows).filter(mask).combine_chunks()
    rows = kept["_row"].combine_chunks()
    return Records(kept.drop_columns(["_row"]), rows, records.malformed)


def _parquet_records(
    file: BinaryIO, unit: ReadUnit, columns: ColumnMap, batch_rows: int, also: tuple[str, ...]
) -> Iterator[Records]:
    parquet = pq.ParquetFile(file)
    present = parquet.schema_arrow.names
    check_columns(present, columns, unit.url)
    require_columns(present, also, unit.url)
    read = dict.fromkeys((*columns.named_columns(), *also))
    names = [name for name in read if name in present]
    groups = range(*(unit.row_groups or (0, parquet.num_row_groups)))
    row = unit.first_row
    for batch in parquet.iter_batches(
        batch_rows, row_groups=list(groups), columns=names, use_threads=False
    ):
        table = pa.Table.from_batches([batch])
        yield Records(table, pa.array(range(row, row + len(table)), pa.int64()))
        row += len(table)


def _with_malformed(mapped: Mapped, malformed: list[Malformed], url: str) -> Mapped:
    if not malformed:
        return mapped
    rows = [
        {"source": url, "row": m.row, "product_id": None, "reason": m.reason, "raw": m.raw}
        for m in malformed
    ]
    rejected = pa.concat_tables([mapped.rejected, pa.Table.from_pylist(rows, REJECTED_SCHEMA)])
    return Mapped(mapped.products, rejected.sort_by("row"))
