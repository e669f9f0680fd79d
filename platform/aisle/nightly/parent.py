"""The parent: what tonight's run may carry over from the snapshot before.

Segments are carried by reference only if they would be built the same way tonight: same shard count, same encoder, same
build settings. Vectors are reused whenever the encoder is the same, whatever else changed.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aisle.config import IndexConfig, Settings
from aisle.index.statistics import Statistics
from aisle.nightly.run import read_table
from aisle.snapshot import Library, Manifest, SegmentEntry
from aisle.snapshot.manifest import STATISTICS_PATH, products_path, segment_path, tombstones_path
from aisle.store import Store


@dataclass(frozen=True)
class Parent:
    """The parent snapshot as one run sees it; without a manifest, nothing is carried over."""

    store: Store
    manifest: Manifest | None = None
    carries_segments: bool = False
    """Segments fit tonight's settings."""
    carries_vectors: bool = False
    """The encoder is the same."""

    @classmethod
    def open(
        cls, store: Store, snapshot_id: str | None, settings: Settings, vectors: str
    ) -> Parent:
        """Reads the parent's manifest and decides what fits; `vectors` is tonight's encoder's fingerprint."""
        if snapshot_id is None:
            return cls(store)
        manifest = Library(store).manifest(snapshot_id)
        same_encoder = manifest.vectors == vectors
        same_build = manifest.config_hash == settings.index_hash()
        return cls(store, manifest, same_encoder and same_build, same_encoder)

    def segments(self, shard: int) -> tuple[SegmentEntry, ...]:
        """Segments of a shard that tonight's snapshot may refer to."""
        if self.manifest is None or not self.carries_segments:
            return ()
        return self.manifest.shards[shard].segments

    def shard_digest(self, shard: int) -> str | None:
        """Content digest of what `segments` hold alive; none where nothing is carried."""
        if self.manifest is None or not self.carries_segments:
            return None
        return self.manifest.shards[shard].digest

    def statistics(self) -> tuple[Statistics, tuple[int, ...]] | None:
        """Term statistics and summed field lengths of what `segments` hold alive; none where nothing is carried."""
        if self.manifest is None or not self.carries_segments:
            return None
        data = self.store.read_bytes(f"snapshots/{self.manifest.locate(STATISTICS_PATH)}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "statistics.arrow"
            path.write_bytes(data)
            return Statistics.open(path), self.manifest.lengths

    def dead_rows(self, shard: int, segment: SegmentEntry) -> NDArray[np.int64]:
        """Rows of a segment that the parent's tombstones hide: int64, ascending."""
        if not segment.dead_rows or self.manifest is None:
            return np.empty(0, dtype=np.int64)
        path = self.manifest.locate(tombstones_path(shard, segment.segment_id))
        rows: NDArray[np.int64] = np.load(io.BytesIO(self.store.read_bytes(f"snapshots/{path}")))
        return rows

    def live_rows(self, shard: int) -> dict[str, tuple[bytes, str, int]]:
        """product_id -> (row hash, segment, row) of every live row of a shard."""
        live: dict[str, tuple[bytes, str, int]] = {}
        for segment in self.segments(shard):
            table = self._products(shard, segment, ["product_id", "row_hash"])
            dead = set(self.dead_rows(shard, segment).tolist())
            ids, hashes = table["product_id"].to_pylist(), table["row_hash"].to_pylist()
            for row, (product_id, row_hash) in enumerate(zip(ids, hashes, strict=True)):
                if row not in dead:
                    live[product_id] = (row_hash, segment.segment_id, row)
        return live

    def take(self, shard: int, rows: Mapping[str, Sequence[int]]) -> pa.Table | None:
        """The stored products at some rows of some segments; none where no row is named."""
        parts = [
            self._products(shard, segment).take(pa.array(rows[segment.segment_id], pa.int64()))
            for segment in self.segments(shard)
            if rows.get(segment.segment_id)
        ]
        return pa.concat_tables(parts) if parts else None

    def take_vectors(
        self, shard: int, rows: Mapping[str, Sequence[int]]
    ) -> Iterator[NDArray[np.float16]]:
        """Their vectors, (n, d) a segment, in the order of `take`; from a local store only these are read."""
        for segment in self.segments(shard):
            if not rows.get(segment.segment_id):
                continue
            path = (
                f"snapshots/{segment.owner}/{segment_path(shard, segment.segment_id)}/vectors.npy"
            )
            local = self.store.local_path(path)
            if local is not None and local.is_file():
                vectors = np.load(local, mmap_mode="r")
            else:
                vectors = np.load(io.BytesIO(self.store.read_bytes(path)))
            yield np.asarray(vectors[np.asarray(rows[segment.segment_id], np.int64)])

    def must_compact(
        self, shard: int, dead: Mapping[str, Sequence[int]], fresh: int, config: IndexConfig
    ) -> bool:
        """Is it time to write the shard anew, given the rows that die tonight and the fresh ones?"""
        segments = self.segments(shard)
        if not segments:
            return False
        rows = sum(each.rows for each in segments)
        dead_rows = sum(each.dead_rows for each in segments) + sum(map(len, dead.values()))
        deltas = len(segments) - 1 + (1 if fresh else 0)
        return (
            deltas > config.max_delta_segments
            or dead_rows > config.max_tombstone_fraction * max(rows, 1)
        )

    def known_hashes(self, shard: int) -> set[bytes]:
        """Content hashes of the texts whose vectors need not be computed."""
        known: set[bytes] = set()
        for path in self._vector_files(shard):
            known.update(read_table(self.store, path, ["content_hash"])["content_hash"].to_pylist())
        return known

    def vectors_of(self, shard: int, wanted: pa.Array) -> Iterator[pa.Table]:
        """Rows `content_hash, vector` of those of the wanted hashes that the parent holds; may repeat one."""
        for path in self._vector_files(shard):
            table = read_table(self.store, path)
            found = table.filter(pc.is_in(table["content_hash"], value_set=wanted))
            if found.num_rows:
                yield found

    def _products(
        self, shard: int, segment: SegmentEntry, columns: list[str] | None = None
    ) -> pa.Table:
        path = f"snapshots/{segment.owner}/{products_path(shard, segment.segment_id)}"
        return read_table(self.store, path, columns)

    def _vector_files(self, shard: int) -> list[str]:
        """Store paths of the files that may hold vectors of a shard's texts."""
        if self.manifest is None or not self.carries_vectors:
            return []
        # With another number of shards any file may hold the text: ids, not texts, decide the shard.
        own = f"embeddings/{shard:04d}/" if self.carries_segments else "embeddings/"
        return [
            f"snapshots/{self.manifest.locate(path)}"
            for path in self.manifest.embeddings
            if path.startswith(own)
        ]
