import json

import numpy as np
import pytest

from aisle.errors import ConfigError, JudgmentError, ModelError
from aisle.evaluation.judgments import Judgments
from aisle.evaluation.metrics import ndcg_of_pairs
from aisle.rank.onnx import OnnxRanker
from aisle.rank.rows import UNJUDGED_WEIGHT, RankRows
from aisle.rank.train import RECIPES, Recipe, assemble, recipe_named, train_parts, train_ranker
from aisle.rank.trees import TreeSettings

NAMES = ["lexical score", "cosine", "title[match]", "noise"]


def search_log(seed, queries=150, per_query=20):
    """Grades 1 to 3 in thirds that follow two columns together; no single column is enough."""
    rng = np.random.default_rng(seed)
    n = queries * per_query
    features = rng.normal(size=(n, 4)).astype(np.float32)
    truth = features[:, 0] + features[:, 1] + 0.8 * features[:, 0] * features[:, 2]
    noisy = truth + rng.normal(0, 0.4, n)
    grades = 1.0 + np.digitize(noisy, [0.2, 0.9, 1.6, 2.2, 2.8, 3.4]) / 3.0
    return features, grades, np.repeat(np.arange(queries), per_query)


def mean_ndcg(rows, scores):
    _, grades, query = rows
    judged = Judgments.from_columns(
        [str(q) for q in query],
        [f"{i:06d}" for i in range(len(query))],
        grades,
        relevant_from=2.0,
        lowest_grade=1.0,
    )
    # Judgments order queries by appearance and products by id, which is the order of the rows here.
    return float(np.nanmean(ndcg_of_pairs(judged, scores)))


def train(rows, names=NAMES, *, recipe="order", seeds=1, seed=0, **settings):
    features, grades, query = rows
    return train_ranker(
        features,
        grades,
        query,
        names,
        lowest_grade=1.0,
        recipe=recipe_named(recipe),
        settings=TreeSettings(**settings),
        seeds=seeds,
        seed=seed,
    )


@pytest.fixture(scope="module")
def model():
    return train(search_log(0), rounds=60, leaves=15)


def test_a_trained_ranker_beats_the_best_single_feature(model):
    test = search_log(2)
    single = max(mean_ndcg(test, test[0][:, i]) for i in range(4))
    ours = mean_ndcg(test, model.score(test[0]))
    assert ours > single + 0.1


@pytest.mark.parametrize("recipe", [each.name for each in RECIPES])
def test_onnx_equals_training_for_every_recipe(recipe, tmp_path):
    model = train(search_log(0, 40), rounds=12, leaves=7, recipe=recipe, seeds=2)
    model.save(tmp_path)
    ranker = OnnxRanker.load(tmp_path)
    ranker.expect(NAMES)
    features = search_log(3)[0]
    np.testing.assert_allclose(ranker.score(features), model.score(features), atol=1e-4)
    assert ranker.score(features[:0]).shape == (0,)


def test_the_scores_of_parts_are_those_of_the_assembled_model():
    features, grades, query = search_log(0, 40)
    rows = RankRows.checked("training", features, grades, query, width=4, lowest=1.0)
    settings = TreeSettings(rounds=12, leaves=7)
    parts = train_parts(rows, NAMES, RECIPES, settings)
    others = search_log(3, 20)[0]
    for (recipe, rounds), scores in parts.scores(others, RECIPES, [4, 12]).items():
        model = assemble(parts, recipe, NAMES, settings, rounds)
        np.testing.assert_allclose(model.score(others), scores, rtol=1e-5, atol=1e-5)


def test_a_linear_blend_orders_by_what_the_grades_follow():
    test = search_log(2)
    blended = mean_ndcg(test, train(search_log(0, 20), recipe="linear").score(test[0]))
    assert blended > max(mean_ndcg(test, test[0][:, i]) for i in range(4)) + 0.05


def test_a_column_that_is_constant_inside_every_query_has_no_weight_in_a_blend():
    features, grades, query = search_log(0, 30)
    features[:, 3] = np.random.default_rng(0).normal(size=30)[query] + (grades.mean() > 0)
    model = train((features, grades, query), recipe="linear")
    assert model.linear is not None
    assert abs(model.linear.weights[3]) < 1e-6


def test_an_unjudged_row_counts_less_in_a_regression():
    rows = search_log(0, 10)
    judged = np.arange(200) % 2 == 0
    checked = RankRows.checked("training", *rows, width=4, lowest=1.0, judged=judged)
    assert checked.weights[judged].tolist() == [1.0] * 100
    assert checked.weights[~judged].tolist() == [UNJUDGED_WEIGHT] * 100
    assert 0 < UNJUDGED_WEIGHT < 1
    assert checked.gains().max() == 1.0


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ConfigError, match="no recipe 'magic'; there are linear"):
        recipe_named("magic")
    assert Recipe("x", linear=1.0).has_trees is False


