"""The inverted side of a segment, on tantivy: finds the rows that BM25 likes best, filters applied before the top k.

All fields lie in one text, each repeated as often as its boost says: BM25 over that text is BM25F, and a query has one
clause a term. tantivy scores with the statistics of its own segment; `search` gives every term a boost that replaces
the segment's idf by the catalogue's, so that a shard's best rows are the catalogue's best rows. The few per cent that
remain (lengths, which tantivy rounds) vanish when the forward index scores the found rows exactly.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tantivy
from numpy.typing import NDArray

from aisle.errors import SnapshotError
from aisle.index.filters import Filters
from aisle.index.forward import FIELDS, ForwardIndex

_WRITER_HEAP_BYTES = 64_000_000
_TEXT = "text"


def build_lexical(
    texts: Sequence[Sequence[str]],
    boosts: Mapping[Any, int],
    keys: Sequence[Sequence[str]],
    prices: NDArray[np.float64],
    folder: Path,
) -> None:
    """Writes a tantivy index, one document a row.

    Args:
        texts: for each of `FIELDS` the analysed text of every row.
        boosts: how often each field counts; one that is left out is not searched.
        keys: the filter keys of every row.
        prices: (n,) NaN where a product has none.
        folder: replaced if it is there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    index = _register(tantivy.Index(_schema(), path=str(folder)))
    writer = index.writer(_WRITER_HEAP_BYTES, num_threads=1)
    columns = zip(*texts, strict=True)
    times = [boosts.get(name, 0) for name in FIELDS]
    for row, (of_row, price, fields) in enumerate(zip(keys, prices.tolist(), columns, strict=True)):
        document = tantivy.Document()
        document.add_unsigned("row", row)
        words = [text for text, n in zip(fields, times, strict=True) if text for _ in range(n)]
        if words:
            document.add_text(_TEXT, " ".join(words))
        for key in of_row:
            document.add_text("key", key)
        if not math.isnan(price):
            document.add_float("price", price)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


class LexicalIndex:
    """An opened tantivy index of one segment. Read only; safe to search from several threads."""

    def __init__(self, folder: Path, forward: ForwardIndex) -> None:
        try:
            self._index = _register(tantivy.Index.open(str(folder)))
            self._searcher = self._index.searcher()
        except (ValueError, OSError) as error:
            raise SnapshotError(f"{folder}: not a readable tantivy index: {error}") from error
        if self._searcher.num_docs != forward.rows:
            raise SnapshotError(
                f"{folder}: tantivy holds {self._searcher.num_docs} rows, the forward index {forward.rows}; "
                "rebuild the segment with python -m jobs.reindex"
            )
        self._schema = self._index.schema
        self._forward = forward

    def search(
        self,
        terms: Sequence[str],
        ids: NDArray[np.int32],
        weights: NDArray[np.float32],
        k: int,
        filters: Filters | None = None,
    ) -> NDArray[np.int64]:
        """Rows of the best `k` matches, best first.

        Args:
            terms: (t,) analysed terms.
            ids: (t,) theirs in the forward index, -1 where absent.
            weights: (t,) weight of a term times the catalogue's idf.
            k: rows wanted.
            filters: conditions that every row must meet, or none.

        Returns:
            int64 (at most k,), segment rows; empty where no row holds any term.
        """
        clauses = self._clauses(terms, ids, weights)
        if not clauses or k <= 0:
            return np.empty(0, dtype=np.int64)
        query = clauses[0][1] if len(clauses) == 1 else tantivy.Query.boolean_query(clauses)
        if filters is not None and not filters.empty:
            if filters.price is not None and filters.price.empty:
                return np.empty(0, dtype=np.int64)
            query = tantivy.Query.boolean_query(
                [(tantivy.Occur.Must, query), *self._conditions(filters)]
            )
        hits = self._searcher.search(query, limit=k, count=False).hits
        rows = self._searcher.fast_field_values("row", [address for _, address in hits])
        return np.array(rows, dtype=np.int64)

    def _clauses(
        self, terms: Sequence[str], ids: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> list[tuple[tantivy.Occur, tantivy.Query]]:
        """One clause for each term that some row holds; its boost replaces tantivy's idf by the query's."""
        n, schema, should = self._forward.rows, self._schema, tantivy.Occur.Should
        clauses = []
        for t in np.flatnonzero(ids >= 0).tolist():
            frequency = self._searcher.doc_freq(_TEXT, terms[t])
            if frequency:
                own_idf = math.log1p((n - frequency + 0.5) / (frequency + 0.5))
                clause = tantivy.Query.term_query(schema, _TEXT, terms[t], "freq")
                scaled = tantivy.Query.boost_query(clause, float(weights[t]) / own_idf)
                clauses.append((should, scaled))
        return clauses

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
        return [
            (tantivy.Occur.Must, tantivy.Query.const_score_query(query, 0.0))
            for query in conditions
        ]


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(_TEXT, stored=False, tokenizer_name="aisle", index_option="freq")
    builder.add_text_field("key", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_float_field("price", stored=False, indexed=False, fast=True)
    builder.add_unsigned_field("row", stored=False, indexed=False, fast=True)
    return builder.build()


def _register(index: tantivy.Index) -> tantivy.Index:
    """The texts are analysed already: split at blanks, nothing else."""
    index.register_tokenizer(
        "aisle", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    )
    return index
