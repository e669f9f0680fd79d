"""Snapshots: the one unit of release and of rollback."""

from aisle.snapshot.library import CURRENT, Library
from aisle.snapshot.loaded import LoadedSnapshot, Parts
from aisle.snapshot.manifest import FileEntry, Manifest, ModelEntry, SegmentEntry, ShardEntry

__all__ = [
    "CURRENT",
    "FileEntry",
    "Library",
    "LoadedSnapshot",
    "Manifest",
    "ModelEntry",
    "Parts",
    "SegmentEntry",
    "ShardEntry",
]
