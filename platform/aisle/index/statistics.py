"""Statistics of the whole catalogue, so that every shard weighs a word alike.

BM25 needs to know how many products hold a term. A shard knows only its own; these statistics sum over all segments and
take away the rows that tombstones killed, so that a catalogue grown by deltas weighs words as a fresh build does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.index.forward import FIELDS, ForwardIndex


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Statistics:
    """Live products, document frequencies and mean field lengths."""

    products: int
    index_of: dict[str, int]
    document_frequency: NDArray[np.int32]
    """(v, f + 1): live products that hold the term in a field; the last column counts any field."""
    mean_lengths: NDArray[np.float32]
    """(f,): terms in a field of a live product, on average."""

    @classmethod
    def none(cls) -> Statistics:
        """Statistics of an empty catalogue."""
        return cls(
            0, {}, np.empty((0, len(FIELDS) + 1), np.int32), np.zeros(len(FIELDS), np.float32)
        )

    def frequencies(self, terms: Iterable[str]) -> NDArray[np.float32]:
        """Document frequencies of some terms: float32 (t, f + 1), zeros for unknown terms."""
        at = np.array([self.index_of.get(term, -1) for term in terms], dtype=np.int64)
        found = np.zeros((len(at), len(FIELDS) + 1), dtype=np.float32)
        found[at >= 0] = self.document_frequency[at[at >= 0]]
        return found

    def save(self, path: Path) -> None:
        """Writes one Arrow file, terms sorted."""
        columns = {"term": pa.array(list(self.index_of), pa.string())}
        for f, name in enumerate((*FIELDS, "any")):
            columns[name] = pa.array(self.document_frequency[:, f], pa.int32())
        table = pa.table(columns).replace_schema_metadata(
            {
                "products": str(self.products),
                "mean_lengths": " ".join(repr(float(x)) for x in self.mean_lengths),
            }
        )
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)

    @classmethod
    def open(cls, path: Path) -> Statistics:
        """Reads a saved file."""
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
            metadata = table.schema.metadata
            frequency = np.stack(
                [table[name].to_numpy() for name in (*FIELDS, "any")], axis=1
            ).astype(np.int32)
            return cls(
                products=int(metadata[b"products"]),
                index_of={term: i for i, term in enumerate(table["term"].to_pylist())},
                document_frequency=frequency.reshape(-1, len(FIELDS) + 1),
                mean_lengths=np.array(
                    [float(x) for x in metadata[b"mean_lengths"].split()], dtype=np.float32
                ),
            )

    @classmethod
    def collect(cls, segments: Iterable[tuple[ForwardIndex, NDArray[np.int64]]]) -> Statistics:
        """Sums over (forward index, dead rows) of every segment of every shard."""
        products = 0
        lengths = np.zeros(len(FIELDS), dtype=np.int64)
        place: dict[str, int] = {}
        parts: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        for forward, dead in segments:
            dead_frequency, dead_lengths = forward.frequencies_of(dead)
            lengths += forward.total_lengths() - dead_lengths
            products += forward.rows - len(dead)
            at = [place.setdefault(term, len(place)) for term in forward.vocabulary]
            parts.append(
                (np.array(at, dtype=np.int64), forward.document_frequency - dead_frequency)
            )
        frequency = np.zeros((len(place), len(FIELDS) + 1), dtype=np.int32)
        for at_rows, live_frequency in parts:
            frequency[at_rows] += live_frequency  # a segment holds a term once
        held = frequency[:, -1] > 0
        terms = sorted(term for term, i in place.items() if held[i])
        mean_lengths = (lengths / max(products, 1)).astype(np.float32)
        return cls(
            products,
            {term: i for i, term in enumerate(terms)},
            frequency[[place[term] for term in terms]],
            mean_lengths,
        )
