"""Fine-tunes the encoder on judgments over the live snapshot, on CPU.

    python -m jobs.train_encoder --config configs/benchmarks/homedepot.yaml --out DIR [--minutes 30] [--threads 2]

Contrastive: products judged relevant against those of the same batch and against hard negatives, which the live
snapshot's own retrieval finds. Queries get typing errors, and some are made from titles. Training begins with
`encoder.base`, measures itself on the dev split as it goes and keeps the best state. Stopped and started again with
the same settings it goes on from its last checkpoint, which lies below `work_dir`. Set `encoder.model` to the folder
and the next reindex embeds the catalogue with it; rankers and relevance filters are trained after that.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aisle.catalog.text import product_text
from aisle.config import Settings
from aisle.embed import resolve_model
from aisle.evaluation import Judgments
from aisle.evaluation.systems import HYBRID
from aisle.snapshot import Library, Manifest
from aisle.snapshot.catalogue import live_products
from aisle.store import Store
from jobs import command
from jobs.on_ray import cluster
from jobs.search_tables import TableSearch
from jobs.training_rows import splits

if TYPE_CHECKING:
    from aisle.embed.training import Progress, TrainingPlan

logger = logging.getLogger("jobs.train_encoder")

_MINED_DEPTH = 50


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Mines, trains, saves."""
    from aisle.embed.training import build_material, save_encoder, train_encoder

    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(library.current())
    train, dev = splits(settings)
    products = live_products(library, manifest, Path(settings.serving.cache_dir))
    catalog = settings.catalog
    texts = product_text(products, catalog.text_fields, catalog.text_max_chars)
    ids, titles = products["product_id"].to_pylist(), products["title"].to_pylist()
    candidates = mine(settings, manifest, train)
    material = build_material(train, ids, texts, candidates, titles=titles)
    held_back = build_material(dev, ids, texts, titles=titles)
    base = resolve_model(settings.encoder.base, Path(settings.work_dir))
    plan = plan_of(settings, arguments)
    key = hashlib.sha256(f"{settings.name} {manifest.vectors} {base}".encode()).hexdigest()[:12]
    work = Path(settings.work_dir) / "train_encoder" / f"{settings.name}-{key}"
    module, ended = train_encoder(base, material, held_back, plan, work, log_progress)
    measures = {"steps": ended.step, "best_step": ended.best_step, "dev": ended.dev}
    card = {
        "base": settings.encoder.base,
        "minutes": round(ended.elapsed_s / 60, 1),
        "loss": round(ended.loss, 4),
        "queries": len(material.queries),
        "pairs": sum(len(rows) for rows in material.judged),
        "mined": sum(len(rows) for rows in material.mined),
        **measures,
        "plan": asdict(plan),
    }
    save_encoder(module, base, Path(arguments.out), card)
    (work / "checkpoint.pt").unlink(missing_ok=True)  # a finished run starts anew next time
    return {"out": arguments.out, "snapshot": manifest.snapshot_id, **card}


def mine(settings: Settings, manifest: Manifest, judgments: Judgments) -> dict[str, list[str]]:
    """What the live snapshot's retrieval gives for each training query, best first, without rewriter and ranker."""
    queries = pa.table({"query": pa.array(list(judgments.texts), pa.string())})
    with cluster(settings.ray):
        found = TableSearch(settings, manifest, HYBRID).queries(queries, _MINED_DEPTH)
    candidates: dict[str, list[str]] = {}
    for query, product_id in zip(
        found["query"].to_pylist(), found["product_id"].to_pylist(), strict=True
    ):
        candidates.setdefault(query, []).append(product_id)
    return candidates


def plan_of(settings: Settings, arguments: argparse.Namespace) -> TrainingPlan:
    """The plan with what arguments and settings say."""
    from aisle.embed.training import TrainingPlan

    encoder, plan = settings.encoder, TrainingPlan()
    return replace(
        plan,
        minutes=arguments.minutes,
        steps=arguments.steps,
        threads=arguments.threads,
        learning_rate=arguments.learning_rate,
        document_tokens=min(arguments.document_tokens, encoder.max_tokens),
        query_tokens=min(plan.query_tokens, encoder.query_max_tokens),
        query_prefix=encoder.query_prefix,
        document_prefix=encoder.document_prefix,
        batch=replace(plan.batch, seed=arguments.seed),
    )


def log_progress(progress: Progress) -> None:
    """One line: how far and how good."""
    logger.info(
        "step %d, loss %.3f, %.0f s, best on dev at step %d",
        progress.step,
        progress.loss,
        progress.elapsed_s,
        progress.best_step,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--out", required=True, help="the model's folder; written at the end")
    parser.add_argument("--minutes", type=float, default=30.0, help="time to train, on CPU")
    parser.add_argument("--steps", type=int, help="stop after so many steps if that comes first")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--learning-rate", type=float, default=6e-5, help="at its highest")
    parser.add_argument(
        "--document-tokens", type=int, default=40, help="product texts are cut here in training"
    )
    parser.add_argument("--seed", type=int, default=7)


if __name__ == "__main__":
    command.main("train_encoder", __doc__, run, add_arguments)
