"""Does the relevance of what pinned queries find still look as it did? A change of its distribution, in one number.

The judged queries are the pinned ones: the same night after night. A filter whose inputs shifted (another encoder,
another catalogue, a ranker trained anew) cuts elsewhere than its threshold was set for, long before a judgment says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BINS = 10


def relevance_histogram(relevance: NDArray[np.floating]) -> list[int]:
    """Hits in each of ten equal bins of relevance, 0 to 1; values that are not finite are left out."""
    known = np.clip(relevance[np.isfinite(relevance)], 0.0, 1.0)
    place = np.minimum((known * BINS).astype(np.int64), BINS - 1)
    return [int(n) for n in np.bincount(place, minlength=BINS)]


def population_stability(before: Sequence[int], after: Sequence[int]) -> float:
    """Population stability index of two histograms of equal bins: the sum of (a - b) ln(a / b) over the bins' shares.

    The symmetric Kullback-Leibler divergence, as credit scoring has used it for decades; by its custom below .1 is
    nothing, above .25 a shift. Half a hit is added to every bin, so that an empty one is no infinity. 0 where one of
    the two holds no hit.
    """
    b, a = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if not b.sum() or not a.sum():
        return 0.0
    b, a = (b + 0.5) / (b + 0.5).sum(), (a + 0.5) / (a + 0.5).sum()
    return float(np.sum((a - b) * np.log(a / b)))
