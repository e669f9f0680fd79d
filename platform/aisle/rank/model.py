"""A trained ranker as it leaves training: a linear part plus weighted trees, described, exported, checked equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aisle.errors import ModelError
from aisle.rank.export import to_onnx
from aisle.rank.linear import LinearPart
from aisle.rank.onnx import DESCRIPTION_FILE, FORMAT_VERSION, MODEL_FILE
from aisle.rank.trees import raw_scores

ONNX_TOLERANCE = 1e-4


@dataclass(frozen=True)
class RankerModel:
    """A trained ranker with what it was trained on."""

    linear: LinearPart | None
    trees: tuple[tuple[lgb.Booster, float], ...]
    """Boosters and the weight of each one's raw scores."""
    feature_names: tuple[str, ...]
    grades: tuple[float, ...]
    """Distinct grades of the training rows, the set's lowest included, ascending."""
    summary: Mapping[str, Any]
    """Rows, queries, recipe, rounds used and what was measured while choosing: what `ranker.json` holds."""
    sample: NDArray[np.float32] = field(repr=False)
    """float32 (m, f): training rows on which the export is checked."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (n, f) -> float32 (n,), by LightGBM and NumPy themselves."""
        if not len(features):
            return np.empty(0, np.float32)
        scores = np.zeros(len(features), np.float64)
        if self.linear is not None:
            scores += self.linear.score(features)
        for booster, weight in self.trees:
            scores += weight * raw_scores(booster, features)
        return np.asarray(scores, np.float32)

    def importance(self) -> list[tuple[str, float, int]]:
        """(feature, share of importance, splits), most first, ties by name.

        The share is of the trees' total gain and of the linear part's spread of |weight x value| over the sample, each
        counted by its part's share in the score's variance.
        """
        share = np.zeros(len(self.feature_names))
        splits = np.zeros(len(self.feature_names), np.int64)
        spread = 0.0
        if self.linear is not None:
            each = np.abs(self.linear.weights) * self.sample.std(axis=0)
            own = float(np.std(self.linear.score(self.sample)))
            share += own * each / max(float(each.sum()), 1e-12)
            spread += own
        for booster, weight in self.trees:
            gain = booster.feature_importance("gain")
            own = float(np.std(weight * raw_scores(booster, self.sample)))
            share += own * gain / max(float(gain.sum()), 1e-12)
            splits += booster.feature_importance("split")
            spread += own
        share /= max(spread, 1e-12)
        rows = [
            (name, float(s), int(n))
            for name, s, n in zip(self.feature_names, share, splits, strict=True)
        ]
        return sorted(rows, key=lambda row: (-row[1], row[0]))

    def save(self, folder: str | Path, measures: Mapping[str, Any] | None = None) -> None:
        """Writes `model.onnx` and `ranker.json`, the latter last. Raises ModelError where ONNX and training differ."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = to_onnx(self.linear, self.trees, len(self.feature_names))
        difference = _largest_difference(content, self)
        if difference > ONNX_TOLERANCE:
            raise ModelError(
                f"the exported ranker differs from LightGBM by {difference:.2g}, allowed is {ONNX_TOLERANCE:g}; "
                "nothing was written, report the versions of lightgbm and onnxmltools"
            )
        (folder / MODEL_FILE).write_bytes(content)
        description = {
            "format_version": FORMAT_VERSION,
            "feature_names": list(self.feature_names),
            "grades": list(self.grades),
            "training": dict(self.summary),
            "importance": [
                {"feature": n, "share": g, "splits": s} for n, g, s in self.importance()
            ],
            "measures": dict(measures or {}),
            "onnx_difference": difference,
        }
        (folder / DESCRIPTION_FILE).write_text(
            json.dumps(description, indent=2) + "\n", encoding="utf-8"
        )


def _largest_difference(content: bytes, model: RankerModel) -> float:
    """Largest difference on training rows and on random rows of their range, relative where scores exceed 1."""
    rows = model.sample
    rng = np.random.default_rng(0)
    low, high = rows.min(axis=0), rows.max(axis=0)
    noise = rng.uniform(low - 0.1, high + 0.1, (500, rows.shape[1])).astype(np.float32)
    rows = np.concatenate([rows, noise])
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    exported = np.asarray(session.run(None, {"features": rows})[0], np.float64).reshape(-1)
    original = model.score(rows).astype(np.float64)
    return float(np.max(np.abs(exported - original) / np.maximum(1.0, np.abs(original))))
