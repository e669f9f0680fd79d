"""Judges the hits that nobody judged, and says how much that changes nDCG: people alone beside people and model.

    python -m jobs.judge --config C --judge DIR --out graded.parquet [--split test] [--depth 10]
    python -m jobs.judge --config C --llm MODEL --out graded.parquet

`--judge` is a cross-encoder that `jobs.train_judge` made, `--llm` any causal language model. First the judge grades a
sample of the pairs that people graded in a split that it did not learn from (`--agreement-split`), and its kappa with
them is reported: below .4 its grades say little, and at 0 nothing. Then it grades what the snapshot as served returns
among the first `--depth` hits and nobody judged. The file holds the model's grades alone, each row with `judged_by`;
`jobs.evaluate --with-judge` shows them beside people's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.product import PRODUCT_SCHEMA
from aisle.catalog.text import product_text
from aisle.config import Settings
from aisle.errors import ConfigError
from aisle.evaluation import Judgments, Run, mean_interval, ndcg
from aisle.evaluation.metrics import judged_fraction
from aisle.judging.cross_encoder import CrossEncoderJudge
from aisle.judging.graded import graded_table, unjudged_hits, with_model_grades
from aisle.judging.held_back import judge_pairs, measure_verdicts
from aisle.judging.judge import Judge, scale_of
from aisle.judging.llm import LlmJudge
from aisle.snapshot import Library
from aisle.snapshot.lookup import look_up
from aisle.store import Store
from jobs import command
from jobs.evaluate import read_judgments
from jobs.on_ray import cluster
from jobs.search_tables import TableSearch

_BATCH_PAIRS = 512


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Searches, grades, measures both ways."""
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(library.current())
    judgments = read_judgments(settings, arguments.split or settings.evaluation.split)
    sample = read_judgments(settings, arguments.agreement_split)
    sample = sample.sampled(arguments.agreement_queries)
    with cluster(settings.ray):
        search = TableSearch(settings, manifest)
        queries = pa.table({"query": pa.array(list(judgments.texts), pa.string())})
        found = search.queries(search.with_rewrites(queries), max(arguments.depth, 10))
    wanted = unjudged_hits(judgments, found, arguments.depth)
    judge = _open(settings, arguments, judgments)
    ids = {*wanted["product_id"].to_pylist(), *sample.product_ids}
    fields, chars = _reads(judge, settings)
    rows = look_up(library, manifest, Path(settings.serving.cache_dir), ids, PRODUCT_SCHEMA.names)
    texts = dict(
        zip(rows["product_id"].to_pylist(), product_text(rows, fields, chars), strict=True)
    )
    sample = sample.known_in(texts)
    try:
        agreed = measure_verdicts(judge_pairs(judge, sample, texts), sample)
        graded = _grade(judge, wanted, texts)
    finally:
        judge.close()
    print(
        f"{judge.name}: kappa with people {agreed['kappa']:.3f} {agreed['kappa_interval']}, quadratic "
        f"{agreed['quadratic_kappa']:.3f} {agreed['quadratic_kappa_interval']} over {agreed['pairs']} pairs of the "
        f"{arguments.agreement_split} split",
        file=sys.stderr,
    )
    with fsspec.open(arguments.out, "wb") as sink:
        pq.write_table(graded, sink)
    both = with_model_grades(judgments, graded) if graded.num_rows else judgments
    report = {
        "judge": judge.name,
        "agreement": {"split": arguments.agreement_split, **agreed},
        "graded_pairs": graded.num_rows,
        "out": arguments.out,
        "snapshot": manifest.snapshot_id,
        "people": _measures(judgments, found),
        "people_and_model": _measures(both, found),
    }
    for name in ("people", "people_and_model"):
        cells = "".join(f"  {key} {value}" for key, value in report[name].items())
        print(f"{name:18}{cells}", file=sys.stderr)
    return report


def _open(settings: Settings, arguments: argparse.Namespace, judgments: Judgments) -> Judge:
    if (arguments.judge is None) == (arguments.llm is None):
        raise ConfigError("give one of --judge DIR and --llm MODEL")
    if arguments.judge is not None:
        return CrossEncoderJudge.load(arguments.judge, threads=arguments.threads)
    highest = float(judgments.grades.max())
    return LlmJudge(arguments.llm, scale_of(judgments.lowest_grade, highest))


def _reads(judge: Judge, settings: Settings) -> tuple[tuple[str, ...], int]:
    if isinstance(judge, CrossEncoderJudge):
        return judge.card.text_fields, judge.card.text_max_chars
    return settings.catalog.text_fields, settings.catalog.text_max_chars


def _grade(judge: Judge, wanted: pa.Table, texts: dict[str, str]) -> pa.Table:
    parts = []
    for start in range(0, wanted.num_rows, _BATCH_PAIRS):
        part = wanted.slice(start, _BATCH_PAIRS)
        queries, products = part["query"].to_pylist(), part["product_id"].to_pylist()
        verdicts = judge.judge(queries, [texts[product] for product in products])
        parts.append(graded_table(queries, products, verdicts, judge.name))
    return (
        pa.concat_tables(parts) if parts else graded_table([], [], judge.judge([], []), judge.name)
    )


def _measures(judgments: Judgments, found: pa.Table) -> dict[str, Any]:
    run = Run.from_columns(
        found["query"].to_pylist(), found["product_id"].to_pylist(), found["rank"].to_numpy()
    )
    interval = mean_interval(ndcg(judgments, run, 10), seed=0)
    return {
        "ndcg@10": round(interval.mean, 4),
        "ndcg@10_interval": [round(interval.low, 4), round(interval.high, 4)],
        "judged@10": round(float(np.nanmean(judged_fraction(judgments, run, 10))), 4),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--judge", metavar="DIR", help="a cross-encoder by jobs.train_judge")
    parser.add_argument("--llm", metavar="MODEL", help="a causal language model: folder or name")
    parser.add_argument("--out", required=True, help="Parquet to write; any fsspec URL")
    parser.add_argument("--split", help="which split; evaluation.split by default")
    parser.add_argument("--depth", type=int, default=10, help="hits of a query that are looked at")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--agreement-split", default="dev", help="people's grades to agree with")
    parser.add_argument("--agreement-queries", type=int, default=200)


if __name__ == "__main__":
    command.main("judge", __doc__, run, add_arguments)
