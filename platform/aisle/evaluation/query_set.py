"""A query set with everything that decides a measure's value pinned: two reports compare only where the pins agree.

nDCG alone has a dozen definitions; a number without its gain, its cut and its judgments is no number to compare with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aisle.errors import JudgmentError
from aisle.evaluation.judgments import Judgments

DEFINITIONS: Mapping[str, str] = {
    "ndcg@10": "gain by grade, discount 1/log2(rank + 1), whole catalogue, a product nobody judged gains 0, ideal from "
    "the query's judged products; queries whose grades are all lowest are skipped",
    "ndcg@10_pairs": "the same over the query's judged products alone, each scored",
    "recall@k": "share of the query's relevant products among the first k of the whole catalogue",
    "mrr@100": "1 / rank of the first relevant product, 0 beyond 100",
    "page_precision": "relevant share of the judged products among the first 24 kept hits",
    "page_judged": "judged share of the first 24 kept hits",
    "judged@10": "judged share of the first 10 hits",
    "zero_results": "share of queries with an empty page; every query counts",
    "dropped_at_95": "share of the irrelevant judged pairs under the one cut that keeps 95 % of the relevant ones",
    "brier_skill": "1 - Brier score / Brier score of the set's own base rate, over all judged pairs",
    "calibration_error": "mean |predicted - observed| over 10 bins of equal width, weighted by pairs",
}
"""What each measure of a report is; part of every report."""


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Which queries were asked, how they are graded, and how grades become measures."""

    name: str
    content: str
    """Hash of every judged pair with its grade, of the gains and of what counts as relevant."""
    split: str | None
    queries: int
    pairs: int
    gain: str
    """`2^(grade - lowest) - 1`, or the set's own table as `grade: gain`."""
    relevant_from: float
    lowest_grade: float
    depth: int
    graded_by: str
    """`people`, or `people and model`."""

    @classmethod
    def of(cls, name: str, judgments: Judgments, split: str | None, depth: int) -> QuerySet:
        """Pins what was measured."""
        table = ", ".join(f"{grade:g}: {gain:g}" for grade, gain in judgments.gains)
        return cls(
            name=name,
            content=fingerprint(judgments),
            split=split,
            queries=len(judgments.queries),
            pairs=len(judgments),
            gain=table or "2^(grade - lowest) - 1",
            relevant_from=judgments.relevant_from,
            lowest_grade=judgments.lowest_grade,
            depth=depth,
            graded_by="people" if judgments.model_graded is None else "people and model",
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a report."""
        return asdict(self)


def require_same(ours: Mapping[str, Any], theirs: Mapping[str, Any], label: str) -> None:
    """Raises JudgmentError naming every pin in which two reports' query sets differ; `label` names the other report."""
    differing = [
        f"{key} {theirs.get(key)!r} there, {value!r} here"
        for key, value in ours.items()
        if key != "name" and theirs.get(key) != value
    ]
    if differing:
        raise JudgmentError(
            f"{label} measures another query set: {'; '.join(differing)}; values of two examinations do not compare, "
            "measure both systems on one set"
        )


def fingerprint(judgments: Judgments) -> str:
    """Short hash of every judged pair and of what counts as relevant: equal hash, comparable measures."""
    digest = hashlib.sha256(f"{judgments.relevant_from} {judgments.lowest_grade}\n".encode())
    digest.update("\n".join(judgments.queries).encode())
    digest.update("\n".join(judgments.product_ids).encode())
    digest.update(np.asarray(judgments.offsets, np.int64).tobytes())
    digest.update(np.asarray(judgments.grades, np.float64).tobytes())
    if judgments.gains:
        digest.update(np.asarray(judgments.gains, np.float64).tobytes())
    if judgments.model_graded is not None:
        digest.update(judgments.model_graded.tobytes())
    return digest.hexdigest()[:16]
