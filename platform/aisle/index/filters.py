"""Filters: exact conditions on products, answered as a mask of rows before any top k is taken.

A condition is a set of keys such as `brand=HP` or `category=Audio/Headphones`; every product carries the keys it
answers to, every ancestor of its category included. Values of one field are alternatives, fields are conjunctive, a
category matches its subtree, and a product without a price never passes a price range.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.errors import RequestError
from aisle.index.csr import mapped, offsets_of
from aisle.index.keys import RowKeys

_RANGE_KEYS = ("gt", "gte", "lt", "lte")
_ALLOWED = "brand, category, price, available, attributes.<name>"
_MAX_VALUES = 1000
_MAX_SHOWN_CHARS = 80
_HUGE = 1e300

_TEXTS = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
            "maxItems": _MAX_VALUES,
        },
    ]
}
FILTERS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "brand": _TEXTS,
        "category": _TEXTS,
        "available": {"type": "boolean"},
        "price": {
            "type": "object",
            "properties": {key: {"type": "number"} for key in _RANGE_KEYS},
            "additionalProperties": False,
            "minProperties": 1,
            "not": {"anyOf": [{"required": ["gt", "gte"]}, {"required": ["lt", "lte"]}]},
        },
    },
    "patternProperties": {"^attributes\\..": _TEXTS},
    "additionalProperties": False,
}
"""What `Filters.parse` takes, as a JSON Schema."""


@dataclass(frozen=True, slots=True)
class PriceRange:
    """Bounds of a price; absent bounds are infinite."""

    low: float = -math.inf
    high: float = math.inf
    includes_low: bool = True
    includes_high: bool = True

    def bounds(self) -> tuple[float, float]:
        """Finite bounds, for an index that cannot take infinities."""
        return max(self.low, -_HUGE), min(self.high, _HUGE)

    @property
    def empty(self) -> bool:
        """True when no price can lie inside."""
        low, high = self.bounds()
        return low > high or (low == high and not (self.includes_low and self.includes_high))

    def mask(self, prices: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which prices (n,) lie inside; NaN, no price, never does."""
        above = prices >= self.low if self.includes_low else prices > self.low
        below = prices <= self.high if self.includes_high else prices < self.high
        return above & below


@dataclass(frozen=True, slots=True)
class Filters:
    """Checked conditions: every group of keys needs one hit, and the price must lie in its range."""

    keys: tuple[tuple[str, ...], ...] = ()
    price: PriceRange | None = None

    @property
    def empty(self) -> bool:
        """True when every product passes."""
        return not self.keys and self.price is None

    @classmethod
    def parse(cls, raw: Mapping[str, Any] | None) -> Filters:
        """Checks a request's `filters`.

        Raises:
            RequestError: unknown field or operator, or a value of the wrong type; names the field and what is allowed.
        """
        groups: list[tuple[str, ...]] = []
        price: PriceRange | None = None
        for field, value in (raw or {}).items():
            if field == "price":
                price = _price(value)
            elif field == "available":
                if not isinstance(value, bool):
                    raise RequestError(
                        f"got {_shown(value)}, allowed is true or false", "filters.available"
                    )
                groups.append((f"available={str(value).lower()}",))
            elif field in ("brand", "category") or (
                field.startswith("attributes.") and len(field) > 11
            ):
                groups.append(tuple(f"{field}={v}" for v in _values(value, field)))
            else:
                raise RequestError(
                    f"unknown filter field {_shown(field)}; allowed are {_ALLOWED}",
                    f"filters.{field[:_MAX_SHOWN_CHARS]}",
                )
        return cls(keys=tuple(groups), price=price)


def _values(value: Any, field: str) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or len(values) > _MAX_VALUES or not all(isinstance(v, str) and v for v in values):
        raise RequestError(
            f"got {_shown(value)}, allowed is a text or a list of 1 to {_MAX_VALUES} texts, any of which may match",
            f"filters.{field}",
        )
    if field == "category":
        return [v.strip("/") for v in values]
    return list(values)


def _price(value: Any) -> PriceRange:
    example = 'such as {"gte": 10, "lt": 50}'
    if not isinstance(value, Mapping) or not value or any(key not in _RANGE_KEYS for key in value):
        raise RequestError(
            f"got {_shown(value)}, allowed is a range of {', '.join(_RANGE_KEYS)}, {example}",
            "filters.price",
        )
    for bound in value.values():
        if not _finite(bound):
            raise RequestError(
                f"bound {_shown(bound)} is not a finite number; a range is {example}",
                "filters.price",
            )
    if {"gt", "gte"} <= value.keys() or {"lt", "lte"} <= value.keys():
        raise RequestError("give one lower and one upper bound at most", "filters.price")
    return PriceRange(
        low=float(value.get("gte", value.get("gt", -math.inf))),
        high=float(value.get("lte", value.get("lt", math.inf))),
        includes_low="gt" not in value,
        includes_high="lt" not in value,
    )


def _finite(value: Any) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(value)
    except (TypeError, OverflowError):  # not a number, or a whole number beyond any float
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}..."


class FilterIndex:
    """Which rows of a segment answer to which key, and what each row costs."""

    def __init__(
        self, keys: pa.StringArray, rows: pa.LargeListArray, prices: NDArray[np.float64]
    ) -> None:
        self._keys = keys
        self._offsets: NDArray[np.int64] = rows.offsets.to_numpy()
        self._row_numbers: NDArray[np.int32] = rows.values.to_numpy()
        self._prices = prices

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._prices)

    def mask(self, filters: Filters) -> NDArray[np.bool_]:
        """Rows that meet every condition: bool (n,)."""
        allowed = np.ones(self.rows, dtype=bool)
        for alternatives in filters.keys:
            any_of = np.zeros(self.rows, dtype=bool)
            for key in alternatives:
                any_of[self._rows_of(key)] = True
            allowed &= any_of
        if filters.price is not None:
            allowed &= filters.price.mask(self._prices)
        return allowed

    def _rows_of(self, key: str) -> NDArray[np.int32]:
        at = bisect_left(range(len(self._keys)), key, key=lambda i: self._keys[i].as_py())
        if at == len(self._keys) or self._keys[at].as_py() != key:
            return self._row_numbers[:0]
        return self._row_numbers[self._offsets[at] : self._offsets[at + 1]]

    @staticmethod
    def build(keys: RowKeys, prices: NDArray[np.float64], folder: Path) -> None:
        """Writes the keys, sorted, with the rows of each; `prices` (n,) are NaN where a product has none."""
        row = np.repeat(np.arange(len(prices)), np.diff(keys.offsets))
        by_key = np.argsort(keys.ids, kind="stable")  # rows stay ascending within a key
        sizes = np.bincount(keys.ids, minlength=len(keys.keys))
        rows = pa.LargeListArray.from_arrays(
            pa.array(offsets_of(sizes)), pa.array(row[by_key], pa.int32())
        )
        table = pa.table({"key": pa.array(keys.keys, pa.string()), "rows": rows})
        folder.mkdir(parents=True, exist_ok=True)
        with (
            pa.OSFile(str(folder / "keys.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        np.save(folder / "price.npy", prices)

    @classmethod
    def open(cls, folder: Path) -> FilterIndex:
        """Maps a saved index; nothing is read until it is asked for."""
        table = pa.ipc.open_file(pa.memory_map(str(folder / "keys.arrow"))).read_all()
        keys, rows = (_one_chunk(table[name]) for name in ("key", "rows"))
        return cls(keys, rows, mapped(folder / "price.npy"))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], type=column.type)
