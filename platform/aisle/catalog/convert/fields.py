"""One converter for each kind of field: source column in, Product column out, rows that do not fit turned down.

A converter never drops or moves a row: it gives one value a row, null where the row was turned down, and reports to the
batch. A column no value of which could fit is the configuration's mistake and raises; a single bad value is the row's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aisle.catalog.convert.attributes import scalar_text
from aisle.catalog.convert.batch import Column, SourceBatch, shown, text_array
from aisle.catalog.convert.markup import SUSPECT, strip_markup
from aisle.catalog.product import PRODUCT_SCHEMA
from aisle.catalog.rules import CategoryRule, FlagRule, PriceRule, TextRule, TimeRule

YES = frozenset(
    {"true", "t", "yes", "y", "1", "1.0", "in stock", "in_stock", "instock", "available"}
)
NO = frozenset(
    {
        "false",
        "f",
        "no",
        "n",
        "0",
        "0.0",
        "out of stock",
        "out_of_stock",
        "outofstock",
        "unavailable",
        "sold out",
    }
)

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
EPOCH = re.compile(r"[+-]?\d{9,}(\.\d*)?")  # fewer digits are a date: 20240131
EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_US = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH_START) // timedelta(microseconds=1)
LAST_US = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH_START) // timedelta(
    microseconds=1
)
UNITS_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
SECONDS_BELOW = 1e11


def text_column(
    rule: TextRule, batch: SourceBatch, field: str, read: Callable[[Column], pa.Array] | None = None
) -> pa.Array:
    """Applies a text rule: string, trimmed, null where empty. `read` replaces the reading of one column."""
    if rule.value is not None:
        return pa.repeat(pa.scalar(rule.value.strip() or None, pa.string()), len(batch.table))
    read = read or (lambda column: as_text(column, batch, field))
    parts = [read(batch.column(name)) for name in rule.named_columns()]
    texts = parts[0]
    if len(parts) > 1:
        # NOTE: pyarrow 26 gives no element at all, not a null, for a row in which every part is null.
        nothing = pc.is_null(parts[0])
        for part in parts[1:]:
            nothing = pc.and_(nothing, pc.is_null(part))
        parts[0] = pc.if_else(nothing, "", parts[0])
        joined = pc.binary_join_element_wise(*parts, rule.join, null_handling="skip")
        texts = _without_empty(joined)
    return texts if rule.default is None else pc.fill_null(texts, rule.default)


def as_text(column: Column, batch: SourceBatch, field: str) -> pa.Array:
    """Reads a column of scalars as text: string, trimmed, null where empty."""
    values, kind = column.values, column.values.type
    if pa.types.is_nested(kind):
        raise batch.wrong_type(field, column, "text, numbers, flags or dates")
    if column.nested is not None:
        batch.reject_where(column.nested, f"{field} is a JSON list or object, not text", values)
        values = pc.if_else(column.nested, pa.scalar(None, pa.string()), values)
    try:
        texts = values.cast(pa.string())
    except pa.ArrowException as error:
        raise batch.wrong_type(field, column, "text (UTF-8), numbers, flags or dates") from error
    return _without_empty(pc.utf8_trim_whitespace(texts))


def id_text(column: Column, batch: SourceBatch) -> pa.Array:
    """Reads a column that is a product's id, or a part of it: text, or whole numbers as text."""
    kind = column.values.type
    texts = pa.types.is_string(kind) or pa.types.is_binary(kind)
    if not (texts or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        # A float has lost digits of a long id, and its spelling (1e+16) is no id.
        raise batch.wrong_type("product_id", column, "text or whole numbers")
    return as_text(column, batch, "product_id")


def without_markup(texts: pa.Array) -> pa.Array:
    """Reduces HTML to text in the rows that hold any."""
    suspects = pc.fill_null(pc.match_substring_regex(texts, SUSPECT), False)
    if not pc.any(suspects).as_py():
        return texts
    cleaned: list[str | None] = [
        strip_markup(t) or None for t in texts.filter(suspects).to_pylist()
    ]
    return pc.replace_with_mask(texts, suspects, text_array(cleaned))


def price_column(rule: PriceRule, batch: SourceBatch) -> pa.Array:
    """Applies a price rule: float64, finite, not negative, null where the source has none."""
    if rule.value is not None:
        return pa.repeat(pa.scalar(rule.value, pa.float64()), len(batch.table))
    column = batch.column(rule.column or "")
    numbers = _numbers(column, batch)
    endless = pc.is_inf(numbers)
    batch.reject_where(endless, "price not finite", numbers)
    negative = pc.and_(pc.less(numbers, 0.0), pc.invert(endless))
    batch.reject_where(negative, "negative price", numbers)
    scaled = _scaled(numbers, rule.scale)
    return scaled if rule.default is None else pc.fill_null(scaled, rule.default)


def _numbers(column: Column, batch: SourceBatch) -> pa.Array:
    kind = column.values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.values.cast(pa.float64(), safe=False)
        # NaN is how data frames write "none"; text that says nan is turned down with other text.
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    if not (pa.types.is_string(kind) or pa.types.is_null(kind)):
        raise batch.wrong_type("price", column, "numbers, or texts such as 12.50")
    texts = as_text(column, batch, "price")
    good = pc.match_substring_regex(texts, NUMBER)
    batch.reject_where(pc.invert(good), "price not a number", texts)
    return pc.if_else(good, texts, pa.scalar(None, pa.string())).cast(pa.float64())


def _scaled(numbers: pa.Array, scale: float) -> pa.Array:
    # 1/n divides by n: 1999 cents are 19.99, where 1999 * 0.01 is 19.990000000000002.
    inverse = round(1 / scale) if scale < 1 else 0
    if inverse and abs(inverse * scale - 1) < 1e-12:
        return pc.divide(numbers, float(inverse))
    return pc.multiply(numbers, scale)


def flag_column(rule: FlagRule, batch: SourceBatch) -> pa.Array:
    """Applies a yes-or-no rule: bool, never null in a good row."""
    if rule.value is not None:
        return pa.repeat(pa.scalar(rule.value), len(batch.table))
    column = batch.column(rule.column or "")
    kind = column.values.type
    if pa.types.is_boolean(kind):
        return pc.fill_null(column.values, rule.default)
    if pa.types.is_temporal(kind) or pa.types.is_binary(kind):
        raise batch.wrong_type(
            "available", column, "flags, 0 and 1, or texts such as yes, no, in stock"
        )
    texts = pc.utf8_lower(as_text(column, batch, "available"))
    yes = pc.is_in(texts, pa.array(sorted(YES)))
    known = pc.or_(yes, pc.is_in(texts, pa.array(sorted(NO))))
    unknown = pc.and_(pc.is_valid(texts), pc.invert(known))
    batch.reject_where(unknown, f"available is none of {', '.join(sorted(YES | NO))}", texts)
    return pc.if_else(pc.is_null(texts), pa.scalar(rule.default), yes)


def category_column(rule: CategoryRule, batch: SourceBatch) -> pa.Array:
    """Applies a category rule: list<string>, root first, levels trimmed; an empty list where there is none."""
    list_type = PRODUCT_SCHEMA.field("category").type
    if rule.value is not None:
        return pa.array([_levels(rule.value)] * len(batch.table), list_type)
    if rule.columns:
        parts = [
            as_text(batch.column(name), batch, "category").to_pylist() for name in rule.columns
        ]
        return pa.array([_levels(row) for row in zip(*parts, strict=True)], list_type)
    column = batch.column(rule.column or "")
    kind = column.values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if pa.types.is_nested(kind.value_type):
            raise batch.wrong_type("category", column, "text, or a list of texts")
        return pa.array([_levels(row or ()) for row in column.values.to_pylist()], list_type)
    if pa.types.is_nested(kind):
        raise batch.wrong_type("category", column, "text, or a list of texts")
    return pa.array(_paths(rule, batch, column), list_type)


def _paths(rule: CategoryRule, batch: SourceBatch, column: Column) -> list[list[str]]:
    texts = column.values.cast(pa.string()).to_pylist()
    nested = column.nested.to_pylist() if column.nested is not None else [False] * len(texts)
    known: dict[tuple[str, bool], list[str]] = {}  # few paths, many products
    rows: list[list[str]] = []
    for index, key in enumerate(zip(texts, nested, strict=True)):
        text, is_json = key
        if not text or text.isspace():
            rows.append([])
            continue
        if key not in known:
            try:
                known[key] = _path(text, rule, as_json=is_json or rule.format == "json")
            except (ValueError, RecursionError) as error:
                batch.reject(index, f"bad category JSON: {error}, in {shown(text)}")
                rows.append([])
                continue
        rows.append(known[key])
    return rows


def _path(text: str, rule: CategoryRule, as_json: bool) -> list[str]:
    if not as_json:
        return _levels(text.split(rule.split) if rule.split else [text])
    value = json.loads(text)
    if not isinstance(value, list) or any(isinstance(level, list | dict) for level in value):
        raise ValueError("a flat list of texts is expected")
    levels: list[str] = text_array(_levels(value)).to_pylist()  # surrogates end here
    return levels


def _levels(parts: Iterable[object]) -> list[str]:
    texts = (scalar_text(part) for part in parts)
    return [text for text in texts if text]


def time_column(rule: TimeRule, batch: SourceBatch) -> pa.Array:
    """Applies a time rule: timestamp[us, UTC], years 1 to 9999, null where the source has none."""
    column = batch.column(rule.column or "")
    kind = column.values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        stamps = column.values.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        times = stamps.cast(pa.int64())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        times = _parsed_times(column.values, batch, lambda v: _epoch_us(float(v), rule.unit))
    elif pa.types.is_string(kind) or pa.types.is_null(kind):
        texts = as_text(column, batch, "updated_at")
        times = _parsed_times(texts, batch, lambda v: _text_us(v, rule.unit))
    else:
        raise batch.wrong_type(
            "updated_at", column, "timestamps, dates, ISO 8601 texts, epoch numbers"
        )
    outside = pc.or_(pc.less(times, FIRST_US), pc.greater(times, LAST_US))
    batch.reject_where(outside, "bad timestamp: outside the years 1 to 9999")
    inside = pc.if_else(pc.fill_null(outside, False), pa.scalar(None, pa.int64()), times)
    return inside.cast(PRODUCT_SCHEMA.field("updated_at").type)


def _parsed_times(
    values: pa.Array, batch: SourceBatch, parse: Callable[[Any], int | None]
) -> pa.Array:
    known: dict[Any, int | None] = {None: None}
    times: list[int | None] = []
    for index, value in enumerate(values.to_pylist()):
        if value not in known:
            try:
                known[value] = parse(value)
            except (ValueError, OverflowError):
                batch.reject(index, f"bad timestamp: {shown(value)}")
                times.append(None)
                continue
        times.append(known[value])
    return pa.array(times, pa.int64())


def _text_us(text: str, unit: str | None) -> int | None:
    if EPOCH.fullmatch(text) or (unit and re.fullmatch(NUMBER, text)):
        return _epoch_us(float(text), unit)
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - EPOCH_START) // timedelta(microseconds=1)


def _epoch_us(number: float, unit: str | None) -> int | None:
    if number != number:  # NaN, a data frame's "none"
        return None
    factor = UNITS_US[unit or ("s" if abs(number) < SECONDS_BELOW else "ms")]
    microseconds = round(number * factor)
    if not FIRST_US <= microseconds <= LAST_US:
        raise ValueError("outside the years 1 to 9999")
    return microseconds


def _without_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
