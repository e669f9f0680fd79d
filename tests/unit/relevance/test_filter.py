import json

import numpy as np
import pytest

from aisle.errors import ModelError, StageError
from aisle.relevance.filter import OnnxRelevanceFilter, RawCosineFilter
from aisle.relevance.train import train_relevance

VECTORS = np.eye(12, dtype=np.float32)[:2]
INDEX = np.array([0, 1, 1])
COSINE = np.array([0.2, 0.5, 0.8], np.float32)
SCORE = np.array([1.0, 2.0, 3.0], np.float32)


@pytest.fixture(scope="module")
def folders(train_pairs, tmp_path_factory):
    saved = {}
    for family in ("logistic", "blend"):
        saved[family] = tmp_path_factory.mktemp(family)
        train_relevance(train_pairs, family=family, epochs=2).save(saved[family])
    return saved


def test_relevance_is_one_probability_a_hit(folders):
    value = OnnxRelevanceFilter.load(folders["blend"]).relevance(VECTORS, INDEX, COSINE, SCORE)
    assert value.shape == (3,)
    assert value.dtype == np.float32
    assert value[1] < value[2]


def test_a_hit_does_not_depend_on_its_batch(folders):
    served = OnnxRelevanceFilter.load(folders["blend"])
    together = served.relevance(VECTORS, INDEX, COSINE, SCORE)
    for i in range(3):
        vector = VECTORS[INDEX[i]][None]
        alone = served.relevance(vector, np.array([0]), COSINE[i : i + 1], SCORE[i : i + 1])
        np.testing.assert_allclose(alone, together[i : i + 1], atol=1e-6)


def test_no_hit_and_no_query_give_no_relevance(folders):
    served = OnnxRelevanceFilter.load(folders["blend"])
    none = np.empty(0, np.float32)
    for vectors in (VECTORS, VECTORS[:0]):
        value = served.relevance(vectors, np.empty(0, np.int64), none, none)
        assert value.shape == (0,)
        assert served.keep(value).shape == (0,)


def test_hits_at_the_threshold_are_kept(folders):
    served = OnnxRelevanceFilter.load(folders["logistic"])
    served.threshold = 0.5
    kept = served.keep(np.array([0.4999, 0.5, 0.9], np.float32))
    assert kept.tolist() == [False, True, True]


def test_an_adapter_without_score_serves_without_score(folders):
    served = OnnxRelevanceFilter.load(folders["logistic"])
    assert not served.uses_score
    value = served.relevance(VECTORS, INDEX, COSINE)
    np.testing.assert_array_equal(value, served.relevance(VECTORS, INDEX, COSINE, SCORE))
    with pytest.raises(ModelError, match="reads the ranker's score, which was not given"):
        OnnxRelevanceFilter.load(folders["blend"]).relevance(VECTORS, INDEX, COSINE)


def test_inputs_that_do_not_fit_are_refused(folders):
    served = OnnxRelevanceFilter.load(folders["blend"])
    with pytest.raises(ModelError, match=r"query vectors are \(2, 5\).*trained on d=12"):
        served.relevance(VECTORS[:, :5], INDEX, COSINE, SCORE)
    with pytest.raises(StageError, match="from 1 to 2, there are 2 query vectors"):
        served.relevance(VECTORS, INDEX + 1, COSINE, SCORE)
    with pytest.raises(StageError, match="relevance of row 1 is not finite"):
        served.relevance(VECTORS, INDEX, COSINE, np.array([1, np.nan, 1], np.float32))


def test_the_raw_cosine_is_clipped_to_a_probability():
    raw = RawCosineFilter(0.3)
    value = raw.relevance(VECTORS, INDEX, np.array([-0.5, 0.3, 1.0000001], np.float32))
    np.testing.assert_allclose(value, [0, 0.3, 1], atol=1e-7)
    assert value.dtype == np.float32
    assert RawCosineFilter(0.25).keep(value).tolist() == [False, True, True]
    with pytest.raises(StageError, match="row 0 is not finite"):
        raw.relevance(VECTORS, INDEX, np.array([np.nan], np.float32))
    with pytest.raises(ModelError, match=r"cosine threshold is 1\.5"):
        RawCosineFilter(1.5)


def test_missing_damaged_and_unfitting_files_are_named(folders, tmp_path):
    with pytest.raises(ModelError, match=r"relevance\.json: no such file.*jobs\.train_relevance"):
        OnnxRelevanceFilter.load(tmp_path)
    described = json.loads((folders["blend"] / "relevance.json").read_text())
    (tmp_path / "relevance.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r"model\.onnx: no such file"):
        OnnxRelevanceFilter.load(tmp_path)
    content = (folders["blend"] / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[:100])
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be loaded"):
        OnnxRelevanceFilter.load(tmp_path)
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "relevance.json").write_text(json.dumps({**described, "dimension": 384}))
    with pytest.raises(ModelError, match=r"d=12, relevance\.json says d=384"):
        OnnxRelevanceFilter.load(tmp_path)
    (tmp_path / "relevance.json").write_text(json.dumps({**described, "format_version": 0}))
    with pytest.raises(ModelError, match="format version 0"):
        OnnxRelevanceFilter.load(tmp_path)
    (tmp_path / "relevance.json").write_text("{}")
    with pytest.raises(ModelError, match="is not an adapter's description"):
        OnnxRelevanceFilter.load(tmp_path)
