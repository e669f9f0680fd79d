"""A trained Cosine Adapter with its threshold, as it leaves training: measured, described, written for serving."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from aisle.errors import ModelError
from aisle.relevance.adapter import CosineAdapter
from aisle.relevance.export import to_onnx
from aisle.relevance.filter import DESCRIPTION_FILE, FORMAT_VERSION, MODEL_FILE
from aisle.relevance.pairs import JudgedPairs

ONNX_TOLERANCE = 1e-5

Goal = tuple[Literal["recall", "precision"], float]
"""What the threshold is set for: the wanted recall, or the wanted precision, of the kept pairs."""


@dataclass(frozen=True)
class RelevanceModel:
    """A trained adapter with its threshold and what was measured while training."""

    adapter: CosineAdapter
    threshold: float
    goal: Goal
    summary: Mapping[str, Any]
    """Settings, what training chose, measures on the training and held-back pairs: part of `relevance.json`."""

    def relevance(
        self,
        query_vectors: NDArray[np.float32],
        query_index: NDArray[np.int64],
        cosine: NDArray[np.float32],
        score: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Probability float32 (n,) by torch itself; arguments as `OnnxRelevanceFilter.relevance`."""
        if score is None:
            score = np.zeros(len(cosine), np.float32)
        with torch.no_grad():
            value = self.adapter(
                torch.as_tensor(np.asarray(query_vectors, np.float32)),
                torch.as_tensor(np.asarray(query_index, np.int64)),
                torch.as_tensor(np.asarray(cosine, np.float32)),
                torch.as_tensor(np.asarray(score, np.float32)),
            )
        return np.asarray(value.numpy(), np.float32)

    def relevance_of(self, pairs: JudgedPairs) -> NDArray[np.float32]:
        """The same for judged pairs."""
        return self.relevance(pairs.query_vectors, pairs.query_index, pairs.cosine, pairs.score)

    def save(self, folder: str | Path, measures: Mapping[str, Any] | None = None) -> None:
        """Writes `model.onnx` and `relevance.json`, the latter last. Raises ModelError where ONNX and torch differ."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = to_onnx(self.adapter)
        difference = _largest_difference(content, self)
        if difference > ONNX_TOLERANCE:
            raise ModelError(
                f"the exported adapter differs from torch by {difference:.2g}, allowed is {ONNX_TOLERANCE:g}; "
                "nothing was written, report the versions of torch and onnx"
            )
        (folder / MODEL_FILE).write_bytes(content)
        description = {
            "format_version": FORMAT_VERSION,
            "family": self.adapter.family,
            "dimension": self.adapter.hidden.in_features,
            "uses_score": self.adapter.uses_score,
            "threshold": self.threshold,
            "threshold_for": {"measure": self.goal[0], "wanted": self.goal[1]},
            "training": dict(self.summary),
            "measures": dict(measures or {}),
            "onnx_difference": difference,
        }
        (folder / DESCRIPTION_FILE).write_text(
            json.dumps(description, indent=2) + "\n", encoding="utf-8"
        )


def _largest_difference(content: bytes, model: RelevanceModel) -> float:
    """Largest difference between ONNX and torch over several shapes of random input, cosines beyond [-1, 1] too."""
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    adapter = model.adapter
    rng = np.random.default_rng(0)
    largest = 0.0
    for q, n in ((1, 1), (1, 300), (7, 1000), (64, 64)):
        vectors = rng.normal(size=(q, adapter.hidden.in_features)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        index = rng.integers(0, q, n)
        cosine = rng.uniform(-1.1, 1.1, n).astype(np.float32)
        spread = 3.0 * float(adapter.score_std)
        score = rng.normal(float(adapter.score_mean), spread, n).astype(np.float32)
        feed = {"query_vectors": vectors, "query_index": index, "cosine": cosine, "score": score}
        exported = session.run(["relevance"], feed)[0]
        original = model.relevance(vectors, index, cosine, score)
        largest = max(largest, float(np.abs(exported - original).max()))
    return largest