def test_the_description_holds_names_grades_training_and_measures(model, tmp_path):
    model.save(tmp_path, measures={"ndcg@10": 0.5})
    described = json.loads((tmp_path / "ranker.json").read_text())
    assert described["feature_names"] == NAMES
    assert described["grades"] == pytest.approx([1 + i / 3 for i in range(7)])
    assert described["measures"] == {"ndcg@10": 0.5}
    assert described["training"]["queries"] == 150
    assert described["training"]["recipe"] == "order"
    assert described["training"]["rounds_used"] == 60


def test_importance_ranks_the_columns_that_the_grades_follow(model):
    rows = model.importance()
    assert {name for name, _, _ in rows[:2]} == {"lexical score", "cosine"}
    assert rows[-1][0] == "noise"
    assert sum(share for _, share, _ in rows) == pytest.approx(1.0)


def test_equal_input_and_seed_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        trained = train(search_log(4, 30), rounds=10, seed=7)
        trained.save(tmp_path / name)
    assert (tmp_path / "one/model.onnx").read_bytes() == (tmp_path / "two/model.onnx").read_bytes()


def test_the_order_of_the_rows_of_different_queries_does_not_matter():
    features, grades, query = search_log(5, 30)
    mixed = np.argsort(np.arange(len(query)) % 20, kind="stable")  # one row of each query in turn
    one = train((features, grades, query), rounds=10)
    two = train((features[mixed], grades[mixed], query[mixed]), rounds=10)
    np.testing.assert_array_equal(one.score(features), two.score(features))


def test_a_monotone_feature_never_lowers_the_score():
    features, grades, query = search_log(8, 60)
    trained = train((features, grades, query), rounds=40, monotone={"cosine": 1})
    base = np.repeat(features[:50], 21, axis=0)
    base[:, 1] = np.tile(np.linspace(-3, 3, 21, dtype=np.float32), 50)
    steps = np.diff(trained.score(base).reshape(50, 21), axis=1)
    assert steps.min() >= -1e-6
    assert steps.max() > 0


def test_thresholds_between_neighbouring_floats_send_rows_the_same_way(tmp_path):
    # The two values of the only column are neighbours as floats: a threshold half way, rounded to the nearest float,
    # may be the upper one, and then every row would fall to the same side.
    low = np.float32(1.0) + np.arange(64, dtype=np.float32) * np.float32(2**-20)
    high = np.nextafter(low, np.float32(2.0))
    for i in range(0, 64, 7):
        query = np.repeat(np.arange(40), 10)
        good = np.tile([True, False], 200)
        features = np.where(good, high[i], low[i]).astype(np.float32)[:, None]
        trained = train((features, good + 1.0, query), ["x"], rounds=3, min_rows_in_leaf=5)
        trained.save(tmp_path)
        scores = OnnxRanker.load(tmp_path).score(features)
        assert scores[good].min() > scores[~good].max()
        np.testing.assert_allclose(scores, trained.score(features), atol=1e-6)


def changed(**columns):
    features, grades, query = search_log(9, 4)
    rows = {"features": features, "grades": grades, "query_index": query, **columns}
    return rows["features"], rows["grades"], rows["query_index"]


NOTHING_TO_LEARN = {
    "one query": (changed(query_index=np.zeros(80, int)), "1 training queries: at least two"),
    "one grade": (changed(grades=np.full(80, 3.0)), "no training query has two different grades"),
    "a grade a query": (changed(grades=1.0 + np.repeat([0, 1, 0, 1], 20)), "two different grades"),
    "a NaN feature": (changed(features=np.full((80, 4), np.nan)), "row 0: a feature or the grade"),
    "a NaN grade": (changed(grades=np.full(80, np.nan)), "not finite"),
    "a grade under the lowest": (changed(grades=np.arange(80.0)), "row 0: grade 0 lies under"),
    "columns of unequal length": (changed(grades=np.ones(79)), "unequal length"),
}


@pytest.mark.parametrize("name", NOTHING_TO_LEARN)
def test_rows_that_teach_no_ranking_are_refused(name):
    rows, message = NOTHING_TO_LEARN[name]
    with pytest.raises(JudgmentError, match=message):
        train(rows, rounds=2)


def test_names_that_do_not_fit_the_columns_are_refused():
    with pytest.raises(ModelError, match="2 feature names"):
        train(search_log(0, 5), ["a", "b"], rounds=2)
    with pytest.raises(ModelError, match="monotone names the feature 'price'"):
        train(search_log(0, 5), rounds=2, monotone={"price": -1})
