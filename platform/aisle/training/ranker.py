"""From training rows to a ranker: LambdaMART over the serving features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aisle.config import RankerConfig
from aisle.rank.features import FEATURES
from aisle.rank.train import RankerModel, train_ranker
from aisle.training.rows import TrainingRows


def fit_ranker(
    train: TrainingRows,
    dev: TrainingRows | None,
    config: RankerConfig,
    *,
    lowest_grade: float,
    seed: int = 0,
    threads: int = 1,
) -> RankerModel:
    """Trains on one split and stops by another; a candidate that nobody judged counts as lowest.

    Raises JudgmentError where the rows cannot teach a ranking.
    """
    return train_ranker(
        train.features,
        _grades(train, lowest_grade),
        train.query_index,
        FEATURES,
        lowest_grade=lowest_grade,
        valid=None if dev is None else (dev.features, _grades(dev, lowest_grade), dev.query_index),
        seed=seed,
        rounds=config.rounds,
        leaves=config.leaves,
        learning_rate=config.learning_rate,
        threads=threads,
    )


def held_back_scores(
    rows: TrainingRows,
    config: RankerConfig,
    *,
    lowest_grade: float,
    rounds: int,
    folds: int = 5,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Scores of every row by a ranker that did not see its query: float32 (n,).

    A ranker is surer of its training rows than it will ever be in service; a relevance map fitted on those would learn
    too much trust. Queries are dealt to folds at random, each fold is scored by a ranker trained on the others.
    """
    fold_of = np.random.default_rng(seed).integers(0, folds, size=len(rows.queries))[
        rows.query_index
    ]
    scores = np.zeros(len(rows.grades), dtype=np.float32)
    fixed = config.model_copy(update={"rounds": rounds})
    for fold in range(folds):
        inside = fold_of == fold
        if not inside.any():
            continue
        model = fit_ranker(rows.take(~inside), None, fixed, lowest_grade=lowest_grade, seed=seed)
        scores[inside] = model.score(rows.features[inside])
    return scores


def _grades(rows: TrainingRows, lowest: float) -> NDArray[np.float64]:
    return np.where(np.isfinite(rows.grades), rows.grades, lowest)
