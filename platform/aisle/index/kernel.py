"""Scores rows for one query in compiled passes: cosine, BM25 and the fused score, then the ranker's features.

Everything that is found is scored by `basic`; merging and fusing leave a fraction of it, and only that is given all
features by `score`, which repeats the three numbers bit for bit.

The plain way is a dozen NumPy passes over a (rows, terms, fields) tensor, two milliseconds a query. Here each row is
visited once: its float16 vector is multiplied where it lies, its terms are looked up in a small hash table of the
query's, and everything follows from the counts while they are in the cache. The plain version lives in the tests, which
hold both equal. A row's numbers depend on the row and the query alone, bit for bit, never on the rows beside it: that
is why shards agree with one index.

BM25F: Robertson, Zaragoza and Taylor, "Simple BM25 Extension to Multiple Weighted Fields" (2004): occurrences and
lengths are summed over the fields with their boosts, then saturated once, with tantivy's k1 = 1.2 and b = 0.75. The
`bm25_<field>` columns score each field by itself.

Compiled once a machine and cached on disk; `warm_up` does it at load time, so that no request waits for the compiler.
There is one signature, for read-only arrays: mapped files are, and so are arrays that came through an object store;
writable arrays pass too.
NOTE: the cache is keyed by this file. Fields and columns are therefore spelled out here, and a test compares them with
`aisle.index.forward.FIELDS` and `aisle.rank.features.FEATURES`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

K1 = 1.2
B = 0.75

NUMERIC, PRODUCT, CONSTRAINT = 1, 2, 4
"""Bits of a term's flags."""

_FIELDS = 5
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


def _compiled(**options: Any) -> Callable[[F], F]:
    """`numba.njit` without the GIL, cached on disk where some folder for it can be written."""

    def compile_lazily(function: F) -> F:
        try:
            compiled: F = numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder for the cache can be written: a read-only image
            compiled = numba.njit(nogil=True, **options)(function)
        return compiled

    return compile_lazily


@_compiled(fastmath={"reassoc", "contract", "nsz"})
def _dot(halves: NDArray[np.uint16], query: NDArray[np.float32]) -> np.float32:
    """Inner product of a float16 vector, given as its bits, with a float32 one of the same length."""
    # Shifted into a float32 the bits are the number times 2^-112, subnormals included. Reassociation lets LLVM sum in
    # lanes; their number is the machine's, not the data's, so one machine always gives one answer.
    total = np.float32(0.0)
    for i in range(len(query)):
        bits = np.uint32(halves[i])
        shifted = ((bits & np.uint32(0x8000)) << np.uint32(16)) | (
            (bits & np.uint32(0x7FFF)) << np.uint32(13)
        )
        total += np.uint32(shifted).view(np.float32) * query[i]
    return total * np.float32(2.0**112)


@_compiled()
def _table(keys: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """A hash table of distinct keys, negative ones left out: keys by slot, -1 where empty, and their positions.

    Open addressing, an eighth full at most: a value that is not in it nearly always ends at an empty first slot.
    """
    size = 16
    while size < 8 * len(keys):
        size *= 2
    held = np.full(size, -1, dtype=np.int32)
    positions = np.full(size, -1, dtype=np.int32)
    for i in range(len(keys)):
        if keys[i] >= 0:
            slot = keys[i] & (size - 1)
            while held[slot] >= 0:
                slot = (slot + 1) & (size - 1)
            held[slot] = keys[i]
            positions[slot] = i
    return held, positions


@_compiled()
def _find(held: NDArray[np.int32], key: np.int32) -> np.int32:
    """The slot of a key, or the empty slot that says it is not there."""
    slot = key & (len(held) - 1)
    while held[slot] >= 0 and held[slot] != key:
        slot = (slot + 1) & (len(held) - 1)
    return slot


@_compiled()
def _touch(
    rows: NDArray[np.int64],
    vectors: NDArray[np.uint16],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.int32],
    gram_offsets: NDArray[np.int64],
    grams: NDArray[np.int32],
) -> int:
    """Reads one number of every cache line that the rows lie on, so that scoring finds them in the cache.

    Candidates lie scattered, and scoring one row after the other waits for memory at every row; here the reads do not
    depend on each other and the processor has many under way at once. Never negative, and of no other meaning.
    """
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


