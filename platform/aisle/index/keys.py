"""Filter keys: what a product can be filtered by, as texts such as `brand=HP` or `category=Audio/Headphones`.

A product answers to every ancestor of its category too, so that a filter on a category matches its subtree by one
look-up. The filter index and the lexical index are both made from these keys and cannot disagree.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aisle.index.csr import distinct, offsets_of, within


class RowKeys(NamedTuple):
    """The keys of some products, in CSR form."""

    keys: list[str]
    """(m,) distinct, ascending."""
    offsets: NDArray[np.int64]
    """(n + 1,): where each row begins in `ids`."""
    ids: NDArray[np.int64]
    """Positions in `keys`, ascending within a row, each once."""

    def of_rows(self) -> list[list[str]]:
        """The keys of each row as texts."""
        texts = [self.keys[i] for i in self.ids.tolist()]
        bounds = self.offsets.tolist()
        return [texts[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def product_keys(products: pa.Table) -> RowKeys:
    """The filter keys that each product answers to, in row order; what a product does not have gives no key."""
    parts = [_available(products), _brand(products), _category(products), _attributes(products)]
    rows = np.concatenate([row for row, _ in parts])
    encoded = pa.concat_arrays([keys for _, keys in parts]).dictionary_encode()
    seen = encoded.dictionary.to_pylist()
    ordered = sorted(range(len(seen)), key=seen.__getitem__)
    rank = np.empty(len(seen), dtype=np.int64)
    rank[ordered] = np.arange(len(seen))
    m = max(len(seen), 1)
    pairs = distinct(rows * m + rank[encoded.indices.to_numpy()])
    sizes = np.bincount(pairs // m, minlength=products.num_rows)
    return RowKeys([seen[i] for i in ordered], offsets_of(sizes), pairs % m)


def price_array(products: pa.Table) -> NDArray[np.float64]:
    """Prices (n,), NaN where a product has none."""
    prices: NDArray[np.float64] = pc.fill_null(products["price"], float("nan")).to_numpy()
    return prices


_Part = tuple[NDArray[np.int64], pa.StringArray]
"""Row numbers, and a key for each."""


def _available(products: pa.Table) -> _Part:
    flags = pc.fill_null(products["available"], True).to_numpy(zero_copy_only=False)
    keys = pa.array(["available=false", "available=true"]).take(pa.array(flags.astype(np.int64)))
    return np.arange(len(flags)), keys


def _brand(products: pa.Table) -> _Part:
    brands = _combined(products["brand"])
    rows = np.flatnonzero(pc.greater(pc.binary_length(pc.fill_null(brands, "")), 0).to_numpy(False))
    return rows, pc.binary_join_element_wise("brand=", brands.take(pa.array(rows)), "")


def _category(products: pa.Table) -> _Part:
    rows: list[int] = []
    keys: list[str] = []
    known: dict[tuple[str, ...], list[str]] = {}
    for row, levels in enumerate(products["category"].to_pylist()):
        path = tuple(levels or ())
        if path not in known:
            known[path] = [
                f"category={'/'.join(path[:depth])}" for depth in range(1, len(path) + 1)
            ]
        keys += known[path]
        rows += [row] * len(path)
    return np.array(rows, dtype=np.int64), pa.array(keys, pa.string())


def _attributes(products: pa.Table) -> _Part:
    maps = _combined(products["attributes"])
    row, at = _children(maps)
    names, lists = maps.keys.take(at), maps.items.take(at)
    parent, at = _children(lists)
    values = lists.values.take(at)
    keys = pc.binary_join_element_wise("attributes.", names.take(pa.array(parent)), "=", values, "")
    present = keys.is_valid().to_numpy(False)
    return row[parent[present]], keys.drop_null()


def _children(parents: pa.ListArray | pa.MapArray) -> tuple[NDArray[np.int64], pa.Array]:
    """For every child of every list: its list's number, and its position among all children."""
    offsets = parents.offsets.to_numpy().astype(np.int64)
    sizes = np.where(parents.is_null().to_numpy(False), 0, np.diff(offsets))
    number = np.repeat(np.arange(len(sizes)), sizes)
    return number, pa.array(np.repeat(offsets[:-1], sizes) + within(sizes))


def _combined(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
