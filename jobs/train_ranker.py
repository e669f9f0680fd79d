"""Trains the ranker on judgments over the live snapshot.

    python -m jobs.train_ranker --config configs/local.yaml --out models/ranker

LambdaMART over the features that serving computes, exported to ONNX and checked equal. Set `ranker.model` to the folder
and the next reindex publishes it.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from aisle.config import Settings
from aisle.snapshot import Library
from aisle.store import Store
from aisle.training import fit_ranker
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
    model = fit_ranker(
        rows, held.judged(), settings.ranker, lowest_grade=train.lowest_grade, seed=arguments.seed
    )
    model.save(arguments.out)
    for name, gain, splits_made in model.importance():
        print(f"{name:28}{gain:14.1f}{splits_made:8d}", file=sys.stderr)
    return {"out": arguments.out, "snapshot": manifest.snapshot_id, **model.summary}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=7)


if __name__ == "__main__":
    command.main("train_ranker", __doc__, run, add_arguments)
