"""Searches many queries, or scores given pairs, with the pipeline that serves.

    python -m jobs.batch_search --config configs/local.yaml --queries IN.parquet --k 200 --out OUT.parquet
    python -m jobs.batch_search --config configs/local.yaml --pairs IN.parquet --out OUT.parquet

`--queries` reads the column `query` and writes `query, rank (from 1), product_id, score, relevance, kept`; hits that
the relevance filter would drop stay in, with `kept` false. `--pairs` reads `query, product_id`, scores every pair
through rewrite, features, ranker and filter without retrieval, and writes `query, product_id, score, relevance, kept`.
"""

from __future__ import annotations

import argparse
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from aisle.config import Settings
from aisle.errors import RequestError
from aisle.evaluation.table import read_parquet
from aisle.schema import MAX_REACH, SearchRequest
from aisle.snapshot import Library
from aisle.store import Store
from jobs import command
from jobs.on_ray import cluster
from jobs.search_tables import TableSearch


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Reads, searches, writes."""
    if not 1 <= arguments.k <= MAX_REACH:
        raise RequestError(f"got {arguments.k}, allowed is 1 to {MAX_REACH}", "--k")
    source = arguments.queries or arguments.pairs
    wanted = ("query",) if arguments.queries else ("query", "product_id")
    table = read_parquet(source, required=wanted, optional=())
    table = table.select(list(wanted)).cast(pa.schema([(name, pa.string()) for name in wanted]))
    _check(source, table["query"].to_pylist())
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(arguments.snapshot or library.current())
    with cluster(settings.ray):
        search = TableSearch(settings, manifest)
        table = search.with_rewrites(table)
        found = search.queries(table, arguments.k) if arguments.queries else search.pairs(table)
    with fsspec.open(arguments.out, "wb") as sink:
        pq.write_table(found, sink)
    return {
        "snapshot": manifest.snapshot_id,
        "rows_in": table.num_rows,
        "rows_out": found.num_rows,
        "out": arguments.out,
    }


def _check(source: str, queries: list[str | None]) -> None:
    """Every query must be one that the service would answer; names the first row that is not."""
    for row, query in enumerate(queries):
        try:
            SearchRequest(query=query or "")
        except ValidationError as error:
            raise RequestError(
                f"{source} row {row}: {error.errors()[0]['msg']}; got {str(query)[:60]!r}"
            ) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--queries", metavar="IN.parquet", help="searches the column `query`")
    source.add_argument("--pairs", metavar="IN.parquet", help="scores `query, product_id`")
    parser.add_argument("--k", type=int, default=200, help="hits a query (default 200)")
    parser.add_argument("--out", required=True, metavar="OUT.parquet", help="any fsspec URL")
    parser.add_argument("--snapshot", help="which snapshot; CURRENT by default")


if __name__ == "__main__":
    command.main("batch_search", __doc__, run, add_arguments)
