"""How far a judge agrees with people: Cohen's kappa, which takes away the agreement that chance alone would give.

kappa = 1 - (sum of w * observed) / (sum of w * expected), with w = 0 on the diagonal. Unweighted, every disagreement
weighs 1 (Cohen 1960); quadratic weights (Cohen 1968) make a miss by two grades weigh four times a miss by one, as fits
grades that are a scale. Tests hold both equal to scikit-learn's. Intervals resample queries, because pairs of one query
go together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError
from aisle.evaluation.compare import Interval, pooled_interval

Weights = Literal["none", "quadratic"]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two markings of the same pairs."""

    pairs: int
    queries: int
    kappa: Interval
    quadratic_kappa: Interval
    exact_fraction: float
    """Share of the pairs on which both marked the same level."""
    confusion: tuple[tuple[int, ...], ...]
    """Pairs by people's level (row) and the judge's (column)."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for a report."""
        return asdict(self)


def cohens_kappa(first: Labels, second: Labels, levels: int, weights: Weights = "none") -> float:
    """Kappa of two markings, int64 (n,) each with values 0 to levels - 1; 1 is perfect, 0 is chance.

    Raises JudgmentError where it is not defined: no pair, or both used one and the same level throughout.
    """
    table = confusion(first, second, levels).astype(np.float64)
    total = table.sum()
    i, j = np.indices((levels, levels))
    weight = (i != j).astype(np.float64) if weights == "none" else (i - j).astype(np.float64) ** 2
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / max(total, 1.0)
    by_chance = float((weight * expected).sum())
    if total == 0 or by_chance == 0.0:
        raise JudgmentError(
            f"kappa is not defined over {int(total)} pairs on which both marked one level: agreement by chance is "
            "complete; take more varied pairs"
        )
    return 1.0 - float((weight * table).sum()) / by_chance


def confusion(first: Labels, second: Labels, levels: int) -> NDArray[np.int64]:
    """int64 (levels, levels): pairs by the first marking (row) and the second (column)."""
    counts = np.bincount(np.asarray(first) * levels + np.asarray(second), minlength=levels**2)
    return counts.reshape(levels, levels)


def agreement(
    people: Labels,
    judge: Labels,
    query_index: NDArray[np.int64],
    levels: int,
    *,
    seed: int = 0,
    resamples: int = 300,
) -> Agreement:
    """Measures a judge against people over the same pairs; `query_index` int64 (n,) says which query a pair is of.

    Raises JudgmentError where kappa is not defined, see `cohens_kappa`.
    """

    def interval(weights: Weights) -> Interval:
        return pooled_interval(
            lambda rows: cohens_kappa(people[rows], judge[rows], levels, weights),
            query_index,
            seed,
            resamples=resamples,
        )

    table = confusion(people, judge, levels)
    return Agreement(
        pairs=len(people),
        queries=len(np.unique(query_index)),
        kappa=interval("none"),
        quadratic_kappa=interval("quadratic"),
        exact_fraction=float(np.trace(table) / max(table.sum(), 1)),
        confusion=tuple(tuple(int(n) for n in row) for row in table),
    )
