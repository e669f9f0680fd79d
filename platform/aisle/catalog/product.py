"""The Product contract as an Arrow schema, and the hashes that tell one product's content from another's.

A hash is blake2b over a row's canonical JSON, not over Arrow buffers: buffers differ with chunking, slicing and the
library's version, and a night's reuse of last night's work depends on equal content having equal hashes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import pyarrow as pa

HASH_BYTES = 16

PRODUCT_SCHEMA = pa.schema(
    [
        pa.field("product_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("description", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("category", pa.list_(pa.string())),
        pa.field("price", pa.float64()),
        pa.field("currency", pa.string()),
        pa.field("attributes", pa.map_(pa.string(), pa.list_(pa.string()))),
        pa.field("image_url", pa.string()),
        pa.field("available", pa.bool_()),
        pa.field("updated_at", pa.timestamp("us", tz="UTC")),
    ]
)

POSITION = "_position"
"""Column of a product's place in the catalogue; decides between equals and is dropped before products are stored."""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def content_hashes(texts: Iterable[str]) -> pa.Array:
    """Hashes each text: binary(16), in order. Equal texts have equal hashes in every process and version."""
    digests = [blake2b(text.encode(), digest_size=HASH_BYTES).digest() for text in texts]
    return pa.array(digests, pa.binary(HASH_BYTES))


def row_hashes(table: pa.Table) -> pa.Array:
    """Hashes each row over every field of PRODUCT_SCHEMA: binary(16), in the order of `table`.

    Does not depend on other rows, on chunking, on further columns or on the order of attribute names; the order of an
    attribute's values and of category levels counts. A null list and an empty one are equal.
    """
    columns = [_plain(table[field.name], field) for field in PRODUCT_SCHEMA]
    return content_hashes(map(_encode, zip(*columns, strict=True)))


def _plain(column: pa.ChunkedArray, field: pa.Field) -> list[Any]:
    if pa.types.is_timestamp(field.type):
        return column.cast(field.type).cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_map(field.type):
        return _attribute_texts(column)
    values: list[Any] = column.to_pylist()
    return [row or [] for row in values] if pa.types.is_list(field.type) else values


def _attribute_texts(column: pa.ChunkedArray) -> list[list[str]]:
    """Spells each attribute of each row as one text, sorted: the name as JSON, then `:value` or `,[values]`.

    Strings instead of nested lists, because half a million small lists keep the garbage collector busier than hashing.
    """
    quoted: dict[str, str] = {}
    rows: list[list[str]] = []
    for chunk in column.chunks:
        values = chunk.items
        starts, flat = values.offsets.to_pylist(), values.values.to_pylist()
        texts: list[str] = []
        for index, name in enumerate(chunk.keys.to_pylist()):
            first, end = starts[index], starts[index + 1]
            head = quoted.get(name) or quoted.setdefault(name, _encode(name))
            single = end == first + 1 and flat[first] is not None
            texts.append(
                f"{head}:{flat[first]}" if single else f"{head},{_encode(flat[first:end])}"
            )
        rows += [sorted(texts[a:b]) for a, b in itertools.pairwise(chunk.offsets.to_pylist())]
    return rows
