"""Training rows of the live snapshot, split by split, with Ray Data."""

from __future__ import annotations

from aisle.config import Settings
from aisle.errors import JudgmentError
from aisle.evaluation import Judgments
from aisle.searching import Opener
from aisle.snapshot import Manifest
from aisle.training import MakeFeatures, TrainingRows, training_queries
from jobs.evaluate import read_judgments
from jobs.on_ray import map_table
from jobs.search_tables import TableSearch

_BATCH_ROWS = 32


def splits(settings: Settings) -> tuple[Judgments, Judgments]:
    """Train and dev judgments; where the file has no split, a fifth of the queries becomes dev.

    Raises JudgmentError where there are too few queries to split.
    """
    judgments = read_judgments(settings, None)
    if judgments.splits is None:
        judgments = judgments.with_split({"train": 0.8, "dev": 0.2})
    if len(judgments.queries) < 10:
        raise JudgmentError(
            f"{settings.evaluation.judgments}: {len(judgments.queries)} queries are too few to train on; judge more, "
            "or serve with ranker.model: fused"
        )
    return judgments.split("train"), judgments.split("dev")


def learning(settings: Settings, manifest: Manifest) -> tuple[TrainingRows, Judgments]:
    """Rows of every split that `ranker.learn_from` names, and their judgments. JudgmentError on an unknown split."""
    named = dict(zip(("train", "dev"), splits(settings), strict=True))
    unknown = sorted(set(settings.ranker.learn_from) - set(named))
    if unknown or not settings.ranker.learn_from:
        raise JudgmentError(
            f"ranker.learn_from names {', '.join(unknown) or 'no split'}; models learn from train, dev or both, "
            "the test split only measures"
        )
    rows = None
    for split in settings.ranker.learn_from:
        found = collect(settings, manifest, named[split])
        rows = found if rows is None else rows.joined(found)
    assert rows is not None
    return rows, named[settings.ranker.learn_from[0]]


def collect(settings: Settings, manifest: Manifest, judgments: Judgments) -> TrainingRows:
    """Features of judged pairs and of all retrieved candidates, as the serving pipeline computes them.

    The fused score orders while collecting, so that rows do not depend on the model that is about to be replaced.
    """
    table = TableSearch(settings, manifest).with_rewrites(training_queries(judgments))
    make = MakeFeatures(Opener(settings, manifest, rank=False), None)
    found = map_table(
        table, [(make, settings.ray.embed_workers)], batch_rows=_BATCH_ROWS, step="features"
    )
    return TrainingRows.from_table(found)
