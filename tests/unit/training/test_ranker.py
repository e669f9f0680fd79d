from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aisle.config import RankerConfig, RelevanceConfig
from aisle.embed.hashing import HashingEncoder
from aisle.errors import ConfigError, JudgmentError
from aisle.rank.features import FEATURES
from aisle.rank.model import RankerModel
from aisle.rank.onnx import OnnxRanker
from aisle.training import ablate, fit_ranker, fit_relevance
from aisle.training.ranker import COLUMNS, compare_recipes, folds_of
from aisle.training.rows import TrainingRows
from tests.unit.training.conftest import made_rows

SMALL = RankerConfig(rounds=20, leaves=7, folds=3, unjudged_per_query=6, min_rows_in_leaf=10)


def test_the_best_recipe_on_held_back_queries_is_trained_and_served(
    rows: TrainingRows, tmp_path: Path
) -> None:
    model, choices = fit_ranker(rows, SMALL, lowest_grade=1.0)
    means = [each.measures.mean for each in choices]
    assert means == sorted(means, reverse=True)
    assert model.summary["chosen"] == choices[0].name
    assert {each.name for each in choices} > set(COLUMNS)
    assert choices[0].measures.pairs.mean() > 0.05 + max(
        each.measures.pairs.mean() for each in choices if each.recipe is None
    )
    model.save(tmp_path)
    served = OnnxRanker.load(tmp_path)
    served.expect(FEATURES)
    np.testing.assert_allclose(
        served.score(rows.features), model.score(rows.features), rtol=1e-4, atol=1e-4
    )


def test_a_set_that_teaches_nothing_beyond_a_column_falls_back_to_it_and_says_so(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    few = made_rows(1, 6, judged=3, others=2, only_cosine=True)
    with caplog.at_level(logging.WARNING):
        model, choices = fit_ranker(few, SMALL, lowest_grade=1.0)
    assert choices[0].name == "cosine"
    assert "6 queries teach no better order than the column cosine" in caplog.text
    model.save(tmp_path)
    np.testing.assert_allclose(OnnxRanker.load(tmp_path).score(few.features), few.cosine, atol=1e-6)


def test_few_queries_grow_no_trees() -> None:
    choices = compare_recipes(made_rows(2, 20), SMALL, lowest_grade=1.0)
    assert all(each.recipe is None or not each.recipe.has_trees for each in choices)


def test_a_recipe_that_is_named_is_the_only_one_tried(rows: TrainingRows) -> None:
    fixed = SMALL.model_copy(update={"recipe": "linear"})
    choices = compare_recipes(rows, fixed, lowest_grade=1.0)
    assert {each.name for each in choices} == {"linear", *COLUMNS}
    with pytest.raises(ConfigError, match="no recipe 'forest'"):
        compare_recipes(rows, SMALL.model_copy(update={"recipe": "forest"}), lowest_grade=1.0)


def test_a_query_is_never_in_two_folds(rows: TrainingRows) -> None:
    fold = folds_of(rows, 5, seed=1)
    assert len({(q, f) for q, f in zip(rows.query_index, fold, strict=True)}) == 60
    assert set(fold.tolist()) == set(range(5))


def test_the_order_of_rows_and_their_ids_change_no_score(rows: TrainingRows) -> None:
    fixed = SMALL.model_copy(update={"recipe": "order"})
    one, _ = fit_ranker(rows, fixed, lowest_grade=1.0)
    other = replace(rows, product_ids=rows.product_ids[::-1].copy())
    two, _ = fit_ranker(other, fixed, lowest_grade=1.0)
    np.testing.assert_array_equal(one.score(rows.features), two.score(rows.features))


def test_one_grade_is_refused_before_any_training(rows: TrainingRows) -> None:
    flat = replace(rows, grades=np.where(rows.seen, 2.0, np.nan))
    with pytest.raises(JudgmentError, match="no training query has two different grades"):
        fit_ranker(flat, SMALL, lowest_grade=1.0)


def test_the_ablation_shows_what_a_leak_would_have_given() -> None:
    rows = made_rows(3, 40)
    # Products that are judged more often than others, and good where they are.
    leak = np.where(rows.seen & (rows.grades == 3), b"judged often", rows.product_ids)
    rows = replace(rows, product_ids=leak)
    choices = compare_recipes(rows, SMALL.model_copy(update={"recipe": "linear"}), lowest_grade=1.0)
    chosen = next(each for each in choices if each.recipe is not None)
    table = {row["features"]: row for row in ablate(rows, chosen, SMALL, lowest_grade=1.0)}
    assert table["without cosine"]["change_pairs"] < -0.02  # type: ignore[operator]
    assert table["plus how often it was judged"]["change"] > 0.05  # type: ignore[operator]


@pytest.mark.parametrize("spared", [True, False], ids=["dev spared", "no split left"])
def test_relevance_is_fitted_on_scores_of_queries_that_the_ranker_did_not_see(
    spared: bool, rows: TrainingRows
) -> None:
    config = SMALL.model_copy(update={"recipe": "order"})
    model, choices = fit_ranker(rows, config, lowest_grade=1.0)
    fitted = fit_relevance(
        rows,
        made_rows(5, 40) if spared else None,
        HashingEncoder(16),
        _Served(model),
        RelevanceConfig(family="auto" if spared else "blend"),
        config,
        recipe="order",
        rounds=choices[0].rounds or 20,
        relevant_from=3.0,
        lowest_grade=1.0,
    )
    skill = {row.method: row.measures.brier_skill for row in fitted.table}
    best = f"adapter ({fitted.model.adapter.family})"
    assert skill[best] == max(value for name, value in skill.items() if "adapter" in name)
    assert len([name for name in skill if "adapter" in name]) == (6 if spared else 1)
    assert skill[best] > skill["raw cosine"] + 0.1
    assert fitted.measured_on == ("dev queries" if spared else "held-back queries")
    assert 0.0 < fitted.model.threshold < 1.0


class _Served:
    def __init__(self, model: RankerModel) -> None:
        self.feature_names: tuple[str, ...] = model.feature_names
        self._model = model

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._model.score(features)
