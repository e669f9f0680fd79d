"""Judged pairs as the relevance models see them: arrays, checked once at the door."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """n (query, product) pairs of q queries that people judged.

    `score` is the ranker's. NOTE: scores of a ranker for the rows it was trained on look better than any it will give
    in service; give scores of held-back rows (a ranker trained on other queries), or the map learns too much trust.
    """

    query_vectors: NDArray[np.float32]
    """float32 (q, d), unit rows."""
    query_index: NDArray[np.int64]
    """int64 (n,): the row of `query_vectors` of each pair's query."""
    cosine: NDArray[np.float32]
    """float32 (n,): query vector times product vector, -1 to 1."""
    score: NDArray[np.float32] | None
    """float32 (n,), or None where there is no ranker."""
    relevant: NDArray[np.bool_]
    """bool (n,): people called the product relevant."""

    def checked(self, what: str) -> JudgedPairs:
        """The same pairs with their dtypes set; `what` names them in errors.

        Raises JudgmentError where they can teach or measure nothing: unequal lengths, fewer than two queries, a value
        that is not finite, all pairs relevant or none.
        """
        vectors = np.asarray(self.query_vectors, np.float32)
        index = np.asarray(self.query_index, np.int64)
        cosine = np.asarray(self.cosine, np.float32)
        score = None if self.score is None else np.asarray(self.score, np.float32)
        relevant = np.asarray(self.relevant, np.bool_)
        n = len(cosine)
        if vectors.ndim != 2 or not len(index) == len(relevant) == n or len(cosine.shape) != 1:
            raise JudgmentError(
                f"{what} pairs do not fit: query_vectors {vectors.shape}, query_index {index.shape}, "
                f"cosine {cosine.shape}, relevant {relevant.shape}; expected (q, d) and (n,)"
            )
        if score is not None and score.shape != (n,):
            raise JudgmentError(f"{what} pairs: {score.shape} scores for {n} cosines; one each")
        if n and (index.min() < 0 or index.max() >= len(vectors)):
            raise JudgmentError(
                f"{what} pairs: query_index reaches to {index.max()}, there are {len(vectors)} vectors"
            )
        for name, values in (("query_vectors", vectors), ("cosine", cosine), ("score", score)):
            if values is not None and not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values))[0][0])
                raise JudgmentError(f"{what} pairs: {name} of row {row} is not finite")
        queries = len(np.unique(index))
        if queries < 2:
            raise JudgmentError(
                f"{what} pairs come from {queries} queries: a map between queries needs at least two"
            )
        if relevant.all() or not relevant.any():
            raise JudgmentError(
                f"{int(relevant.sum())} of {n} {what} pairs are relevant: both kinds are needed; "
                "check relevant_from against the grades"
            )
        return JudgedPairs(vectors, index, cosine, score, relevant)

    def take(self, rows: NDArray[np.bool_]) -> JudgedPairs:
        """The pairs where `rows` bool (n,) is true, with all query vectors."""
        return replace(
            self,
            query_index=self.query_index[rows],
            cosine=self.cosine[rows],
            score=None if self.score is None else self.score[rows],
            relevant=self.relevant[rows],
        )
