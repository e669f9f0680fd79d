"""Publishing: CURRENT moves from one complete snapshot to another, or not at all."""

from __future__ import annotations

import logging

from aisle.errors import PointerMoved, SnapshotError
from aisle.snapshot import CURRENT, Library
from aisle.store import Pointer

logger = logging.getLogger(__name__)


def publish(library: Library, snapshot_id: str, *, expected: str | None) -> str | None:
    """Makes a snapshot the live one.

    Args:
        library: where it lies.
        snapshot_id: a complete snapshot.
        expected: the snapshot that the caller believes to be live, none for a first one.

    Returns:
        The snapshot that was live before.

    Raises:
        SnapshotError: the snapshot is incomplete.
        PointerMoved: another one was published since; nothing was changed.
        StoreReadOnly: this kind of store cannot publish.
    """
    manifest = library.manifest(snapshot_id)
    missing = [
        path
        for path, entry in manifest.files.items()
        if not library.store.exists(f"snapshots/{entry.owner}/{path}")
    ]
    if missing:
        raise SnapshotError(
            f"{snapshot_id}: {len(missing)} of {len(manifest.files)} files are missing, the first is {missing[0]}; "
            "it cannot be published"
        )
    pointer = Pointer(library.store)
    before = pointer.read(CURRENT)
    live = before.value.decode().strip() if before.value else None
    if live == snapshot_id:
        return live
    if live != expected:
        raise PointerMoved(
            f"{library.store.url}/{CURRENT}: is {live}, expected {expected}; someone else published meanwhile. "
            f"{snapshot_id} is complete: look at both, then python -m jobs.publish --snapshot {snapshot_id}"
        )
    pointer.swap(CURRENT, before.version, snapshot_id.encode())
    logger.info("published", extra={"snapshot": snapshot_id, "before": live})
    return live


def live_or_none(library: Library) -> str | None:
    """The live snapshot's id, none before the first publication."""
    value = library.pointer_value().value
    return value.decode().strip() if value else None
