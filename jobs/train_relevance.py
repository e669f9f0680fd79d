"""Trains the relevance filter on judgments over the live snapshot.

    python -m jobs.train_relevance --config configs/local.yaml --ranker models/ranker --out models/relevance

A Cosine Adapter: a small network reads the query's vector and sets a monotone map from score to the probability that
people would call the product relevant. `--ranker` is the ranker that will be served beside it; its scores on training
queries are taken from rankers that did not see them. The threshold keeps `relevance.wanted_recall` of the dev split's
relevant pairs. The table compares it with simpler cuts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from aisle.config import Settings
from aisle.embed import open_encoder
from aisle.rank.features import FEATURES
from aisle.rank.onnx import DESCRIPTION_FILE, FusedRanker, OnnxRanker
from aisle.snapshot import Library
from aisle.stages import Ranker
from aisle.store import Store
from aisle.training import fit_relevance
from jobs import command
from jobs.on_ray import cluster
from jobs.training_rows import collect, splits


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Collects rows, trains, saves."""
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(library.current())
    train, dev = splits(settings)
    with cluster(settings.ray):
        rows, held = (collect(settings, manifest, judgments) for judgments in (train, dev))
    root = library.fetch(manifest, ["models/encoder/"], Path(settings.serving.cache_dir))
    encoder = open_encoder(root / manifest.models["encoder"].owner / "models" / "encoder")
    ranker, rounds = _ranker(arguments.ranker)
    model, table = fit_relevance(
        rows,
        held,
        encoder,
        ranker,
        settings.relevance,
        settings.ranker,
        rounds=rounds,
        relevant_from=train.relevant_from,
        lowest_grade=train.lowest_grade,
        seed=arguments.seed,
    )
    model.save(arguments.out)
    for row in table:
        cells = "".join(
            f"{name}={row[name]:.3f}  " for name in row if name not in ("method", "pairs")
        )
        print(f"{row['method']:28}{cells}", file=sys.stderr)
    return {
        "out": arguments.out,
        "threshold": model.threshold,
        "snapshot": manifest.snapshot_id,
        "dev": table,
    }


def _ranker(folder: str | None) -> tuple[Ranker, int]:
    """The ranker to be served and its number of trees; the fused score where there is none."""
    if folder is None:
        return FusedRanker(FEATURES, "fused"), 0
    ranker = OnnxRanker.load(folder)
    ranker.expect(FEATURES)
    description = json.loads((Path(folder) / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    return ranker, int(description["training"]["rounds_used"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument(
        "--ranker", help="folder of the ranker that will be served; none for the fused score"
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=7)


if __name__ == "__main__":
    command.main("train_relevance", __doc__, run, add_arguments)
