"""Measures snapshots on judgments, stages switched on one after another: a report for people and one JSON line.

    python -m jobs.evaluate --config configs/benchmarks/icecat.yaml [--config configs/benchmarks/homedepot.yaml ...]
        [--split test] [--html report.html] [--out report.json] [--against earlier.json] [--with-judge graded.parquet]

Every system is measured in one run on the same queries: words alone, the encoder alone, both fused, then with
rewriting, with the ranker, and with the relevance filter, each with the paired difference to the row above. Segments
(head, tail, typing errors, no right answer) and the worst queries with what was returned stand in the page, which is
one file without scripts. The report pins its query set: judgments by hash, split, gains, cut and depth; `--against`
refuses a report whose pins differ. `--with-judge` adds nDCG with a model's grades beside people's, never instead.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from aisle.config import Settings
from aisle.errors import JudgmentError
from aisle.evaluation import Judgments
from aisle.evaluation.measure import Measured, judged_pairs, measure, text_table
from aisle.evaluation.pages import report_page
from aisle.evaluation.segments import query_words
from aisle.evaluation.set_report import brief, compared, set_report
from aisle.evaluation.source import open_judgments
from aisle.evaluation.systems import System, ladder
from aisle.judging.graded import with_model_grades
from aisle.snapshot import Library, LoadedSnapshot, Manifest
from aisle.snapshot.loaded import Parts
from aisle.snapshot.lookup import look_up
from aisle.store import Store
from jobs import command
from jobs.on_ray import cluster
from jobs.search_tables import TableSearch


def run(environments: list[Settings], arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures the ladder of every environment."""
    if len(environments) > 1 and (arguments.snapshot or arguments.with_judge):
        raise JudgmentError("--snapshot and --with-judge go with one --config; give one")
    earlier = _read(arguments.against) if arguments.against else []
    with cluster(environments[0].ray):
        sets = [_measured(settings, arguments) for settings in environments]
    for other in earlier:
        name = other.get("query_set", {}).get("name")
        places = [i for i, each in enumerate(sets) if each["query_set"]["name"] == name]
        for i in places:
            sets[i] = compared(sets[i], other, arguments.against)
    report = {"sets": sets}
    if arguments.out:
        with fsspec.open(arguments.out, "w") as sink:
            json.dump(report, sink, indent=1)
    if arguments.html:
        today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        with fsspec.open(arguments.html, "w", encoding="utf-8") as sink:
            sink.write(report_page(sets, f"python -m jobs.evaluate, {today}"))
    return {"sets": [brief(each) for each in sets]}


def _measured(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(arguments.snapshot or library.current())
    split = arguments.split or settings.evaluation.split
    judgments = read_judgments(settings, split)
    both = with_model_grades(judgments, arguments.with_judge) if arguments.with_judge else None
    rows = measure_systems(settings, manifest, judgments, ladder(settings), both)
    if not rows[-1].pair_known.any():
        raise JudgmentError(
            f"none of the {len(judgments)} judged pairs names a product of {manifest.snapshot_id}, for example "
            f"{judgments.product_ids[0]!r}; judgments and catalogue do not belong together"
        )
    print(f"{settings.name}, {manifest.snapshot_id}\n{text_table(rows)}", file=sys.stderr)
    snapshot = LoadedSnapshot.load(library, manifest, settings, Parts.QUERY)
    cache = Path(settings.serving.cache_dir)

    def titles_of(product_ids: Any) -> dict[str, str]:
        table = look_up(library, manifest, cache, product_ids, ["title"])
        return dict(zip(table["product_id"].to_pylist(), table["title"].to_pylist(), strict=True))

    return set_report(
        rows,
        judgments,
        manifest.snapshot_id,
        query_words(judgments.texts, snapshot.statistics, snapshot.analyzer),
        titles_of,
        name=settings.name,
        split=split,
        depth=settings.evaluation.depth,
    )


def read_judgments(settings: Settings, split: str | None) -> Judgments:
    """The environment's judgments by people; JudgmentError where it names none."""
    judgments = open_judgments(settings.evaluation)
    return judgments.split(split) if split else judgments


def measure_systems(
    settings: Settings,
    manifest: Manifest,
    judgments: Judgments,
    systems: list[System],
    both: Judgments | None = None,
    *,
    here: bool = False,
) -> list[Measured]:
    """Runs queries and pairs through each system; rewrites are made once, and systems that find alike search once.

    `both` are the same queries with a model's grades beside people's; `here`: see `TableSearch`.
    """
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
    measured: list[Measured] = []
    searched: list[tuple[System, pa.Table, pa.Table]] = []
    for system in systems:
        known = [tables for other, *tables in searched if other.finds_as(system)]
        if known:
            found, scored = known[0]
        else:
            search = TableSearch(settings, manifest, system, here)
            found = search.queries(queries, settings.evaluation.depth)
            scored = search.pairs(pairs)
            searched.append((system, found, scored))
        measured.append(
            measure(system.name, judgments, found, scored, filtered=system.cut, both=both)
        )
    return measured


def _read(url: str) -> list[dict[str, Any]]:
    try:
        with fsspec.open(url) as source:
            sets: list[dict[str, Any]] = json.load(source)["sets"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JudgmentError(
            f"{url}: is no report that jobs.evaluate --out wrote ({type(error).__name__}: {error})"
        ) from error
    return sets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--split", help="which split; evaluation.split by default")
    parser.add_argument("--snapshot", help="which snapshot; CURRENT by default")
    parser.add_argument("--html", metavar="REPORT.html", help="writes the page; any fsspec URL")
    parser.add_argument("--out", metavar="REPORT.json", help="writes everything as JSON")
    parser.add_argument(
        "--against", metavar="EARLIER.json", help="an --out of before; same query sets only"
    )
    parser.add_argument(
        "--with-judge", metavar="GRADED.parquet", help="grades by jobs.judge, shown beside people's"
    )


if __name__ == "__main__":
    command.main("evaluate", __doc__, run, add_arguments, several=True)
