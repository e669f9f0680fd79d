"""A segment: an immutable piece of a shard, built once, carried by reference from night to night.

A segment is a folder: exact vectors, the FAISS index over them, the tantivy index, the forward index, the filter keys
and the ids, all in row order, and rows are sorted by product id. Large arrays are mapped when opened, so replicas of
one node share them through the page cache. The row number inside the segment is what everything else refers to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.config import IndexConfig
from aisle.errors import SnapshotError
from aisle.index.csr import mapped
from aisle.index.dense import DenseIndex, build_dense
from aisle.index.filters import FilterIndex
from aisle.index.forward import ForwardIndex
from aisle.index.keys import price_array, product_keys
from aisle.index.lexical import LexicalIndex, build_lexical
from aisle.text import Analyzer

_MODULUS = 1 << 256


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Segment:
    """An opened segment."""

    product_ids: NDArray[np.bytes_]
    """(n,) UTF-8 ids, ascending."""
    vectors: NDArray[np.float16]
    """(n, d) unit rows."""
    dense: DenseIndex
    lexical: LexicalIndex
    forward: ForwardIndex
    filters: FilterIndex

    @property
    def rows(self) -> int:
        """Number of rows, dead ones included."""
        return len(self.product_ids)

    def find(self, product_ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Rows of some ids, -1 where the segment does not hold one: int64 (m,)."""
        if self.rows == 0:
            return np.full(len(product_ids), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.product_ids, product_ids), self.rows - 1)
        return np.where(self.product_ids[at] == product_ids, at, -1).astype(np.int64)

    @classmethod
    def open(cls, folder: Path, config: IndexConfig) -> Segment:
        """Opens a built segment; raises SnapshotError where a part is missing or does not fit the others."""
        try:
            vectors = mapped(folder / "vectors.npy")
            product_ids = mapped(folder / "product_ids.npy")
            forward = ForwardIndex.open(folder / "forward")
            filters = FilterIndex.open(folder / "filters")
            rows = len(product_ids)
            if not rows == len(vectors) == forward.rows == filters.rows:
                raise SnapshotError(
                    f"{rows} ids, {len(vectors)} vectors, {forward.rows} texts and {filters.rows} prices; "
                    "they must be equally many"
                )
            return cls(
                product_ids=product_ids,
                vectors=vectors,
                dense=DenseIndex.open(folder / "dense.faiss", vectors, config.dense),
                lexical=LexicalIndex(folder / "lexical", forward),
                forward=forward,
                filters=filters,
            )
        except (OSError, ValueError, EOFError, KeyError, pa.ArrowException, SnapshotError) as error:
            raise SnapshotError(
                f"segment {folder.name}: a file is missing or damaged ({error}); "
                "fetch it again, or rebuild with python -m jobs.reindex"
            ) from error


def build_segment(
    products: pa.Table,
    vectors: NDArray[np.float16],
    row_hashes: pa.Array,
    config: IndexConfig,
    folder: Path,
    threads: int = 1,
) -> str:
    """Builds every part of a segment below `folder`.

    Args:
        products: rows of the Product contract, sorted by product_id, ids distinct.
        vectors: float16 (n, d) unit rows, in the order of `products`.
        row_hashes: binary(16) (n,), content of each row.
        config: kinds and weights.
        folder: made if it is not there.
        threads: FAISS threads.

    Returns:
        The content digest over (product_id, row hash, vector) of every row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.array(
        [product_id.encode() for product_id in products["product_id"].to_pylist()], dtype=np.bytes_
    )
    if len(ids) == 0:
        ids = ids.astype("S1")
    np.save(folder / "product_ids.npy", ids)
    np.save(folder / "vectors.npy", vectors)
    forward = ForwardIndex.build(products, Analyzer(config.lexical.stemmer))
    forward.save(folder / "forward")
    keys, prices = product_keys(products), price_array(products)
    FilterIndex.build(keys, prices, folder / "filters")
    build_lexical(
        forward.texts(), config.lexical.boosts, keys.of_rows(), prices, folder / "lexical"
    )
    build_dense(vectors, config.dense, folder / "dense.faiss", threads)
    return content_digest(ids, row_hashes.to_pylist(), vectors)


def content_digest(
    ids: NDArray[np.bytes_], row_hashes: Sequence[bytes], vectors: NDArray[np.float16]
) -> str:
    """Digest of a set of rows, hexadecimal: the sum, modulo 2^256, of sha256(product_id, row hash, vector).

    A sum does not depend on order, and digests of parts add and subtract (`combine`): a night that changes one product
    in a million does not read the others to say what the shard holds (Bellare and Micciancio, "A New Paradigm for
    Collision-free Hashing", 1997, AdHash).
    """
    total = 0
    for product_id, row_hash, vector in zip(ids, row_hashes, vectors, strict=True):
        row = (
            len(product_id).to_bytes(2, "little") + bytes(product_id) + row_hash + vector.tobytes()
        )
        total += int.from_bytes(hashlib.sha256(row).digest(), "big")
    return f"{total % _MODULUS:064x}"


def combine(added: Iterable[str], removed: Iterable[str] = ()) -> str:
    """Digest of the rows of some sets without those of others."""
    total = sum(int(digest, 16) for digest in added) - sum(int(digest, 16) for digest in removed)
    return f"{total % _MODULUS:064x}"
