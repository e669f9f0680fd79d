"""From judged rows to the relevance filter, calibrated on scores of queries that the ranker did not learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aisle.config import RankerConfig, RelevanceConfig
from aisle.relevance.baselines import compare_cuts
from aisle.relevance.model import RelevanceModel
from aisle.relevance.pairs import JudgedPairs
from aisle.relevance.train import train_relevance
from aisle.stages import Encoder, Ranker
from aisle.training.ranker import held_back_scores
from aisle.training.rows import TrainingRows


def fit_relevance(
    train: TrainingRows,
    dev: TrainingRows,
    encoder: Encoder,
    ranker: Ranker,
    config: RelevanceConfig,
    ranker_config: RankerConfig,
    *,
    rounds: int,
    relevant_from: float,
    lowest_grade: float,
    seed: int = 0,
) -> tuple[RelevanceModel, list[dict[str, Any]]]:
    """Trains the adapter and compares it with simpler cuts on the dev split.

    Args:
        train: rows of the split that the ranker was trained on, unjudged candidates included.
        dev: rows of other queries; they carry the threshold.
        encoder: encodes the queries as serving does.
        ranker: the one that will be served; scores the dev rows.
        config: family and the recall to keep.
        ranker_config: how the ranker was trained, to hold scores back the same way.
        rounds: trees of the served ranker; 0 where the fused score ranks, which needs no holding back.
        relevant_from: lowest relevant grade.
        lowest_grade: grade of an unjudged candidate.
        seed: of folds and network.

    Returns:
        The model, and one row a method: PR AUC, share dropped, Brier skill, calibration error.
    """
    if rounds:
        scores = held_back_scores(
            train, ranker_config, lowest_grade=lowest_grade, rounds=rounds, seed=seed
        )
    else:
        scores = ranker.score(train.features)
    judged = np.isfinite(train.grades)
    fitted = _pairs(train.judged(), encoder, scores[judged], relevant_from)
    seen = dev.judged()
    held = _pairs(seen, encoder, ranker.score(seen.features), relevant_from)
    model = train_relevance(
        fitted,
        family=config.family,
        valid=held,
        threshold_for=("recall", config.wanted_recall),
        seed=seed,
    )
    rows = compare_cuts(fitted, held, {f"adapter ({config.family})": model.relevance_of(held)})
    table = [{"method": row.method, **row.measures.as_dict()} for row in rows]
    return model, table


def _pairs(
    rows: TrainingRows, encoder: Encoder, scores: NDArray[np.float32], relevant_from: float
) -> JudgedPairs:
    return JudgedPairs(
        query_vectors=encoder.encode(rows.queries, "query"),
        query_index=rows.query_index,
        cosine=rows.cosine,
        score=scores,
        relevant=rows.grades >= relevant_from,
    )
