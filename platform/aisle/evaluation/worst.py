"""The queries that a system serves worst, with what it returned and what it should have: where to look first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aisle.evaluation.compare import worst_queries
from aisle.evaluation.judgments import Judgments
from aisle.evaluation.run import Run

SHOWN_HITS = 10
SHOWN_MISSED = 3


@dataclass(frozen=True, slots=True)
class ShownProduct:
    """A product in an example."""

    product_id: str
    rank: int | None
    """From 1; None where the system did not return it."""
    grade: float | None
    """None where nobody judged it."""
    kept: bool = True
    """The relevance filter left it on the page."""


@dataclass(frozen=True, slots=True)
class Example:
    """One query with its page and its best judged products that are not on it."""

    query: str
    value: float
    before: float | None
    """The same measure under the system compared with."""
    hits: tuple[ShownProduct, ...]
    missed: tuple[ShownProduct, ...]

    def product_ids(self) -> set[str]:
        """Whose titles a page needs."""
        return {each.product_id for each in (*self.hits, *self.missed)}

    def as_dict(self, titles: Mapping[str, str]) -> dict[str, Any]:
        """Plain values with titles; None for a product that the catalogue does not hold."""

        def shown(each: ShownProduct) -> dict[str, Any]:
            return asdict(each) | {"title": titles.get(each.product_id)}

        return asdict(self) | {
            "hits": [shown(each) for each in self.hits],
            "missed": [shown(each) for each in self.missed],
        }


def worst_examples(
    judgments: Judgments,
    run: Run,
    after: NDArray[np.float64],
    before: NDArray[np.float64] | None = None,
    n: int = 12,
) -> list[Example]:
    """The n queries with the lowest value, or that lost most against `before`; only losses count there."""
    chosen = worst_queries(judgments.queries, after, before, n)
    place = {query: i for i, query in enumerate(judgments.queries)}
    return [
        _example(
            judgments, run, place[each.query], each.after, None if before is None else each.before
        )
        for each in chosen
        if before is None or each.difference < 0
    ]


def _example(judgments: Judgments, run: Run, i: int, value: float, before: float | None) -> Example:
    judged = slice(judgments.offsets[i], judgments.offsets[i + 1])
    grade_of = dict(zip(judgments.product_ids[judged], judgments.grades[judged], strict=True))
    rows = run.rows.get(judgments.queries[i], slice(0, 0))
    found, kept = run.product_ids[rows], run.kept[rows]
    hits = tuple(
        ShownProduct(product, rank + 1, _grade(grade_of.get(product)), bool(kept[rank]))
        for rank, product in enumerate(found[:SHOWN_HITS])
    )
    rank_of = {product: rank + 1 for rank, product in enumerate(found)}
    shown = {each.product_id for each in hits}
    best = sorted(
        (p for p in grade_of if p not in shown and grade_of[p] > judgments.lowest_grade),
        key=lambda p: (-grade_of[p], p),
    )
    missed = tuple(ShownProduct(p, rank_of.get(p), float(grade_of[p])) for p in best[:SHOWN_MISSED])
    return Example(judgments.texts[i], value, before, hits, missed)


def _grade(grade: float | None) -> float | None:
    return None if grade is None else float(grade)
