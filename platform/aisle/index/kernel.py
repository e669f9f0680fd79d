"""Scores rows for one query in a single compiled pass: cosine, BM25, the fused score and the ranker's features.

The plain way is a dozen NumPy passes over a (rows, terms, fields) tensor, two milliseconds a query. Here each row is
visited once: its float16 vector is multiplied where it lies, its terms are looked up in a small hash table of the
query's, and everything follows from the counts while they are in the cache. The plain version lives in the tests, which
hold both equal. What `aisle.index.kernel_basic` says of a row is said here again, bit for bit; the `bm25_<field>`
columns score each field by itself.

NOTE: numba keys its cache by this file; a change to what it takes from `aisle.index.kernel_basic` needs a change here
too. Fields and columns are spelled out, and a test compares them with `aisle.index.forward.FIELDS` and
`aisle.rank.features.FEATURES`.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from aisle.index.kernel_basic import (
    _BITS,
    _FIELDS,
    _FLOATS,
    _INTS,
    _ROWS,
    K1,
    B,
    _array,
    _bm25,
    _compiled,
    _find,
    _fuse,
    _table,
    _weighted_mean,
)

NUMERIC, PRODUCT, CONSTRAINT = 1, 2, 4
"""Bits of a term's flags."""

_TITLE, _BRAND, _CATEGORY, _ATTRIBUTES, _DESCRIPTION = range(_FIELDS)
_COLUMNS = 29
# fmt: off
(
    _FUSED, _COSINE, _BM25, _BM25_SHARE, _BM25_TITLE, _BM25_BRAND, _BM25_CATEGORY,
    _BM25_ATTRIBUTES, _BM25_DESCRIPTION, _COVERAGE, _COVERAGE_TITLE,
    _COVERAGE_TITLE_OR_CATEGORY, _COVERAGE_BRAND, _MISSING_TERMS, _TITLE_PRECISION,
    _TITLE_TERMS, _DESCRIPTION_TERMS, _ADJACENT_SHARE, _LAST_TERM_IN_TITLE,
    _LAST_TERM_ENDS_TITLE, _NUMBER_COVERAGE, _BRAND_AGREEMENT, _BRAND_CONFLICT,
    _PRODUCT_COVERAGE, _CONSTRAINT_COVERAGE, _TRIGRAM_SHARE, _QUERY_TERMS, _QUERY_IDF_MEAN,
    _QUERY_UNKNOWN_SHARE,
) = range(_COLUMNS)
# fmt: on


@_compiled()
def _touch(
    rows: NDArray[np.int64],
    vectors: NDArray[np.uint16],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.int32],
    gram_offsets: NDArray[np.int64],
    grams: NDArray[np.int32],
) -> int:
    """Reads all that the rows hold, as `aisle.index.kernel_basic` does what is searched of them, and for its reason."""
    total = 0
    for i in range(len(rows)):
        total += offsets[rows[i] * _FIELDS] + gram_offsets[rows[i]]
    for i in range(len(rows)):
        row = rows[i]
        for j in range(offsets[row * _FIELDS], offsets[(row + 1) * _FIELDS], 16):
            total += tokens[j]
        for j in range(gram_offsets[row], gram_offsets[row + 1], 16):
            total += grams[j]
    for i in range(len(rows)):
        for j in range(0, vectors.shape[1], 32):
            total += vectors[rows[i], j]
    return total


