import json
import pickle

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from aisle.errors import ModelError, StageError
from aisle.rank.onnx import FusedRanker, OnnxRanker

NAMES = ("bm25", "cosine", "title_match")


def write_ranker(folder, names=NAMES, width=3, version=1):
    """A ranker that adds its columns up: enough, since loading and scoring know nothing of trees."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["features", "axis"], ["score"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "model.onnx")
    description = {"format_version": version, "feature_names": list(names)}
    (folder / "ranker.json").write_text(json.dumps(description))
    return folder


def test_each_row_gets_one_score_in_order(tmp_path):
    ranker = OnnxRanker.load(write_ranker(tmp_path))
    features = np.array([[1, 2, 3], [0, 0, 0.5]], np.float32)
    scores = ranker.score(features)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [6, 0.5])
    np.testing.assert_array_equal(ranker.score(features[::-1]), [0.5, 6])


def test_no_row_gives_no_score(tmp_path):
    empty = np.empty((0, 3), np.float32)
    for ranker in (OnnxRanker.load(write_ranker(tmp_path)), FusedRanker(NAMES, "bm25")):
        scores = ranker.score(empty)
        assert scores.shape == (0,)
        assert scores.dtype == np.float32


def test_columns_that_are_not_contiguous_score_the_same(tmp_path):
    ranker = OnnxRanker.load(write_ranker(tmp_path))
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(ranker.score(wide[:, ::2]), wide[:, ::2].sum(axis=1))


def test_the_fused_ranker_orders_by_its_column():
    ranker = FusedRanker(NAMES, "cosine")
    features = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    np.testing.assert_array_equal(ranker.score(features), [2, 5])
    ranker.expect(NAMES)
    with pytest.raises(ModelError, match="no feature column 'fused'.*bm25, cosine, title_match"):
        FusedRanker(NAMES, "fused")


MISMATCHES = {
    "a missing column": (("bm25", "cosine"), r"lacks \[title_match\]"),
    "an unknown column": ((*NAMES, "price"), r"has unknown \[price\]"),
    "another order": (("cosine", "bm25", "title_match"), "from column 0 on"),
    "a doubled column": ((*NAMES, "bm25"), "order or number"),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_columns_that_differ_from_the_models_are_refused(name, tmp_path):
    columns, message = MISMATCHES[name]
    for ranker in (OnnxRanker.load(write_ranker(tmp_path)), FusedRanker(NAMES, "bm25")):
        ranker.expect(list(NAMES))
        with pytest.raises(ModelError, match=message):
            ranker.expect(columns)


def test_features_of_another_width_are_refused(tmp_path):
    ranker = OnnxRanker.load(write_ranker(tmp_path))
    with pytest.raises(ModelError, match=r"features are \(2, 4\), the ranker takes \(n, 3\)"):
        ranker.score(np.zeros((2, 4), np.float32))


def test_a_value_that_is_not_finite_is_named_so_that_the_stage_can_be_left_out(tmp_path):
    ranker = OnnxRanker.load(write_ranker(tmp_path))
    features = np.zeros((2, 3), np.float32)
    features[1, 2] = np.nan
    with pytest.raises(StageError, match="feature 'title_match' of row 1 is nan"):
        ranker.score(features)


def test_missing_damaged_and_unfitting_files_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"ranker\.json: no such file.*jobs\.train_ranker"):
        OnnxRanker.load(tmp_path)
    write_ranker(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be loaded as ONNX"):
        OnnxRanker.load(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: no such file"):
        OnnxRanker.load(tmp_path)
    with pytest.raises(ModelError, match="takes 2 features, ranker.json names 3"):
        OnnxRanker.load(write_ranker(tmp_path, width=2))
    with pytest.raises(ModelError, match="format version 9, this version of aisle reads 1"):
        OnnxRanker.load(write_ranker(tmp_path, version=9))
    (tmp_path / "ranker.json").write_text("[]")
    with pytest.raises(ModelError, match="is not a ranker's description"):
        OnnxRanker.load(tmp_path)


def test_errors_survive_the_pickling_between_actors():
    with pytest.raises(ModelError) as caught:
        FusedRanker(NAMES, "fused")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
