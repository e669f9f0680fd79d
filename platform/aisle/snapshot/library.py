"""The library: snapshots in a store, CURRENT, and verified local copies of what is served.

Nothing in the store is edited in place. A file reaches the serving cache once, is checked against its manifest, and is
checked again when a process first opens it: a damaged byte is a clear error, not a wrong answer. A file that was right
and has not been touched since is not read again for the next snapshot.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from aisle.errors import SnapshotError
from aisle.snapshot.manifest import Manifest
from aisle.store import Pointer, Store, Versioned, sha256_of

logger = logging.getLogger(__name__)

CURRENT = "CURRENT"
"""Name of the pointer to the live snapshot."""


class Library:
    """Snapshots of one store. Cheap to build in every process."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._right: dict[tuple[Path, str], tuple[int, int, int]] = {}
        """Cached files that were found to have a sha256, as the file system knew them then."""

    def current(self) -> str:
        """The live snapshot's id; SnapshotError where nothing has been published."""
        versioned = self.pointer_value()
        if versioned.value is None:
            raise SnapshotError(
                f"{self.store.url}: no CURRENT, nothing has been published; run python -m jobs.reindex first"
            )
        return versioned.value.decode().strip()

    def pointer_value(self) -> Versioned:
        """CURRENT with the version that a swap needs."""
        return Pointer(self.store).read(CURRENT)

    def ids(self) -> list[str]:
        """Complete snapshots, oldest first: those that have a manifest."""
        names = {
            path.split("/")[1]
            for path in self.store.list("snapshots")
            if path.endswith("/manifest.json")
        }
        return sorted(names)

    def manifest(self, snapshot_id: str) -> Manifest:
        """Reads a manifest; SnapshotError where the snapshot is not there or not readable."""
        path = self.require(snapshot_id)
        manifest = Manifest.from_json(self.store.read_bytes(path), f"{self.store.url}/{path}")
        if manifest.snapshot_id != snapshot_id:
            raise SnapshotError(
                f"{path}: names itself {manifest.snapshot_id!r}, expected {snapshot_id!r}"
            )
        return manifest

    def require(self, snapshot_id: str) -> str:
        """The path of a snapshot's manifest; SnapshotError where there is none, with the snapshots that there are."""
        path = f"snapshots/{snapshot_id}/manifest.json"
        if not self.store.exists(path):
            known = ", ".join(self.ids()[-5:]) or "none"
            raise SnapshotError(
                f"{self.store.url}: snapshot {snapshot_id!r} is not there; the newest ones are: {known}. If CURRENT "
                "names it, go back with python -m jobs.rollback"
            )
        return path

    def fetch(self, manifest: Manifest, prefixes: Iterable[str], cache_dir: Path) -> Path:
        """Copies files into the cache, verified, and returns the cache's root of snapshots.

        Args:
            manifest: names every file with sha256, size and owner.
            prefixes: which paths are wanted, such as `shards/0003/`.
            cache_dir: shared by the processes of one node; files appear in it atomically.

        Returns:
            The folder below which a file lies at `<owner>/<path>`.

        Raises:
            SnapshotError: a file is missing or its bytes are not the manifest's.
        """
        wanted = tuple(prefixes)
        root = cache_dir / "snapshots"
        for path, entry in manifest.files.items():
            if not path.startswith(wanted):
                continue
            local = root / entry.owner / path
            if not self._is_right(local, entry.sha256, entry.size):
                self.store.fetch(f"snapshots/{entry.owner}/{path}", local, entry.sha256, entry.size)
            self._right[local, entry.sha256] = _state(local)
        return root

    def _is_right(self, path: Path, sha256: str, size: int) -> bool:
        """Is the cached copy there, and is it right? A wrong one is fetched again."""
        if not path.is_file():
            return False
        if self._right.get((path, sha256)) == _state(path):
            return True
        if path.stat().st_size == size and sha256_of(path) == sha256:
            return True
        logger.warning(
            "cached file differs from its manifest, fetching it again", extra={"path": str(path)}
        )
        return False


def _state(path: Path) -> tuple[int, int, int]:
    """Changes whenever a file is written or replaced."""
    known = path.stat()
    return known.st_ino, known.st_size, known.st_mtime_ns
