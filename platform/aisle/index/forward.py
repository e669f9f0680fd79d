"""The forward index: every row's terms in order, so that any row can be scored against any query.

An inverted index finds rows; it cannot say what a row that the dense side found is worth lexically. Here each row keeps
its term ids, field after field, in one CSR array. From it come exact BM25 with statistics of the whole catalogue
(so that shards agree with one index), the ranker's match features, and the score of judged pairs that retrieval
did not return.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.text import Analyzer, trigrams

FIELDS = ("title", "brand", "category", "attributes", "description")
TITLE, BRAND, CATEGORY, ATTRIBUTES, DESCRIPTION = range(len(FIELDS))


@dataclass(frozen=True, slots=True)
class TermCounts:
    """How often the terms of one query occur in some rows."""

    counts: NDArray[np.float32]
    """(n, t, f): occurrences of query term t in field f of row n."""
    lengths: NDArray[np.float32]
    """(n, f): terms in each field of each row."""
    adjacent: NDArray[np.float32]
    """(n,): neighbouring query terms that are neighbours in the title too."""
    title_ends_with: NDArray[np.int32]
    """(n,): index of the query term that ends the title, or -1."""


@dataclass(frozen=True, slots=True)
class ForwardIndex:
    """Terms and title trigrams of a segment's rows."""

    vocabulary: dict[str, int]
    document_frequency: NDArray[np.int32]
    """(v, f + 1): rows of the segment that hold the term in a field; the last column counts any field."""
    offsets: NDArray[np.int64]
    """(n * f + 1,): where each field of each row begins in `tokens`."""
    tokens: NDArray[np.int32]
    """Term ids, row after row, field after field, in text order."""
    gram_offsets: NDArray[np.int64]
    grams: NDArray[np.int32]
    """Sorted distinct trigram hashes of each title."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.gram_offsets) - 1

    def ids(self, terms: Sequence[str]) -> NDArray[np.int32]:
        """Term ids of this segment, -1 for a term that it does not hold: int32 (t,)."""
        return np.array([self.vocabulary.get(term, -1) for term in terms], dtype=np.int32)

    def count(self, rows: NDArray[np.int64], ids: NDArray[np.int32], order: NDArray[np.int32]) -> TermCounts:
        """Counts query terms in rows.

        Args:
            rows: (n,) rows of this segment.
            ids: (t,) distinct term ids, -1 for absent terms.
            order: (l,) the query's words in order, as indexes into `ids`.
        """
        return TermCounts(*_count(rows, self.offsets, self.tokens, ids, order, len(self.vocabulary), len(FIELDS)))

    def trigram_overlap(self, rows: NDArray[np.int64], grams: NDArray[np.int32]) -> NDArray[np.float32]:
        """Share of the query's trigrams that each row's title holds: float32 (n,), 0 for an empty query."""
        return _overlap(rows, self.gram_offsets, self.grams, grams)

    def frequencies_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Document frequencies (v, f + 1) and summed field lengths (f,) of some rows only: what tombstones take away."""
        frequency = np.zeros_like(self.document_frequency)
        lengths = np.zeros(len(FIELDS), dtype=np.int64)
        for row in rows:
            first = int(row) * len(FIELDS)
            bounds = self.offsets[first : first + len(FIELDS) + 1]
            lengths += np.diff(bounds)
            for field in range(len(FIELDS)):
                frequency[np.unique(self.tokens[bounds[field] : bounds[field + 1]]), field] += 1
            frequency[np.unique(self.tokens[bounds[0] : bounds[-1]]), len(FIELDS)] += 1
        return frequency, lengths

    def total_lengths(self) -> NDArray[np.int64]:
        """Terms of each field over all rows: int64 (f,)."""
        return np.diff(self.offsets).reshape(-1, len(FIELDS)).sum(axis=0)

    def save(self, folder: Path) -> None:
        """Writes the arrays below `folder`, each as a file that is mapped, not read, when opened."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("offsets", "tokens", "gram_offsets", "grams", "document_frequency"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        terms = pa.table({"term": pa.array(list(self.vocabulary), pa.string())})
        with pa.OSFile(str(folder / "terms.arrow"), "wb") as sink, pa.ipc.new_file(sink, terms.schema) as writer:
            writer.write_table(terms)

    @classmethod
    def open(cls, folder: Path) -> ForwardIndex:
        """Maps a saved index; only the vocabulary is read into memory."""
        with pa.memory_map(str(folder / "terms.arrow")) as source:
            terms = pa.ipc.open_file(source).read_all()["term"].to_pylist()
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("offsets", "tokens", "gram_offsets", "grams", "document_frequency")
        }
        return cls(vocabulary={term: i for i, term in enumerate(terms)}, **arrays)

    @classmethod
    def build(cls, products: pa.Table, analyzer: Analyzer) -> ForwardIndex:
        """Analyses a products table; the vocabulary is sorted, so equal products give equal bytes."""
        per_field = [[analyzer.terms(text) for text in field_texts(products, name)] for name in FIELDS]
        vocabulary = {t: i for i, t in enumerate(sorted({t for field in per_field for row in field for t in row}))}
        frequency = np.zeros((len(vocabulary), len(FIELDS) + 1), dtype=np.int32)
        offsets = np.zeros(products.num_rows * len(FIELDS) + 1, dtype=np.int64)
        tokens: list[int] = []
        for row in range(products.num_rows):
            seen: set[int] = set()
            for field in range(len(FIELDS)):
                ids = [vocabulary[term] for term in per_field[field][row]]
                tokens.extend(ids)
                offsets[row * len(FIELDS) + field + 1] = len(tokens)
                distinct = set(ids)
                frequency[list(distinct), field] += 1
                seen |= distinct
            frequency[list(seen), len(FIELDS)] += 1
        grams = [trigrams(text) for text in field_texts(products, "title")]
        gram_offsets = np.zeros(len(grams) + 1, dtype=np.int64)
        np.cumsum([len(g) for g in grams], out=gram_offsets[1:])
        return cls(
            vocabulary=vocabulary,
            document_frequency=frequency,
            offsets=offsets,
            tokens=np.array(tokens, dtype=np.int32),
            gram_offsets=gram_offsets,
            grams=np.concatenate(grams) if grams else np.empty(0, np.int32),
        )


def field_texts(products: pa.Table, name: str) -> list[str]:
    """The text of one searchable field, row by row; categories and attributes are flattened to their values."""
    values = products[name].to_pylist()
    if name == "category":
        return [" ".join(path) if path else "" for path in values]
    if name == "attributes":
        # Names are left out: every laptop has a "colour", and a match on the name says nothing.
        return [" ".join(v for _, each in row for v in each or ()) if row else "" for row in values]
    return [value or "" for value in values]


@numba.njit(cache=True, nogil=True)
def _count(rows, offsets, tokens, ids, order, vocabulary_size, fields):  # type: ignore[no-untyped-def]
    slot = np.full(vocabulary_size, -1, dtype=np.int32)  # term id -> index of the query term
    for t in range(len(ids)):
        if ids[t] >= 0:
            slot[ids[t]] = t
    n = len(rows)
    counts = np.zeros((n, len(ids), fields), dtype=np.float32)
    lengths = np.zeros((n, fields), dtype=np.float32)
    adjacent = np.zeros(n, dtype=np.float32)
    ends_with = np.full(n, -1, dtype=np.int32)
    for i in range(n):
        first = rows[i] * fields
        for f in range(fields):
            begin, end = offsets[first + f], offsets[first + f + 1]
            lengths[i, f] = end - begin
            before = -1
            for j in range(begin, end):
                t = slot[tokens[j]]
                if t >= 0:
                    counts[i, t, f] += 1.0
                    if f == 0 and before >= 0:
                        for w in range(len(order) - 1):
                            if order[w] == before and order[w + 1] == t:
                                adjacent[i] += 1.0
                                break
                before = t
            if f == 0:
                ends_with[i] = before
    return counts, lengths, adjacent, ends_with


@numba.njit(cache=True, nogil=True)
def _overlap(rows, offsets, grams, query):  # type: ignore[no-untyped-def]
    shares = np.zeros(len(rows), dtype=np.float32)
    if len(query) == 0:
        return shares
    for i in range(len(rows)):
        j, end = offsets[rows[i]], offsets[rows[i] + 1]
        hits = 0
        for gram in query:
            while j < end and grams[j] < gram:
                j += 1
            if j < end and grams[j] == gram:
                hits += 1
        shares[i] = hits / len(query)
    return shares
