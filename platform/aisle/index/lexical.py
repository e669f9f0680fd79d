"""The inverted side of a segment, on tantivy: finds the rows that BM25 likes best, filters applied before the top k.

tantivy scores with the statistics of its own segment. `search` therefore gives every term a boost that replaces the
segment's idf by the catalogue's, so that a shard's best rows are the catalogue's best rows; the few per cent that
remain (field lengths, which tantivy rounds) vanish when the forward index scores the found rows exactly.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import tantivy
from numpy.typing import NDArray

from aisle.errors import SnapshotError
from aisle.index.filters import Filters, product_keys
from aisle.index.forward import FIELDS, ForwardIndex, field_texts
from aisle.text import Analyzer

_WRITER_HEAP_BYTES = 64_000_000


def build_lexical(products: pa.Table, analyzer: Analyzer, folder: Path) -> None:
    """Writes a tantivy index of a products table, one document a row, in one tantivy segment."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    index = _register(tantivy.Index(_schema(), path=str(folder)))
    writer = index.writer(_WRITER_HEAP_BYTES, num_threads=1)
    texts = {name: field_texts(products, name) for name in FIELDS}
    prices = products["price"].to_pylist()
    for row, keys in enumerate(product_keys(products)):
        document = tantivy.Document()
        document.add_unsigned("row", row)
        for name in FIELDS:
            document.add_text(name, " ".join(analyzer.terms(texts[name][row])))
        for key in keys:
            document.add_text("key", key)
        if prices[row] is not None:
            document.add_float("price", float(prices[row]))
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


class LexicalIndex:
    """An opened tantivy index of one segment. Read only; safe to search from several threads."""

    def __init__(self, folder: Path, forward: ForwardIndex) -> None:
        try:
            self._index = _register(tantivy.Index.open(str(folder)))
        except ValueError as error:
            raise SnapshotError(f"{folder}: not a readable tantivy index: {error}") from error
        self._schema = self._index.schema
        self._searcher = self._index.searcher()
        self._forward = forward
        n = forward.rows
        frequency = np.asarray(forward.document_frequency[:, : len(FIELDS)], dtype=np.float64)
        self._own_idf = np.log1p((n - frequency + 0.5) / (frequency + 0.5))  # what tantivy will multiply by

    def search(
        self,
        terms: Sequence[str],
        ids: NDArray[np.int32],
        weights: NDArray[np.float32],
        boosts: NDArray[np.float32],
        k: int,
        filters: Filters | None = None,
    ) -> NDArray[np.int64]:
        """Rows of the best `k` matches, best first.

        Args:
            terms: (t,) analysed terms; `ids` are theirs in the forward index, -1 where absent.
            weights: (t,) weight of a term times the catalogue's idf.
            boosts: (f,) weight of each field; 0 leaves the field out.
            k: rows wanted.
            filters: conditions that every row must meet, or none.

        Returns:
            int64 (at most k,), segment rows; empty where no row holds any term.
        """
        clauses = []
        for t, term in enumerate(terms):
            if ids[t] < 0:
                continue
            for f in np.flatnonzero(boosts):
                if self._forward.document_frequency[ids[t], f] == 0:
                    continue
                own = self._own_idf[ids[t], f]
                clause = tantivy.Query.term_query(self._schema, FIELDS[f], term, "freq")
                boost = float(boosts[f] * weights[t] / own)
                clauses.append((tantivy.Occur.Should, tantivy.Query.boost_query(clause, boost)))
        if not clauses or k <= 0:
            return np.empty(0, dtype=np.int64)
        query = tantivy.Query.boolean_query(clauses)
        if filters is not None and not filters.empty:
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), *self._conditions(filters)])
        hits = self._searcher.search(query, limit=k, count=False).hits
        rows = self._searcher.fast_field_values("row", [address for _, address in hits])
        return np.array(rows, dtype=np.int64)

    def _conditions(self, filters: Filters) -> list[tuple[tantivy.Occur, tantivy.Query]]:
        """Each field's condition as a clause that must hold and does not score."""
        conditions = []
        for alternatives in filters.keys:
            any_of = [
                (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "key", key, "basic"))
                for key in alternatives
            ]
            conditions.append(tantivy.Query.boolean_query(any_of))
        if filters.price is not None:
            low, high = filters.price.bounds()
            conditions.append(
                tantivy.Query.range_query(
                    self._schema,
                    "price",
                    tantivy.FieldType.Float,
                    low,
                    high,
                    include_lower=filters.price.includes_low,
                    include_upper=filters.price.includes_high,
                )
            )
        return [(tantivy.Occur.Must, tantivy.Query.const_score_query(query, 0.0)) for query in conditions]


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    for name in FIELDS:
        builder.add_text_field(name, stored=False, tokenizer_name="aisle", index_option="freq")
    builder.add_text_field("key", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_float_field("price", stored=False, indexed=False, fast=True)
    builder.add_unsigned_field("row", stored=False, indexed=False, fast=True)
    return builder.build()


def _register(index: tantivy.Index) -> tantivy.Index:
    """The texts are analysed already: split at blanks, nothing else."""
    index.register_tokenizer("aisle", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
    return index
