"""Rankers score (query, product) rows from named feature columns; higher is better.

What a column means is not known here: the model carries the names of its columns in order, and `expect` refuses a
caller whose columns differ, because a shuffled matrix scores without any error. Scores order one query's products;
they are not comparable between queries (that is what `aisle.relevance` is for).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aisle.errors import ModelError, StageError

FORMAT_VERSION = 1
MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "ranker.json"


class OnnxRanker:
    """A trained ranker behind ONNX Runtime. Deterministic; `score` may be called from several threads."""

    def __init__(self, session: ort.InferenceSession, feature_names: Sequence[str]) -> None:
        self._session = session
        self.feature_names = tuple(feature_names)

    @classmethod
    def load(cls, folder: str | Path, threads: int = 1) -> OnnxRanker:
        """Loads what `RankerModel.save` wrote. Raises ModelError where a file is missing, damaged or does not fit."""
        folder = Path(folder)
        description = _read_description(folder / DESCRIPTION_FILE)
        names = description["feature_names"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        path = folder / MODEL_FILE
        if not path.is_file():
            raise ModelError(f"{path}: no such file; train with python -m jobs.train_ranker")
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no public base
            raise ModelError(f"{path}: cannot be loaded as ONNX: {error}") from error
        width = session.get_inputs()[0].shape[-1]
        if width != len(names):
            raise ModelError(
                f"{path}: takes {width} features, {DESCRIPTION_FILE} names {len(names)}; "
                "the two files are not of one model, train again"
            )
        return cls(session, names)

    def expect(self, names: Sequence[str]) -> None:
        """Raises ModelError unless the caller's columns are this model's, in its order."""
        check_columns(self.feature_names, names)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (n, f) -> float32 (n,), row by row; n may be 0. Raises StageError on a value that is not finite."""
        _check_features(features, self.feature_names)
        if not len(features):
            return np.empty(0, np.float32)
        rows = np.ascontiguousarray(features, dtype=np.float32)
        (scores,) = self._session.run(None, {self._session.get_inputs()[0].name: rows})
        return np.asarray(scores, np.float32).reshape(-1)


class FusedRanker:
    """Orders by one feature column, such as the fused retrieval score: for a shop that has no judgments yet."""

    def __init__(self, feature_names: Sequence[str], column: str) -> None:
        if column not in feature_names:
            raise ModelError(
                f"no feature column {column!r} to rank by; the columns are {', '.join(feature_names)}"
            )
        self.feature_names = tuple(feature_names)
        self._column = self.feature_names.index(column)

    def expect(self, names: Sequence[str]) -> None:
        """Raises ModelError unless the caller's columns are the ones given at the start, in order."""
        check_columns(self.feature_names, names)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (n, f) -> float32 (n,): the column as it is; n may be 0."""
        _check_features(features, self.feature_names)
        return np.array(features[:, self._column], dtype=np.float32)


def check_columns(wanted: Sequence[str], got: Sequence[str]) -> None:
    """Raises ModelError naming the first column that differs."""
    if tuple(wanted) == tuple(got):
        return
    missing = [name for name in wanted if name not in got]
    extra = [name for name in got if name not in wanted]
    if missing or extra:
        found = f"lacks [{', '.join(missing)}], has unknown [{', '.join(extra)}]"
    else:
        at = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), 0)
        found = f"has the columns in another order or number, from column {at} on"
    raise ModelError(
        f"the caller {found}; the ranker was trained on {len(wanted)} columns: {', '.join(wanted)}; "
        "train the ranker again with this version's features"
    )


def _check_features(features: NDArray[np.float32], names: Sequence[str]) -> None:
    if features.ndim != 2 or features.shape[1] != len(names):
        raise ModelError(f"features are {features.shape}, the ranker takes (n, {len(names)})")
    # A NaN score would sort anywhere; refusing lets the pipeline go on without the ranker, visibly.
    bad = ~np.isfinite(features)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise StageError(
            f"feature {names[column]!r} of row {row} is {features[row, column]}, expected a finite number"
        )


def _read_description(path: Path) -> dict[str, list[str]]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version, names = description["format_version"], description["feature_names"]
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file; train with python -m jobs.train_ranker") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is not a ranker's description: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: format version {version}, this version of aisle reads {FORMAT_VERSION}; train again"
        )
    return {"feature_names": [str(name) for name in names]}
