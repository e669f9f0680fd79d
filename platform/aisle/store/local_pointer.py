"""Compare-and-swap on a local file system: a lock beside the file, a compare, an atomic replace.

The lock file is never removed: removing it would let two writers hold locks on two files of one name. flock belongs to
the open file, so it also keeps threads apart, and the kernel frees it when a process dies. Over NFS it holds between
machines only where the server does locking (NFSv4 or lockd); a store shared by machines is better on S3.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aisle.errors import StoreError
from aisle.store.failures import failures, store_error
from aisle.store.files import whole_file
from aisle.store.store import Store
from aisle.store.version import Version, Versioned, moved

LOCK_WAIT_S = 30.0
LOCK_POLL_S = 0.005


@dataclass(frozen=True)
class LocalPointer:
    """Pointers below a folder."""

    store: Store

    def read(self, name: str) -> Versioned:
        """Gives the value in place; needs no lock, because files are replaced whole."""
        path = self._path(name)
        try:
            return _state(path)
        except failures() as error:
            raise store_error(error, "read", str(path)) from error

    def swap(self, name: str, expected: Version, new: bytes) -> Version:
        """Replaces the value under a lock. A swap here has no answer to lose."""
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(path):
                found = _state(path)
                if found.version != expected:
                    raise moved(str(path), expected, found)
                with whole_file(path) as file:
                    file.write(new)
                return _state(path).version
        except failures() as error:
            raise store_error(error, "write", str(path)) from error

    def _path(self, name: str) -> Path:
        return Path(self.store.locate(name)[1])

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        lock = path.with_name(f".{path.name}.lock")
        retry = self.store.retry
        end = retry.clock() + LOCK_WAIT_S
        with lock.open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if retry.clock() > end:
                        raise StoreError(
                            f"{path}: its lock {lock} was held by another process for {LOCK_WAIT_S:g} s; see which "
                            "one with `fuser`, then run again"
                        ) from None
                retry.sleep(LOCK_POLL_S)
            yield  # closing the file frees the lock


def _state(path: Path) -> Versioned:
    try:
        with path.open("rb") as file:
            stat, value = os.fstat(file.fileno()), file.read()
    except FileNotFoundError:
        return Versioned.of(None)
    # Every swap makes a new file, so a value that went away and came back has another version.
    return Versioned.of(value, f"{stat.st_ino}-{stat.st_mtime_ns}-")
