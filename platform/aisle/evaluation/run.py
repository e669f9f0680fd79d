"""A run is what a system returned: for each query its products, best first, as `jobs.batch_search` writes them.

A run knows nothing about grades. A query that it does not hold counts as answered with an empty page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aisle.errors import JudgmentError
from aisle.evaluation.judgments import normalize_query
from aisle.evaluation.table import read_parquet


@dataclass(frozen=True, slots=True)
class Run:
    """Ranked products by normalised query; build with `from_columns`, `from_lists` or `read`.

    `rows[query]` is the slice of a query in the flat columns, best first: `product_ids` object (n,) of str,
    `kept` bool (n,), true where the relevance filter kept the hit.
    """

    rows: Mapping[str, slice]
    product_ids: NDArray[np.object_]
    kept: NDArray[np.bool_]

    @classmethod
    def read(cls, url: str) -> Run:
        """Reads Parquet with `query, rank, product_id` and optionally `kept` from any fsspec URL."""
        table = read_parquet(url, required=("query", "rank", "product_id"), optional=("kept",))
        kept = table.column("kept").to_numpy() if "kept" in table.column_names else None
        try:
            return cls.from_columns(
                table.column("query").to_pylist(),
                pc.cast(table.column("product_id"), pa.string()).to_pylist(),
                table.column("rank").to_numpy(),
                kept=kept,
            )
        except JudgmentError as error:
            raise JudgmentError(f"{url}: {error}") from error

    @classmethod
    def from_lists(cls, ranked: Mapping[str, Sequence[str]]) -> Run:
        """Builds from a list of product ids, best first, for each query; everything counts as kept."""
        lengths = [len(products) for products in ranked.values()]
        return cls.from_columns(
            [query for query, products in ranked.items() for _ in products],
            [product for products in ranked.values() for product in products],
            np.concatenate([np.arange(1, n + 1) for n in lengths] or [np.empty(0, np.int64)]),
        )

    @classmethod
    def from_columns(
        cls,
        query: Sequence[str],
        product_id: Sequence[str],
        rank: NDArray[np.int64],
        *,
        kept: NDArray[np.bool_] | None = None,
    ) -> Run:
        """Builds from columns of equal length in any order; `rank` from 1.

        Of two queries with the same normalised text the first counts. Raises JudgmentError where a query lists a
        product twice: its gain would count twice.
        """
        codes: dict[str, int] = {}
        query_index = np.array([codes.setdefault(text, len(codes)) for text in query], np.int64)
        order = np.lexsort((np.asarray(rank), query_index))
        offsets = np.searchsorted(query_index[order], np.arange(len(codes) + 1))
        ids = np.array(product_id, dtype=object)[order]
        rows: dict[str, slice] = {}
        for text, i in codes.items():
            part = slice(int(offsets[i]), int(offsets[i + 1]))
            if len(set(ids[part])) < part.stop - part.start:
                raise JudgmentError(f"query {text!r} lists a product twice; a run ranks it once")
            rows.setdefault(normalize_query(text), part)
        flags = np.ones(len(ids), np.bool_) if kept is None else np.asarray(kept, np.bool_)[order]
        return cls(rows=rows, product_ids=ids, kept=flags)

    def of(self, query: str) -> NDArray[np.object_]:
        """Product ids of a normalised query, best first; empty where the run does not hold it."""
        return self.product_ids[self.rows.get(query, slice(0, 0))]
