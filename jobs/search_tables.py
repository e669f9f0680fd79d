"""Queries and pairs through one snapshot, with Ray Data: what batch search, evaluation and training look at.

Where the process holds the snapshot anyway, a few thousand rows are better searched there (`here`): workers that start,
import and open a snapshot cost more than the search. Nightly evaluation of 1,178 queries and 7,414 pairs, four workers
in all, took 30 core-seconds with them, of which the search itself 7 (two cores, 2026-11-28). Threads share the one
snapshot: most of a search runs without the interpreter's lock.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import faiss
import pyarrow as pa

from aisle.batch import PAIRS_SCHEMA, RESULT_SCHEMA
from aisle.config import Settings
from aisle.evaluation.systems import System
from aisle.searching import MakePairs, MakeRewrite, MakeSearch, Opener
from aisle.snapshot import Manifest
from jobs.on_ray import map_table

_BATCH_ROWS = 64
_HERE_BATCHES = 32
"""Up to so many batches are few."""


@dataclass(frozen=True)
class TableSearch:
    """Searches one snapshot; rewrites are made once and shared by the systems that want them."""

    settings: Settings
    manifest: Manifest
    system: System | None = None
    """Measures a reduced system; none is the pipeline as served."""
    here: bool = False
    """Searches in this process where the rows are few."""

    def queries(self, table: pa.Table, k: int) -> pa.Table:
        """Maps a table with `query` (and `rewrite`) to `RESULT_SCHEMA`, in the order of the queries."""
        found = self._map(table, MakeSearch(self._opener(), k), "search")
        return _in_order(found.cast(RESULT_SCHEMA), table["query"].to_pylist(), "rank")

    def pairs(self, table: pa.Table) -> pa.Table:
        """Maps a table with `query, product_id` (and `rewrite`) to `PAIRS_SCHEMA`, in the table's order."""
        found = self._map(table.sort_by("query"), MakePairs(self._opener()), "pairs").cast(
            PAIRS_SCHEMA
        )
        rows = dict(
            zip(
                zip(found["query"].to_pylist(), found["product_id"].to_pylist(), strict=True),
                range(found.num_rows),
                strict=True,
            )
        )
        wanted = zip(table["query"].to_pylist(), table["product_id"].to_pylist(), strict=True)
        return found.take(pa.array([rows[pair] for pair in wanted], pa.int64()))

    def with_rewrites(self, table: pa.Table) -> pa.Table:
        """Adds the column `rewrite` where this environment has a rewriter."""
        if self.settings.rewriter.mode == "off" or "rewriter" not in self.manifest.models:
            return table
        distinct = pa.table(
            {"query": pa.array(list(dict.fromkeys(table["query"].to_pylist())), pa.string())}
        )
        opener = Opener(self.settings, self.manifest)
        found = map_table(
            distinct, [(MakeRewrite(opener), 1)], batch_rows=_BATCH_ROWS, step="rewrite"
        )
        rewrite_of = dict(
            zip(found["query"].to_pylist(), found["rewrite"].to_pylist(), strict=True)
        )
        return table.append_column(
            "rewrite", pa.array([rewrite_of[q] for q in table["query"].to_pylist()])
        )

    def _map(self, table: pa.Table, make: MakeSearch | MakePairs, step: str) -> pa.Table:
        if self.system is not None and not self.system.rewrite and "rewrite" in table.column_names:
            table = table.drop_columns(["rewrite"])
        rows = _BATCH_ROWS if step == "search" else 16 * _BATCH_ROWS
        if self.here and table.num_rows <= _HERE_BATCHES * rows:
            search = make()
            slices = [table.slice(first, rows) for first in range(0, max(table.num_rows, 1), rows)]
            with ThreadPoolExecutor(
                self.settings.ray.embed_workers,
                # OpenMP keeps its number of threads by thread, and one that is new would take every core.
                initializer=faiss.omp_set_num_threads,
                initargs=(self.settings.serving.threads,),
            ) as pool:
                return pa.concat_tables(list(pool.map(search, slices)))
        return map_table(
            table, [(make, self.settings.ray.embed_workers)], batch_rows=rows, step=step
        )

    def _opener(self) -> Opener:
        if self.system is None:
            return Opener(self.settings, self.manifest)
        return Opener(self.system.settings(self.settings), self.manifest, rank=self.system.rank)


def _in_order(found: pa.Table, queries: list[str], within: str) -> pa.Table:
    """Rows of the first query first; Ray Data may have mixed the blocks."""
    place = {query: i for i, query in enumerate(dict.fromkeys(queries))}
    order = pa.array([place[query] for query in found["query"].to_pylist()], pa.int64())
    ordered = found.append_column("_place", order).sort_by(
        [("_place", "ascending"), (within, "ascending")]
    )
    return ordered.drop_columns(["_place"])
