"""One query's answer before it becomes a page: candidates in order, judged, each kept or dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.retrieve.candidates import Candidates
from aisle.rewrite.relax import Relaxed
from aisle.stages import Scores


@dataclass(frozen=True, slots=True)
class Ranked:
    """One query's candidates in the order in which they are shown; all arrays have length n."""

    candidates: Candidates
    fused: NDArray[np.float32]
    score: NDArray[np.float32]
    relevance: NDArray[np.float32] | None
    kept: NDArray[np.bool_]
    threshold: float
    complete: bool
    """No depth cut anything off and no stage was missing: every product that matches the filters was judged."""
    recovered: Relaxed | None = None
    """The shorter query that found some of the kept products, where the query itself found too few."""


def ordered(
    candidates: Candidates,
    fused: NDArray[np.float32],
    complete: bool,
    scores: Scores | None,
    at: slice,
) -> Ranked:
    """One query's share of the scores, best first; without scores the fused order stands and nothing is dropped."""
    if len(candidates) == 0:  # nothing to judge, whether the rest of the batch was judged or not
        return Ranked(candidates, fused, fused, fused, np.empty(0, dtype=bool), 0.0, complete)
    if scores is None:
        everything = np.ones(len(candidates), dtype=bool)
        return Ranked(candidates, fused, fused, None, everything, 0.0, complete=False)
    score, relevance = scores.score[at], scores.relevance[at]
    order = np.lexsort((candidates.product_ids, -score))
    relevance = relevance[order]
    kept = relevance >= scores.threshold
    return Ranked(
        candidates.take(order),
        fused[order],
        score[order],
        relevance,
        kept,
        scores.threshold,
        complete,
    )