@_compiled()
def _touch_searched(
    rows: NDArray[np.int64],
    vectors: NDArray[np.uint16],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.int32],
    boosts: NDArray[np.float32],
) -> int:
    """As `_touch`, of what `_basic` reads: vectors, and the terms of the fields that are searched."""
    total = 0
    for i in range(len(rows)):
        total += offsets[rows[i] * _FIELDS]
    for i in range(len(rows)):
        first = rows[i] * _FIELDS
        for f in range(_FIELDS):
            if boosts[f] != 0:
                for j in range(offsets[first + f], offsets[first + f + 1], 16):
                    total += tokens[j]
    for i in range(len(rows)):
        for j in range(0, vectors.shape[1], 32):
            total += vectors[rows[i], j]
    return total


@_compiled(error_model="numpy")
def _bm25(
    counts: NDArray[np.float64],
    boosts: NDArray[np.float32],
    weighted_length: float,
    weighted_mean: float,
    worth: NDArray[np.float32],
) -> float:
    """BM25F of one row from its counts (t, f) and its boosted length."""
    bm25 = 0.0
    norm = K1 * (1 - B + B * weighted_length / max(weighted_mean, 1e-6))
    for t in range(len(worth)):
        weighted_count = 0.0
        for f in range(_FIELDS):
            weighted_count += boosts[f] * counts[t, f]
        if weighted_count > 0:
            bm25 += weighted_count * (K1 + 1) / (weighted_count + norm) * worth[t]
    return bm25


@_compiled(error_model="numpy")
def _fuse(
    halves: NDArray[np.uint16], vector: NDArray[np.float32], share: float, dense_weight: float
) -> tuple[float, float]:
    """Cosine of one row, and its weighted sum with the row's share of the attainable BM25."""
    if len(vector) == 0:
        return 0.0, share
    cosine = float(_dot(halves, vector))
    return cosine, dense_weight * cosine + (1 - dense_weight) * share


@_compiled(error_model="numpy")
def _weighted_mean(boosts: NDArray[np.float32], mean_lengths: NDArray[np.float32]) -> float:
    """Mean length of a row, each field as often as it counts."""
    total = 0.0
    for f in range(_FIELDS):
        total += boosts[f] * mean_lengths[f]
    return total


@_compiled(error_model="numpy")
def _basic(
    rows: NDArray[np.int64],
    vectors: NDArray[np.uint16],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.int32],
    vector: NDArray[np.float32],
    ids: NDArray[np.int32],
    worth: NDArray[np.float32],
    boosts: NDArray[np.float32],
    mean_lengths: NDArray[np.float32],
    attainable: float,
    dense_weight: float,
) -> NDArray[np.float32]:
    """Cosine, BM25 and fused score of every row, as three rows (3, n); see `aisle.rank.features.basic_scores`."""
    found = np.empty((3, len(rows)), dtype=np.float32)
    if _touch_searched(rows, vectors, offsets, tokens, boosts) < 0:
        return found  # never, as in `_score`
    held_ids, term_at = _table(ids)
    weighted_mean = _weighted_mean(boosts, mean_lengths)
    counts = np.zeros((len(ids), _FIELDS), dtype=np.float64)
    for i in range(len(rows)):
        row = rows[i]
        counts[:] = 0.0
        weighted_length = 0.0
        for f in range(_FIELDS):
            begin, end = offsets[row * _FIELDS + f], offsets[row * _FIELDS + f + 1]
            weighted_length += boosts[f] * (end - begin)
            if boosts[f] == 0:
                continue
            for j in range(begin, end):
                t = term_at[_find(held_ids, tokens[j])]
                if t >= 0:
                    counts[t, f] += 1.0
        bm25 = _bm25(counts, boosts, weighted_length, weighted_mean, worth)
        cosine, fused = _fuse(vectors[row], vector, bm25 / attainable, dense_weight)
        found[0, i], found[1, i], found[2, i] = cosine, bm25, fused
    return found


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
        return features  # never; without a use the compiler would drop the reads
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


