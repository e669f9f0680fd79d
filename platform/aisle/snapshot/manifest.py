"""The manifest: what a snapshot is made of. Written last, so its presence means that the snapshot is complete.

Files are named relative to the snapshot that owns them: a segment carried over from an earlier night keeps its owner,
so that nothing is copied and nothing that a kept manifest names is ever pruned.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aisle.config import IndexConfig
from aisle.errors import SnapshotError

FORMAT_VERSION = 1


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class FileEntry(_Entry):
    """One file."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    """Bytes."""
    owner: str
    """The snapshot below which the file lies."""


class SegmentEntry(_Entry):
    """One immutable segment of a shard, as this snapshot sees it."""

    segment_id: str
    owner: str
    """The snapshot that built it."""
    rows: int = Field(ge=0)
    """Rows in its files, dead ones included."""
    dead_rows: int = Field(0, ge=0)
    """Rows that this snapshot's tombstones hide."""
    digest: str
    """sha256 over its sorted (product_id, row hash, vector)."""


class ShardEntry(_Entry):
    """One shard: segments in the order that row numbers follow."""

    number: int = Field(ge=0)
    segments: tuple[SegmentEntry, ...]
    digest: str
    """sha256 over the sorted (product_id, row hash, vector) of its live rows; equal content, equal digest."""

    @property
    def live_rows(self) -> int:
        """Rows without a tombstone."""
        return sum(each.rows - each.dead_rows for each in self.segments)


class ModelEntry(_Entry):
    """A model as served: a folder below `models/`, or a rule that needs no file."""

    kind: str
    """What to load it with, such as `onnx`, `fused` or `cosine`."""
    fingerprint: str
    owner: str
    """The snapshot whose `models/` folder holds it."""


class Manifest(_Entry):
    """Everything that makes one snapshot."""

    format_version: Literal[1] = 1
    snapshot_id: str
    created_at: str
    run_id: str
    parent: str | None = None
    config_hash: str
    """Of the settings that decide how rows become segments; see `Settings.index_hash`."""
    vectors: str
    """Fingerprint of the encoder that made the vectors."""
    dimension: int
    """Length of a vector."""
    lengths: tuple[int, ...]
    """Terms in each searchable field over all live rows; exact, so that the next night can add to them."""
    counts: dict[str, int]
    """products, quarantined, duplicates, embedded, reused and the like."""
    index: IndexConfig
    """How the segments were built; opening them needs it."""
    shards: tuple[ShardEntry, ...]
    models: dict[str, ModelEntry]
    """By role: encoder, ranker, relevance, rewriter, segmenter."""
    embeddings: tuple[str, ...] = ()
    """Names of the files that map content hashes to vectors."""
    files: dict[str, FileEntry]
    """Every file, by its path below its owner's folder."""
    forced: tuple[str, ...] = ()
    """Gate rules that were broken and overruled with --force."""

    def to_json(self) -> bytes:
        """Readable JSON with sorted keys."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Reads a manifest; raises SnapshotError naming `where` and the first wrong field."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise SnapshotError(
                f"{where}: not a manifest of format {FORMAT_VERSION}: {field or 'document'}: {first['msg']}; "
                "publish the snapshot again with python -m jobs.reindex"
            ) from error

    def comparable(self) -> dict[str, Any]:
        """What two runs over the same input share: no times, run ids, snapshot ids or lexical files.

        tantivy names its files at random, so lexical content is covered by the shards' digests.
        """
        full = self.model_dump(
            mode="json", exclude={"created_at", "run_id", "snapshot_id", "parent", "forced"}
        )
        full["files"] = {
            path: {"sha256": entry["sha256"], "size": entry["size"]}
            for path, entry in full["files"].items()
            if "/lexical/" not in path and path != "report.json"
        }
        for shard in full["shards"]:
            for segment in shard["segments"]:
                del segment["owner"]
        for model in full["models"].values():
            del model["owner"]
        return full

    def differences(self, other: Manifest) -> list[str]:
        """Where two manifests differ in what they should share (`comparable`): dotted paths with both values."""
        mine, others = _flat(self.comparable()), _flat(other.comparable())
        return [
            f"{path}: {mine.get(path, 'nothing')!r}, the other says {others.get(path, 'nothing')!r}"
            for path in sorted(mine.keys() | others.keys())
            if mine.get(path) != others.get(path)
        ]

    def locate(self, path: str) -> str:
        """Where a file lies below the folder of snapshots, in the store and in every cache."""
        return f"{self.files[path].owner}/{path}"


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested dicts and lists, by dotted path; an empty one is a leaf."""
    if isinstance(value, dict):
        inner = [(str(name), each) for name, each in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(str(number), each) for number, each in enumerate(value)]
    else:
        inner = []
    if not inner:
        return {path: value}
    flat: dict[str, Any] = {}
    for name, each in inner:
        flat |= _flat(each, f"{path}.{name}" if path else name)
    return flat


def segment_path(shard: int, segment_id: str) -> str:
    """A segment's folder below its owner's."""
    return f"shards/{shard:04d}/{segment_id}"


def products_path(shard: int, segment_id: str) -> str:
    """The rows that a segment serves, as Parquet below its owner's folder."""
    return f"products/{shard:04d}/{segment_id}.parquet"


def embeddings_path(shard: int, segment_id: str) -> str:
    """Content hash -> vector of a segment's texts, as Parquet below its owner's folder."""
    return f"embeddings/{shard:04d}/{segment_id}.parquet"


def tombstones_path(shard: int, segment_id: str) -> str:
    """The dead rows of a segment as one snapshot sees them, below the folder of the snapshot that last changed them."""
    return f"shards/{shard:04d}/tombstones-{segment_id}.npy"


STATISTICS_PATH = "shards/statistics.arrow"
"""Catalogue-wide term statistics of this snapshot."""

QUARANTINE = "quarantine/"
"""Folder of rejected rows with their reasons."""
