"""Writes a Cosine Adapter as one ONNX graph, from query vectors to the relevance of every hit.

The graph is put together node by node, as `CosineAdapter.forward` computes it, rather than traced: its bytes depend on
the weights alone, sizes are dynamic by construction, and no exporter has to be present. What is not shared is checked:
`RelevanceModel.save` compares the outputs of both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from aisle.relevance.adapter import EPSILON, SHARPNESS, CosineAdapter

OPSET = 17
IR_VERSION = 9  # what opset 17 came with; a newer default would shut out older runtimes


class _Graph:
    """Nodes in order, each named after its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.float32] | NDArray[np.int64] | float) -> str:
        name = f"constant{len(self.constants)}"
        array = np.asarray(value, np.float32) if isinstance(value, float) else value
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, *inputs: str | float, to: str = "", **attributes: Any) -> str:
        names = [self.constant(i) if isinstance(i, float) else i for i in inputs]
        name = to or f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [name], name=name, **attributes))
        return name


def to_onnx(adapter: CosineAdapter) -> bytes:
    """Serialised model: `query_vectors` (q, d), `query_index` (n,), `cosine` (n,), `score` (n,) -> `relevance` (n,)."""
    weights = {name: value.detach().numpy() for name, value in adapter.state_dict().items()}
    dimension = weights["hidden.weight"].shape[1]
    g = _Graph()
    scaled = g.add("Mul", "query_vectors", float(dimension) ** 0.5)
    inner = g.add("MatMul", scaled, g.constant(weights["hidden.weight"].T.copy()))
    inner = g.add("Tanh", g.add("Add", inner, g.constant(weights["hidden.bias"])))
    out = weights["out.weight"].T * weights["strength"]
    moved = g.add("MatMul", inner, g.constant(out.astype(np.float32)))
    raw = g.add("Add", moved, g.constant(weights["shared"]))
    rows = g.add("Gather", raw, "query_index", axis=0)  # (n, parameters)
    value: dict[str, str] = {}
    for i, name in enumerate(adapter.parameter_names):
        column = g.add("Gather", rows, g.constant(np.asarray(i, np.int64)), axis=1)  # (n,)
        value[name] = column if name == "b" else g.add("Softplus", column)
    cosine = g.add("Clip", "cosine", -1.0, 1.0)
    scale = {name: float(weights[name]) for name in weights if name.endswith(("_mean", "_std"))}
    if adapter.family in ("logistic", "blend"):
        x = g.add("Div", g.add("Sub", cosine, scale["cosine_mean"]), scale["cosine_std"])
        logit = g.add("Add", g.add("Mul", value["a"], x), value["b"])
        if adapter.family == "blend":
            s = g.add("Div", g.add("Sub", "score", scale["score_mean"]), scale["score_std"])
            logit = g.add("Add", logit, g.add("Mul", value["c"], s))
        g.add("Sigmoid", logit, to="relevance")
    else:
        rise = _rise(g, adapter, value, cosine, scale["cosine_mean"])
        t = g.add("Add", g.add("Div", rise, scale["cosine_std"] / 2.0), value["b"])
        _softclamp(g, t)
    model = helper.make_model(
        helper.make_graph(
            g.nodes,
            "relevance",
            [
                helper.make_tensor_value_info("query_vectors", TensorProto.FLOAT, ["q", dimension]),
                helper.make_tensor_value_info("query_index", TensorProto.INT64, ["n"]),
                helper.make_tensor_value_info("cosine", TensorProto.FLOAT, ["n"]),
                helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"]),
            ],
            [helper.make_tensor_value_info("relevance", TensorProto.FLOAT, ["n"])],
            g.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="aisle",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _rise(
    g: _Graph, adapter: CosineAdapter, value: dict[str, str], cosine: str, mean: float
) -> str:
    """The rise a (phi(u) - phi(m)) of the families that map u = (cosine + 1) / 2."""
    u = g.add("Max", g.add("Div", g.add("Add", cosine, 1.0), 2.0), EPSILON)
    m = max((mean + 1.0) / 2.0, EPSILON)
    if adapter.family == "linear":
        return g.add("Mul", value["a"], g.add("Sub", u, m))
    if adapter.family == "sqrt":
        return g.add("Mul", value["a"], g.add("Sub", g.add("Sqrt", u), m**0.5))
    if adapter.family == "quadratic":
        square = g.add("Mul", value["a"], g.add("Sub", g.add("Mul", u, u), m * m))
        return g.add("Add", square, g.add("Mul", value["c"], g.add("Sub", u, m)))
    power = g.add("Sub", g.add("Pow", u, value["p"]), g.add("Pow", m, value["p"]))
    return g.add("Mul", value["a"], power)


def _softclamp(g: _Graph, t: str) -> str:
    half = g.add("Sub", 0.5, g.add("Abs", g.add("Sub", t, 0.5)))
    upper = g.add("Softplus", g.add("Mul", half, SHARPNESS))
    lower = g.add("Softplus", g.add("Mul", g.add("Sub", half, 1.0), SHARPNESS))
    value = g.add("Div", g.add("Sub", upper, lower), SHARPNESS)
    mirrored = g.add("Sub", 1.0, value)
    return g.add("Where", g.add("Less", t, 0.5), value, mirrored, to="relevance")
