from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from aisle.relevance.plots import draw, precision_recall


def test_precision_and_recall_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    score = np.round(rng.random(200), 2)
    relevant = rng.random(200) < score
    recall, precision = precision_recall(score, relevant)
    wanted_precision, wanted_recall, _ = precision_recall_curve(
        relevant, score, drop_intermediate=False
    )
    np.testing.assert_allclose(recall, wanted_recall[:-1][::-1])
    np.testing.assert_allclose(precision, wanted_precision[:-1][::-1])


def test_both_pictures_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra `train`")
    rng = np.random.default_rng(0)
    relevance = {"one": rng.random(100), "other": rng.random(100)}
    for path in draw(relevance, rng.random(100) < 0.5, tmp_path / "plots"):
        assert path.read_bytes().startswith(b"\x89PNG")
