"""Filters: exact conditions on products, answered as a mask of rows before any top k is taken.

A condition is a set of keys such as `brand=HP` or `category=Audio/Headphones`; every product carries the keys it
answers to, every ancestor of its category included. Values of one field are alternatives, fields are conjunctive, a
category matches its subtree, and a product without a price never passes a price range.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.errors import RequestError

_RANGE_KEYS = ("gt", "gte", "lt", "lte")
_ALLOWED = "brand, category, price, available, attributes.<name>"
_MAX_VALUES = 1000


@dataclass(frozen=True, slots=True)
class PriceRange:
    """Bounds of a price; absent bounds are infinite."""

    low: float = -math.inf
    high: float = math.inf
    includes_low: bool = True
    includes_high: bool = True

    def bounds(self) -> tuple[float, float]:
        """Finite bounds, for an index that cannot take infinities."""
        return max(self.low, -1e300), min(self.high, 1e300)

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
                    raise RequestError(f"got {value!r}, allowed is true or false", "filters.available")
                groups.append((f"available={str(value).lower()}",))
            elif field in ("brand", "category") or (field.startswith("attributes.") and len(field) > 11):
                groups.append(tuple(f"{field}={v}" for v in _values(value, field)))
            else:
                raise RequestError(f"unknown filter field {field!r}; allowed are {_ALLOWED}", f"filters.{field}")
        return cls(keys=tuple(groups), price=price)


def _values(value: Any, field: str) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or len(values) > _MAX_VALUES or not all(isinstance(v, str) and v for v in values):
        raise RequestError(
            f"got {value!r}, allowed is a text or a list of 1 to {_MAX_VALUES} texts, any of which may match",
            f"filters.{field}",
        )
    if field == "category":
        return [v.strip("/") for v in values]
    return list(values)


def _price(value: Any) -> PriceRange:
    example = 'such as {"gte": 10, "lt": 50}'
    if not isinstance(value, Mapping) or not value or any(key not in _RANGE_KEYS for key in value):
        raise RequestError(f"got {value!r}, allowed is a range of {', '.join(_RANGE_KEYS)}, {example}", "filters.price")
    for bound in value.values():
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
            raise RequestError(f"bound {bound!r} is not a finite number; a range is {example}", "filters.price")
    if {"gt", "gte"} <= value.keys() or {"lt", "lte"} <= value.keys():
        raise RequestError("give one lower and one upper bound at most", "filters.price")
    return PriceRange(
        low=float(value.get("gte", value.get("gt", -math.inf))),
        high=float(value.get("lte", value.get("lt", math.inf))),
        includes_low="gt" not in value,
        includes_high="lt" not in value,
    )


def product_keys(products: pa.Table) -> Iterator[list[str]]:
    """The filter keys that each product answers to, in row order."""
    columns = zip(
        products["brand"].to_pylist(),
        products["category"].to_pylist(),
        products["attributes"].to_pylist(),
        products["available"].to_pylist(),
        strict=True,
    )
    for brand, category, attributes, available in columns:
        keys = [f"available={str(available is not False).lower()}"]
        if brand:
            keys.append(f"brand={brand}")
        path = category or []
        keys.extend(f"category={'/'.join(path[:depth])}" for depth in range(1, len(path) + 1))
        for name, values in attributes or ():
            keys.extend(f"attributes.{name}={value}" for value in dict.fromkeys(values or ()))
        yield keys


class FilterIndex:
    """Which rows of a segment answer to which key, and what each row costs."""

    def __init__(self, keys: pa.StringArray, rows: pa.ListArray, prices: NDArray[np.float64]) -> None:
        self._keys = keys
        self._rows = rows
        self._prices = prices

    def mask(self, filters: Filters) -> NDArray[np.bool_]:
        """Rows that meet every condition: bool (n,)."""
        allowed = np.ones(len(self._prices), dtype=bool)
        for alternatives in filters.keys:
            any_of = np.zeros(len(self._prices), dtype=bool)
            for key in alternatives:
                any_of[self._rows_of(key)] = True
            allowed &= any_of
        if filters.price is not None:
            allowed &= filters.price.mask(self._prices)
        return allowed

    def _rows_of(self, key: str) -> NDArray[np.int32]:
        at = bisect_left(range(len(self._keys)), key, key=lambda i: self._keys[i].as_py())
        if at == len(self._keys) or self._keys[at].as_py() != key:
            return np.empty(0, dtype=np.int32)
        begin, end = self._rows.offsets[at].as_py(), self._rows.offsets[at + 1].as_py()
        return self._rows.values.to_numpy(zero_copy_only=True)[begin:end]

    @staticmethod
    def build(products: pa.Table, folder: Path) -> None:
        """Writes the keys of a products table, sorted, with the rows of each."""
        rows_of: dict[str, list[int]] = {}
        for row, keys in enumerate(product_keys(products)):
            for key in keys:
                rows_of.setdefault(key, []).append(row)
        ordered = sorted(rows_of)
        table = pa.table(
            {
                "key": pa.array(ordered, pa.string()),
                "rows": pa.array([rows_of[key] for key in ordered], pa.list_(pa.int32())),
            }
        )
        folder.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(folder / "keys.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        np.save(folder / "price.npy", _prices(products))

    @classmethod
    def open(cls, folder: Path) -> FilterIndex:
        """Maps a saved index; nothing is read until it is asked for."""
        table = pa.ipc.open_file(pa.memory_map(str(folder / "keys.arrow"))).read_all()
        keys, rows = (_one_chunk(table[name]) for name in ("key", "rows"))
        return cls(keys, rows, np.load(folder / "price.npy", mmap_mode="r"))


def _prices(products: pa.Table) -> NDArray[np.float64]:
    values: Sequence[float | None] = products["price"].to_pylist()
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], type=column.type)
