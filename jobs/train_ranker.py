"""Trains the ranker on judgments over the live snapshot.

    python -m jobs.train_ranker --config configs/local.yaml --out models/ranker

Over the features that serving computes: linear blends, LambdaMART, a regression of the gain and their sums are
compared by cross-validation over queries, with the plain columns that need no training; what orders best is trained,
exported to ONNX and checked equal. Set `ranker.model` to the folder and the next reindex publishes it. The comparison,
the importance of each feature and, with --ablate, what each group of features is worth go to standard error and into
the model's description.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from aisle.config import Settings
from aisle.snapshot import Library
from aisle.store import Store
from aisle.training import ablate, fit_ranker
from jobs import command
from jobs.on_ray import cluster
from jobs.training_rows import learning


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Collects rows, compares, trains, saves."""
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(library.current())
    with cluster(settings.ray):
        rows, judgments = learning(settings, manifest)
    options: dict[str, Any] = {
        "lowest_grade": judgments.lowest_grade,
        "seed": arguments.seed,
        "threads": arguments.threads,
    }
    model, choices = fit_ranker(rows, settings.ranker, **options)
    table = ablate(rows, choices[0], settings.ranker, **options) if arguments.ablate else []
    model.save(arguments.out, measures={"ablation": table})
    for row in (each.as_dict() for each in choices):
        print(
            f"{row['name']:28}{row['rounds']:6d}  pairs {row['ndcg@10_pairs']:.4f}  "
            f"whole {row['ndcg@10']:.4f}",
            file=sys.stderr,
        )
    for name, share, splits in model.importance():
        print(f"{name:28}{share:8.4f}{splits:8d}", file=sys.stderr)
    for each in table:
        cells = "  ".join(f"{key} {value}" for key, value in each.items() if key != "features")
        print(f"{each['features']:44}{cells}", file=sys.stderr)
    return {"out": arguments.out, "snapshot": manifest.snapshot_id, **model.summary}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of LightGBM")
    parser.add_argument(
        "--ablate",
        action="store_true",
        help="measure each group of features; as long again for each",
    )


if __name__ == "__main__":
    command.main("train_ranker", __doc__, run, add_arguments)
