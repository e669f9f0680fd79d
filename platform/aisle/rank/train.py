"""Trains the ranker on graded rows by a recipe: a linear blend, LambdaMART, a regression of the gain, or their sum.

Parts are brought to one scale, the standard deviation of their scores over the training rows, and added. Which recipe
suits a set is not known beforehand: `aisle.training.ranker` tries `RECIPES` on queries that were held back.

Needs lightgbm, onnx and onnxmltools; serving (`aisle.rank.onnx`) needs none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from aisle.errors import ConfigError
from aisle.rank.linear import LinearPart, fit_linear
from aisle.rank.model import RankerModel
from aisle.rank.rows import RankRows
from aisle.rank.trees import Objective, TreeSettings, grow, raw_scores, with_float_thresholds


@dataclass(frozen=True)
class Recipe:
    """What is added up, with which weight; a part of weight 0 is not trained."""

    name: str
    linear: float = 0.0
    order: float = 0.0
    """LambdaMART."""
    gain: float = 0.0
    """Trees that predict the gain of a product by itself."""
    penalty: float = 100.0
    """Of the linear part; see `aisle.rank.linear`."""

    @property
    def has_trees(self) -> bool:
        """Whether rounds matter to it."""
        return self.order > 0 or self.gain > 0

    def shares(self) -> list[tuple[Objective, float]]:
        """Objectives of its trees with their weights."""
        both: tuple[tuple[Objective, float], ...] = (("order", self.order), ("gain", self.gain))
        return [(objective, share) for objective, share in both if share > 0]


RECIPES = (
    Recipe("linear, stiff", linear=1.0, penalty=300.0),
    Recipe("linear", linear=1.0),
    Recipe("linear, free", linear=1.0, penalty=30.0),
    Recipe("linear + gain", linear=0.7, gain=0.3),
    Recipe("order", order=1.0),
    Recipe("gain", gain=1.0),
    Recipe("order + gain", order=0.5, gain=0.5),
    Recipe("linear + order + gain", linear=0.2, order=0.4, gain=0.4),
)
"""From the stiffest to the freest; of equals the first is taken."""


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; ConfigError on an unknown one."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise ConfigError(
        f"no recipe {name!r}; there are {', '.join(each.name for each in RECIPES)}, or auto"
    )


@dataclass(frozen=True)
class Parts:
    """The trained parts of every recipe over some rows, so that recipes are compared without training again."""

    linear: dict[float, LinearPart]
    """By penalty, scaled to a standard deviation of 1."""
    trees: dict[Objective, tuple[lgb.Booster, ...]]
    """One booster a seed."""
    rows: RankRows

    def tree_scores(
        self, features: NDArray[np.float32], steps: Sequence[int]
    ) -> dict[Objective, NDArray[np.float64]]:
        """Raw scores summed over seeds after each number of rounds in `steps`, ascending: (len(steps), n)."""
        found = {}
        for objective, boosters in self.trees.items():
            total = np.zeros((len(steps), len(features)))
            for booster in boosters:
                running = np.zeros(len(features))
                for i, (begin, end) in enumerate(pairwise([0, *steps])):
                    running += raw_scores(booster, features, end - begin, begin)
                    total[i] += running
            found[objective] = total
        return found

    def scores(
        self, features: NDArray[np.float32], recipes: Sequence[Recipe], steps: Sequence[int]
    ) -> dict[tuple[Recipe, int], NDArray[np.float64]]:
        """What the model of every recipe and number of rounds would score (n,); a recipe without trees has rounds 0."""
        own = self.tree_scores(self.rows.features, steps)
        asked = self.tree_scores(features, steps)
        found: dict[tuple[Recipe, int], NDArray[np.float64]] = {}
        for recipe in recipes:
            base = np.zeros(len(features))
            if recipe.linear > 0:
                base = self.linear[recipe.penalty].scaled(recipe.linear).score(features)
            if not recipe.has_trees:
                found[recipe, 0] = base
                continue
            for i, step in enumerate(steps):
                total = base.copy()
                for objective, share in recipe.shares():
                    total += share * asked[objective][i] / _deviation(own[objective][i])
                found[recipe, step] = total
        return found


def train_parts(
    rows: RankRows,
    names: Sequence[str],
    recipes: Sequence[Recipe],
    settings: TreeSettings,
    *,
    seeds: int = 1,
    seed: int = 0,
    threads: int = 1,
) -> Parts:
    """Trains whatever some recipe needs; equal input, seed and threads give equal parts."""
    gains = rows.gains()
    linear = {}
    for penalty in sorted({each.penalty for each in recipes if each.linear > 0}):
        part = fit_linear(rows.features, gains, rows.query_index, rows.weights, penalty)
        linear[penalty] = part.scaled(1.0 / _deviation(part.score(rows.features)))
    wanted = dict.fromkeys(objective for each in recipes for objective, _ in each.shares())
    trees = {
        objective: tuple(
            grow(rows, names, objective, settings, seed=seed + i, threads=threads)
            for i in range(seeds)
        )
        for objective in wanted
    }
    return Parts(linear, trees, rows)


def assemble(
    parts: Parts,
    recipe: Recipe,
    names: Sequence[str],
    settings: TreeSettings,
    rounds: int,
    summary: dict[str, Any] | None = None,
) -> RankerModel:
    """The model that a recipe makes of trained parts, with the first `rounds` trees of each booster."""
    linear = parts.linear[recipe.penalty].scaled(recipe.linear) if recipe.linear > 0 else None
    trees: list[tuple[lgb.Booster, float]] = []
    rows = parts.rows
    if recipe.has_trees:
        own = parts.tree_scores(rows.features, [rounds])
        for objective, share in recipe.shares():
            weight = share / _deviation(own[objective][0])
            trees += [
                (with_float_thresholds(each, rounds), weight) for each in parts.trees[objective]
            ]
    return RankerModel(
        linear=linear,
        trees=tuple(trees),
        feature_names=tuple(names),
        grades=tuple(float(g) for g in np.unique(np.append(rows.grades, rows.lowest))),
        summary={
            "rows": len(rows.grades),
            "queries": len(rows.sizes()),
            "lowest_grade": rows.lowest,
            "recipe": recipe.name,
            "rounds_used": rounds if recipe.has_trees else 0,
            "settings": settings.as_dict(),
            "lightgbm": lgb.__version__,
            **(summary or {}),
        },
        sample=rows.features[:: max(1, len(rows.features) // 2000)],
    )


def _deviation(scores: NDArray[np.float64]) -> float:
    return max(float(np.std(scores)), 1e-9)


def train_ranker(
    features: NDArray[np.float32],
    grades: NDArray[np.float64],
    query_index: NDArray[np.int64],
    feature_names: Sequence[str],
    *,
    lowest_grade: float,
    judged: NDArray[np.bool_] | None = None,
    recipe: Recipe | None = None,
    settings: TreeSettings | None = None,
    seeds: int = 1,
    seed: int = 0,
    threads: int = 1,
) -> RankerModel:
    """Fits one recipe, LambdaMART by default, on rows (n, f) with grades (n,) and the query of each (n,), in any order.

    A candidate that nobody judged is given `lowest_grade` by the caller and marked in `judged`. Raises JudgmentError
    where the rows cannot teach a ranking, see `RankRows.checked`; ModelError on an unknown feature name.
    """
    recipe, settings = recipe or recipe_named("order"), settings or TreeSettings()
    rows = RankRows.checked(
        "training",
        features,
        grades,
        query_index,
        width=len(feature_names),
        lowest=lowest_grade,
        judged=judged,
    )
    parts = train_parts(
        rows, feature_names, [recipe], settings, seeds=seeds, seed=seed, threads=threads
    )
    return assemble(parts, recipe, feature_names, settings, settings.rounds)
