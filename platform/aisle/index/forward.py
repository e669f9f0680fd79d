"""The forward index: every row's terms in order, so that any row can be scored against any query.

An inverted index finds rows; it cannot say what a row that the dense side found is worth lexically. Here each row keeps
its term ids, field after field, in one CSR array. From it come exact BM25 with statistics of the whole catalogue
(so that shards agree with one index), the ranker's match features, and the score of judged pairs that retrieval
did not return. `aisle.index.kernel` and its neighbours read the arrays; this module builds, saves and opens them.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.index.csr import distinct, mapped, offsets_of, within
from aisle.index.kinds import kinds_of
from aisle.text import Analyzer, padded, trigram_hashes

FIELDS = ("title", "brand", "category", "attributes", "description")
TITLE, BRAND, CATEGORY, ATTRIBUTES, DESCRIPTION = range(len(FIELDS))

_GRAM_ROWS = 1 << 16
"""Titles hashed at once: bounds the memory of a build."""


class RowTerms(NamedTuple):
    """What the kernel reads of a forward index."""

    offsets: NDArray[np.int64]
    """(n * f + 1,): where each field of each row begins in `tokens`."""
    tokens: NDArray[np.int32]
    """Term ids, row after row, field after field, in text order."""
    gram_offsets: NDArray[np.int64]
    """(n + 1,): where each row begins in `grams`."""
    grams: NDArray[np.int32]
    """Sorted distinct trigram hashes of each title."""


@dataclass(frozen=True, slots=True)
class ForwardIndex:
    """Terms and title trigrams of a segment's rows."""

    vocabulary: dict[str, int]
    """Term -> id, terms ascending."""
    document_frequency: NDArray[np.int32]
    """(v, f + 1): rows of the segment that hold the term in a field; the last column counts any field."""
    terms: RowTerms
    kinds: NDArray[np.uint8]
    """(v,): what each term is by its spelling; see `aisle.index.kinds`."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.terms.gram_offsets) - 1

    def ids(self, terms: Sequence[str]) -> NDArray[np.int32]:
        """Term ids of this segment, -1 for a term that it does not hold: int32 (t,)."""
        return np.array([self.vocabulary.get(term, -1) for term in terms], dtype=np.int32)

    def frequencies_of(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Document frequencies (v, f + 1) and summed field lengths (f,) of some rows: what tombstones take away."""
        first = np.asarray(rows, dtype=np.int64)[:, None] * len(FIELDS) + np.arange(len(FIELDS))
        begin = self.terms.offsets[first]
        lengths = self.terms.offsets[first + 1] - begin  # (m, f)
        at = np.repeat(begin.ravel(), lengths.ravel()) + within(lengths.ravel())
        frequency = document_frequency(self.terms.tokens[at], lengths, len(self.vocabulary))
        return frequency, lengths.sum(axis=0)

    def total_lengths(self) -> NDArray[np.int64]:
        """Terms of each field over all rows: int64 (f,)."""
        total: NDArray[np.int64] = self._lengths().sum(axis=0)
        return total

    def texts(self) -> list[list[str]]:
        """Every field's analysed text, its terms joined by blanks: one list a field, each with a text a row."""
        vocabulary = list(self.vocabulary)
        terms = [vocabulary[token] for token in self.terms.tokens.tolist()]
        bounds = self.terms.offsets.tolist()
        f = len(FIELDS)
        return [
            [" ".join(terms[bounds[i] : bounds[i + 1]]) for i in range(field, len(bounds) - 1, f)]
            for field in range(f)
        ]

    def save(self, folder: Path) -> None:
        """Writes the arrays below `folder`, each as a file that is mapped, not read, when opened."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "document_frequency.npy", self.document_frequency)
        for name in RowTerms._fields:
            np.save(folder / f"{name}.npy", getattr(self.terms, name))
        terms = pa.table({"term": pa.array(list(self.vocabulary), pa.string())})
        with (
            pa.OSFile(str(folder / "terms.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, terms.schema) as writer,
        ):
            writer.write_table(terms)

    @classmethod
    def open(cls, folder: Path) -> ForwardIndex:
        """Maps a saved index; only the vocabulary is read into memory. Raises ValueError where parts do not fit."""
        with pa.memory_map(str(folder / "terms.arrow")) as source:
            terms = pa.ipc.open_file(source).read_all()["term"].to_pylist()
        frequency = mapped(folder / "document_frequency.npy")
        of_rows = RowTerms(*(mapped(folder / f"{name}.npy") for name in RowTerms._fields))
        index = cls({term: i for i, term in enumerate(terms)}, frequency, of_rows, kinds_of(terms))
        index._check()
        return index

    @classmethod
    def build(cls, products: pa.Table, analyzer: Analyzer) -> ForwardIndex:
        """Analyses a products table; the vocabulary is sorted, so equal products give equal bytes."""
        first_seen: defaultdict[str, int] = defaultdict(count().__next__)
        titles = [padded(analyzer.words(text)) for text in field_texts(products, FIELDS[TITLE])]
        analysed = [_numbered(titles, lambda words: analyzer.stems(words.split()), first_seen)]
        for name in FIELDS[TITLE + 1 :]:
            analysed.append(_numbered(field_texts(products, name), analyzer.terms, first_seen))
        tokens = array("i")
        for fields in zip(*analysed, strict=True):
            for ids in fields:
                tokens.extend(ids)
        lengths = np.array(
            [[len(ids) for ids in field] for field in analysed], dtype=np.int64
        ).T.reshape(-1, len(FIELDS))
        ordered = sorted(first_seen)
        rank = np.empty(len(ordered), dtype=np.int32)  # id by appearance -> id by alphabet
        rank[[first_seen[term] for term in ordered]] = np.arange(len(ordered), dtype=np.int32)
        final = rank[np.frombuffer(tokens, dtype=np.int32)] if len(tokens) else rank[:0]
        return cls(
            {term: i for i, term in enumerate(ordered)},
            document_frequency(final, lengths, len(ordered)),
            RowTerms(offsets_of(lengths.ravel()), final, *_title_grams(titles)),
            kinds_of(ordered),
        )

    def _lengths(self) -> NDArray[np.int64]:
        return np.diff(self.terms.offsets).reshape(-1, len(FIELDS))

    def _check(self) -> None:
        offsets, tokens, gram_offsets, grams = self.terms
        if (
            len(offsets) != self.rows * len(FIELDS) + 1
            or offsets[-1] != len(tokens)
            or gram_offsets[-1] != len(grams)
            or self.document_frequency.shape != (len(self.vocabulary), len(FIELDS) + 1)
        ):
            raise ValueError("the arrays of the forward index do not fit each other")


def document_frequency(
    tokens: NDArray[np.int32], lengths: NDArray[np.int64], vocabulary: int
) -> NDArray[np.int32]:
    """Rows that hold each term, by field and in any: int32 (v, f + 1) from tokens in row order and lengths (n, f)."""
    n, f = lengths.shape
    row = np.repeat(np.arange(n), lengths.sum(axis=1))
    field = np.repeat(np.tile(np.arange(f), n), lengths.ravel())
    columns = [
        _distinct_rows(tokens[field == each], row[field == each], vocabulary) for each in range(f)
    ]
    return np.stack([*columns, _distinct_rows(tokens, row, vocabulary)], axis=1)


def field_texts(products: pa.Table, name: str) -> list[str]:
    """The text of one searchable field, row by row; categories and attributes are flattened to their values."""
    values = products[name].to_pylist()
    if name == "category":
        return [" ".join(path) if path else "" for path in values]
    if name == "attributes":
        # Names are left out: every laptop has a "colour", and a match on the name says nothing.
        return [" ".join(v for _, each in row for v in each or ()) if row else "" for row in values]
    return [value or "" for value in values]


def _numbered(
    texts: Sequence[str], analyse: Callable[[str], list[str]], first_seen: Mapping[str, int]
) -> list[list[int]]:
    """Term ids of each text, numbered as they appear; brands and categories repeat and are analysed once."""
    number = first_seen.__getitem__
    known = {text: list(map(number, analyse(text))) for text in dict.fromkeys(texts)}
    return [known[text] for text in texts]


def _distinct_rows(
    tokens: NDArray[np.int32], rows: NDArray[np.int64], vocabulary: int
) -> NDArray[np.int32]:
    """In how many rows each term occurs: int32 (v,)."""
    v = max(vocabulary, 1)
    pairs = distinct(rows * v + tokens)
    return np.bincount(pairs % v, minlength=v)[:vocabulary].astype(np.int32)


def _title_grams(titles: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Offsets (n + 1,) and sorted distinct trigram hashes of padded titles."""
    counts, grams = [], []
    for begin in range(0, len(titles), _GRAM_ROWS):
        some = titles[begin : begin + _GRAM_ROWS]
        sizes = np.array([len(title) for title in some], dtype=np.int64)
        hashes = trigram_hashes("".join(some)).astype(np.int64)
        row = np.repeat(np.arange(len(some)), sizes)[: len(hashes)]
        inside = within(sizes)[: len(hashes)] < sizes[row] - 2  # the others span two titles
        pairs = distinct((row[inside] << 31) | hashes[inside])
        counts.append(np.bincount(pairs >> 31, minlength=len(some)))
        grams.append((pairs & 0x7FFFFFFF).astype(np.int32))
    if not titles:
        return np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int32)
    return offsets_of(np.concatenate(counts)), np.concatenate(grams)
