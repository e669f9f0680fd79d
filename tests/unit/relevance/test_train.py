import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aisle.errors import ConfigError, JudgmentError
from aisle.evaluation.calibration import measure_pairs
from aisle.relevance.adapter import FAMILIES
from aisle.relevance.filter import OnnxRelevanceFilter
from aisle.relevance.pairs import JudgedPairs
from aisle.relevance.train import train_relevance


@pytest.fixture(scope="module")
def models(train_pairs, dev_pairs):
    return {
        family: train_relevance(train_pairs, family=family, valid=dev_pairs) for family in FAMILIES
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_beats_the_raw_cosine_on_other_queries(family, models, test_pairs):
    ours = measure_pairs(models[family].relevance_of(test_pairs), test_pairs.relevant)
    raw = measure_pairs(np.maximum(test_pairs.cosine, 0), test_pairs.relevant)
    assert ours.pr_auc > raw.pr_auc + 0.05
    assert ours.dropped_at_95 > raw.dropped_at_95 + 0.1
    assert ours.brier_skill > raw.brier_skill + 0.1
    assert ours.calibration_error < 0.05


def test_reading_the_query_and_the_score_each_help(models, test_pairs):
    by_query = models["logistic"]
    alone = replace(by_query, adapter=_without_query(by_query.adapter))
    skill = [
        measure_pairs(model.relevance_of(test_pairs), test_pairs.relevant).brier_skill
        for model in (alone, by_query, models["blend"])
    ]
    assert skill[0] + 0.05 < skill[1]
    assert skill[1] + 0.05 < skill[2]


def _without_query(adapter):
    copy = type(adapter)("logistic", adapter.hidden.in_features, adapter.hidden.out_features, 0.0)
    copy.load_state_dict(adapter.state_dict())
    copy.strength.zero_()
    return copy.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_onnx_equals_torch(family, models, test_pairs, make_pairs, tmp_path):
    model = models[family]
    model.save(tmp_path)
    served = OnnxRelevanceFilter.load(tmp_path)
    for pairs in (test_pairs, make_pairs(4, queries=3, per_query=1), make_pairs(5, 2, 333)):
        value = served.relevance(pairs.query_vectors, pairs.query_index, pairs.cosine, pairs.score)
        np.testing.assert_allclose(value, model.relevance_of(pairs), atol=1e-5)
    assert served.threshold == model.threshold
    assert served.uses_score == (family == "blend")


@pytest.mark.parametrize("family", ["logistic", "power"])
def test_the_threshold_reaches_the_wanted_recall_where_it_was_set(family, train_pairs, dev_pairs):
    model = train_relevance(
        train_pairs, family=family, valid=dev_pairs, threshold_for=("recall", 0.9), epochs=5
    )
    kept = model.relevance_of(dev_pairs) >= model.threshold
    recall = kept[dev_pairs.relevant].mean()
    assert 0.9 <= recall < 0.9 + 2 / dev_pairs.relevant.sum()
    assert model.summary["kept_fraction"] == pytest.approx(kept.mean())


def test_the_threshold_reaches_the_wanted_precision_where_it_was_set(
    models, train_pairs, dev_pairs
):
    model = train_relevance(
        train_pairs, valid=dev_pairs, threshold_for=("precision", 0.8), epochs=5
    )
    kept = model.relevance_of(dev_pairs) >= model.threshold
    assert dev_pairs.relevant[kept].mean() >= 0.8
    assert kept.mean() > 0.2


def test_the_served_threshold_keeps_the_wanted_recall(models, dev_pairs, tmp_path):
    models["blend"].save(tmp_path)
    served = OnnxRelevanceFilter.load(tmp_path)
    value = served.relevance(
        dev_pairs.query_vectors, dev_pairs.query_index, dev_pairs.cosine, dev_pairs.score
    )
    assert served.keep(value)[dev_pairs.relevant].mean() >= 0.95


def test_without_validation_queries_some_are_held_back(train_pairs):
    model = train_relevance(train_pairs, family="logistic")
    assert model.summary["threshold_set_on"] == "training"
    assert model.summary["strength"] > 0
    assert model.summary["held_log_loss"] < model.summary["held_log_loss_without_query"]
    kept = model.relevance_of(train_pairs) >= model.threshold
    assert kept[train_pairs.relevant].mean() >= 0.95


def test_with_too_few_queries_the_map_ignores_the_query(make_pairs):
    pairs = make_pairs(6, queries=6, per_query=50)
    model = train_relevance(pairs)
    assert model.summary["strength"] == 0.0
    raw = model.adapter.raw_parameters(torch.from_numpy(pairs.query_vectors))
    assert torch.equal(raw, raw[:1].expand_as(raw))
    assert measure_pairs(model.relevance_of(pairs), pairs.relevant).calibration_error < 0.1


def test_where_the_query_says_nothing_the_adapter_is_no_worse_than_the_shared_map(make_pairs):
    rng = np.random.default_rng(0)
    parts = []
    for seed in (7, 8):
        pairs = make_pairs(seed, queries=60)
        relevant = rng.random(len(pairs.cosine)) < 1 / (1 + np.exp(-8 * (pairs.cosine - 0.5)))
        parts.append(replace(pairs, relevant=relevant, score=None))
    model = train_relevance(parts[0], valid=parts[1])
    assert model.summary["held_log_loss"] <= model.summary["held_log_loss_without_query"]


def test_pairs_that_a_cosine_separates_train_without_running_off(make_pairs):
    pairs = make_pairs(9, queries=30)
    pairs = replace(pairs, relevant=pairs.cosine > 0.5)
    for family in FAMILIES:
        model = train_relevance(pairs, family=family, epochs=3)
        value = model.relevance_of(pairs)
        assert np.isfinite(value).all()
        assert measure_pairs(value, pairs.relevant).pr_auc > 0.98


def test_equal_input_and_seed_give_equal_bytes(train_pairs, tmp_path):
    for name in ("one", "two"):
        train_relevance(train_pairs, epochs=3, seed=5).save(tmp_path / name)
    assert (tmp_path / "one/model.onnx").read_bytes() == (tmp_path / "two/model.onnx").read_bytes()


def test_training_leaves_torchs_threads_and_random_state_alone(train_pairs):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    train_relevance(train_pairs, epochs=1, threads=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(1), expected)


def test_the_description_says_how_the_threshold_came_about(models, tmp_path):
    models["power"].save(tmp_path, measures={"test": {"pr_auc": 0.5}})
    described = json.loads((tmp_path / "relevance.json").read_text())
    assert described["family"] == "power"
    assert described["threshold_for"] == {"measure": "recall", "wanted": 0.95}
    assert described["measures"] == {"test": {"pr_auc": 0.5}}
    assert described["training"]["measures"]["validation"]["dropped_at_95"] > 0
    assert described["onnx_difference"] < 1e-5


def test_the_family_follows_from_the_scores_unless_given(train_pairs):
    assert train_relevance(train_pairs, epochs=1).adapter.family == "blend"
    bare = replace(train_pairs, score=None)
    assert train_relevance(bare, epochs=1).adapter.family == "logistic"
    with pytest.raises(ConfigError, match="'blend' needs the ranker's score"):
        train_relevance(bare, family="blend")
    with pytest.raises(ConfigError, match="unknown family 'cubic'; the families are linear"):
        train_relevance(bare, family="cubic")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="threshold_for is"):
        train_relevance(bare, threshold_for=("recall", 95))


