"""How good an encoder is on held-back queries, on a catalogue small enough to be encoded every few minutes.

The pool holds every product judged for the measured queries and as many others drawn at random. Figures on it compare
checkpoints of one run; they are higher than those over the whole catalogue and say nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.embed.training.material import Material

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
_CUT = 10


@dataclass(frozen=True, slots=True)
class DevScore:
    """Means over the measured queries."""

    ndcg: float
    """ndcg@10 over the pool, unjudged as 0."""
    ndcg_pairs: float
    """ndcg@10 over the judged pairs."""

    @property
    def value(self) -> float:
        """What checkpoints are compared by: retrieval and order count alike."""
        return (self.ndcg + self.ndcg_pairs) / 2


class DevSet:
    """Held-back queries and their pool, fixed at the start of a run."""

    def __init__(
        self, material: Material, *, queries: int = 200, others: int = 1500, seed: int = 7
    ) -> None:
        rng = np.random.default_rng(seed)
        usable = np.flatnonzero(material.has_positive)
        chosen = np.sort(rng.permutation(usable)[:queries])
        judged = np.unique(np.concatenate([material.judged[i] for i in chosen]))
        drawn = rng.permutation(len(material.documents))[:others]
        rows = np.union1d(judged, drawn)
        self.queries = [material.queries[i] for i in chosen]
        self.documents = [material.documents[row] for row in rows]
        self._gains = np.full((len(chosen), len(rows)), -1.0)  # -1 where nobody judged
        for i, query in enumerate(chosen):
            self._gains[i, np.searchsorted(rows, material.judged[query])] = material.gains[query]

    def score(self, encode: Encode) -> DevScore:
        """Encodes queries and pool and measures."""
        return self.score_cosines(encode(self.queries) @ encode(self.documents).T)

    def score_cosines(self, cosines: NDArray[np.float32]) -> DevScore:
        """Measures float32 (q, n) cosines."""
        gains = np.maximum(self._gains, 0.0)
        ideal = _dcg(-np.sort(-gains, axis=1))
        over_pool = _dcg(_sorted(gains, cosines)) / ideal
        judged_only = np.where(self._gains < 0, -np.inf, cosines)
        over_pairs = _dcg(_sorted(gains, judged_only)) / ideal
        return DevScore(float(over_pool.mean()), float(over_pairs.mean()))


def _sorted(gains: NDArray[np.float64], by: NDArray[np.floating]) -> NDArray[np.float64]:
    order = np.argsort(-by, axis=1, kind="stable")[:, :_CUT]
    return np.take_along_axis(gains, order, axis=1)


def _dcg(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    top = gains[:, :_CUT]
    dcg: NDArray[np.float64] = top @ (1.0 / np.log2(np.arange(2, top.shape[1] + 2)))
    return dcg
