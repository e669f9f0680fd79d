"""Builds a folder once under a key, safely beside other builders.

A folder appears under its final name complete or not at all: it is built under a temporary name and renamed. Two
builders of one key may both do the work, which wastes time but cannot mix files; a lock would be cheaper and would hang
after a crash on a shared disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from aisle.errors import ModelError


def build_once(final: Path, marker: str, build: Callable[[Path], None]) -> Path:
    """Gives the folder `final`, calling `build(empty folder)` where it does not exist yet.

    `marker` is a file that `build` writes; a folder that has it is finished. Where `build` raises, nothing is left;
    ModelError where the folder around cannot be written.
    """
    if (final / marker).is_file():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{final.name[:32]}-", dir=final.parent))
    except OSError as error:
        raise ModelError(
            f"cache folder {final.parent} cannot be written: {error}; set another one"
        ) from error
    try:
        working.chmod(
            0o755
        )  # mkdtemp's 0700 would hide the folder from a serving process under another user
        build(working)
        try:
            os.replace(working, final)
        except OSError:
            if not (final / marker).is_file():  # not another builder's finished folder
                raise
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return final
