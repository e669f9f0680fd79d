"""What the ranker sees of a (query, product) pair: named float32 columns, computed where the rows lie.

Every feature depends on the query and the product alone, never on which other candidates came along: a judged pair
scores the same whether retrieval found it or `--pairs` named it. Ids, row order and membership in the judgments are
not features. Shares are weighted by idf, so that "the" is worth nothing and "hdmi" much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aisle.index.forward import ATTRIBUTES, BRAND, CATEGORY, DESCRIPTION, FIELDS, TITLE, TermCounts
from aisle.retrieve.query import RetrievalQuery

FEATURES = (
    "fused",
    "cosine",
    "bm25",
    "bm25_share",
    "bm25_title",
    "bm25_brand",
    "bm25_category",
    "bm25_attributes",
    "bm25_description",
    "coverage",
    "coverage_title",
    "coverage_title_or_category",
    "coverage_brand",
    "missing_terms",
    "title_precision",
    "title_terms",
    "description_terms",
    "adjacent_share",
    "last_term_in_title",
    "last_term_ends_title",
    "number_coverage",
    "brand_agreement",
    "brand_conflict",
    "product_coverage",
    "constraint_coverage",
    "trigram_share",
    "query_terms",
    "query_idf_mean",
    "query_unknown_share",
)
"""Column names, in the order of the matrix."""

_PRODUCT_TYPES = frozenset({"product"})
_CONSTRAINT_TYPES = frozenset({"brand", "colour", "size", "material", "attribute", "model", "use", "department"})


def pair_features(
    query: RetrievalQuery,
    matched: TermCounts,
    parts: NDArray[np.float32],
    cosine: NDArray[np.float32],
    bm25: NDArray[np.float32],
    bm25_share: NDArray[np.float32],
    fused: NDArray[np.float32],
    trigram_share: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Features of some rows for one query.

    Args:
        query: the analysed query.
        matched: term counts of the rows.
        parts: (n, t, f) BM25 of each term and field.
        cosine: (n,).
        bm25: (n,) boosted sum of `parts`.
        bm25_share: (n,) `bm25` over the query's attainable BM25.
        fused: (n,) fused score.
        trigram_share: (n,) share of the query's letter trigrams in the title.

    Returns:
        float32 (n, len(FEATURES)).
    """
    own = query.own_terms
    n = len(cosine)
    present = matched.counts[:, :own, :] > 0  # (n, own, f)
    idf = query.idf[:own]
    anywhere = present.any(axis=2)
    in_title = present[:, :, TITLE]
    per_field = parts.sum(axis=1)  # (n, f)
    lengths = matched.lengths
    numeric = np.array([any(c.isdigit() for c in term) for term in query.terms[:own]], dtype=bool)
    products = np.array([kind in _PRODUCT_TYPES for kind in query.types], dtype=bool)
    constraints = np.array([kind in _CONSTRAINT_TYPES for kind in query.types], dtype=bool)
    coverage = _share(anywhere, idf)
    last = int(query.order[-1]) if len(query.order) else -1
    words = max(len(query.order) - 1, 1)
    brandness = query.brandness[:own] * idf
    columns = {
        "fused": fused,
        "cosine": cosine,
        "bm25": bm25,
        "bm25_share": bm25_share,
        "bm25_title": per_field[:, TITLE],
        "bm25_brand": per_field[:, BRAND],
        "bm25_category": per_field[:, CATEGORY],
        "bm25_attributes": per_field[:, ATTRIBUTES],
        "bm25_description": per_field[:, DESCRIPTION],
        "coverage": coverage,
        "coverage_title": _share(in_title, idf),
        "coverage_title_or_category": _share(in_title | present[:, :, CATEGORY], idf),
        "coverage_brand": _share(present[:, :, BRAND], idf),
        "missing_terms": (~anywhere).sum(axis=1),
        "title_precision": in_title.sum(axis=1) / np.maximum(lengths[:, TITLE], 1),
        "title_terms": lengths[:, TITLE],
        "description_terms": lengths[:, DESCRIPTION],
        "adjacent_share": np.minimum(matched.adjacent / words, 1.0),
        "last_term_in_title": in_title[:, last] if last >= 0 else np.zeros(n),
        "last_term_ends_title": (matched.title_ends_with == last) & (last >= 0),
        "number_coverage": _share(anywhere[:, numeric], idf[numeric], empty=-1.0),
        "brand_agreement": present[:, :, BRAND].sum(axis=1) / np.maximum(lengths[:, BRAND], 1),
        "brand_conflict": (brandness * ~present[:, :, BRAND]).sum(axis=1) * (lengths[:, BRAND] > 0),
        "product_coverage": _share(in_title[:, products], idf[products], empty=-1.0) if query.types else coverage,
        "constraint_coverage": (
            _share(anywhere[:, constraints], idf[constraints], empty=-1.0) if query.types else coverage
        ),
        "trigram_share": trigram_share,
        "query_terms": np.full(n, own),
        "query_idf_mean": np.full(n, idf.mean() if own else 0.0),
        "query_unknown_share": np.full(n, 1.0 - query.known[:own].mean() if own else 0.0),
    }
    matrix = np.empty((n, len(FEATURES)), dtype=np.float32)
    for i, name in enumerate(FEATURES):
        matrix[:, i] = columns[name]
    return matrix


def _share(present: NDArray[np.bool_], idf: NDArray[np.float32], empty: float = 0.0) -> NDArray[np.float32]:
    """idf-weighted share of the terms present (n, t) -> float32 (n,); `empty` where there is no term to ask for."""
    total = float(idf.sum())
    if present.shape[1] == 0 or total <= 0:
        return np.full(len(present), empty, dtype=np.float32)
    share: NDArray[np.float32] = (present @ idf) / np.float32(total)
    return share
