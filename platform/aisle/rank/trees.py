"""Boosted trees for the ranker, by LightGBM: LambdaMART, and a regression of the gain.

Grades may be fractions (the mean of several raters): the distinct grades become LightGBM's integer labels, and its
label gains are the exact exponential gains of those grades, 2^(grade - lowest) - 1, so training optimises the measure
that `aisle.evaluation` reports.

NOTE: LightGBM splits at doubles, ONNX trees at floats. A threshold that rounds up to the next feature value would send
a row to the other side, so thresholds are rounded down to float32 first; for float32 rows that changes no prediction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from aisle.errors import ModelError
from aisle.rank.rows import RankRows

Objective = Literal["order", "gain"]
"""`order`: LambdaMART, Burges 2010; `gain`: cross entropy with the normalised gain, a probability of relevance."""


@dataclass(frozen=True)
class TreeSettings:
    """How trees are grown; the defaults suit some thousand queries."""

    rounds: int = 300
    leaves: int = 31
    learning_rate: float = 0.05
    min_rows_in_leaf: int = 20
    feature_fraction: float = 0.8
    bagging_fraction: float = 1.0
    l2: float = 0.0
    monotone: Mapping[str, int] = field(default_factory=dict)
    """Feature -> 1 where the score must not fall with it, -1 where it must not rise."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**vars(self), "monotone": dict(self.monotone)}


def grow(
    rows: RankRows,
    names: Sequence[str],
    objective: Objective,
    settings: TreeSettings,
    *,
    seed: int = 0,
    threads: int = 1,
    init_score: NDArray[np.float64] | None = None,
) -> lgb.Booster:
    """Grows `settings.rounds` trees on rows sorted by query. Equal input, seed and threads give equal trees.

    Raises ModelError where a monotone feature is unknown.
    """
    parameters: dict[str, Any] = {
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.min_rows_in_leaf,
        "feature_fraction": settings.feature_fraction,
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 1 if settings.bagging_fraction < 1.0 else 0,
        "lambda_l2": settings.l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }
    constraints = _constraints(settings.monotone, tuple(names))
    if any(constraints):
        parameters["monotone_constraints"] = constraints
    grades, labels = np.unique(np.append(rows.grades, rows.lowest), return_inverse=True)
    if objective == "order":
        parameters["objective"] = "lambdarank"
        parameters["label_gain"] = [float(g) for g in np.exp2(grades - rows.lowest) - 1.0]
        parameters["lambdarank_truncation_level"] = 30
        label = labels[:-1].astype(np.float64)
    else:
        parameters["objective"] = "cross_entropy"
        label = rows.gains()
    data = lgb.Dataset(
        rows.features,
        label=label,
        group=rows.sizes() if objective == "order" else None,
        weight=rows.weights if objective == "gain" else None,
        init_score=init_score,
        # LightGBM accepts no feature name with JSON's special characters; columns go by position.
        feature_name=[f"f{i}" for i in range(len(names))],
        free_raw_data=True,
    )
    return lgb.train(parameters, data, num_boost_round=settings.rounds)


def with_float_thresholds(booster: lgb.Booster, rounds: int) -> lgb.Booster:
    """The first `rounds` trees, thresholds rounded down to float32: x <= t keeps its truth for every float32 x."""

    def rounded(match: re.Match[str]) -> str:
        values = np.array(match.group(1).split(), np.float64)
        near = values.astype(np.float32)
        down = np.where(
            near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near
        )
        return "threshold=" + " ".join(repr(float(v)) for v in down)

    text = booster.model_to_string(num_iteration=rounds)
    # tree_sizes counts bytes of each tree's text, which just changed; without it LightGBM parses tree by tree.
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    # Raw sums are what is wanted; the converter to ONNX would put a link function behind other objectives.
    text = re.sub(r"^objective=.+$", "objective=regression", text, flags=re.MULTILINE)
    text = re.sub(r"^\[objective: .+\]$", "[objective: regression]", text, flags=re.MULTILINE)
    return lgb.Booster(model_str=re.sub(r"^threshold=(.+)$", rounded, text, flags=re.MULTILINE))


def raw_scores(
    booster: lgb.Booster, features: NDArray[np.float32], rounds: int | None = None, first: int = 0
) -> NDArray[np.float64]:
    """Sums of leaves (n,), before any link function, of `rounds` trees from `first` on, or of all."""
    rows = np.asarray(features, np.float64)
    scores = booster.predict(
        rows, raw_score=True, start_iteration=first, num_iteration=rounds, num_threads=1
    )
    return np.asarray(scores, np.float64)


def _constraints(monotone: Mapping[str, int], names: tuple[str, ...]) -> list[int]:
    for name, sign in monotone.items():
        if name not in names:
            raise ModelError(
                f"monotone names the feature {name!r}; the columns are {', '.join(names)}"
            )
        if sign not in (-1, 0, 1):
            raise ModelError(f"monotone[{name!r}] is {sign}, expected 1, 0 or -1")
    return [monotone.get(name, 0) for name in names]
