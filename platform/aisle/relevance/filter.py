"""Relevance filters turn a cosine into a probability and keep what reaches one threshold, the same for every query.

`OnnxRelevanceFilter` is the trained Cosine Adapter; `RawCosineFilter` is the cut for a shop without judgments, and the
baseline that the adapter must beat. Neither changes an order: ranking is the ranker's.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aisle.errors import ModelError, StageError

FORMAT_VERSION = 1
MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "relevance.json"


class OnnxRelevanceFilter:
    """A trained adapter behind ONNX Runtime. Deterministic; may be called from several threads.

    `uses_score` says whether the adapter reads the ranker's score; where not, `score` may be anything, None included.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        *,
        threshold: float,
        dimension: int,
        uses_score: bool,
    ) -> None:
        self._session = session
        self.threshold = threshold
        self.dimension = dimension
        self.uses_score = uses_score

    @classmethod
    def load(cls, folder: str | Path, threads: int = 1) -> OnnxRelevanceFilter:
        """Loads what `RelevanceModel.save` wrote. Raises ModelError on a file that is missing, damaged or unfit."""
        folder = Path(folder)
        threshold, dimension, uses_score = _read_description(folder / DESCRIPTION_FILE)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        path = folder / MODEL_FILE
        if not path.is_file():
            raise ModelError(f"{path}: no such file; train with python -m jobs.train_relevance")
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no public base
            raise ModelError(f"{path}: cannot be loaded as ONNX: {error}") from error
        width = session.get_inputs()[0].shape[-1]
        if width != dimension:
            raise ModelError(
                f"{path}: takes query vectors of d={width}, {DESCRIPTION_FILE} says d={dimension}; "
                "the two files are not of one model, train again"
            )
        return cls(session, threshold=threshold, dimension=dimension, uses_score=uses_score)

    def relevance(
        self,
        query_vectors: NDArray[np.float32],
        query_index: NDArray[np.int64],
        cosine: NDArray[np.float32],
        score: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Probability of each hit, float32 (n,) in [0, 1].

        `query_vectors` float32 (q, d), unit rows; `query_index` int (n,) names the row of each hit's query; `cosine`
        and `score` float32 (n,). n may be 0. Raises ModelError on vectors of another dimension or where the adapter
        needs `score` and got none, StageError on an input that is not finite or an index outside the vectors.
        """
        if query_vectors.ndim != 2 or query_vectors.shape[1] != self.dimension:
            raise ModelError(
                f"query vectors are {query_vectors.shape}, the adapter was trained on d={self.dimension}; "
                "train it again with this encoder"
            )
        if score is None:
            if self.uses_score:
                raise ModelError("this adapter reads the ranker's score, which was not given")
            score = np.zeros(len(cosine), np.float32)
        if not len(cosine):
            return np.empty(0, np.float32)
        if query_index.min() < 0 or query_index.max() >= len(query_vectors):
            raise StageError(
                f"query_index reaches from {query_index.min()} to {query_index.max()}, "
                f"there are {len(query_vectors)} query vectors"
            )
        feed = {
            "query_vectors": np.ascontiguousarray(query_vectors, np.float32),
            "query_index": np.ascontiguousarray(query_index, np.int64),
            "cosine": np.ascontiguousarray(cosine, np.float32),
            "score": np.ascontiguousarray(score, np.float32),
        }
        (value,) = self._session.run(["relevance"], feed)
        return _probability(value)

    def keep(self, relevance: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Mask bool (n,): true where the relevance reaches the threshold."""
        return np.asarray(relevance, np.float64) >= self.threshold


class RawCosineFilter:
    """Takes the cosine itself, clipped to [0, 1], for the relevance. A rule, not a probability."""

    uses_score = False

    def __init__(self, threshold: float) -> None:
        if not 0.0 <= threshold <= 1.0:
            raise ModelError(f"cosine threshold is {threshold:g}, expected 0 to 1")
        self.threshold = threshold

    def relevance(
        self,
        query_vectors: NDArray[np.float32],
        query_index: NDArray[np.int64],
        cosine: NDArray[np.float32],
        score: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """max(cosine, 0) of each hit, float32 (n,); only `cosine` is read."""
        return _probability(np.asarray(cosine, np.float32))

    def keep(self, relevance: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Mask bool (n,): true where the relevance reaches the threshold."""
        return np.asarray(relevance, np.float64) >= self.threshold


def _probability(value: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(value).all():
        bad = int(np.flatnonzero(~np.isfinite(value))[0])
        raise StageError(
            f"the relevance of row {bad} is not finite: an input holds NaN or infinity"
        )
    return np.clip(value, 0.0, 1.0).astype(np.float32)


def _read_description(path: Path) -> tuple[float, int, bool]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version = description["format_version"]
        values = (
            float(description["threshold"]),
            int(description["dimension"]),
            bool(description["uses_score"]),
        )
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: no such file; train with python -m jobs.train_relevance"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is not an adapter's description: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: format version {version}, this version of aisle reads {FORMAT_VERSION}; train again"
        )
    return values
