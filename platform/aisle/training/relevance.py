"""From judged rows to the relevance filter, calibrated on scores of queries that the ranker did not learn from.

A ranker is surer of the rows it was trained on than it will ever be in service, and a map fitted on those scores would
learn too much trust. So the rows are scored by rankers of the same recipe that did not see their query. Every family of
maps is fitted and measured beside the simple cuts, on dev queries where the ranker spared them, else on queries that
were held back from the fit; `auto` takes the family with the best Brier skill there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.config import RankerConfig, RelevanceConfig
from aisle.errors import JudgmentError
from aisle.rank.train import recipe_named, train_parts
from aisle.relevance.adapter import FAMILIES, Family
from aisle.relevance.baselines import CutRow, compare_cuts
from aisle.relevance.model import Goal, RelevanceModel
from aisle.relevance.pairs import JudgedPairs
from aisle.relevance.train import train_relevance
from aisle.stages import Encoder, Ranker
from aisle.training.ranker import checked_rows, folds_of, tree_settings
from aisle.training.rows import TrainingRows

_HELD_BACK = 0.25
"""Share of the queries that measure the families where no dev split is left."""


@dataclass(frozen=True)
class FittedRelevance:
    """The filter with what it was compared to."""

    model: RelevanceModel
    table: list[CutRow]
    """Cuts and families on the measured pairs."""
    relevance: dict[str, NDArray[np.float64]]
    """Probability of each measured pair by every method: for plots."""
    relevant: NDArray[np.bool_]
    """(n,) of the measured pairs."""
    measured_on: str


def fit_relevance(
    rows: TrainingRows,
    dev: TrainingRows | None,
    encoder: Encoder,
    ranker: Ranker,
    config: RelevanceConfig,
    ranker_config: RankerConfig,
    *,
    recipe: str | None,
    rounds: int,
    relevant_from: float,
    lowest_grade: float,
    seed: int = 0,
    threads: int = 1,
) -> FittedRelevance:
    """Trains the adapter and compares it with simpler cuts.

    Args:
        rows: of the splits that the ranker was trained on, unjudged candidates included.
        dev: rows of other queries, which carry the threshold; none where the ranker needed every split.
        encoder: encodes the queries as serving does.
        ranker: the one that will be served; scores the dev rows.
        config: family and the recall or precision to keep.
        ranker_config: how the ranker was trained, to hold scores back the same way.
        recipe: of the served ranker; none where a plain column ranks, which needs no holding back.
        rounds: trees of the served ranker.
        relevant_from: lowest relevant grade.
        lowest_grade: grade of an unjudged candidate.
        seed: of folds and network.
        threads: of LightGBM.

    Raises JudgmentError where the pairs teach nothing, see `JudgedPairs.checked`.
    """
    if recipe is None:
        scores = ranker.score(rows.features)
    else:
        scores = held_back_scores(
            rows,
            ranker_config,
            recipe=recipe,
            rounds=rounds,
            lowest_grade=lowest_grade,
            seed=seed,
            threads=threads,
        )
    pairs = _pairs(rows.judged(), encoder, scores[rows.seen], relevant_from)
    if dev is not None:
        seen = dev.judged()
        held = _pairs(seen, encoder, ranker.score(seen.features), relevant_from)
        fitted, where = pairs, "dev queries"
    else:
        fitted, held = _split(pairs, seed)
        where = "held-back queries"
    goal: Goal = ("recall", config.wanted_recall)
    if config.wanted_precision is not None:
        goal = ("precision", config.wanted_precision)
    families: tuple[Family, ...] = FAMILIES if config.family == "auto" else (config.family,)
    models = {
        family: train_relevance(fitted, family=family, valid=held, threshold_for=goal, seed=seed)
        for family in families
    }
    values = {f"adapter ({name})": each.relevance_of(held) for name, each in models.items()}
    table = compare_cuts(fitted, held, values)
    skill = {row.method: row.measures.brier_skill for row in table}
    best = max(families, key=lambda family: skill[f"adapter ({family})"])
    model = models[best]
    if dev is None:
        # Measured on queries held back; what is served learns from them too, and its threshold rests on them all.
        model = train_relevance(pairs, family=best, threshold_for=goal, seed=seed)
    return FittedRelevance(
        model,
        table,
        {row.method: row.scores for row in table},
        held.relevant,
        where,
    )


def held_back_scores(
    rows: TrainingRows,
    config: RankerConfig,
    *,
    recipe: str,
    rounds: int,
    lowest_grade: float,
    seed: int = 0,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Scores of every row by a ranker of that recipe that did not see its query: float32 (n,)."""
    fold_of = folds_of(rows, config.folds, seed)
    settings = tree_settings(config.model_copy(update={"rounds": max(rounds, 1)}))
    wanted = recipe_named(recipe)
    scores = np.zeros(len(rows.grades), dtype=np.float32)
    for fold in range(config.folds):
        inside = fold_of == fold
        if not inside.any():
            continue
        learnt = checked_rows(rows.take(~inside).thinned(config.unjudged_per_query), lowest_grade)
        parts = train_parts(
            learnt,
            [str(i) for i in range(rows.features.shape[1])],
            [wanted],
            settings,
            seed=seed,
            threads=threads,
        )
        (found,) = parts.scores(rows.features[inside], [wanted], [settings.rounds]).values()
        scores[inside] = found
    return scores


def _split(pairs: JudgedPairs, seed: int) -> tuple[JudgedPairs, JudgedPairs]:
    queries = np.unique(pairs.query_index)
    drawn = np.random.default_rng(seed).permutation(queries)[: round(_HELD_BACK * len(queries))]
    rows = np.isin(pairs.query_index, drawn)
    fitted, held = pairs.take(~rows), pairs.take(rows)
    for what, part in (("training", fitted), ("held-back", held)):
        try:
            part.checked(what)
        except JudgmentError as error:
            raise JudgmentError(
                f"{len(queries)} queries are too few to hold some back and measure on them ({error}); judge more, or "
                "serve with relevance.model: cosine"
            ) from error
    return fitted, held


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
