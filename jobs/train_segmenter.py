r"""Trains the query segmenter on tagged queries such as QueryNER's, on CPU, and measures what will be served.

    python -m jobs.train_segmenter --config configs/benchmarks/homedepot.yaml \
      --queries "$AISLE_DATA/queryner/queryner.parquet" --out DIR [--minutes 30] [--epochs 6] [--threads 1]

Reads Parquet with `split, tokens, labels`, trains on the split `train` and measures the exported int8 model on the
split `validation`, which chooses nothing: the epoch is chosen on queries held out of `train`. Writes a folder for
`rewriter.segmenter`; the next reindex publishes it. Six epochs of 7,800 queries take 4 minutes of one core.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aisle.config import Settings
from aisle.embed.folder import chosen_model
from aisle.embed.resolve import resolve_model
from aisle.rewrite.entities import scores_by_type
from aisle.rewrite.segmenter import OnnxSegmenter
from aisle.rewrite.training.tagged import TaggedQuery, read_tagged
from jobs import command

logger = logging.getLogger("jobs.train_segmenter")


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains, exports, measures; returns the folder's card with the measures."""
    from aisle.rewrite.training.segmenter import SegmenterPlan, train_segmenter
    from aisle.rewrite.training.segmenter_folder import save_segmenter

    plan = SegmenterPlan(
        minutes=arguments.minutes,
        epochs=arguments.epochs,
        seed=arguments.seed,
        threads=arguments.threads,
    )
    queries = read_tagged(arguments.queries, "train")
    measured = read_tagged(arguments.queries, "validation")
    name = arguments.base or chosen_model(settings.encoder)
    folder = resolve_model(name, Path(settings.work_dir))
    model, tokenizer, tags, kept = train_segmenter(plan, folder, queries, log_epoch)
    card: dict[str, object] = {
        "tags": list(tags),
        "base": name,
        "plan": asdict(plan),
        "queries": len(queries),
        "epoch": kept.epoch,
        "held_out_f1": round(kept.held_out.f1, 4),
    }
    out = Path(arguments.out)
    save_segmenter(model, tokenizer, card, out)
    return {"out": str(out), **card, "validation": measure(OnnxSegmenter.load(out), measured)}


def log_epoch(epoch: Any) -> None:
    """One line: how far and how good."""
    logger.info(
        "epoch %d, %d steps, loss %.3f, held-out entity F1 %.3f, %.0f s",
        epoch.epoch,
        epoch.steps,
        epoch.loss,
        epoch.held_out.f1,
        epoch.elapsed_s,
    )


def measure(segmenter: OnnxSegmenter, queries: list[TaggedQuery]) -> dict[str, Any]:
    """Entity F1 of the served model, all types and each, and CPU time a query."""
    started = time.process_time()
    found = [segmenter.tag(query.words) for query in queries]
    ms = 1000 * (time.process_time() - started) / len(queries)
    scores = scores_by_type([(q.tags, tags) for q, tags in zip(queries, found, strict=True)])
    for name, score in scores.items():
        logger.info(
            "%-18s %4d entities  precision %.3f  recall %.3f  F1 %.3f",
            name,
            score.wanted,
            score.precision,
            score.recall,
            score.f1,
        )
    return {
        "queries": len(queries),
        "ms_per_query": round(ms, 3),
        "entity_f1": round(scores["all"].f1, 4),
        "precision": round(scores["all"].precision, 4),
        "recall": round(scores["all"].recall, 4),
        "f1_by_type": {name: round(each.f1, 4) for name, each in scores.items() if name != "all"},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument(
        "--queries", required=True, help="Parquet with split, tokens, labels; any fsspec URL"
    )
    parser.add_argument("--out", required=True, help="the model's folder; written at the end")
    parser.add_argument(
        "--base",
        help="model to start from; encoder.model by default, or encoder.base until that is there",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="time to train at most")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")


if __name__ == "__main__":
    command.main("train_segmenter", __doc__, run, add_arguments)
