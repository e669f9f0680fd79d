"""The plain way to score rows for a query: NumPy over (rows, terms, fields), counts from Python's own Counter.

It is the reference of the compiled kernel and shares nothing with it but the analysed query: it reads texts, not the
forward index.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.index.forward import ATTRIBUTES, BRAND, CATEGORY, DESCRIPTION, FIELDS, TITLE, field_texts
from aisle.rank.features import FEATURES
from aisle.retrieve.query import RetrievalQuery
from aisle.text import Analyzer, trigram_hashes, trigrams

K1, B = 1.2, 0.75
UNITS = set(re.findall(r"\w+", "in ft yd lb oz gal qt v w a mm cm m kg g ml l gb tb sq"))
CONNECTORS = set(re.findall(r"\w+", "with for in by from without w and compat fit"))
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
    columns |= title_columns(query, products, texts, analyzer)
    return np.stack([np.asarray(columns[name], dtype=float) for name in FEATURES], axis=1)


def title_columns(
    query: RetrievalQuery, products: pa.Table, texts: list[list[list[str]]], analyzer: Analyzer
) -> dict[str, Any]:
    """The columns of word order and near misses, one product after the other."""
    own, idf = query.own_terms, query.idf.astype(float)[: query.own_terms]
    terms, words = query.terms[:own], [query.terms[i] for i in query.order]
    total = max(idf.sum(), 1e-9)
    numbers = [t for t in terms if any(c.isdigit() for c in t)]
    measured = [(a, b) for a, b in pairwise(words) if is_number(a) and b in UNITS and a != b]
    head = head_of(words)
    rarest = terms[int(idf.argmax())] if own and idf.max() > 0 else None
    asked = set(query.grams.tolist())
    rows: list[dict[str, Any]] = []
    for title, attributes, description, text in zip(
        texts[TITLE],
        texts[ATTRIBUTES],
        texts[DESCRIPTION],
        field_texts(products, "title"),
        strict=True,
    ):
        cut = next((j for j in range(1, len(title)) if connects(title, j)), len(title))
        at = [j for j, term in enumerate(title) if term in terms]
        held = {t: t in title for t in terms}
        grams = set(trigrams(analyzer.words(text)).tolist())
        spelt = {
            t: len(grams & set(own_grams)) / len(own_grams) if own_grams else 0.0
            for t in terms
            if not held[t]
            for own_grams in [trigram_hashes(f" {t}").tolist()]
        }

        def share(some: Collection[str]) -> float:
            return sum(w for t, w in zip(terms, idf, strict=True) if t in some) / total

        pairs = list(pairwise(title))
        agreed = [pair in pairs for pair in measured]
        other = [
            any(b == unit and is_number(a) and a != n for a, b in pairs) for n, unit in measured
        ]
        typed = query.attributeness[:own] * idf
        rows.append(
            {
                "first_match": at[0] / len(title) if at else 1.0,
                "head_matched": bool(title) and title[cut - 1] in terms,
                "head_is_query_head": bool(title) and title[cut - 1] == head,
                "query_head_in_title": head in title,
                "query_head_before_connector": head in title[:cut],
                "coverage_head": share(title[:cut]),
                "coverage_start": share(title[:3]),
                "coverage_attributes": share(attributes),
                "coverage_description": share(description),
                "longest_run": longest_run(words, title) / max(len(words), 1),
                "ordered_share": subsequence(words, title) / max(len(words), 1),
                "match_density": sum(held.values()) / (at[-1] - at[0] + 1) if at else 0.0,
                "numbers_in_title": np.mean([n in title for n in numbers]) if numbers else -1.0,
                "unit_agreement": np.mean(agreed) if measured else -1.0,
                "unit_conflict": np.mean([o and not a for a, o in zip(agreed, other, strict=True)])
                if measured
                else -1.0,
                "title_numbers": sum(is_number(t) for t in title),
                "missing_idf_max": max(
                    (w for t, w in zip(terms, idf, strict=True) if not held[t]), default=0.0
                )
                / max(idf.max(initial=0.0), 1e-9),
                "rarest_in_title": rarest in title,
                "fuzzy_coverage": sum(
                    w if held[t] else w * spelt[t] ** 2 for t, w in zip(terms, idf, strict=True)
                )
                / total,
                "near_terms": sum(each >= 0.6 for each in spelt.values()),
                "trigram_jaccard": len(asked & grams) / max(len(asked | grams), 1),
                "attribute_agreement": sum(
                    w for t, w in zip(terms, typed, strict=True) if t in attributes
                ),
                "attribute_conflict": sum(
                    w
                    for t, w in zip(terms, typed, strict=True)
                    if attributes and t not in attributes and not held[t]
                ),
            }
        )
    constant = {
        "query_idf_max": idf.max(initial=0.0),
        "query_numbers": len(numbers),
        "query_brandness": query.brandness[:own].max(initial=0.0),
        "query_attributeness": query.attributeness[:own].max(initial=0.0),
    }
    found = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    return found | {name: np.full(len(rows), value) for name, value in constant.items()}


def is_number(term: str) -> bool:
    return re.fullmatch(r"\d+([./]\d+)*", term) is not None


def connects(words: Sequence[str], at: int) -> bool:
    unit = words[at] in UNITS and at > 0 and is_number(words[at - 1])
    return words[at] in CONNECTORS and not unit


def head_of(words: Sequence[str]) -> str | None:
    head = None
    for at, word in enumerate(words):
        if head is not None and connects(words, at):
            break
        if not (is_number(word) or word in UNITS or word in CONNECTORS):
            head = word
    return head


def longest_run(words: Sequence[str], title: Sequence[str]) -> int:
    runs = [
        k
        for i in range(len(words))
        for j in range(len(title))
        for k in range(1, min(len(words) - i, len(title) - j) + 1)
        if list(words[i : i + k]) == list(title[j : j + k])
    ]
    return max(runs, default=0)


def subsequence(words: Sequence[str], title: Sequence[str]) -> int:
    """Length of the longest common subsequence, straight from its recursion."""

    @functools.cache
    def length(i: int, j: int) -> int:
        if i == len(words) or j == len(title):
            return 0
        if words[i] == title[j]:
            return 1 + length(i + 1, j + 1)
        return max(length(i + 1, j), length(i, j + 1))

    return length(0, 0)


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