@_compiled(error_model="numpy")
def _score(
    rows: NDArray[np.int64],
    vectors: NDArray[np.uint16],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.int32],
    gram_offsets: NDArray[np.int64],
    grams: NDArray[np.int32],
    vector: NDArray[np.float32],
    ids: NDArray[np.int32],
    own: int,
    order: NDArray[np.int32],
    worth: NDArray[np.float32],
    idf: NDArray[np.float32],
    brandness: NDArray[np.float32],
    flags: NDArray[np.uint8],
    typed: bool,
    unknown_share: float,
    query_grams: NDArray[np.int32],
    boosts: NDArray[np.float32],
    mean_lengths: NDArray[np.float32],
    attainable: float,
    dense_weight: float,
) -> NDArray[np.float32]:
    """Features of every row; see `aisle.rank.features.score_rows`, which prepares the arguments."""
    terms = len(ids)
    features = np.zeros((len(rows), _COLUMNS), dtype=np.float32)

    if _touch(rows, vectors, offsets, tokens, gram_offsets, grams) < 0:
        return features  # never; see there
    held_ids, term_at = _table(ids)
    held_grams, gram_at = _table(query_grams)
    follows = np.zeros((terms, terms), dtype=np.bool_)  # neighbours in the query
    for w in range(len(order) - 1):
        follows[order[w], order[w + 1]] = True
    last = order[len(order) - 1] if len(order) else -1
    neighbours = max(len(order) - 1, 1)

    idf_sum = idf_numbers = idf_products = idf_constraints = 0.0
    for t in range(own):
        idf_sum += idf[t]
        idf_numbers += idf[t] if flags[t] & NUMERIC else 0.0
        idf_products += idf[t] if flags[t] & PRODUCT else 0.0
        idf_constraints += idf[t] if flags[t] & CONSTRAINT else 0.0

    weighted_mean = _weighted_mean(boosts, mean_lengths)
    counts = np.zeros((terms, _FIELDS), dtype=np.float64)
    per_field = np.zeros(_FIELDS, dtype=np.float64)
    for i in range(len(rows)):
        row, out = rows[i], features[i]
        counts[:] = 0.0
        adjacent = 0
        ends_with = -1
        for f in range(_FIELDS):
            before = -1
            for j in range(offsets[row * _FIELDS + f], offsets[row * _FIELDS + f + 1]):
                t = term_at[_find(held_ids, tokens[j])]
                if t >= 0:
                    counts[t, f] += 1.0
                    if f == _TITLE and before >= 0 and follows[before, t]:
                        adjacent += 1
                before = t
            if f == _TITLE:
                ends_with = before

        weighted_length = 0.0
        for f in range(_FIELDS):
            length = offsets[row * _FIELDS + f + 1] - offsets[row * _FIELDS + f]
            weighted_length += boosts[f] * length
            norm = K1 * (1 - B + B * length / max(mean_lengths[f], 1e-6))
            per_field[f] = 0.0
            if length:
                for t in range(terms):
                    c = counts[t, f]
                    if c > 0:
                        per_field[f] += c * (K1 + 1) / (c + norm) * worth[t]
        bm25 = _bm25(counts, boosts, weighted_length, weighted_mean, worth)

        anywhere = title = title_or_category = brand = 0.0
        numbers = products = constraints = conflict = 0.0
        present = in_title = in_brand = 0
        for t in range(own):
            has_title, has_brand = counts[t, _TITLE] > 0, counts[t, _BRAND] > 0
            if has_title:
                title += idf[t]
                in_title += 1
                products += idf[t] if flags[t] & PRODUCT else 0.0
            if has_title or counts[t, _CATEGORY] > 0:
                title_or_category += idf[t]
            if has_brand:
                brand += idf[t]
                in_brand += 1
            else:
                conflict += brandness[t] * idf[t]
            if counts[t].any():
                present += 1
                anywhere += idf[t]
                numbers += idf[t] if flags[t] & NUMERIC else 0.0
                constraints += idf[t] if flags[t] & CONSTRAINT else 0.0

        shared_grams = 0
        for j in range(gram_offsets[row], gram_offsets[row + 1]):
            shared_grams += gram_at[_find(held_grams, grams[j])] >= 0

        first = row * _FIELDS
        title_length = offsets[first + _TITLE + 1] - offsets[first + _TITLE]
        brand_length = offsets[first + _BRAND + 1] - offsets[first + _BRAND]
        share = bm25 / attainable
        cosine, fused = _fuse(vectors[row], vector, share, dense_weight)
        coverage = anywhere / idf_sum if idf_sum > 0 else 0.0
        out[_FUSED] = fused
        out[_COSINE] = cosine
        out[_BM25] = bm25
        out[_BM25_SHARE] = share
        out[_BM25_TITLE] = per_field[_TITLE]
        out[_BM25_BRAND] = per_field[_BRAND]
        out[_BM25_CATEGORY] = per_field[_CATEGORY]
        out[_BM25_ATTRIBUTES] = per_field[_ATTRIBUTES]
        out[_BM25_DESCRIPTION] = per_field[_DESCRIPTION]
        out[_COVERAGE] = coverage
        out[_COVERAGE_TITLE] = title / idf_sum if idf_sum > 0 else 0.0
        out[_COVERAGE_TITLE_OR_CATEGORY] = title_or_category / idf_sum if idf_sum > 0 else 0.0
        out[_COVERAGE_BRAND] = brand / idf_sum if idf_sum > 0 else 0.0
        out[_MISSING_TERMS] = own - present
        out[_TITLE_PRECISION] = in_title / max(title_length, 1)
        out[_TITLE_TERMS] = title_length
        out[_DESCRIPTION_TERMS] = offsets[first + _DESCRIPTION + 1] - offsets[first + _DESCRIPTION]
        out[_ADJACENT_SHARE] = min(adjacent / neighbours, 1.0)
        out[_LAST_TERM_IN_TITLE] = 1.0 if last >= 0 and counts[last, _TITLE] > 0 else 0.0
        out[_LAST_TERM_ENDS_TITLE] = 1.0 if last >= 0 and ends_with == last else 0.0
        out[_NUMBER_COVERAGE] = numbers / idf_numbers if idf_numbers > 0 else -1.0
        out[_BRAND_AGREEMENT] = in_brand / max(brand_length, 1)
        out[_BRAND_CONFLICT] = conflict if brand_length > 0 else 0.0
        if typed:
            out[_PRODUCT_COVERAGE] = products / idf_products if idf_products > 0 else -1.0
            out[_CONSTRAINT_COVERAGE] = (
                constraints / idf_constraints if idf_constraints > 0 else -1.0
            )
        else:
            out[_PRODUCT_COVERAGE] = coverage
            out[_CONSTRAINT_COVERAGE] = coverage
        out[_TRIGRAM_SHARE] = shared_grams / max(len(query_grams), 1)
        out[_QUERY_TERMS] = own
        out[_QUERY_IDF_MEAN] = idf_sum / own if own else 0.0
        out[_QUERY_UNKNOWN_SHARE] = unknown_share
    return features


_SIGNATURE = (
    *(_ROWS, _BITS, _ROWS, _INTS, _ROWS, _INTS),  # rows, vectors, forward index
    *(_FLOATS, _INTS, numba.int64, _INTS, _FLOATS, _FLOATS, _FLOATS),  # vector to brandness
    *(_array(numba.uint8), numba.boolean, numba.float64, _INTS, _FLOATS, _FLOATS),
    *(numba.float64, numba.float64),  # attainable, dense_weight
)


@functools.cache
def warm_up() -> None:
    """Compiles the kernel, or reads it from numba's cache; see `aisle.index.kernel_basic.warm_up`."""
    kernel: Any = _score  # to a type checker a compiled function is the function
    kernel.compile(_SIGNATURE)
    kernel.disable_compile()


def score(*arguments: Any) -> NDArray[np.float32]:
    """Features of some rows for one query: float32 (n, f). `aisle.rank.features.score_rows` makes the arguments."""
    warm_up()
    features: NDArray[np.float32] = _score(*arguments)
    return features
