"""Scores everything that was found for one query in a single compiled pass: cosine, BM25 and the fused score.

Merging and fusing leave a fraction of it, and only that is given all of the ranker's features (`aisle.index.kernel`),
which repeat the three numbers bit for bit. A row's numbers depend on the row and the query alone, never on the rows
beside it: that is why shards agree with one index.

BM25F: Robertson, Zaragoza and Taylor, "Simple BM25 Extension to Multiple Weighted Fields" (2004): occurrences and
lengths are summed over the fields with their boosts, then saturated once, with tantivy's k1 = 1.2 and b = 0.75.

Compiled once a machine and cached on disk; `warm_up` does it at load time, so that no request waits for the compiler.
There is one signature, for read-only arrays: mapped files are, and so are arrays that came through an object store;
writable arrays pass too.
NOTE: the cache is keyed by this file. Fields are therefore spelled out here, and a test compares their number with
`aisle.index.forward.FIELDS`.
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

_FIELDS = 5


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
    # Shifted into a float32 the bits are the number times 2^-112, subnormals included. It is scaled back before it is
    # multiplied: products that small are subnormal themselves, and each would hold the processor up for a hundred
    # cycles (330 rows of d=384: 120 us; so 20). Reassociation lets LLVM sum in lanes; their number is the machine's,
    # not the data's, so one machine always gives one answer.
    total = np.float32(0.0)
    for i in range(len(query)):
        bits = np.uint32(halves[i])
        shifted = ((bits & np.uint32(0x8000)) << np.uint32(16)) | (
            (bits & np.uint32(0x7FFF)) << np.uint32(13)
        )
        total += np.uint32(shifted).view(np.float32) * np.float32(2.0**112) * query[i]
    return total


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
def _touch_searched(
    rows: NDArray[np.int64],
    vectors: NDArray[np.uint16],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.int32],
    boosts: NDArray[np.float32],
) -> int:
    """Reads one number of every cache line that the rows lie on, so that scoring finds them in the cache.

    Candidates lie scattered, and scoring one row after the other waits for memory at every row; here the reads do not
    depend on each other and the processor has many under way at once. Never negative, and of no other meaning.
    """
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
        return found  # never; without a use the compiler would drop the reads
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
    """Cosine, BM25 and fused score of some rows for one query: float32 (3, n), the features of those names bit for bit.

    `aisle.rank.features.basic_scores` makes the arguments.
    """
    warm_up()
    found: NDArray[np.float32] = _basic(*arguments)
    return found


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
    """Cosine of one unit query (d,) with some rows of unit vectors (n, d): float32, equal to `basic`'s bit for bit."""
    warm_up()
    found: NDArray[np.float32] = _cosines(rows, vectors.view(np.uint16), vector)
    return found
