"""Attributes of any origin as names with lists of texts: JSON objects, Arrow maps and structs, plain columns.

How a value becomes text: true and false as JSON writes them; a whole number without a fraction (1.0 is "1", since a
source's 6 and 6.0 mean one facet value); other numbers in Python's shortest spelling. A list gives several values, a
nested object dotted names ("size.width"), null, NaN and empty texts nothing. A repeated value counts once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from aisle.catalog.convert.batch import Column, SourceBatch, shown, text_array
from aisle.catalog.product import PRODUCT_SCHEMA
from aisle.catalog.rules import AttributesRule

Attributes = dict[str, list[str]]

ALLOWED = (
    "a map, a struct, text holding JSON objects or pairs (set format), or several plain columns"
)
_WHOLE_BELOW = 1e15  # beyond it a float's digits are not the source's any more


def scalar_text(value: object) -> str:
    """Spells a JSON or Arrow scalar as an attribute's text; "" for null and NaN.

    >>> [scalar_text(v) for v in (True, 1.0, 2.50, 7, " red ", None, float("nan"))]
    ['true', '1', '2.5', '7', 'red', '', '']
    """
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < _WHOLE_BELOW else repr(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return str(value)


def attribute_column(rule: AttributesRule, batch: SourceBatch) -> pa.Array:
    """Applies the rule: map<string, list<string>>, one entry a row, an empty map where there is nothing."""
    rows = _from_columns(rule, batch) if rule.columns else _from_objects(rule, batch)
    if rule.strip_prefix:
        rows = _renamed(rows, rule.strip_prefix)
    return attribute_array(rows)


def attribute_array(rows: Iterable[Attributes]) -> pa.Array:
    """Builds the Arrow map array of attribute dictionaries, in order."""
    names: list[str | None] = []
    values: list[str | None] = []
    name_offsets, value_offsets = [0], [0]
    for row in rows:
        for name, texts in row.items():
            names.append(name)
            values.extend(texts)
            value_offsets.append(len(values))
        name_offsets.append(len(names))
    lists = pa.ListArray.from_arrays(pa.array(value_offsets, pa.int32()), text_array(values))
    maps = pa.MapArray.from_arrays(pa.array(name_offsets, pa.int32()), text_array(names), lists)
    return maps.cast(PRODUCT_SCHEMA.field("attributes").type)


def _from_objects(rule: AttributesRule, batch: SourceBatch) -> list[Attributes]:
    column = batch.column(rule.column or "")
    kind = column.values.type
    if pa.types.is_map(kind) or pa.types.is_struct(kind) or pa.types.is_null(kind):
        pairs = (dict(row) if isinstance(row, list) else row for row in column.values.to_pylist())
        return [_flattened(row or {}) for row in pairs]
    is_text = pa.types.is_string(kind) and (rule.format or column.nested is not None)
    if not is_text:
        raise batch.wrong_type("attributes", column, ALLOWED)
    return _from_texts(rule, batch, column)


def _from_texts(rule: AttributesRule, batch: SourceBatch, column: Column) -> list[Attributes]:
    nested = column.nested.to_pylist() if column.nested is not None else [False] * len(batch.table)
    rows: list[Attributes] = []
    for index, (text, is_json) in enumerate(zip(column.values.to_pylist(), nested, strict=True)):
        row: Attributes = {}
        if text and not text.isspace():
            if rule.format == "pairs" and not is_json:
                row = _paired(text, rule.split or "|")
            elif is_json or rule.format == "json":
                try:
                    row = _parsed(text)
                except (ValueError, RecursionError) as error:
                    detail = str(error) or "nested too deeply"
                    batch.reject(index, f"bad attributes JSON: {detail}, in {shown(text)}")
            else:
                batch.reject(index, f"attributes are text, not an object: {shown(text)}")
        rows.append(row)
    return rows


def _parsed(text: str) -> Attributes:
    value = json.loads(text)
    if value is None:
        return {}
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a single value"
        raise ValueError(f"{kind}, an object is expected")
    return _flattened(value)


def _paired(text: str, between: str) -> Attributes:
    """`width : 64.7 | style : modern`; a part without a colon says nothing of an attribute and is left out."""
    out: Attributes = {}
    for part in text.split(between):
        name, colon, value = part.partition(":")
        name, value = name.strip(), value.strip()
        if colon and name and value and value not in out.setdefault(name, []):
            out[name].append(value)
    return {name: values for name, values in out.items() if values}


def _flattened(row: dict[str, Any]) -> Attributes:
    out: Attributes = {}
    for name, value in row.items():
        name = name.strip()
        if isinstance(value, dict | list | tuple) or name in out:
            _flatten(name, value, out)
            if len(texts := out.get(name, ())) > 1:
                out[name] = list(dict.fromkeys(texts))
        elif name and (text := scalar_text(value)):  # nearly every value
            out[name] = [text]
    return out


def _flatten(name: str, value: object, out: Attributes) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{name}.{key.strip()}" if name else key.strip(), inner, out)
    elif isinstance(value, tuple):  # an entry of an Arrow map inside a struct
        _flatten(f"{name}.{value[0]}", value[1], out)
    elif isinstance(value, list):
        for inner in value:
            _flatten(name, inner, out)
    elif name and (text := scalar_text(value)):
        out.setdefault(name, []).append(text)


def _from_columns(rule: AttributesRule, batch: SourceBatch) -> list[Attributes]:
    named = rule.columns if isinstance(rule.columns, dict) else {c: c for c in rule.columns or ()}
    rows: list[Attributes] = [{} for _ in range(len(batch.table))]
    for name, column_name in named.items():
        column = batch.column(column_name)
        if pa.types.is_map(column.values.type) or pa.types.is_struct(column.values.type):
            raise batch.wrong_type(f"attributes.{name}", column, "texts, numbers, flags or lists")
        nested = column.nested.to_pylist() if column.nested is not None else None
        for index, value in enumerate(column.values.to_pylist()):
            if value is None:
                continue
            if nested is not None and nested[index]:
                value = json.loads(value)
            elif rule.split and isinstance(value, str):
                value = value.split(rule.split)
            found: Attributes = {}
            _flatten(name, value, found)
            for key, texts in found.items():
                rows[index][key] = list(dict.fromkeys(texts))
    return rows


def _renamed(rows: list[Attributes], prefixes: tuple[str, ...]) -> list[Attributes]:
    names: dict[str, str] = {}

    def short(name: str) -> str:
        fitting = (name.removeprefix(p) for p in prefixes if name.startswith(p))
        names[name] = next(fitting, name) or name
        return names[name]

    renamed: list[Attributes] = []
    for row in rows:
        out: Attributes = {}
        for name, texts in row.items():
            key = names.get(name) or short(name)
            out[key] = list(dict.fromkeys([*out[key], *texts])) if key in out else texts
        renamed.append(out)
    return renamed
