"""The parent: what tonight's run may carry over from the snapshot before.

Segments are carried by reference only if they would be built the same way tonight: same shard count, same encoder, same
index settings. Vectors are reused whenever the encoder is the same, whatever else changed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aisle.config import IndexConfig, Settings
from aisle.snapshot import Library, Manifest, SegmentEntry
from aisle.snapshot.manifest import products_path
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
    _dead: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def open(cls, store: Store, snapshot_id: str | None, settings: Settings, encoder_fingerprint: str) -> Parent:
        """Reads the parent's manifest and decides what fits."""
        if snapshot_id is None:
            return cls(store)
        manifest = Library(store).manifest(snapshot_id)
        same_encoder = manifest.models["encoder"].fingerprint == encoder_fingerprint
        same_cut = len(manifest.shards) == settings.index.shards
        same_build = manifest.config_hash == settings.index_hash()
        return cls(store, manifest, same_encoder and same_cut and same_build, same_encoder)

    def segments(self, shard: int) -> tuple[SegmentEntry, ...]:
        """Segments of a shard that tonight's snapshot may refer to."""
        if self.manifest is None or not self.carries_segments:
            return ()
        return self.manifest.shards[shard].segments

    def dead_rows(self, shard: int, segment: SegmentEntry) -> NDArray[np.int64]:
        """Rows of a segment that the parent's tombstones hide: int64, ascending."""
        if not segment.dead_rows or self.manifest is None:
            return np.empty(0, dtype=np.int64)
        path = self.manifest.tombstones_path(shard, segment.segment_id)
        data = self.store.read_bytes(f"snapshots/{self.manifest.snapshot_id}/{path}")
        rows: NDArray[np.int64] = np.load(io.BytesIO(data))
        return rows

    def live_rows(self, shard: int) -> dict[str, tuple[bytes, str, int]]:
        """product_id -> (row hash, segment, row) of every live row of a shard."""
        live: dict[str, tuple[bytes, str, int]] = {}
        for segment in self.segments(shard):
            path = f"snapshots/{segment.owner}/{products_path(shard, segment.segment_id)}"
            table = pq.read_table(io.BytesIO(self.store.read_bytes(path)), columns=["product_id", "row_hash"])
            dead = set(self.dead_rows(shard, segment).tolist())
            ids, hashes = table["product_id"].to_pylist(), table["row_hash"].to_pylist()
            for row, (product_id, row_hash) in enumerate(zip(ids, hashes, strict=True)):
                if row not in dead:
                    live[product_id] = (row_hash, segment.segment_id, row)
        return live

    def must_compact(self, shard: int, dead: dict[str, list[int]], fresh: int, config: IndexConfig) -> bool:
        """Is it time to write the shard anew, given the rows that die tonight and the fresh ones?"""
        segments = self.segments(shard)
        if not segments:
            return True
        rows = sum(each.rows for each in segments)
        dead_rows = sum(each.dead_rows for each in segments) + sum(len(some) for some in dead.values())
        deltas = len(segments) - 1 + (1 if fresh else 0)
        return deltas > config.max_delta_segments or dead_rows > config.max_tombstone_fraction * max(rows, 1)

    def vector_files(self, shard: int) -> list[str]:
        """Store paths of the files that may hold vectors of a shard's texts."""
        if self.manifest is None or not self.carries_vectors:
            return []
        # With another number of shards any file may hold the text: ids, not texts, decide the shard.
        own = f"embeddings/{shard:04d}/" if self.carries_segments else "embeddings/"
        return [
            f"snapshots/{self.manifest.files[path].owner}/{path}"
            for path in self.manifest.embeddings
            if path.startswith(own)
        ]

    def known_hashes(self, shard: int) -> set[bytes]:
        """Content hashes of the texts whose vectors need not be computed."""
        known: set[bytes] = set()
        for path in self.vector_files(shard):
            table = pq.read_table(io.BytesIO(self.store.read_bytes(path)), columns=["content_hash"])
            known.update(table["content_hash"].to_pylist())
        return known
