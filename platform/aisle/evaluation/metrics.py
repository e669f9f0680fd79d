"""Ranking measures, one value a query, so that two runs can be compared query by query.

Every function gives float64 (q,) in the order of `judgments.queries`; NaN marks a query on which a measure is not
defined (no relevant product, all grades lowest), and `numpy.nanmean` is the set's value.

nDCG is Järvelin and Kekäläinen's (2002) with the exponential gains of Burges et al. (2005), 2^(grade - lowest) - 1,
unless the set has its own, and the discount 1 / log2(rank + 1); tests hold it equal to trec_eval (through ir-measures)
on the same gains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError
from aisle.evaluation.judgments import Judgments
from aisle.evaluation.run import Run

Floats = NDArray[np.float64]


def ndcg(judgments: Judgments, run: Run, k: int = 10) -> Floats:
    """ndcg@k of a run over the whole catalogue; a product without a judgment gains 0.

    The ideal ranking is that of the query's judged products. NaN where all grades of a query are lowest.
    """
    gains = judgments.gain(_hit_grades(judgments, run, k))
    return _ratio(gains @ _discounts(k), _ideal_dcg(judgments, k))


def ndcg_of_pairs(judgments: Judgments, scores: NDArray[np.floating], k: int = 10) -> Floats:
    """ndcg@k of the judged pairs alone, ranked by `scores` float (n,), higher better, ties by product id ascending.

    Raises JudgmentError where a pair has no finite score: every pair must be scored.
    """
    values: Floats = np.asarray(scores, np.float64)
    if values.shape != (len(judgments),):
        raise JudgmentError(f"{values.shape} scores for {len(judgments)} judged pairs; one each")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise JudgmentError(
            f"{len(bad)} judged pairs have no finite score, the first is product "
            f"{judgments.product_ids[bad[0]]!r}; score every pair"
        )
    return _ratio(_dcg_by(judgments, values, k), _ideal_dcg(judgments, k))


def recall(judgments: Judgments, run: Run, k: int = 100) -> Floats:
    """Share of a query's relevant products among its first k; NaN where it has none."""
    found = (_hit_grades(judgments, run, k) >= judgments.relevant_from).sum(axis=1)
    wanted = np.bincount(
        judgments.query_index, weights=judgments.relevant, minlength=len(judgments.queries)
    )
    return _ratio(found.astype(np.float64), wanted.astype(np.float64))


def reciprocal_rank(judgments: Judgments, run: Run, k: int = 100) -> Floats:
    """1 / rank of the first relevant product among the first k, else 0; NaN where the query has none."""
    hit = _hit_grades(judgments, run, k) >= judgments.relevant_from
    value = np.where(hit.any(axis=1), 1.0 / (hit.argmax(axis=1) + 1.0), 0.0)
    wanted = np.bincount(
        judgments.query_index, weights=judgments.relevant, minlength=len(judgments.queries)
    )
    return np.where(wanted > 0, value, np.nan)


def judged_fraction(judgments: Judgments, run: Run, k: int = 10) -> Floats:
    """Judged share of a query's first k hits; NaN where it has no hit. What unjudged-as-0 measures rest on."""
    grades = _hit_grades(judgments, run, k)
    hits = [min(rows.stop - rows.start, k) for rows in _rows(judgments, run)]
    return _ratio((~np.isnan(grades)).sum(axis=1).astype(np.float64), np.array(hits, np.float64))


@dataclass(frozen=True, slots=True)
class PagePrecision:
    """Precision of the pages that the relevance filter left, with what it rests on."""

    precision: Floats
    """float64 (q,): relevant share of the judged products on the page; NaN where none of them is judged."""
    judged_fraction: Floats
    """float64 (q,): judged share of the page; NaN where the page is empty."""
    kept: NDArray[np.int64]
    """int64 (q,): products on the page."""


def page_precision(judgments: Judgments, run: Run, k: int = 24) -> PagePrecision:
    """Measures the first k kept hits of each query. Products nobody judged count neither way."""
    grades = _hit_grades(judgments, run, k, kept_only=True)
    kept = np.array([min(int(run.kept[rows].sum()), k) for rows in _rows(judgments, run)], np.int64)
    judged = (~np.isnan(grades)).sum(axis=1).astype(np.float64)
    relevant = (grades >= judgments.relevant_from).sum(axis=1).astype(np.float64)
    return PagePrecision(_ratio(relevant, judged), _ratio(judged, kept.astype(np.float64)), kept)


def _rows(judgments: Judgments, run: Run) -> list[slice]:
    return [run.rows.get(query, slice(0, 0)) for query in judgments.queries]


def _hit_grades(judgments: Judgments, run: Run, k: int, kept_only: bool = False) -> Floats:
    """float64 (q, k): grade of the hit at each rank; NaN where it is not judged or there is no hit."""
    grades = np.full((len(judgments.queries), k), np.nan)
    for i, (rows, (_, products, known)) in enumerate(
        zip(_rows(judgments, run), judgments, strict=True)
    ):
        hits = run.product_ids[rows]
        if kept_only:
            hits = hits[run.kept[rows]]
        grade_of = dict(zip(products, known, strict=True))
        top = [grade_of.get(product, np.nan) for product in hits[:k]]
        grades[i, : len(top)] = top
    return grades


def _discounts(k: int) -> Floats:
    return np.asarray(1.0 / np.log2(np.arange(2, k + 2)), np.float64)


def _ideal_dcg(judgments: Judgments, k: int) -> Floats:
    return _dcg_by(judgments, judgments.grades, k)


def _dcg_by(judgments: Judgments, scores: Floats, k: int) -> Floats:
    """float64 (q,): DCG@k of each query's pairs, sorted by score; lexsort is stable, so ties stay by product id."""
    query_index = judgments.query_index
    order = np.lexsort((-scores, query_index))
    rank = np.arange(len(scores)) - judgments.offsets[:-1][query_index]
    gains = judgments.gain(judgments.grades[order])
    weights = np.where(rank < k, gains / np.log2(rank + 2.0), 0.0)
    dcg = np.bincount(query_index, weights=weights, minlength=len(judgments.queries))
    return dcg.astype(np.float64)


def _ratio(value: Floats, of: Floats) -> Floats:
    """Quotient, NaN where `of` is 0."""
    quotient = np.full(len(value), np.nan)
    np.divide(value, of, out=quotient, where=of > 0)
    return quotient
