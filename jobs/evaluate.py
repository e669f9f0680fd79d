"""Measures a snapshot on judgments, stages switched on one after another.

    python -m jobs.evaluate --config configs/benchmarks/icecat.yaml [--split test] [--snapshot ID] [--out report.json]

Every system is measured in one run on the same queries: BM25 alone, the encoder alone, both fused, then with rewriting
and with ranker and relevance filter. Measures are those of the design: ndcg@10 with exponential gains, unjudged as 0
over the whole catalogue and over all judged pairs, recall@100 and @200, precision of the kept page, and for the
relevance the share of irrelevant pairs dropped at 95 % recall, Brier skill and calibration error. The table goes to
standard error, the JSON with intervals to the last line.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import fsspec
import pyarrow as pa

from aisle.config import Settings
from aisle.errors import JudgmentError
from aisle.evaluation import Judgments
from aisle.evaluation.measure import Measured, judged_pairs, measure, text_table
from aisle.evaluation.report import report_of
from aisle.evaluation.systems import System, ladder
from aisle.snapshot import Library, Manifest
from aisle.store import Store
from jobs import command
from jobs.on_ray import cluster
from jobs.search_tables import TableSearch


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures the ladder of systems."""
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(arguments.snapshot or library.current())
    judgments = read_judgments(settings, arguments.split or settings.evaluation.split)
    with cluster(settings.ray):
        rows = measure_systems(settings, manifest, judgments, ladder(settings))
    print(text_table(rows), file=sys.stderr)
    report = report_of(rows, judgments, manifest.snapshot_id)
    if arguments.out:
        with fsspec.open(arguments.out, "w") as sink:
            json.dump(report, sink, indent=1)
    return report


def read_judgments(settings: Settings, split: str | None) -> Judgments:
    """The environment's judgments; JudgmentError where it names none."""
    evaluation = settings.evaluation
    if evaluation.judgments is None:
        raise JudgmentError(
            "evaluation.judgments is not set; name a Parquet file with query, product_id, grade"
        )
    judgments = Judgments.read(
        evaluation.judgments,
        relevant_from=evaluation.relevant_from,
        lowest_grade=evaluation.lowest_grade,
    )
    return judgments.split(split) if split else judgments


def measure_systems(
    settings: Settings,
    manifest: Manifest,
    judgments: Judgments,
    systems: list[System],
    *,
    here: bool = False,
) -> list[Measured]:
    """Runs queries and pairs through each system; rewrites are made once. `here`: see `TableSearch`."""
    queries = TableSearch(settings, manifest).with_rewrites(
        pa.table({"query": pa.array(list(judgments.texts), pa.string())})
    )
    pairs = judged_pairs(judgments)
    if "rewrite" in queries.column_names:
        rewrite_of = dict(
            zip(queries["query"].to_pylist(), queries["rewrite"].to_pylist(), strict=True)
        )
        pairs = pairs.append_column(
            "rewrite", pa.array([rewrite_of[q] for q in pairs["query"].to_pylist()])
        )
    measured = []
    for system in systems:
        search = TableSearch(settings, manifest, system, here)
        found = search.queries(queries, settings.evaluation.depth)
        measured.append(
            measure(system.name, judgments, found, search.pairs(pairs), filtered=system.rank)
        )
    return measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--split", help="which split; evaluation.split by default")
    parser.add_argument("--snapshot", help="which snapshot; CURRENT by default")
    parser.add_argument(
        "--out", metavar="REPORT.json", help="writes the report there too; any fsspec URL"
    )


if __name__ == "__main__":
    command.main("evaluate", __doc__, run, add_arguments)
