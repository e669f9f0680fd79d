"""From training rows to the ranker that suits them: recipes compared on held-back queries, the best one trained.

What a thousand judged queries teach a forest, a hundred do not: there a linear blend orders better, and with a few
dozen a single column may. So the job does not decide beforehand. It deals the queries to folds, trains every recipe on
all but one fold, measures on the one, and takes the best of recipes, rounds and plain columns by the mean of both
ndcg@10 (judged pairs, whole catalogue); the table goes into the model's description.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aisle.config import RankerConfig
from aisle.rank.features import FEATURES
from aisle.rank.linear import LinearPart
from aisle.rank.model import RankerModel
from aisle.rank.rows import RankRows
from aisle.rank.train import RECIPES, Recipe, assemble, recipe_named, train_parts
from aisle.rank.trees import TreeSettings
from aisle.training.measure import OrderMeasures, measure_order
from aisle.training.rows import TrainingRows

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

COLUMNS = ("fused", "cosine", "bm25_share")
"""Orders that need no training: what a ranker has to beat."""
_TREE_QUERIES = 50
"""Fewer queries than this grow no trees."""


@dataclass(frozen=True)
class Choice:
    """One way to order, measured on queries that it was not trained on."""

    name: str
    recipe: Recipe | None
    """None for a plain column."""
    rounds: int
    measures: OrderMeasures
    scores: Floats
    """(n,) of every held-back row."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "rounds": self.rounds,
            "ndcg@10_pairs": round(float(self.measures.pairs.mean()), 4),
            "ndcg@10": round(float(self.measures.whole.mean()), 4),
        }


def tree_settings(config: RankerConfig) -> TreeSettings:
    """How trees are grown in an environment."""
    return TreeSettings(
        rounds=config.rounds,
        leaves=config.leaves,
        learning_rate=config.learning_rate,
        min_rows_in_leaf=config.min_rows_in_leaf,
        feature_fraction=0.6,
        bagging_fraction=0.8,
        l2=1.0,
        monotone=dict.fromkeys(config.monotone, 1),
    )


def compare_recipes(
    rows: TrainingRows,
    config: RankerConfig,
    *,
    lowest_grade: float,
    seed: int = 0,
    threads: int = 1,
    steps: int = 4,
) -> list[Choice]:
    """Every way to order, measured by cross-validation over queries, best first.

    Args:
        rows: of every query that may be learnt from, with all candidates where both measures are to mean something.
        config: recipe, rounds, folds and the unjudged candidates to train with.
        lowest_grade: grade of an unjudged candidate.
        seed: of folds and trees.
        threads: of LightGBM.
        steps: numbers of rounds that are compared: all, and fractions of them.
    """
    settings = tree_settings(config)
    recipes = _recipes(config, len(rows.queries))
    names = _names(rows)
    rounds = sorted({max(1, settings.rounds * i // steps) for i in range(1, steps + 1)})
    scores: dict[tuple[Recipe, int], Floats] = {}
    fold_of = folds_of(rows, config.folds, seed)
    for fold in range(config.folds):
        inside = fold_of == fold
        if not inside.any():
            continue
        learnt = checked_rows(rows.take(~inside).thinned(config.unjudged_per_query), lowest_grade)
        parts = train_parts(learnt, names, recipes, settings, seed=seed, threads=threads)
        for each, found in parts.scores(rows.features[inside], recipes, rounds).items():
            scores.setdefault(each, np.zeros(len(rows.grades)))[inside] = found
        logger.info("ranker: fold %d of %d trained", fold + 1, config.folds)
    choices = [
        Choice(recipe.name, recipe, step, measure_order(rows, found, lowest_grade), found)
        for (recipe, step), found in scores.items()
    ]
    for name in COLUMNS:
        column = rows.features[:, FEATURES.index(name)].astype(np.float64)
        choices.append(Choice(name, None, 0, measure_order(rows, column, lowest_grade), column))
    return sorted(choices, key=lambda each: -each.measures.mean)


def fit_ranker(
    rows: TrainingRows,
    config: RankerConfig,
    *,
    lowest_grade: float,
    seed: int = 0,
    threads: int = 1,
) -> tuple[RankerModel, list[Choice]]:
    """Chooses by cross-validation over the queries of `rows` and trains the choice on all of them.

    Returns the model and what was compared, best first. Raises JudgmentError where the rows cannot teach a ranking.
    """
    checked_rows(rows.judged(), lowest_grade)  # says at once what a fold would say later
    choices = compare_recipes(rows, config, lowest_grade=lowest_grade, seed=seed, threads=threads)
    best = choices[0]
    compared = [each.as_dict() for each in choices]
    summary = {"chosen": best.name, "folds": config.folds, "seed": seed, "compared": compared}
    learnt = checked_rows(rows.thinned(config.unjudged_per_query), lowest_grade)
    if best.recipe is None:
        logger.warning(
            "%d queries teach no better order than the column %s alone; it is what will rank",
            len(rows.queries),
            best.name,
        )
        return _column_model(best.name, learnt, summary), choices
    settings = tree_settings(config)
    parts = train_parts(
        learnt,
        FEATURES,
        [best.recipe],
        replace(settings, rounds=max(best.rounds, 1)),
        seeds=config.seeds,
        seed=seed,
        threads=threads,
    )
    return assemble(parts, best.recipe, FEATURES, settings, best.rounds, summary), choices


def folds_of(rows: TrainingRows, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row (n,); a query's rows are never in two."""
    dealt = np.random.default_rng(seed).permutation(len(rows.queries)) % folds
    return np.asarray(dealt[rows.query_index], np.int64)


def _recipes(config: RankerConfig, queries: int) -> list[Recipe]:
    if config.recipe != "auto":
        return [recipe_named(config.recipe)]
    return [each for each in RECIPES if queries >= _TREE_QUERIES or not each.has_trees]


def checked_rows(rows: TrainingRows, lowest: float) -> RankRows:
    """The rows as trainers take them; JudgmentError where they cannot teach a ranking."""
    return RankRows.checked(
        "training",
        rows.features,
        np.where(rows.seen, rows.grades, lowest),
        rows.query_index,
        width=rows.features.shape[1],
        lowest=lowest,
        judged=rows.seen,
    )


def _names(rows: TrainingRows) -> tuple[str, ...]:
    """The features' names, and any for columns that an ablation added."""
    return (*FEATURES, *(f"extra{i}" for i in range(rows.features.shape[1] - len(FEATURES))))


def _column_model(name: str, rows: RankRows, summary: dict[str, Any]) -> RankerModel:
    weights = np.zeros(len(FEATURES), np.float32)
    weights[FEATURES.index(name)] = 1.0
    return RankerModel(
        linear=LinearPart(weights, 0.0),
        trees=(),
        feature_names=FEATURES,
        grades=tuple(float(g) for g in np.unique(np.append(rows.grades, rows.lowest))),
        summary={
            "rows": len(rows.grades),
            "queries": len(rows.sizes()),
            "lowest_grade": rows.lowest,
            "recipe": name,
            "rounds_used": 0,
            **summary,
        },
        sample=rows.features[:: max(1, len(rows.features) // 2000)],
    )