@_compiled()
def _union(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of either list, ascending, and which list holds each; neither holds a row twice."""
    a, b = np.sort(first), np.sort(second)
    rows = np.empty(len(a) + len(b), dtype=np.int64)
    in_first = np.zeros(len(rows), dtype=np.bool_)
    in_second = np.zeros(len(rows), dtype=np.bool_)
    i = j = n = 0
    while i < len(a) or j < len(b):
        take_a = j == len(b) or (i < len(a) and a[i] <= b[j])
        take_b = i == len(a) or (j < len(b) and b[j] <= a[i])
        rows[n] = a[i] if take_a else b[j]
        in_first[n], in_second[n] = take_a, take_b
        i += take_a
        j += take_b
        n += 1
    return rows[:n], in_first[:n], in_second[:n]


@_compiled()
def _cosines(
    rows: NDArray[np.int64], vectors: NDArray[np.uint16], vector: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Cosine of each row with one query."""
    found = np.empty(len(rows), dtype=np.float32)
    for i in range(len(rows)):
        found[i] = _dot(vectors[rows[i]], vector)
    return found


def _array(kind: Any, dimensions: int = 1) -> Any:
    return numba.types.Array(kind, dimensions, "C", readonly=True)


_ROWS, _BITS = _array(numba.int64), _array(numba.uint16, 2)
_INTS, _FLOATS = _array(numba.int32), _array(numba.float32)
_SIGNATURES: dict[Any, tuple[Any, ...]] = {
    _union: (_ROWS, _ROWS),
    _cosines: (_ROWS, _BITS, _FLOATS),
    _basic: (
        *(_ROWS, _BITS, _ROWS, _INTS, _FLOATS, _INTS),  # rows, vectors, forward index, vector, ids
        *(_FLOATS, _FLOATS, _FLOATS, numba.float64, numba.float64),  # worth to dense_weight
    ),
    _score: (
        *(_ROWS, _BITS, _ROWS, _INTS, _ROWS, _INTS),  # rows, vectors, forward index
        *(_FLOATS, _INTS, numba.int64, _INTS, _FLOATS, _FLOATS, _FLOATS),  # vector to brandness
        *(_array(numba.uint8), numba.boolean, numba.float64, _INTS, _FLOATS, _FLOATS),
        *(numba.float64, numba.float64),  # attainable, dense_weight
    ),
}


@functools.cache
def warm_up() -> None:
    """Compiles the kernels, or reads them from numba's cache: seconds once a machine, then a tenth of one.

    Afterwards arguments of another type raise TypeError, where a request would otherwise wait for a compiler.
    """
    for kernel, signature in _SIGNATURES.items():
        kernel.compile(signature)
        kernel.disable_compile()


def basic(*arguments: Any) -> NDArray[np.float32]:
    """Cosine, BM25 and fused score of some rows for one query: float32 (3, n), equal to `score`'s bit for bit."""
    warm_up()
    found: NDArray[np.float32] = _basic(*arguments)
    return found


def score(*arguments: Any) -> NDArray[np.float32]:
    """Features of some rows for one query: float32 (n, f). `aisle.rank.features.score_rows` makes the arguments."""
    warm_up()
    features: NDArray[np.float32] = _score(*arguments)
    return features


def union(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of either list, ascending, and which list holds each; neither list may hold a row twice."""
    warm_up()
    rows, in_first, in_second = _union(first, second)
    return rows, in_first, in_second


def cosines(
    rows: NDArray[np.int64], vectors: NDArray[np.float16], vector: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Cosine of one unit query (d,) with some rows of unit vectors (n, d): float32, equal to `score`'s bit for bit."""
    warm_up()
    found: NDArray[np.float32] = _cosines(rows, vectors.view(np.uint16), vector)
    return found
