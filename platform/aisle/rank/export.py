"""Writes a ranker as one ONNX graph: every tree of every booster in a single node, and the linear part beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from aisle.rank.linear import LinearPart

OPSET = 15
IR_VERSION = 8  # what opset 15 came with; a newer default would shut out older runtimes
_TREES = "ai.onnx.ml"
_TREES_OPSET = 3


def to_onnx(
    linear: LinearPart | None, trees: Sequence[tuple[lgb.Booster, float]], width: int
) -> bytes:
    """Serialised model: `features` (n, width) -> `score` (n, 1); its bytes depend on the weights alone."""
    nodes, constants, parts = [], [], []
    if trees:
        nodes.append(
            helper.make_node(
                "TreeEnsembleRegressor",
                ["features"],
                ["from_trees"],
                name="trees",
                domain=_TREES,
                **_merged([(_converted(booster, width), weight) for booster, weight in trees]),
            )
        )
        parts.append("from_trees")
    if linear is not None:
        constants.append(numpy_helper.from_array(linear.weights[:, None].copy(), "weights"))
        constants.append(numpy_helper.from_array(np.array([linear.offset], np.float32), "offset"))
        nodes.append(helper.make_node("MatMul", ["features", "weights"], ["product"], name="dot"))
        nodes.append(helper.make_node("Add", ["product", "offset"], ["from_linear"], name="shift"))
        parts.append("from_linear")
    last = "Add" if len(parts) == 2 else "Identity"
    nodes.append(helper.make_node(last, parts, ["score"], name="score"))
    graph = helper.make_graph(
        nodes,
        "ranker",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_TREES, _TREES_OPSET)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="aisle"
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _converted(booster: lgb.Booster, width: int) -> dict[str, Any]:
    """Attributes of the TreeEnsembleRegressor node that onnxmltools makes of a booster."""
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = onnxmltools.convert_lightgbm(
        booster,
        name="ranker",
        initial_types=[("features", FloatTensorType([None, width]))],
        target_opset=OPSET,
        zipmap=False,
    )
    node = next(each for each in model.graph.node if each.op_type == "TreeEnsembleRegressor")
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _merged(parts: Sequence[tuple[dict[str, Any], float]]) -> dict[str, Any]:
    """One node's attributes from several: trees are numbered on, leaves are scaled by each part's weight."""
    merged: dict[str, Any] = {"n_targets": 1, "post_transform": "NONE", "aggregate_function": "SUM"}
    first = 0
    for part, weight in parts:
        for name, value in part.items():
            if not name.startswith(("nodes_", "target_")):
                continue
            values = list(value)
            if name in ("nodes_treeids", "target_treeids"):
                values = [first + each for each in values]
            elif name == "target_weights":
                values = [weight * each for each in values]
            merged.setdefault(name, []).extend(values)
        first += max(part["nodes_treeids"]) + 1
    return merged
