"""Local files that are either whole or not there: written under a passing name, synced, then renamed.

A crash may leave a passing file behind; its name starts with a dot and ends in `.tmp`, no listing shows it, and the
next prune may remove it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
FULL_BELOW_BYTES = 1 << 20
"""A disk with less room than this is full: what failed to be written may have been cut away again."""


def sha256_of(path: str | Path) -> str:
    """Hashes a local file in chunks; lower-case hex."""
    digest = sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears at `path`, replacing what was there, only if the block ends well.

    Folders on the way are made. File and folder are synced, so that the new content survives a power cut.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    passing = target.with_name(passing_name(target.name))
    try:
        with passing.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(passing, target)
    except BaseException:
        passing.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error says, or the disk of an existing folder shows, that there was no room left to write."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return shutil.disk_usage(folder).free < FULL_BELOW_BYTES


def passing_name(name: str) -> str:
    """A name that no other writer uses and that listings leave out."""
    return f".{name[:180]}.{uuid.uuid4().hex}.tmp"


def is_passing_name(name: str) -> bool:
    """Whether a file of this name is nobody's content: being written, left by a crash, or a lock."""
    base = name.rsplit("/", 1)[-1]
    return base.startswith(".") and base.endswith((".tmp", ".lock"))


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
