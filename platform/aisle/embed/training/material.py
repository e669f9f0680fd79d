"""What an encoder is trained on: queries, product texts, graded pairs and mined negatives, as arrays.

Texts only: no product id, no count and no order of rows reaches the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.errors import JudgmentError
from aisle.evaluation import Judgments
from aisle.evaluation.gains import exponential_gains
from aisle.text import Analyzer

_TWIN_OVERLAP = 0.8
"""Share of common terms from which two texts count as one product told twice: such a candidate is no negative."""


@dataclass(frozen=True)
class Material:
    """Graded queries over a catalogue. `documents` holds the text of every product; rows below index it."""

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    titles: tuple[str, ...]
    judged: tuple[NDArray[np.int64], ...]
    """Rows judged for each query, int64 (n_i,)."""
    gains: tuple[NDArray[np.float32], ...]
    """Their gains, 2^(grade - lowest) - 1: float32 (n_i,)."""
    mined: tuple[NDArray[np.int64], ...]
    """Rows that the retrieval puts high for each query and nobody judged, best first; empty where none were mined."""

    @property
    def has_positive(self) -> NDArray[np.bool_]:
        """Which queries have a product of some gain, and so something to learn from: bool (q,)."""
        return np.array([bool((gains > 0).any()) for gains in self.gains], dtype=np.bool_)


def build_material(
    judgments: Judgments,
    product_ids: Sequence[str],
    documents: Sequence[str],
    candidates: Mapping[str, Sequence[str]] | None = None,
    *,
    titles: Sequence[str] | None = None,
    skip: int = 10,
    keep: int = 30,
) -> Material:
    """Joins judgments, catalogue and candidates.

    Args:
        judgments: of one split.
        product_ids: of the catalogue, (n,).
        documents: text of each product as the encoder reads it, (n,).
        candidates: product ids that the current retrieval gives for a query as first written, best first. Those that
            are judged are left out (they carry their grade), and so are texts nearly equal to a relevant product's.
        titles: of each product, from which queries are made; none takes the texts.
        skip: best unjudged candidates left out: where people judged a few products a query, most of them are relevant.
        keep: mined rows kept a query, after those.

    Raises:
        JudgmentError: no judged product is in the catalogue, or no query has a product above the lowest grade.
    """
    row_of = {product_id: row for row, product_id in enumerate(product_ids)}
    known = judgments.known_in(row_of.keys())
    queries, judged, gains, mined = [], [], [], []
    analyzer = Analyzer()
    for text, (_, ids, grades) in zip(known.texts, known, strict=True):
        rows = np.array([row_of[each] for each in ids], dtype=np.int64)
        gain = exponential_gains(grades, known.lowest_grade).astype(np.float32)
        queries.append(" ".join(text.split()))
        judged.append(rows)
        gains.append(gain)
        found = [row_of[each] for each in (candidates or {}).get(text, ()) if each in row_of]
        told = [documents[row] for row in rows[gain > 0]]
        unjudged = _without_twins(found, set(rows.tolist()), told, documents, analyzer)
        mined.append(np.array(unjudged[skip : skip + keep], dtype=np.int64))
    material = Material(
        tuple(queries),
        tuple(documents),
        tuple(documents if titles is None else titles),
        tuple(judged),
        tuple(gains),
        tuple(mined),
    )
    if not material.has_positive.any():
        raise JudgmentError(
            f"every grade of {len(queries)} queries is the lowest ({known.lowest_grade:g}): there is no relevant "
            "product to learn from; judge more, or give a lower evaluation.lowest_grade"
        )
    return material


def _without_twins(
    found: Sequence[int],
    judged: set[int],
    told: Sequence[str],
    documents: Sequence[str],
    analyzer: Analyzer,
) -> list[int]:
    relevant = [frozenset(analyzer.terms(text)) for text in told]

    def is_twin(row: int) -> bool:
        terms = frozenset(analyzer.terms(documents[row]))
        return any(len(terms & each) >= _TWIN_OVERLAP * len(terms | each) for each in relevant)

    return [row for row in found if row not in judged and not is_twin(row)]
