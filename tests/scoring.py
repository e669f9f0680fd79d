"""The plain way to score rows for a query: NumPy over (rows, terms, fields), counts from Python's own Counter.

It is the reference of the compiled kernel and shares nothing with it but the analysed query: it reads texts, not the
forward index.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.index.forward import ATTRIBUTES, BRAND, CATEGORY, DESCRIPTION, FIELDS, TITLE, field_texts
from aisle.rank.features import FEATURES
from aisle.retrieve.query import RetrievalQuery
from aisle.text import Analyzer, trigrams

K1, B = 1.2, 0.75
CONSTRAINTS = {"brand", "colour", "size", "material", "attribute", "model", "use", "department"}

Floats = NDArray[np.float64]


def features_of(
    query: RetrievalQuery,
    products: pa.Table,
    vectors: NDArray[np.float16],
    analyzer: Analyzer,
    dense_weight: float = 0.5,
) -> Floats:
    """Every feature of every product: float64 (n, len(FEATURES))."""
    texts = [[analyzer.terms(text) for text in field_texts(products, name)] for name in FIELDS]
    own, n = query.own_terms, products.num_rows
    counts = np.zeros((n, len(query.terms), len(FIELDS)))
    for f, rows in enumerate(texts):
        for i, terms in enumerate(rows):
            counter = Counter(terms)
            counts[i, :, f] = [counter[term] for term in query.terms]
    lengths = np.array([[len(terms) for terms in rows] for rows in texts], dtype=float).T
    lengths = lengths.reshape(n, len(FIELDS))
    idf, weights = query.idf.astype(float), query.weights.astype(float)
    parts = bm25_parts(counts, lengths, query.mean_lengths.astype(float), idf * weights)
    per_field = parts.sum(axis=1)
    boosts = query.boosts.astype(float)
    bm25 = bm25_parts(
        (counts @ boosts)[:, :, None],
        (lengths @ boosts)[:, None],
        (query.mean_lengths.astype(float) @ boosts)[None],
        idf * weights,
    ).sum(axis=(1, 2))
    bound = float((idf * weights)[:own].sum() * (K1 + 1))
    share = bm25 / max(bound, 1e-6)
    if len(query.vector):
        cosine = vectors.astype(float) @ query.vector.astype(float)
        fused = dense_weight * cosine + (1 - dense_weight) * share
    else:
        cosine, fused = np.zeros(n), share

    present = counts[:, :own, :] > 0
    anywhere: NDArray[np.bool_] = np.any(present, axis=2)
    title, brand = present[:, :, TITLE], present[:, :, BRAND]
    idf = idf[:own]
    numeric = np.array([any(c.isdigit() for c in t) for t in query.terms[:own]], dtype=bool)
    product = np.array([kind == "product" for kind in query.types], dtype=bool)
    constraint = np.array([kind in CONSTRAINTS for kind in query.types], dtype=bool)
    coverage = weighted(anywhere, idf, 0.0)
    last = query.terms[query.order[-1]] if len(query.order) else None
    sequence = [query.terms[i] for i in query.order]
    pairs = set(pairwise(sequence))
    adjacent = [sum(pair in pairs for pair in pairwise(terms)) for terms in texts[TITLE]]
    asked = set(query.grams.tolist())
    shared = [
        len(asked & set(trigrams(analyzer.words(text)).tolist()))
        for text in field_texts(products, "title")
    ]
    columns = {
        "fused": fused,
        "cosine": cosine,
        "bm25": bm25,
        "bm25_share": share,
        "bm25_title": per_field[:, TITLE],
        "bm25_brand": per_field[:, BRAND],
        "bm25_category": per_field[:, CATEGORY],
        "bm25_attributes": per_field[:, ATTRIBUTES],
        "bm25_description": per_field[:, DESCRIPTION],
        "coverage": coverage,
        "coverage_title": weighted(title, idf, 0.0),
        "coverage_title_or_category": weighted(title | present[:, :, CATEGORY], idf, 0.0),
        "coverage_brand": weighted(brand, idf, 0.0),
        "missing_terms": (~anywhere).sum(axis=1),
        "title_precision": title.sum(axis=1) / np.maximum(lengths[:, TITLE], 1),
        "title_terms": lengths[:, TITLE],
        "description_terms": lengths[:, DESCRIPTION],
        "adjacent_share": np.minimum(np.array(adjacent) / max(len(sequence) - 1, 1), 1.0),
        "last_term_in_title": [last is not None and last in terms for terms in texts[TITLE]],
        "last_term_ends_title": [
            last is not None and bool(terms) and terms[-1] == last for terms in texts[TITLE]
        ],
        "number_coverage": weighted(anywhere[:, numeric], idf[numeric], -1.0),
        "brand_agreement": brand.sum(axis=1) / np.maximum(lengths[:, BRAND], 1),
        "brand_conflict": (query.brandness[:own] * idf * ~brand).sum(axis=1)
        * (lengths[:, BRAND] > 0),
        "product_coverage": weighted(title[:, product], idf[product], -1.0)
        if query.types
        else coverage,
        "constraint_coverage": weighted(anywhere[:, constraint], idf[constraint], -1.0)
        if query.types
        else coverage,
        "trigram_share": np.array(shared) / max(len(asked), 1),
        "query_terms": np.full(n, own),
        "query_idf_mean": np.full(n, idf.mean() if own else 0.0),
        "query_unknown_share": np.full(n, 1.0 - query.known[:own].mean() if own else 0.0),
    }
    return np.stack([np.asarray(columns[name], dtype=float) for name in FEATURES], axis=1)


def bm25_parts(counts: Floats, lengths: Floats, mean_lengths: Floats, worth: Floats) -> Floats:
    """BM25 of each term and field by itself: (n, t, f)."""
    norms = K1 * (1 - B + B * lengths / np.maximum(mean_lengths, 1e-6))
    with np.errstate(invalid="ignore"):
        saturated = counts * (K1 + 1) / (counts + norms[:, None, :])
    parts: Floats = np.nan_to_num(saturated) * worth[None, :, None]
    return parts


def weighted(present: NDArray[np.bool_], idf: Floats, empty: float) -> Floats:
    """idf-weighted share of the terms present: (n,)."""
    if idf.sum() <= 0:
        return np.full(len(present), empty)
    share: Floats = (present @ idf) / idf.sum()
    return share