def small(**columns):
    rng = np.random.default_rng(0)
    values = {
        "query_vectors": rng.normal(size=(4, 3)).astype(np.float32),
        "query_index": np.repeat(np.arange(4), 5),
        "cosine": rng.random(20).astype(np.float32),
        "score": None,
        "relevant": np.arange(20) % 2 == 0,
    }
    return JudgedPairs(**{**values, **columns})


NOTHING_TO_LEARN: dict[str, tuple[dict[str, Any], str]] = {
    "one grade": ({"relevant": np.ones(20, bool)}, "20 of 20 training pairs are relevant"),
    "nothing relevant": ({"relevant": np.zeros(20, bool)}, "0 of 20 training pairs are relevant"),
    "one query": ({"query_index": np.zeros(20, int)}, "come from 1 queries"),
    "a NaN cosine": ({"cosine": np.full(20, np.nan)}, "cosine of row 0 is not finite"),
    "a NaN vector": ({"query_vectors": np.full((4, 3), np.nan)}, "query_vectors of row 0"),
    "a NaN score": ({"score": np.full(20, np.inf)}, "score of row 0 is not finite"),
    "an index without vector": ({"query_index": np.arange(20)}, "reaches to 19, there are 4"),
    "unequal lengths": ({"cosine": np.zeros(19)}, "pairs do not fit"),
    "scores of another length": ({"score": np.zeros(3)}, r"\(3,\) scores for 20 cosines"),
}


@pytest.mark.parametrize("name", NOTHING_TO_LEARN)
def test_pairs_that_teach_nothing_are_refused(name):
    columns, message = NOTHING_TO_LEARN[name]
    with pytest.raises(JudgmentError, match=message):
        train_relevance(small(**columns))


def test_no_pair_at_all_is_refused():
    empty = small(query_index=np.empty(0, int), cosine=np.empty(0), relevant=np.empty(0, bool))
    with pytest.raises(JudgmentError, match="come from 0 queries"):
        train_relevance(empty)


def test_vectors_of_two_encoders_are_refused(train_pairs):
    with pytest.raises(JudgmentError, match="validation query vectors have d=3, training has d=12"):
        train_relevance(train_pairs, family="logistic", valid=small())
