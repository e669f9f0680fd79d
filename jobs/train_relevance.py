"""Trains the relevance filter on judgments over the live snapshot.

    python -m jobs.train_relevance --config configs/local.yaml --ranker models/ranker --out models/relevance

A Cosine Adapter: a small network reads the query's vector and sets a monotone map from score to the probability that
people would call the product relevant. `--ranker` is the ranker that will be served beside it; its scores on training
queries are taken from rankers that did not see them. The threshold keeps `relevance.wanted_recall` of the relevant
pairs, or `relevance.wanted_precision` of what is kept. The table compares the families of maps with simpler cuts;
`--plots` draws reliability and precision against recall.
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
from aisle.relevance.plots import draw
from aisle.snapshot import Library
from aisle.stages import Ranker
from aisle.store import Store
from aisle.training import fit_relevance
from jobs import command
from jobs.on_ray import cluster
from jobs.training_rows import collect, learning, splits


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Collects rows, trains, saves."""
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(library.current())
    with cluster(settings.ray):
        rows, judgments = learning(settings, manifest)
        spared = "dev" not in settings.ranker.learn_from
        dev = collect(settings, manifest, splits(settings)[1]) if spared else None
    root = library.fetch(manifest, ["models/encoder/"], Path(settings.serving.cache_dir))
    encoder = open_encoder(root / manifest.models["encoder"].owner / "models" / "encoder")
    ranker, recipe, rounds = _ranker(arguments.ranker)
    fitted = fit_relevance(
        rows,
        dev,
        encoder,
        ranker,
        settings.relevance,
        settings.ranker,
        recipe=recipe,
        rounds=rounds,
        relevant_from=judgments.relevant_from,
        lowest_grade=judgments.lowest_grade,
        seed=arguments.seed,
        threads=arguments.threads,
    )
    table = [{"method": row.method, **row.measures.as_dict()} for row in fitted.table]
    fitted.model.save(arguments.out, measures={"on": fitted.measured_on, "cuts": table})
    if arguments.plots:
        draw(fitted.relevance, fitted.relevant, Path(arguments.plots))
    for row in table:
        cells = "".join(
            f"{name}={row[name]:.3f}  " for name in row if name not in ("method", "pairs")
        )
        print(f"{row['method']:28}{cells}", file=sys.stderr)
    return {
        "out": arguments.out,
        "threshold": fitted.model.threshold,
        "snapshot": manifest.snapshot_id,
        "family": fitted.model.adapter.family,
        "measured_on": fitted.measured_on,
        "cuts": table,
    }


def _ranker(folder: str | None) -> tuple[Ranker, str | None, int]:
    """The ranker to be served, its recipe and its number of trees; the fused score where there is none."""
    if folder is None:
        return FusedRanker(FEATURES, "fused"), None, 0
    ranker = OnnxRanker.load(folder)
    ranker.expect(FEATURES)
    training = json.loads((Path(folder) / DESCRIPTION_FILE).read_text(encoding="utf-8"))["training"]
    recipe = training["recipe"]
    return ranker, None if recipe in FEATURES else recipe, int(training["rounds_used"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument(
        "--ranker", help="folder of the ranker that will be served; none for the fused score"
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of LightGBM")
    parser.add_argument(
        "--plots", metavar="FOLDER", help="writes reliability.png and precision.png"
    )


if __name__ == "__main__":
    command.main("train_relevance", __doc__, run, add_arguments)
